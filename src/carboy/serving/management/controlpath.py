"""The control socket of a server: its default path, and who may use it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
import typing as t

from ...errors import AddressError
from ..unixsocket import MAX_PATH_BYTES, UnixSocket, user_name

if t.TYPE_CHECKING:
    import collections.abc as cabc

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


def runtime_folders(environ: cabc.Mapping[str, str] = os.environ) -> list[str]:
    """Return the folders where this user's servers have their control sockets by default. A server
    uses the first that it can create; `carboy ctl` searches all of them, because it may run with
    another environment.
    """
    folders = []
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        folders.append(os.path.join(runtime, "carboy"))
    if os.geteuid() == 0:
        folders.append("/run/carboy")
    try:
        folders.append(os.path.join(tempfile.gettempdir(), f"carboy-{os.geteuid()}"))
    except FileNotFoundError:  # no temporary folder can be written, as on a read-only root
        pass
    return folders


def default_path(name: str) -> str:
    """Return the path of the control socket for the server that listens on the address `name`.

    Raises:
        AddressError: no folder for it can be created.
    """
    reasons = []
    for folder in runtime_folders():
        path = os.path.join(folder, name.replace("/", "-") + SUFFIX)
        try:
            refuse_long(path)
            _create_private(folder)
        except OSError as exc:
            reasons.append(f"{folder}: {exc.strerror}")
        except ValueError as exc:
            reasons.append(str(exc))
        else:
            return path
    why = "; ".join(reasons) or "there is no folder for temporary files that this user may write"
    raise AddressError(f"No folder for the control socket can be used ({why}).")


def _create_private(folder: str) -> None:
    """Create a folder for this user alone, unless it exists.

    Raises:
        OSError: it cannot be created, or it exists and other users may write to it.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    reason = why_not_private(folder)
    if reason:
        raise OSError(errno.EPERM, reason)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def why_not_private(folder: str) -> str:
    """Return why a folder may contain files of other users, or "" if it cannot: in a folder for all
    users, such as /tmp, another user may have created it first.
    """
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode):
        return "it is not a folder"
    if found.st_uid != os.geteuid():
        return f"it belongs to {user_name(found.st_uid)}"
    return "other users may write to it" if found.st_mode & 0o022 else ""


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
