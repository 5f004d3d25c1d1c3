"""`RemoteReplicas`: the replicas of one version of a model, which are processes of a supervisor.

The batches form in this process. A thread that has a batch to compute waits for a token, which says
which replica is free, and only then takes the batch from the queue; so the batch goes on filling
while all replicas are busy. It sends the batch to that replica and waits for the results.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import typing as t
import weakref
from _thread import get_ident
from collections import abc as cabc
from functools import partial
from time import sleep

import msgspec

from carboy.core.logmasking import get_masked_logger
from carboy.errors import AnswerError, ClosedError, DeadlineError, ReplicaLostError

from ..queue.occupied import slots_of_caller
from ..saved.card import Card
from .batches import BatchFormat, ResultReader, decode_failure, pack_batch
from .frames import (
    BATCH,
    BEGINS,
    END,
    FAILED,
    ITEM,
    MORE,
    READ_ITEMS,
    RESULTS,
    STALE,
    STOP,
    UNUSED,
    WAITS,
    ConnectionLost,
    Frame,
    FrameSocket,
)
from .supervision import GivesBack, Hangs, socket_path
from .tokens import TokenReader

if t.TYPE_CHECKING:
    from carboy.contract.operation import Operation

    from ..queue.calls import Arguments
    from ..queue.state import Slot, WaitsFor
    from .frames import Buffer
    from .replica import Turns
    from .supervision import Granted, ReplicaDirectory, WantedReplicas
    from .tokens import Token

# If a process has no descriptor left, it tries again after this time to connect to a replica.
_CONNECT_AGAIN_S = 0.05

_logger = get_masked_logger("carboy.models")


class _ReplicaConnection:
    """A connection to one replica. Used by one thread at a time.

    Attributes:
        folder: the folder of the replica's socket.
        given_up: whether another thread has ended the connection, because the replica hangs.
    """

    def __init__(self, token: Token, folder: str, form: BatchFormat) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(socket_path(folder, token.replica))
        except OSError:
            sock.close()
            raise
        self.folder = folder
        self.replica = token.replica
        self.frames = FrameSocket(sock)
        self.results = ResultReader(form)
        self.given_up = False


class _Turn(t.NamedTuple):
    """The right to have one batch computed by a replica."""

    connection: _ReplicaConnection
    serial: int


class RemoteReplicas:
    """The replicas of one version of a model, as a `ModelReplica`. Thread-safe.

    Args:
        want: what the supervisor must know to start them.
        directory: the connection to the supervisor.
        operation: the types of one prediction.
        owner: the model's name in messages.
        streams: whether `predict` yields.
        retry: whether a batch may be computed again after its replica has died.
    """

    is_remote = True

    def __init__(
        self,
        want: WantedReplicas,
        directory: ReplicaDirectory,
        operation: Operation,
        *,
        owner: str,
        streams: bool,
        retry: bool,
    ) -> None:
        self._want = want
        self._directory = directory
        self._form = BatchFormat.of(operation)
        self._owner = owner
        self._streams = streams
        self._retry = retry
        self._lock, self._loading = threading.Lock(), threading.Lock()
        self._folder = ""
        self._tokens: TokenReader | None = None
        #: By replica, the connections that no thread uses.
        self._unused: dict[int, list[_ReplicaConnection]] = {}
        #: By thread, the turn that it has waited for and not used yet.
        self._turns: dict[int, _Turn] = {}
        #: By slot, or by thread without one, the connection on which results are awaited.
        self._busy: dict[object, _ReplicaConnection] = {}
        self.turns: Turns | None = self
        self.batches = want["replicas"]
        self.trouble = ""
        self.loading = False
        self.loaded = False
        self.loaded_bytes = 0
        self.load_s = 0.0
        self.cards: tuple[Card, ...] = ()
        self.is_ready = True
        #: Called when the version must be held, with the longest time in seconds, or must go on
        #: (None). Must return at once.
        self.on_hold: cabc.Callable[[float | None], object] = lambda _: None
        self.demand: cabc.Callable[[], int] = lambda: 0
        #: Called when the last replica has died, or one is ready again. Must return at once.
        self.on_ready: cabc.Callable[[], object] = lambda: None
        _all.add(self)

    def forget_parent(self) -> None:
        """Forget the connections of the parent process, in a forked child process: both would use
        them. The child asks for the replicas again.
        """
        # Other threads of the parent may have held them.
        self._lock, self._loading = threading.Lock(), threading.Lock()
        self._unused, self._turns, self._busy = {}, {}, {}
        self._tokens = None
        self.loaded = self.loading = False

    # --- loading -------------------------------------------------------------------------------

    def load(self) -> None:
        """Wait until the supervisor has started the replicas, unless they are known.

        Raises:
            ModelLoadError: the model could not be loaded.
            UnavailableError: no supervisor answers.
        """
        with self._loading:
            if self.loaded:
                return
            self.loading = True
            try:
                granted, fd = self._directory.want(self._want, self)
            finally:
                self.loading = False
            with self._lock:
                self._use(granted, fd)
                self.loaded = True

    def _use(self, granted: Granted, fd: int) -> None:
        self._folder, self._tokens = granted["folder"], TokenReader(fd)
        self.is_ready = True
        about = granted["about"]
        self.loaded_bytes, self.load_s = about["loaded_bytes"], about["took_s"]
        self.cards = tuple(msgspec.convert(about["cards"], list[Card]))

    def load_beside(self, served: RemoteReplicas, hold_s: float | None) -> None:
        """Do as `load`, while another version is served.

        Args:
            hold_s: how long predictions may wait while the other version ends first, if there is no
                memory for both; None if they may not.

        Raises:
            ModelLoadError: the model could not be loaded, or there is no memory for it.
            UnavailableError: no supervisor answers.
        """
        self._want = {**self._want, "beside": served._want["key"], "hold_s": hold_s}
        self.load()

    def hold(self, limit_s: float) -> None:
        """Let new predictions wait, and release the version when those before are computed."""
        self.on_hold(limit_s)

    def resume(self) -> None:
        """Want the version again, and compute the predictions that wait."""
        self.on_hold(None)

    def set_ready(self, is_ready: bool) -> None:
        """Note whether any replica is ready."""
        self.is_ready = is_ready
        self.on_ready()

    def moved(self, granted: Granted, fd: int) -> None:
        """Use other replicas from now on. Those before end when nobody is connected to them, which
        wakes the threads that wait for their tokens.
        """
        with self._loading, self._lock:
            if not self.loaded:
                os.close(fd)
                return
            self._use(granted, fd)
            unused, self._unused = self._unused, {}
        self._close_unused(unused)
        self.on_ready()

    def check(self) -> None:
        """Do nothing: the supervisor checks the replicas, and replaces those that fail."""

    def close(self) -> None:
        """Give the replicas back. The supervisor ends them when no process uses them."""
        with self._lock:
            was_loaded, self.loaded = self.loaded, False
            self._tokens = None
            unused, self._unused = self._unused, {}
        self._close_unused(unused)
        if was_loaded:
            self._directory.release(GivesBack(key=self._want["key"]))

    def _close_unused(self, unused: dict[int, list[_ReplicaConnection]]) -> None:
        """Close connections that no thread uses."""
        for connections in unused.values():
            for each in connections:
                each.frames.close()

    def _is_current(self, connection: _ReplicaConnection) -> bool:
        """Whether the connection leads to the replicas that are used now."""
        return self.loaded and connection.folder == self._folder

    # --- turns ---------------------------------------------------------------------------------

    def wait(self) -> None:
        """Wait until a replica is free for a batch of the calling thread, which must then call
        `compute` or `give_back`. Returns at once if the replicas are not known or have ended:
        `compute` says so.
        """
        try:
            self._turns[get_ident()] = self._take()
        except ClosedError:
            return

    def give_back(self) -> None:
        """Let another thread have the turn for which the calling thread has waited."""
        turn = self._turns.pop(get_ident(), None)
        if turn is None:
            return
        try:
            turn.connection.frames.send(UNUSED, turn.serial)
        except ConnectionLost:
            turn.connection.frames.close()
        else:
            self.keep(turn.connection)

    def give_up(self, slot: Slot, took_s: float) -> cabc.Callable[[], object] | None:
        """End the connection on which the results of a batch are awaited, because its replica
        hangs. Returns a function that lets the supervisor replace the replica; None if no results
        are awaited.
        """
        connection = self._busy.get(slot)
        if connection is None:
            return None
        connection.given_up = True
        connection.frames.interrupt()
        return partial(self._report, connection, took_s)

    def _report(self, connection: _ReplicaConnection, took_s: float) -> None:
        self._directory.report(
            Hangs(
                key=self._want["key"],
                replica=connection.replica,
                took_s=took_s,
            )
        )

    def _take(self) -> _Turn:
        """Wait for a turn.

        Raises:
            ClosedError: there are no replicas any more.
        """
        while (tokens := self._tokens) is not None:
            token = tokens.take()
            if token is None:
                with self._lock:
                    if self._tokens is tokens:
                        self._tokens, self.loaded = None, False
                continue
            connection = self._connect(token)
            if connection is not None:
                return _Turn(connection, token.serial)
        raise ClosedError(f"{self._owner}: its replicas have ended. Retry the request.")

    def _connect(self, token: Token) -> _ReplicaConnection | None:
        """Return a connection to the replica that has written a token; None if it has died."""
        with self._lock:
            unused = self._unused.get(token.replica)
            if unused:
                return unused.pop()
        self._forget_dead()
        while True:
            try:
                return _ReplicaConnection(token, self._folder, self._form)
            except (FileNotFoundError, ConnectionRefusedError):
                return None
            except OSError:  # such as too many open files: the token of a living replica is kept
                sleep(_CONNECT_AGAIN_S)

    def _forget_dead(self) -> None:
        """Close the connections to replicas that have died. Called when a connection is opened."""
        with self._lock:
            for replica, connections in list(self._unused.items()):
                if connections and not connections[-1].frames.is_open():
                    for each in self._unused.pop(replica):
                        each.frames.close()

    # --- computing -----------------------------------------------------------------------------

    def compute(self, batch: cabc.Sequence[Arguments]) -> list[t.Any]:
        """Let a replica compute a batch; see `Replica`.

        If the replica dies meanwhile, another one computes the batch, once.
        """
        try:
            meta, packer = pack_batch(batch)
        except BaseException:
            self.give_back()
            raise
        losses = 0
        while True:
            turn = self._turn()
            try:
                outcome = self._exchange(turn, meta, packer.buffers, len(batch))
            except ConnectionLost as exc:
                losses += 1
                if losses > 1 or not self._retry:
                    return [self._lost(exc)] * len(batch)
                continue
            if isinstance(outcome, BaseException):
                try:
                    raise outcome
                finally:
                    del outcome  # break a reference cycle: its traceback refers to this frame
            if outcome is not None:
                return [outcome] if self._streams else t.cast("list[t.Any]", outcome)

    def _turn(self) -> _Turn:
        """Return the turn that the calling thread has waited for, or else wait for one. That time
        does not count as time of `predict`.
        """
        turn = self._turns.pop(get_ident(), None)
        if turn is None:
            with _paused("replica"):
                turn = self._take()
        return turn

    def _exchange(
        self, turn: _Turn, meta: bytes, buffers: cabc.Sequence[cabc.Sequence[Buffer]], size: int
    ) -> t.Any:
        """Send a batch of `size` predictions, and wait for what becomes of it.

        Returns:
            The results; an exception if the batch has failed; an iterator if `predict` yields; None
            if the replica has not accepted the token, so that another is needed.

        Raises:
            ConnectionLost: the replica has died, or was given up.
        """
        connection = turn.connection
        frames = connection.frames
        if not frames.is_open():  # the replica has died since it has written the token
            frames.close()
            return None
        try:
            frames.send(BATCH, turn.serial, meta, buffers)
        except BaseException:
            frames.close()
            raise
        # Not before the batch is sent: a connection that `give_up` ends is closed, and the token
        # would be lost if the replica had not got it.
        with self.waiting_on(connection):
            frame = receive(turn)
            if frame.kind in (ITEM, END):
                return RemoteItems(self, turn, frame)
            outcome = _outcome_of(connection, frame, size)
        self.keep(connection)
        return outcome

    @contextlib.contextmanager
    def waiting_on(self, connection: _ReplicaConnection) -> cabc.Iterator[None]:
        """Let `give_up` end the connection while the calling thread uses it. If anything is raised,
        the connection is closed, because an answer may arrive on it later.
        """
        slots = slots_of_caller()
        key = slots[0] if slots else get_ident()
        self._busy[key] = connection
        try:
            yield
        except BaseException as exc:
            connection.frames.close()
            self._note(connection, exc)
            if connection.given_up:
                raise self._late() from exc
            raise
        finally:
            del self._busy[key]

    def _note(self, connection: _ReplicaConnection, exc: BaseException) -> None:
        """Log and report a replica that has sent something that is no message."""
        if isinstance(exc, ConnectionLost) and exc.is_garbage:
            _logger.warning("%s: replica %d: %s", self._owner, connection.replica, exc)
            self._report(connection, 0.0)

    def keep(self, connection: _ReplicaConnection) -> None:
        """Keep a connection for the next batch."""
        with self._lock:
            if self._is_current(connection):
                self._unused.setdefault(connection.replica, []).append(connection)
                return
        connection.frames.close()

    def _late(self) -> DeadlineError:
        return DeadlineError(f"{self._owner} did not answer in time, and its replica is replaced.")

    def _lost(self, exc: ConnectionLost) -> ReplicaLostError:
        return ReplicaLostError(f"{self._owner}: its replica has ended while it computed: {exc}.")


class RemoteItems(cabc.Iterator[t.Any]):
    """The items of a stream that a replica produces. Used by one thread at a time."""

    def __init__(self, replicas: RemoteReplicas, turn: _Turn, first: Frame) -> None:
        self._replicas = replicas
        self._turn = turn
        self._next: Frame | None = first
        self._unreported = 0
        self._is_over = False

    def __next__(self) -> t.Any:
        if self._is_over:
            raise StopIteration
        turn = self._turn
        try:
            with self._replicas.waiting_on(turn.connection):
                frame, self._next = self._next or receive(turn), None
                if frame.kind == ITEM:
                    return self._item(frame)
                failure = self._end(frame)
        except ConnectionLost as exc:
            self._is_over = True
            raise ReplicaLostError(f"The replica has ended while it produced items: {exc}") from exc
        self._replicas.keep(turn.connection)
        if failure is None:
            raise StopIteration
        try:
            raise failure
        finally:
            del failure  # break a reference cycle: its traceback refers to this frame

    def _item(self, frame: Frame) -> t.Any:
        connection = self._turn.connection
        (item,) = connection.results.read(frame.meta, owned_region(frame))
        self._unreported += 1
        if self._unreported == READ_ITEMS:
            self._unreported = 0
            connection.frames.send(MORE, self._turn.serial)
        return item

    def _end(self, frame: Frame) -> BaseException | None:
        if frame.kind != END:
            raise ConnectionLost(f"an unexpected message {frame.kind}", is_garbage=True)
        self._is_over = True
        return decode_failure(frame.meta) if frame.meta else None

    def close(self) -> None:
        """Let the replica close the generator, and wait until it has."""
        if self._is_over:
            return
        turn = self._turn
        try:
            with self._replicas.waiting_on(turn.connection):
                turn.connection.frames.send(STOP, turn.serial)
                frame = self._next or receive(turn)
                while frame.kind == ITEM:
                    frame = receive(turn)
                self._end(frame)
        except ConnectionLost:
            self._is_over = True
        else:
            self._replicas.keep(turn.connection)


def receive(turn: _Turn) -> Frame:
    """Wait for what becomes of a batch. While the replica waits for its device, that does not count
    as time of `predict`.

    Raises:
        ConnectionLost: the replica has died, was given up, or answers another batch.
    """
    frames = turn.connection.frames
    frame = _receive(frames, turn.serial)
    if frame.kind == WAITS:
        with _paused("device"):
            frame = _receive(frames, turn.serial)
        if frame.kind == BEGINS:
            return _receive(frames, turn.serial)
    return frame


def _receive(frames: FrameSocket, serial: int) -> Frame:
    frame = frames.receive()
    if frame.serial != serial:
        raise ConnectionLost(f"an answer to batch {frame.serial}, not {serial}", is_garbage=True)
    return frame


def _outcome_of(connection: _ReplicaConnection, frame: Frame, size: int) -> t.Any:
    """Return what has become of a batch of `size` predictions: the results; the exception with
    which it has failed; or None if the replica has not accepted the token, so that another one is
    needed.

    Raises:
        ConnectionLost: the message is another one.
    """
    if frame.kind not in (RESULTS, FAILED, STALE):
        raise ConnectionLost(f"an unexpected message {frame.kind}", is_garbage=True)
    outcome: t.Any = None
    try:
        if frame.kind == RESULTS:
            outcome = connection.results.read(frame.meta, owned_region(frame))
        elif frame.kind == FAILED:
            outcome = decode_failure(frame.meta)
    except ConnectionLost:
        raise
    except Exception as exc:  # noqa: BLE001  # such as a class that only the replica has imported
        outcome = AnswerError(f"A result cannot be read in this process: {exc}")
        outcome.__cause__ = exc
    if type(outcome) is list and len(outcome) != size:
        raise ConnectionLost(f"{len(outcome)} results for {size} inputs", is_garbage=True)
    connection.frames.release_shared(kept=False)
    return outcome


def owned_region(frame: Frame) -> memoryview:
    """Return the region of a message, copied if it is in memory that the replica writes again."""
    return memoryview(bytearray(frame.region)) if frame.is_shared else frame.region


@contextlib.contextmanager
def _paused(waits_for: WaitsFor) -> cabc.Iterator[None]:
    """Let the time of this block not count as time of the `predict` for which the calling thread
    waits.
    """
    slots = slots_of_caller()
    if not slots:
        yield
        return
    slot = slots[0]
    slot.queue.pause(slot, waits_for)
    try:
        yield
    finally:
        slot.queue.resume(slot)


def _forget_parent() -> None:
    for each in list(_all):
        each.forget_parent()


_all: weakref.WeakSet[RemoteReplicas] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)
