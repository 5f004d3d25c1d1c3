"""A client's connection to one replica, and what it reads from it."""

from __future__ import annotations

import socket
import typing as t

from ..queue.occupied import paused
from .batches import ResultReader
from .frames import BEGINS, WAITS, ConnectionLost, Frame, FrameSocket
from .supervision import socket_path

if t.TYPE_CHECKING:
    from .batches import BatchFormat
    from .tokens import Token


class BatchConnection:
    """A connection over which a replica gets batches and sends results. Used by one thread at a
    time.

    Args:
        sock: is connected to the replica.
        form: the types of one prediction.
    """

    def __init__(self, sock: socket.socket, form: BatchFormat) -> None:
        self.frames = FrameSocket(sock)
        self.results = ResultReader(form)

    def outcome_of(self, frame: Frame, size: int) -> t.Any:
        """Return what has become of a batch of `size` predictions: the results; the exception with
        which it has failed; or None if the replica has not accepted the token, so that another one
        is needed.

        Raises:
            ConnectionLost: the message is another one.
        """
        outcome = self.results.outcome_of(frame.kind, frame.meta, _owned_region(frame), size)
        self.frames.release_shared(kept=False)
        return outcome


class ReplicaConnection(BatchConnection):
    """A connection to one of the replicas that a supervisor has started.

    Args:
        token: a token of the replica.
        folder: the folder of the replica's socket.
        form: the types of one prediction.
        blocks: False if connecting and sending must fail instead of blocking.

    Raises:
        OSError: the replica has died, or this process has no descriptor left.
        BlockingIOError: too many clients wait until the replica accepts them.

    Attributes:
        given_up: whether another thread has ended the connection, because the replica hangs.
    """

    def __init__(
        self, token: Token, folder: str, form: BatchFormat, *, blocks: bool = True
    ) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(blocks)
        try:
            sock.connect(socket_path(folder, token.replica))
        except OSError:
            sock.close()
            raise
        super().__init__(sock, form)
        self.folder = folder
        self.replica = token.replica
        self.given_up = False


class Turn(t.NamedTuple):
    """The right to have one batch computed by a replica."""

    connection: ReplicaConnection
    serial: int


def receive(frames: FrameSocket, serial: int) -> Frame:
    """Wait for what becomes of the batch with a serial number. While the replica waits for its
    device, that does not count as time of `predict`.

    Raises:
        ConnectionLost: the replica has died, was given up, or answers another batch.
    """
    frame = _receive(frames, serial)
    # A stream holds the device when it is begun, and once more for each item.
    while frame.kind == WAITS:
        with paused("device"):
            frame = _receive(frames, serial)
        if frame.kind == BEGINS:
            frame = _receive(frames, serial)
    return frame


def _receive(frames: FrameSocket, serial: int) -> Frame:
    frame = frames.receive()
    if frame.serial != serial:
        raise ConnectionLost(f"an answer to batch {frame.serial}, not {serial}", is_garbage=True)
    return frame


def _owned_region(frame: Frame) -> memoryview:
    """Return the region of a message, copied if it is in memory that the replica writes again."""
    return memoryview(bytearray(frame.region)) if frame.is_shared else frame.region
