"""Batches whose results an event loop receives, so that no thread waits for them.

To wake a thread takes as long as to send a short batch, and then both threads need the GIL.

The event loop serves all clients of this process, so it never waits for a replica: connections do
not block, a message that does not fit into a socket's buffer is not sent, and long results are
received by a thread. If the event loop ends before results have arrived, a thread receives them.
"""

from __future__ import annotations

import contextlib
import select
import threading
import typing as t
from functools import partial

from .batches import pack_batch
from .frames import BATCH, BEGINS, UNUSED, WAITS, ConnectionLost, Frame, is_light, is_light_batch
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

# How long the thread that receives in the place of an event loop waits before it looks which
# batches are left.
_LOOK_S = 0.05
# What has become of a batch that is still being computed, or whose results a thread must receive.
_NOTHING_YET: t.Final = object()
_LONG: t.Final = object()


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
        is_read_apart: whether a thread reads the connection, and not the event loop.
    """

    def __init__(
        self, token: Token, folder: str, form: BatchFormat, loop: ResultLoop, posting: Posting
    ) -> None:
        super().__init__(token, folder, form, blocks=False)
        self.loop = loop
        self.lock = threading.Lock()
        self.posted: _Posted | None = None
        self.is_read_apart = False
        self._posting = posting
        posting.open_connections.add(self)
        try:
            self.watch()
        except OSError:
            self.close()
            raise

    def watch(self) -> None:
        call = partial(self._posting.on_readable, self)
        self.loop.call_when_readable(self.frames.fileno(), call)

    def leave_loop(self) -> None:
        self.loop.call_when_readable(self.frames.fileno(), None)

    def close(self) -> None:
        """Close the connection. The caller holds the lock: otherwise another thread that closes it
        could end the watch of the next connection, which has the same descriptor.
        """
        self.leave_loop()
        self.frames.close()
        self._posting.open_connections.discard(self)


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
        self.open_connections: set[_WatchedConnection] = set()
        self._is_light = True

    @property
    def is_possible(self) -> bool:
        """Whether batches can be posted: the replicas are known, and the latest batches and results
        were not long.
        """
        return self._is_light and self._remote.can_try

    def note_sizes(self, connection: ReplicaConnection, answer: Frame) -> None:
        """Note how long a batch and its results were."""
        frames = connection.frames
        # The caches of a CPU have the memory that was used last. Short messages are read sooner
        # than a preferred token is found.
        is_shared = frames.has_sent_shared or answer.is_shared
        self._remote.preferred = connection.replica if is_shared else None
        on_socket = len(answer.meta) + (0 if answer.is_shared else len(answer.region))
        shared = len(answer.region) if answer.is_shared else 0
        self._is_light = frames.has_sent_light and is_light(on_socket, shared)

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
        connection = turn.connection
        try:
            connection.frames.send(UNUSED, turn.serial)
        except ConnectionLost:  # if the replica lives, it writes a new token
            with connection.lock:
                connection.close()
        else:
            self._keep(connection)

    def call_when_free(self, loop: ResultLoop, call: cabc.Callable[[], object]) -> bool:
        """Let the event loop call a function once, when a replica may be free. Returns False if
        that is not possible.
        """
        tokens = self._remote.tokens
        fd = None if tokens is None else tokens.fileno()
        if fd is None:
            return False
        try:
            # The function refers to `tokens`, so that the descriptor is not closed before.
            loop.call_when_readable(fd, partial(_once, loop, fd, call, tokens))
        except OSError:
            return False
        return True

    def _connection(self, token: Token, loop: ResultLoop) -> _WatchedConnection | None:
        """Return a connection to the replica that has written a token; None if there is none."""
        if (found := self._take_unused(token.replica, loop)) is not None:
            return found
        remote = self._remote
        try:
            return _WatchedConnection(token, remote.folder, remote.form, loop, self)
        except (FileNotFoundError, ConnectionRefusedError):
            return None  # the replica has died
        except OSError:  # such as too many open files: a thread tries it again
            remote.spare_token(token)
            return None

    def _take_unused(self, replica: int, loop: ResultLoop) -> _WatchedConnection | None:
        with self._lock:
            unused = self._unused.get(replica, [])
            found = next((each for each in reversed(unused) if each.loop is loop), None)
            if found is not None:
                unused.remove(found)
        return found

    def _keep(self, connection: _WatchedConnection) -> None:
        with self._lock:
            if connection.loop.is_running and self._remote.is_current(connection):
                self._unused.setdefault(connection.replica, []).append(connection)
                return
        with connection.lock:
            connection.close()

    def close_unused(self) -> None:
        """Close the connections without a batch, because other replicas are used from now on, or
        none, or the event loop has ended.
        """
        with self._lock:
            unused, self._unused = self._unused, {}
        for connections in unused.values():
            for each in connections:
                with each.lock:
                    each.close()

    def forget_parent(self) -> None:
        """Close the connections of the parent process, in a forked child process. The event loop,
        which only runs in the parent, refers to them, so that they would stay open.
        """
        for each in self.open_connections:
            each.frames.close()  # and not `leave_loop`: the parent's poller is shared
        self._lock = threading.Lock()
        self._unused, self.open_connections = {}, set()

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
        if not is_light_batch(meta, packer.buffers):
            self._is_light = False
            self.return_turn(turn)
            return False
        with connection.lock:
            try:
                connection.frames.send(BATCH, turn.serial, meta, packer.buffers)
            # The replica has died since it has written the token. Or it has not read all before, so
            # that it has no whole batch, and writes a new token when the connection is closed.
            except ConnectionLost:
                connection.close()
                return False
            connection.posted = _Posted(turn.serial, len(batch), slot, done)
            # Not before the batch is sent: `give_up` would end the connection.
            self._remote.occupy(slot, connection)
        if not connection.loop.is_running:  # it has ended just now
            self.loop_ended()
        return True

    def compute_after(self, outcome: BaseException | None) -> Compute:
        """Return a function that continues after an outcome; see `Posts`."""
        return self._remote.compute_after(outcome)

    def on_readable(self, connection: _WatchedConnection) -> None:
        """Receive what has arrived of the results of a batch, or notice that the replica has died.
        The event loop calls this.
        """
        if not connection.lock.acquire(blocking=False):
            return  # another thread reads it, or sends a batch: the descriptor stays readable
        try:
            # It was closed by another thread just now, or another thread reads it.
            if connection.frames.fileno() < 0 or connection.is_read_apart:
                return
            outcome = self._outcome(connection, connection.frames.try_receive)
            if outcome is _NOTHING_YET:
                return
            if outcome is _LONG:
                connection.is_read_apart = True
                connection.leave_loop()
            else:
                posted = self._end_posted(connection)
        finally:
            connection.lock.release()
        if outcome is _LONG:
            _run_apart(self._receive_long, connection)
        else:
            self._deliver(connection, posted, outcome)

    def _receive_long(self, connection: _WatchedConnection) -> None:
        """Receive results on a thread, which may wait for them."""
        with connection.lock:
            connection.frames.socket.setblocking(True)
            outcome = self._outcome(connection, connection.frames.receive)
            posted = self._end_posted(connection)
            connection.is_read_apart = False
            if connection.frames.fileno() >= 0:
                connection.frames.socket.setblocking(False)
                try:
                    connection.watch()
                except OSError:
                    connection.close()
        self._deliver(connection, posted, outcome)

    def _end_posted(self, connection: _WatchedConnection) -> _Posted | None:
        posted, connection.posted = connection.posted, None
        if posted is not None:
            self._remote.vacate(posted.slot)
        return posted

    def _deliver(
        self, connection: _WatchedConnection, posted: _Posted | None, outcome: t.Any
    ) -> None:
        if posted is not None:
            if connection.frames.fileno() >= 0:
                self._keep(connection)
            posted.done(posted.slot, outcome)

    def _outcome(
        self, connection: _WatchedConnection, receive: cabc.Callable[[], Frame | None]
    ) -> t.Any:
        """Return what has become of a batch: the results, or an exception, or None if the replica
        has not accepted it.
        """
        frames, posted = connection.frames, connection.posted
        try:
            while (frame := receive()) is not None:
                posted = _posted_for(frame, posted)
                if frame.kind == WAITS:
                    posted.slot.queue.pause(posted.slot, "device")
                elif frame.kind == BEGINS:
                    posted.slot.queue.resume(posted.slot)
                else:
                    self.note_sizes(connection, frame)
                    return connection.outcome_of(frame, posted.size)
        except ConnectionLost as exc:
            self._forget(connection)
            return self._remote.loss(connection, exc)
        return _LONG if frames.is_long else _NOTHING_YET

    def _forget(self, connection: _WatchedConnection) -> None:
        with self._lock:
            unused = self._unused.get(connection.replica, [])
            if connection in unused:
                unused.remove(connection)
        connection.close()

    # --- without an event loop -----------------------------------------------------------------

    def loop_ended(self) -> None:
        """Let a thread receive the results that an event loop was to receive; see `Posts`."""
        self.close_unused()
        if self._left():
            _run_apart(self._receive_left)

    def _left(self) -> list[_WatchedConnection]:
        """Return the connections with a batch that no event loop watches any more."""
        awaited = self._remote.awaited
        watched = [each for each in awaited if isinstance(each, _WatchedConnection)]
        return [each for each in watched if not (each.loop.is_running or each.is_read_apart)]

    def _receive_left(self) -> None:
        while left := self._left():
            poll = select.poll()
            for each in left:
                with contextlib.suppress(OSError, ValueError):  # it was closed just now
                    poll.register(each.frames, select.POLLIN)
            poll.poll(_LOOK_S * 1000)
            for each in left:
                self.on_readable(each)


def _posted_for(frame: Frame, posted: _Posted | None) -> _Posted:
    """Return the batch that a message is about. Raises ConnectionLost if it is another one."""
    if posted is None or frame.serial != posted.serial:
        raise ConnectionLost(f"an answer to batch {frame.serial}", is_garbage=True)
    return posted


def _run_apart(work: cabc.Callable[..., object], *args: t.Any) -> None:
    """Call a function on a thread of its own; on the calling thread if the system allows no
    further thread.
    """
    thread = threading.Thread(target=work, args=args, name="carboy results", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        work(*args)


def _once(loop: ResultLoop, fd: int, call: cabc.Callable[[], object], _: object) -> None:
    loop.call_when_readable(fd, None)
    call()
