"""Listening Unix sockets and their files.

The file of a Unix socket outlives its server: after a `kill -9` it stays, and nobody listens. So a
server that finds a file at its path asks whether somebody listens there, and replaces it if not.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys
import typing as t

from ..core.filelocks import locked
from ..core.runtimefolders import is_served, user_name
from ..errors import AddressError

if t.TYPE_CHECKING:
    import collections.abc as cabc

# The longest path of a Unix socket in bytes, without the final NUL: `sun_path` in <sys/un.h> has
# 108 bytes on Linux, and 104 on macOS and the BSDs.
MAX_PATH_BYTES = 107 if sys.platform == "linux" else 103


class UnixSocket:
    """A Unix socket that listens, and its file.

    Args:
        path: the path of the file. A file of a socket on which nobody listens is replaced.
        mode: the permissions of the file. Who may write can connect.
        backlog: how many connections the system accepts before the server does.
        failure: how error messages begin, such as "Cannot listen on unix:/run/app.sock".
        option: the option that names the path.
        shown_by: the command that shows which server listens on the socket.

    Raises:
        AddressError: the path cannot be taken. The text says why, and what to do.
    """

    def __init__(
        self, path: str, mode: int, backlog: int, *, failure: str, option: str, shown_by: str
    ) -> None:
        if (size := len(os.fsencode(path))) > MAX_PATH_BYTES:
            raise AddressError(
                f"{failure}: the path has {size} bytes, a socket's path at most {MAX_PATH_BYTES}."
                f" Choose a shorter one with {option}."
            )
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with alone_in(os.path.dirname(path)):
                _free_path(path, failure, option, shown_by)
                self.socket.bind(path)
                # Nobody can connect before `listen`, so it does not matter that the file has other
                # permissions for a moment.
                os.chmod(path, mode)
                self.socket.listen(backlog)
                self._identity = _identity(path)
        except OSError as exc:
            self.socket.close()
            raise AddressError(f"{failure}: {_explain(exc, path, option)}") from None
        except AddressError:
            self.socket.close()
            raise

    def remove_file(self) -> None:
        """Remove the file, so that no new client connects, unless another server has replaced
        it.
        """
        with contextlib.suppress(OSError), alone_in(os.path.dirname(self.path)):
            if _identity(self.path) == self._identity:
                os.unlink(self.path)

    def close(self) -> None:
        """Close the socket, and remove its file."""
        self.socket.close()
        self.remove_file()


@contextlib.contextmanager
def alone_in(folder: str) -> cabc.Iterator[None]:
    """Let no other server replace a socket in the folder meanwhile. Otherwise two servers that
    start at the same time could both find a stale file, and one would remove the new socket of the
    other.
    """
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with locked(opened):
            yield
    finally:
        os.close(opened)


def _free_path(path: str, failure: str, option: str, shown_by: str) -> None:
    """Remove the file of a socket on which nobody listens. Raises AddressError if another file is
    there, or a server listens.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise AddressError(
            f"{failure}: there is a file that is not a socket. Remove it, or choose another path"
            f" with {option}."
        )
    if is_served(path):
        raise AddressError(
            f"{failure}: another server listens on it. Stop that server, or choose another path"
            f" with {option}. '{shown_by}' shows it."
        )
    os.unlink(path)


def _identity(path: str) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino


def _explain(exc: OSError, path: str, option: str) -> str:
    folder, choose = os.path.dirname(path), f"choose another path with {option}"
    if isinstance(exc, FileNotFoundError) and not os.path.exists(folder):
        return (
            f"there is no folder {folder}. Create it (systemd does by RuntimeDirectory=), or"
            f" {choose}."
        )
    if isinstance(exc, NotADirectoryError):
        return f"{folder} is not a folder. {choose.capitalize()}."
    return f"{exc.strerror}. Choose a path with {option} that {user_name(os.geteuid())} may write."
