"""Batches whose results an event loop receives, so that no thread waits for them.

To wake a thread takes as long as to send a short batch, and then both threads need the GIL.
"""

from __future__ import annotations

import contextlib
import select
import threading
import typing as t
from functools import partial

from .batches import pack_batch
from .frames import BATCH, BEGINS, UNUSED, WAITS, ConnectionLost, Frame
from .replicaconnection import ReplicaConnection

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from ..queue.calls import Arguments, Compute
    from ..queue.state import Slot
    from .batches import BatchFormat
    from .rawbody import RawBody
    from .remote import RemoteReplicas
    from .replica import Done, ResultLoop
    from .tokens import Token

# Longer batches and results are written and read by threads, because the event loop, and so all
# clients, would have to wait for 0.1 ms or more.
LIGHT_BYTES = 2**20
# How long `Posting.receive_left` waits for one connection before it looks at the next one.
_LOOK_S = 0.05
# What has become of a batch that is still being computed.
_NOTHING_YET: t.Final = object()


class _Posted(t.NamedTuple):
    """A batch that was sent."""

    serial: int
    size: int
    slot: Slot
    done: Done


class _WatchedConnection(ReplicaConnection):
    """A connection that an event loop watches.

    Attributes:
        lock: held by the thread that sends a batch or reads the connection.
        posted: the batch that was sent last, until its results have arrived.
    """

    def __init__(self, token: Token, folder: str, form: BatchFormat, loop: ResultLoop) -> None:
        super().__init__(token, folder, form)
        self.loop = loop
        self.lock = threading.Lock()
        self.posted: _Posted | None = None

    def close(self) -> None:
        self.loop.call_when_readable(self.frames.fileno(), None)
        self.frames.close()


class PostTurn(t.NamedTuple):
    """The right to post one batch to a replica."""

    connection: _WatchedConnection
    serial: int


class Posting:
    """Posts batches to the replicas of one version of a model, as a `Posts`. Thread-safe.

    A replica has several connections, because it may get its next batch before it has sent the
    results of the last one.
    """

    def __init__(self, remote: RemoteReplicas) -> None:
        self._remote = remote
        self._lock = threading.Lock()
        #: By replica, the connections without a batch.
        self._unused: dict[int, list[_WatchedConnection]] = {}
        self._is_light = True

    @property
    def is_possible(self) -> bool:
        """Whether batches can be posted: the replicas are known, and the latest batches and results
        were not long.
        """
        return self._is_light and self._remote.can_try

    def note_sizes(self, sent_bytes: int, frame: Frame) -> None:
        """Note how long a batch and its results were."""
        received_bytes = len(frame.meta) + len(frame.region)
        self._is_light = sent_bytes <= LIGHT_BYTES and received_bytes <= LIGHT_BYTES

    # --- turns ---------------------------------------------------------------------------------

    def try_turn(self, loop: ResultLoop) -> PostTurn | None:
        """Return the right to post a batch, if a replica is free."""
        while (token := self._remote.try_token()) is not None:
            connection = self._connection(token, loop)
            if connection is not None:
                return PostTurn(connection, token.serial)
        return None

    def return_turn(self, turn: PostTurn) -> None:
        """Let another thread have a turn that was not used."""
        with contextlib.suppress(ConnectionLost):  # the event loop notices that as well
            turn.connection.frames.send(UNUSED, turn.serial)
        self._keep(turn.connection)

    def call_when_free(self, loop: ResultLoop, call: cabc.Callable[[], object]) -> bool:
        """Let the event loop call a function once, when a replica may be free. Returns False if
        that is not possible.
        """
        tokens = self._remote.tokens
        fd = None if tokens is None else tokens.fileno()
        if fd is None:
            return False
        # The function refers to `tokens`, so that the descriptor is not closed before.
        loop.call_when_readable(fd, partial(_once, loop, fd, call, tokens))
        return True

    def _connection(self, token: Token, loop: ResultLoop) -> _WatchedConnection | None:
        """Return a connection to the replica that has written a token; None if there is none."""
        with self._lock:
            unused = self._unused.get(token.replica)
            if unused:
                return unused.pop()
        remote = self._remote
        try:
            found = _WatchedConnection(token, remote.folder, remote.form, loop)
        except (FileNotFoundError, ConnectionRefusedError):
            return None  # the replica has died
        except OSError:  # such as too many open files: a thread tries it again
            remote.spare_token(token)
            return None
        loop.call_when_readable(found.frames.fileno(), partial(self._on_readable, found))
        return found

    def _keep(self, connection: _WatchedConnection) -> None:
        with self._lock:
            if self._remote.is_current(connection):
                self._unused.setdefault(connection.replica, []).append(connection)
                return
        connection.close()

    def close_unused(self) -> None:
        """Close the connections without a batch, because other replicas are used from now on, or
        none.
        """
        with self._lock:
            unused, self._unused = self._unused, {}
        for connections in unused.values():
            for each in connections:
                with each.lock:
                    each.close()

    def forget_parent(self) -> None:
        """Forget the connections of the parent process, in a forked child process."""
        self._lock = threading.Lock()
        self._unused = {}

    # --- batches -------------------------------------------------------------------------------

    def post(
        self, turn: PostTurn, slot: Slot, batch: cabc.Sequence[Arguments | RawBody], done: Done
    ) -> bool:
        """Send a batch; see `Posts`."""
        connection = turn.connection
        try:
            meta, packer = pack_batch(batch)
        except BaseException:
            self.return_turn(turn)
            raise
        size_bytes = len(meta) + sum(len(part) for parts in packer.buffers for part in parts)
        if size_bytes > LIGHT_BYTES:
            self._is_light = False
            self.return_turn(turn)
            return False
        with connection.lock:
            try:
                connection.frames.send(BATCH, turn.serial, meta, packer.buffers)
            except ConnectionLost:  # the replica has died since it has written the token
                connection.close()
                return False
            connection.posted = _Posted(turn.serial, len(batch), slot, done)
            # Not before the batch is sent: `give_up` would end the connection.
            self._remote.busy[slot] = connection
        return True

    def compute_after(self, outcome: BaseException | None) -> Compute:
        """Return a function that continues after an outcome; see `Posts`."""
        return self._remote.compute_after(outcome)

    def _on_readable(self, connection: _WatchedConnection) -> None:
        """Receive what has arrived of the results of a batch, or notice that the replica has died.
        The event loop calls this.
        """
        if not connection.lock.acquire(blocking=False):
            return  # another thread reads it, or sends a batch: the descriptor stays readable
        try:
            posted = connection.posted
            if connection.frames.fileno() < 0:  # it was closed by another thread just now
                return
            outcome = self._outcome(connection, posted)
            if outcome is _NOTHING_YET:
                return
            connection.posted = None
            if posted is not None:
                self._remote.busy.pop(posted.slot, None)
        finally:
            connection.lock.release()
        if posted is not None:
            if connection.frames.fileno() >= 0:
                self._keep(connection)
            posted.done(posted.slot, outcome)

    def _outcome(self, connection: _WatchedConnection, posted: _Posted | None) -> t.Any:
        """Return what has become of a batch: the results, or an exception, or None if the replica
        has not accepted it.
        """
        frames = connection.frames
        try:
            while (frame := frames.try_receive()) is not None:
                posted = _posted_for(frame, posted)
                if frame.kind == WAITS:
                    posted.slot.queue.pause(posted.slot, "device")
                elif frame.kind == BEGINS:
                    posted.slot.queue.resume(posted.slot)
                else:
                    self.note_sizes(frames.sent_bytes, frame)
                    return connection.outcome_of(frame, posted.size)
        except ConnectionLost as exc:
            self._forget(connection)
            return self._remote.loss(connection, exc)
        return _NOTHING_YET

    def receive_left(self) -> None:
        """Receive the results of all posted batches on the calling thread, because the event loop
        has ended.
        """
        while left := [each for each in list(self._remote.busy.values()) if _is_watched(each)]:
            for each in left:
                with contextlib.suppress(OSError, ValueError):  # it was closed just now
                    if select.select([each.frames], [], [], _LOOK_S)[0]:
                        self._on_readable(t.cast("_WatchedConnection", each))

    def _forget(self, connection: _WatchedConnection) -> None:
        with self._lock:
            unused = self._unused.get(connection.replica, [])
            if connection in unused:
                unused.remove(connection)
        connection.close()


def _is_watched(connection: ReplicaConnection) -> bool:
    return isinstance(connection, _WatchedConnection)


def _posted_for(frame: Frame, posted: _Posted | None) -> _Posted:
    """Return the batch that a message is about. Raises ConnectionLost if it is another one."""
    if posted is None or frame.serial != posted.serial:
        raise ConnectionLost(f"an answer to batch {frame.serial}", is_garbage=True)
    return posted


def _once(loop: ResultLoop, fd: int, call: cabc.Callable[[], object], _: object) -> None:
    loop.call_when_readable(fd, None)
    call()
