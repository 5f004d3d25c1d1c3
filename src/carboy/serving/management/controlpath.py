"""The control socket of a server as a file: its default path, who may use it, and when a server may
take a path.

The file of a Unix socket outlives its server: after a `kill -9` it stays, and nobody listens. So a
server that finds a file at its path asks whether somebody listens there, and replaces it if not.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import sys
import tempfile
import typing as t

from ...errors import AddressError

if t.TYPE_CHECKING:
    import collections.abc as cabc

# The value of the setting `control` that switches the control socket off.
OFF = "off"
SUFFIX = ".sock"
# `struct sockaddr_un` has room for 108 bytes on Linux, 104 on BSD and macOS, with a NUL at the end.
MAX_PATH_BYTES = 107 if sys.platform == "linux" else 103
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
    folders.append(os.path.join(tempfile.gettempdir(), f"carboy-{os.geteuid()}"))
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
    raise AddressError(f"No folder for the control socket can be used ({'; '.join(reasons)}).")


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


def user_name(uid: int) -> str:
    """Return how a message names a user, such as "user shop (uid 1000)"."""
    import pwd

    try:
        return f"user {pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"


# ----------------------------------------------------------------------------- taking a path


def is_served(path: str) -> bool:
    """Return whether a server listens on the Unix socket at a path.

    Raises:
        OSError: the system does not let this user find out.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # Do not block: connecting to a living server waits if its backlog is full.
        probe.setblocking(False)
        code = probe.connect_ex(path)
    if code in (errno.ECONNREFUSED, errno.ENOENT):
        return False
    if code in (0, errno.EAGAIN, errno.EINPROGRESS):
        return True
    raise OSError(code, os.strerror(code))


class ControlSocket:
    """A listening Unix socket for this user alone.

    Raises:
        AddressError: the path cannot be taken. The text says why, and what to do.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _alone_in_folder_of(path):
                _remove_stale(path)
                self.socket.bind(path)
                # Nobody can connect before `listen`, so it does not matter that the file has other
                # permissions for a moment.
                os.chmod(path, MODE)
                self.socket.listen(BACKLOG)
                self._identity = _identity(path)
        except OSError as exc:
            self.socket.close()
            raise AddressError(_explain(exc, path)) from None
        except AddressError:
            self.socket.close()
            raise

    def close(self) -> None:
        """Close the socket, and remove its file unless another server has replaced it."""
        self.socket.close()
        with contextlib.suppress(OSError), _alone_in_folder_of(self.path):
            if _identity(self.path) == self._identity:
                os.unlink(self.path)


@contextlib.contextmanager
def _alone_in_folder_of(path: str) -> cabc.Iterator[None]:
    """Let no other server replace a socket in the folder meanwhile. Otherwise two servers that
    start at the same time could both find a stale file, and one would remove the new socket of the
    other.
    """
    import fcntl

    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _remove_stale(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise AddressError(
            f"Cannot create the control socket {path}: there is a file that is not a socket. Remove"
            " it, or choose another path with --control."
        )
    if is_served(path):
        raise AddressError(
            f"Cannot create the control socket {path}: another server listens on it. Stop that"
            f" server, or choose another path with --control. 'carboy ctl --socket {path} status'"
            " shows it."
        )
    os.unlink(path)


def _identity(path: str) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino


def _explain(exc: OSError, path: str) -> str:
    what, folder = f"Cannot create the control socket {path}", os.path.dirname(path)
    if isinstance(exc, FileNotFoundError):
        return (
            f"{what}: there is no folder {folder}. Create it (systemd does by RuntimeDirectory=),"
            " or choose another path with --control."
        )
    if isinstance(exc, NotADirectoryError):
        return f"{what}: {folder} is not a folder. Choose another path with --control."
    return (
        f"{what}: {exc.strerror}. Choose a path with --control that {user_name(os.geteuid())} may"
        " write."
    )
