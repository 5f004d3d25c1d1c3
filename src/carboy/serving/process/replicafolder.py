"""The private folder of a supervisor, with the sockets of its replicas, and the models' socket."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import socket
import tempfile

from ...core.runtimefolders import create_private, runtime_folders
from ...errors import AddressError
from ..unixsocket import MAX_PATH_BYTES

BACKLOG = 128
_PREFIX = "replicas-"
_LOCK, _SOCKET = "lock", "models.sock"
# The longest name of a socket in the folder: the identifier of a replica has at most 10 digits.
_NAME_BYTES = len("/4294967295.sock")


class ReplicaFolder:
    """A folder for this user alone, which is removed by `close`. The folders of supervisors that
    were killed are removed when the next one starts.

    Attributes:
        path: the folder.
        listener: the models' socket, which listens.

    Raises:
        AddressError: no folder can be created.
    """

    def __init__(self) -> None:
        self.path = _create()
        # The system releases the lock when this process ends, whatever ends it.
        self._lock = os.open(os.path.join(self.path, _LOCK), os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.socket_path = os.path.join(self.path, _SOCKET)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.socket_path)
        self.listener.listen(BACKLOG)
        self.listener.setblocking(False)

    def close(self) -> None:
        self.listener.close()
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _create() -> str:
    reasons = []
    for parent in runtime_folders():
        try:
            create_private(parent)
            _remove_stale(parent)
            folder = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
        except OSError as exc:
            reasons.append(f"{parent}: {exc.strerror}")
            continue
        if len(os.fsencode(folder)) + _NAME_BYTES <= MAX_PATH_BYTES:
            return folder
        os.rmdir(folder)
        reasons.append(f"{parent}: {os.strerror(errno.ENAMETOOLONG)} for a Unix socket")
    why = "; ".join(reasons) or "there is no folder for temporary files that this user may write"
    raise AddressError(
        f"The app has models with replicas, and no folder for their sockets can be used ({why})."
        " Set XDG_RUNTIME_DIR or TMPDIR to a folder that this user may write."
    )


def _remove_stale(parent: str) -> None:
    """Remove the folders whose supervisors have died."""
    for entry in os.scandir(parent):
        if not entry.name.startswith(_PREFIX):
            continue
        with contextlib.suppress(OSError):
            lock = os.open(os.path.join(entry.path, _LOCK), os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(entry.path, ignore_errors=True)
            finally:
                os.close(lock)
