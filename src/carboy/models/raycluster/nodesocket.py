"""The socket of a replica, for web workers on the same node.

A batch that goes to another process of the same machine through Ray takes several times the CPU
time that a socket takes. So a replica listens on a Unix socket without a file (abstract, Linux),
whose name is that of its actor. Web workers on the same node find it there. For those on other
nodes it does not exist, and neither does it on systems without such sockets; their batches go
through Ray.

Any program of the machine could connect to the socket, and could have made one of that name. So
both sides refuse a process of another user.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import tempfile
import threading
import typing as t

from carboy.core.forks import change_in_child

from ..replicas.replicaconnection import BatchConnection

if t.TYPE_CHECKING:
    from ..replicas.batches import BatchFormat

_HAS_ABSTRACT = sys.platform == "linux"
_CREDENTIALS = struct.Struct("iII")  # pid, uid, gid: `struct ucred` of unix(7)
#: The serial number of the batches: each connection carries one at a time.
SERIAL = 1
# How many web workers may wait to be accepted while a batch is computed.
_BACKLOG = 128


class NodeListener(socket.socket):
    """The listening socket of a replica; `accept` refuses processes of other users.

    Args:
        name: the name of the replica's actor.
    """

    def __init__(self, name: str) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        if _HAS_ABSTRACT:
            self.bind(_address(name))
        else:  # only this process itself finds it
            self.bind(os.path.join(tempfile.mkdtemp(prefix="carboy-ray-"), "replica.sock"))
        self.listen(_BACKLOG)

    def connect_to_it(self) -> socket.socket:
        """Return a socket of this process that is connected to this one. Raises OSError if this one
        is closed, or the process has no descriptor left.
        """
        address = self.getsockname()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(address)
        except OSError:
            sock.close()
            raise
        return sock

    def accept(self) -> tuple[socket.socket, t.Any]:
        """Raises ConnectionAbortedError for a process of another user."""
        sock, address = super().accept()
        if not _is_of_this_user(sock):
            sock.close()
            raise ConnectionAbortedError("a process of another user")
        return sock, address


def _address(name: str) -> str:
    return f"\0carboy-ray-{name}"


def _is_of_this_user(sock: socket.socket) -> bool:
    if not _HAS_ABSTRACT:
        return True
    sent = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return t.cast("int", _CREDENTIALS.unpack(sent)[1]) == os.getuid()


class NodeConnections:
    """The connections of this process with a replica on its node. Thread-safe.

    Args:
        name: the name of the replica's actor.
        form: the types of one prediction.
    """

    def __init__(self, name: str, form: BatchFormat) -> None:
        self._name = name
        self._form = form
        self._lock = threading.Lock()
        self._unused: list[BatchConnection] = []
        self._is_possible = _HAS_ABSTRACT
        change_in_child(self, NodeConnections.forget_parent)

    def forget_parent(self) -> None:
        """Close the connections of the parent process, in a forked child process: both would use
        them.
        """
        self._lock = threading.Lock()  # another thread of the parent may have held it
        self._close_unused()

    def take(self) -> BatchConnection | None:
        """Return a connection that no thread uses; None if the replica is on another node, or has
        ended. Never blocks.
        """
        with self._lock:
            if not self._is_possible:
                return None
            while self._unused:
                connection = self._unused.pop()
                if connection.frames.is_open():
                    return connection
                connection.frames.close()
        try:
            return BatchConnection(_connect(self._name), self._form)
        except ConnectionRefusedError:
            self.close()
        except OSError:  # such as too many open files
            pass
        return None

    def has_ended(self) -> bool:
        """Return whether the replica, to which there was a connection, has ended."""
        try:
            _connect(self._name).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            pass
        return False

    def keep(self, connection: BatchConnection) -> None:
        """Keep a connection for the next batch."""
        with self._lock:
            if self._is_possible:
                self._unused.append(connection)
                return
        connection.frames.close()

    def close(self) -> None:
        """Close the connections. Those that threads use are closed when they are given back."""
        with self._lock:
            self._is_possible = False
            self._close_unused()

    def _close_unused(self) -> None:
        while self._unused:
            self._unused.pop().frames.close()


def _connect(name: str) -> socket.socket:
    """Return a socket that is connected to a replica.

    Raises:
        ConnectionRefusedError: there is none on this node, or it is a process of another user.
        OSError: this process has no descriptor left, or too many others wait for the replica.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)  # a process of another user might never accept it
        sock.connect(_address(name))
        if not _is_of_this_user(sock):
            raise ConnectionRefusedError("a process of another user")
        sock.setblocking(True)
    except OSError:
        sock.close()
        raise
    return sock
