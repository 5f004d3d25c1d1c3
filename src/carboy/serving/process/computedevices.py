"""Which devices the process of a replica sees, by the environment variables that the libraries read
when they are imported.
"""

from __future__ import annotations

import itertools
import os
import re
import typing as t

from ...errors import ModelLoadError
from ...models.options import CPU

if t.TYPE_CHECKING:
    import collections.abc as cabc

# CUDA, and PyTorch on ROCm, which reads the same variable.
_VISIBLE = "CUDA_VISIBLE_DEVICES"
# CUDA ignores this entry and all after it.
_NONE = "-1"
_CUDA = re.compile(r"cuda(?::(\d+))?")


def device_environment(device: str, environ: cabc.Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment variables by which a process sees one device alone.

    The process then sees "cuda:3" as its only GPU, "cuda:0". If the user has restricted the visible
    devices already, the number counts among those. Names of other kinds of devices are only
    compared, as those of models without replicas are.

    Raises:
        ModelLoadError: the user has made fewer devices visible.
    """
    if device == CPU:
        return {_VISIBLE: ""}
    match = _CUDA.fullmatch(device)
    if match is None:
        return {}
    number = int(match[1] or 0)
    allowed = environ.get(_VISIBLE)
    if allowed is None:
        return {_VISIBLE: str(number)}
    listed = [each.strip() for each in allowed.split(",") if each.strip()]
    visible = list(itertools.takewhile(lambda each: each != _NONE, listed))
    if number >= len(visible):
        raise ModelLoadError(
            f"device={device!r} is not visible: {_VISIBLE} is {allowed!r}, which has"
            f" {len(visible)} devices. Name another device, or change the variable."
        )
    return {_VISIBLE: visible[number]}
