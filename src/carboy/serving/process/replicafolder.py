"""The private folder of a supervisor, with the sockets of its replicas, and the models' socket."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import tempfile

from ...core.runtimefolders import create_private, runtime_folders
from ...errors import AddressError
from ..unixsocket import MAX_PATH_BYTES, alone_in

BACKLOG = 128
_PREFIX = "replicas-"
_SOCKET = "models.sock"
# The longest name of a socket in the folder: the identifier of a replica has at most 10 digits.
_NAME_BYTES = len("/4294967295.sock")


class ReplicaFolder:
    """A folder for this user alone, which is removed by `close`. The folders of supervisors that
    were killed are removed when the next one starts.

    Attributes:
        path: the folder.
        lock_fd: the opened folder, which is locked until this process and all others that inherit
            the descriptor have ended. Replicas inherit it: those of a supervisor that was killed
            need their sockets as long as clients use them. Programs that remove old files from
            temporary folders leave out a folder that is locked.
        listener: the models' socket, which listens.

    Raises:
        AddressError: no folder can be created.
        OSError: no socket can be created in it.
    """

    def __init__(self) -> None:
        self.path, self.lock_fd = _create()
        self.socket_path = os.path.join(self.path, _SOCKET)
        try:
            self.listener = _listen(self.socket_path)
        except OSError:
            self._remove()
            raise

    def restore(self) -> bool:
        """Create the folder again, with another listener, if a program or a person has removed it,
        or the models' socket. Returns whether that was so.

        Raises:
            OSError: it cannot be created.
        """
        if os.path.lexists(self.socket_path):
            return False
        parent = os.path.dirname(self.path)
        create_private(parent)
        with alone_in(parent):
            create_private(self.path)
            self._lock_again()
        before, self.listener = self.listener, _listen(self.socket_path)
        before.close()
        return True

    def _lock_again(self) -> None:
        """Lock the folder that has the path now. If it is the old one, it is locked already."""
        with contextlib.suppress(BlockingIOError):
            before, self.lock_fd = self.lock_fd, _lock(self.path)
            os.close(before)

    def close(self) -> None:
        self.listener.close()
        self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock_fd)


def _listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
    except OSError:
        listener.close()
        raise
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def _create() -> tuple[str, int]:
    """Return a new folder, and the descriptor by which it is locked."""
    reasons = []
    for parent in runtime_folders():
        try:
            create_private(parent)
            # A folder that has no lock yet must not look as if its supervisor had died.
            with alone_in(parent):
                _remove_stale(parent)
                folder = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
                if len(os.fsencode(folder)) + _NAME_BYTES <= MAX_PATH_BYTES:
                    return folder, _lock(folder)
                os.rmdir(folder)
            reasons.append(f"{parent}: {os.strerror(errno.ENAMETOOLONG)} for a Unix socket")
        except OSError as exc:
            reasons.append(f"{parent}: {exc.strerror}")
    why = "; ".join(reasons) or "there is no folder for temporary files that this user may write"
    raise AddressError(
        f"The app has models with replicas, and no folder for their sockets can be used ({why})."
        " Set XDG_RUNTIME_DIR or TMPDIR to a folder that this user may write."
    )


def _lock(folder: str) -> int:
    """Lock a folder, and return its descriptor. Raises OSError if its supervisor, or one of its
    replicas, lives.
    """
    import fcntl

    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock


def _remove_stale(parent: str) -> None:
    """Remove the folders whose supervisors and replicas have ended."""
    for entry in os.scandir(parent):
        if entry.name.startswith(_PREFIX):
            with contextlib.suppress(OSError):
                lock = _lock(entry.path)
                shutil.rmtree(entry.path, ignore_errors=True)
                os.close(lock)
