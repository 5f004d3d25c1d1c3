"""Secrets in files of their own, as Docker and Kubernetes mount them: `X_FILE` names the file that
contains the secret `X`.
"""

from __future__ import annotations

import errno
import os
import stat
import typing as t

from .layers import Layer, Loaded
from .origins import Origin, shortened
from .reloading import watch

SUFFIX = "_FILE"
# The largest size of a file with a secret. A larger file can hardly contain a key or a password.
MAX_BYTES = 64 * 1024


def read_secret_files(
    layer: Layer, secrets: t.Iterable[str], root: str, problems: list[str]
) -> None:
    """In a layer, replace the path `X_FILE` of each declared secret `X` by `X`, the text of that
    file. The reloader of the development server watches the file.
    """
    for key in secrets:
        named = layer.pop(key + SUFFIX, None)
        if named is None:
            continue
        if key in layer:
            problems.append(
                f"the secret {key} is given both ways: {key} by {layer[key].origin}, and"
                f" {key}{SUFFIX} by {named.origin}. Remove one of them."
            )
            continue
        path = os.path.join(root, str(named.value))
        watch([path])
        try:
            text = _read(path)
        except ValueError as exc:
            problems.append(
                f"{named.origin}: the file {str(named.value)!r} should contain the secret {key} and"
                f" nothing else, but {exc}."
            )
            continue
        place = f"{shortened(path)}, named by {named.origin}"
        layer[key] = Loaded(text, Origin("file", place), is_text=True)


def _read(path: str) -> str:
    """Return the text of a file, without the line break at its end.

    Raises:
        ValueError: the file does not contain a secret. The exception's text says why.
    """
    try:
        _refuse_pipe(path)
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else str(exc)
        raise ValueError(f"it cannot be read: {reason}") from None
    if len(data) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES // 1024} KiB")
    try:
        text = data.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    if not text.strip():
        raise ValueError("it is empty")
    return text


def _refuse_pipe(path: str) -> None:
    """Raise OSError if `path` is a pipe or a device: opening it may block, and each process of a
    server reads the secret, but a pipe gives it only once.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.ESPIPE, "it is a pipe or a device, which can be read only once")
