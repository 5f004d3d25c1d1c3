"""The control socket of a server: its default path, and who may use it."""

from __future__ import annotations

import os

from ...core.runtimefolders import create_private, runtime_folders
from ...errors import AddressError
from ..unixsocket import MAX_PATH_BYTES, UnixSocket

# The value of the setting `control` that switches the control socket off.
OFF = "off"
SUFFIX = ".sock"
# Only the user of the server may connect: on Linux, macOS and BSD, whoever connects needs the
# permission to write the file.
MODE = 0o600
BACKLOG = 64


def parse_control(text: str) -> str:
    """Return the absolute path that a value of the setting `control` means, or "off".

    Raises:
        ValueError: the path is too long for a socket, or has a character that no path has.
    """
    if text.strip().lower() == OFF:
        return OFF
    if not text.strip() or "\0" in text:
        raise ValueError
    path = os.path.abspath(os.path.expanduser(text))
    refuse_long(path)
    return path


def refuse_long(path: str) -> None:
    size = len(os.fsencode(path))
    if size > MAX_PATH_BYTES:
        raise ValueError(f"{path} has {size} bytes, a socket's path at most {MAX_PATH_BYTES}")


# --------------------------------------------------------------------------------- default paths


def default_path(name: str) -> str:
    """Return the path of the control socket for the server that listens on the address `name`.

    Raises:
        AddressError: no folder for it can be created.
    """
    return runtime_path(name.replace("/", "-") + SUFFIX, of="the control socket")


def runtime_path(file_name: str, *, of: str, advice: str = "") -> str:
    """Return the path of a socket with this file name in the first of the runtime folders that can
    be used.

    Args:
        of: what the socket is, for the message.
        advice: the end of the message.

    Raises:
        AddressError: none of the folders can be created, or the path would be too long.
    """
    reasons = []
    for folder in runtime_folders():
        path = os.path.join(folder, file_name)
        try:
            refuse_long(path)
            create_private(folder)
        except OSError as exc:
            reasons.append(f"{folder}: {exc.strerror}")
        except ValueError as exc:
            reasons.append(str(exc))
        else:
            return path
    why = "; ".join(reasons) or "there is no folder for temporary files that this user may write"
    raise AddressError(f"No folder for {of} can be used ({why}).{advice}")


# ----------------------------------------------------------------------------- taking a path


class ControlSocket(UnixSocket):
    """A listening Unix socket for this user alone.

    Raises:
        AddressError: the path cannot be taken. The text says why, and what to do.
    """

    def __init__(self, path: str) -> None:
        super().__init__(
            path,
            MODE,
            BACKLOG,
            failure=f"Cannot create the control socket {path}",
            option="--control",
            shown_by=f"carboy ctl --socket {path} status",
        )
