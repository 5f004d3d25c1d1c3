"""The resources that a replica on Ray needs of its node: CPUs, GPUs, memory."""

from __future__ import annotations

import typing as t

from carboy.errors import ModelLoadError

if t.TYPE_CHECKING:
    from ..options import Options


def resources_of(options: Options, owner: str) -> dict[str, float]:
    """Return the resources of each replica of a model, by the names that Ray gives them: those of
    the option `resources`, and by default one CPU, and one GPU if the model's device is one.

    Raises:
        ModelLoadError: the model names devices of different kinds, which Ray does not place.
    """
    kinds = {device.partition(":")[0] for device in options.devices}
    if len(kinds) > 1:
        raise ModelLoadError(
            f"{owner}: device={list(options.devices)!r} names devices of different kinds. On a Ray"
            " cluster all replicas of a model need the same: name one kind, and the amounts in"
            " resources=..."
        )
    default: dict[str, float] = {"num_cpus": 1}
    if "cuda" in kinds:
        default["num_gpus"] = 1
    return {**default, **{name: float(amount) for name, amount in options.resources.items()}}
