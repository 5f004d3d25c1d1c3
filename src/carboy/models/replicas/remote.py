"""`RemoteReplicas`: the replicas of one version of a model, which are processes of a supervisor.

The batches form in this process. A thread that has a batch to compute waits for a token, which says
which replica is free, and only then takes the batch from the queue; so the batch goes on filling
while all replicas are busy. It sends the batch to that replica and waits for the results.
"""

from __future__ import annotations

import contextlib
import os
import threading
import typing as t
from _thread import get_ident
from functools import partial
from time import sleep

from carboy.core.forks import change_in_child
from carboy.core.logmasking import get_masked_logger
from carboy.errors import ClosedError, DeadlineError, ReplicaLostError

from ..queue.occupied import paused, slots_of_caller
from .batches import pack_batch
from .frames import (
    BATCH,
    END,
    ITEM,
    MORE,
    READ_ITEMS,
    STOP,
    UNUSED,
    ConnectionLost,
    Frame,
)
from .otherprocesses import OtherProcesses
from .posting import Posting
from .replicaconnection import ReplicaConnection, Turn, receive
from .replicaitems import ReplicaItems
from .supervision import GivesBack, Hangs
from .tokens import TokenReader

if t.TYPE_CHECKING:
    from collections import abc as cabc
    from contextlib import AbstractContextManager

    from carboy.contract.operation import Operation

    from ..queue.calls import Arguments, Compute
    from ..queue.state import Slot
    from .frames import Buffer
    from .replica import Posts, Turns
    from .supervision import Granted, ReplicaDirectory, WantedReplicas
    from .tokens import Token

# If a process has no descriptor left, it tries again after this time to connect to a replica.
_CONNECT_AGAIN_S = 0.05

_logger = get_masked_logger("carboy.models")


class RemoteReplicas(OtherProcesses):
    """The replicas of one version of a model, as a `ModelReplica`. Thread-safe.

    Args:
        want: what the supervisor must know to start them.
        directory: the connection to the supervisor.
        operation: the types of one prediction.
        owner: the model's name in messages.
        streams: whether `predict` yields.
        retry: whether a batch may be computed again after its replica has died.
    """

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
        super().__init__(want, operation, owner=owner, streams=streams, retry=retry)
        self._directory = directory
        self._lock = threading.Lock()
        self.folder = ""
        self.tokens: TokenReader | None = None
        #: Which replica gets the next batch if several are free; None if that does not matter.
        self.preferred: int | None = None
        #: By replica, the connections that no thread uses.
        self._unused: dict[int, list[ReplicaConnection]] = {}
        #: By thread, the turn that it has waited for and not used yet.
        self._turns: dict[int, Turn] = {}
        #: By slot, or by thread without one, the connection on which results are awaited.
        self._busy: dict[object, ReplicaConnection] = {}
        #: The tokens for which a thread must connect to the replica once more.
        self._spare_tokens: list[Token] = []
        self.turns: Turns | None = self
        self._posting = Posting(self)
        self.posts: Posts | None = self._posting
        self.batches = self.replicas = want["replicas"]
        self.sends_ahead = not streams
        change_in_child(self, RemoteReplicas.forget_parent)

    def forget_parent(self) -> None:
        """Forget the connections of the parent process, in a forked child process: both would use
        them. The child asks for the replicas again.
        """
        # Other threads of the parent may have held them.
        self._lock, self._loading = threading.Lock(), threading.Lock()
        self._unused, self._turns, self._busy = {}, {}, {}
        self._posting.forget_parent()
        self._spare_tokens = []
        self.tokens = None
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
                granted, fd = self._directory.want(self.want, self)
            finally:
                self.loading = False
            with self._lock:
                self._use(granted, fd)
                self.loaded = True

    def _use(self, granted: Granted, fd: int) -> None:
        self.folder, self.tokens = granted["folder"], TokenReader(fd)
        self.is_ready = True
        self._note_loaded(granted["about"])

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

    def close(self) -> None:
        """Give the replicas back. The supervisor ends them when no process uses them."""
        with self._lock:
            was_loaded, self.loaded = self.loaded, False
            self.tokens = None
            unused, self._unused = self._unused, {}
        self._close_unused(unused)
        if was_loaded:
            self._directory.release(GivesBack(key=self.want["key"]))

    def _close_unused(self, unused: dict[int, list[ReplicaConnection]]) -> None:
        """Close connections without a batch."""
        for connections in unused.values():
            for each in connections:
                each.frames.close()
        self._posting.close_unused()

    def is_current(self, connection: ReplicaConnection) -> bool:
        """Whether the connection leads to the replicas that are used now, and nobody has ended
        it.
        """
        return self.loaded and connection.folder == self.folder and not connection.given_up

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
        with self._lock:  # otherwise the connection could have the next batch by now
            connection = self._busy.get(slot)
            if connection is None:
                return None
            connection.given_up = True
            connection.frames.interrupt()
        return partial(self._report, connection, took_s)

    def occupy(self, key: object, connection: ReplicaConnection) -> None:
        """Note on which connection the results of a batch are awaited, by slot, or by thread
        without one.
        """
        with self._lock:
            self._busy[key] = connection

    def vacate(self, key: object) -> None:
        """Note that the results of a batch have arrived, or never will: from now on, `give_up` does
        not end the connection.
        """
        with self._lock:
            self._busy.pop(key, None)

    @property
    def awaited(self) -> list[ReplicaConnection]:
        """The connections on which results are awaited."""
        with self._lock:
            return list(self._busy.values())

    def _report(self, connection: ReplicaConnection, took_s: float) -> None:
        self._directory.report(
            Hangs(
                key=self.want["key"],
                replica=connection.replica,
                took_s=took_s,
            )
        )

    def _take(self) -> Turn:
        """Wait for a turn.

        Raises:
            ClosedError: there are no replicas any more.
        """
        while (tokens := self.tokens) is not None:
            token = self._spare_token() or tokens.take(self.preferred)
            if token is None:
                self._end(tokens)
                continue
            connection = self._connect(token)
            if connection is not None:
                return Turn(connection, token.serial)
        raise ClosedError(f"{self.owner}: its replicas have ended. Retry the request.")

    def _spare_token(self) -> Token | None:
        with contextlib.suppress(IndexError):
            return self._spare_tokens.pop()
        return None

    def _end(self, tokens: TokenReader) -> None:
        """Note that the replicas that have written these tokens have ended."""
        with self._lock:
            if self.tokens is tokens:
                self.tokens, self.loaded = None, False

    def try_token(self) -> Token | None:
        """Return a token if there is one."""
        tokens = self.tokens
        if tokens is None:
            return None
        try:
            token = tokens.try_take(self.preferred)
        except BlockingIOError:
            return None
        if token is None:
            self._end(tokens)
        return token

    def spare_token(self, token: Token) -> None:
        """Leave a token to the next thread that waits for one, because the replica is alive but
        cannot be connected to at the moment.
        """
        self._spare_tokens.append(token)

    @property
    def can_try(self) -> bool:
        """Whether there are replicas, and `try_token` can find the tokens of all of them."""
        tokens = self.tokens
        if not self.loaded or tokens is None or self._spare_tokens:
            return False
        return tokens.fileno() is not None

    def _connect(self, token: Token) -> ReplicaConnection | None:
        """Return a connection to the replica that has written a token; None if it has died."""
        with self._lock:
            unused = self._unused.get(token.replica)
            if unused:
                return unused.pop()
        self._forget_dead()
        while True:
            try:
                return ReplicaConnection(token, self.folder, self.form)
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
        return self._compute(batch, None)

    def compute_after(self, outcome: BaseException | None) -> Compute:
        """Return a function that computes batches, and whose first call continues with a batch of
        which this has become; see `Posts`.
        """
        outcomes = [outcome]
        return lambda batch: self._compute(batch, outcomes.pop() if outcomes else None)

    def _compute(
        self, batch: cabc.Sequence[Arguments], outcome: BaseException | None
    ) -> list[t.Any]:
        """Let a replica compute a batch.

        Args:
            outcome: what has become of an attempt that was posted; None without one, or if the
                batch was not computed.
        """
        try:
            meta, packer = pack_batch(batch)
        except BaseException:
            self.give_back()
            raise
        losses = 0
        while True:
            if outcome is None:
                turn = self._turn()
                try:
                    outcome = self._exchange(turn, meta, packer.buffers, len(batch))
                except ConnectionLost as exc:
                    outcome = exc
            try:
                if isinstance(outcome, ConnectionLost):
                    losses += 1
                    if losses > 1 or not self._retry:
                        return [self._lost(outcome)] * len(batch)
                elif isinstance(outcome, BaseException):
                    raise outcome
                elif outcome is not None:
                    return [outcome] if self._streams else t.cast("list[t.Any]", outcome)
            finally:
                outcome = None  # break a reference cycle: a traceback refers to this frame

    def _turn(self) -> Turn:
        """Return the turn that the calling thread has waited for, or else wait for one. That time
        does not count as time of `predict`.
        """
        turn = self._turns.pop(get_ident(), None)
        if turn is None:
            with paused("replica"):
                turn = self._take()
        return turn

    def _exchange(
        self, turn: Turn, meta: bytes, buffers: cabc.Sequence[cabc.Sequence[Buffer]], size: int
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
            frame = receive(frames, turn.serial)
            if frame.kind in (ITEM, END):
                return RemoteItems(self, turn, frame)
            self._posting.note_sizes(connection, frame)
            outcome = connection.outcome_of(frame, size)
        self.keep(connection)
        return outcome

    @contextlib.contextmanager
    def waiting_on(self, connection: ReplicaConnection) -> cabc.Iterator[None]:
        """Let `give_up` end the connection while the calling thread uses it. If anything is raised,
        the connection is closed, because an answer may arrive on it later.
        """
        slots = slots_of_caller()
        key = slots[0] if slots else get_ident()
        self.occupy(key, connection)
        try:
            yield
        except BaseException as exc:
            connection.frames.close()
            self._note(connection, exc)
            if connection.given_up:
                raise self._late() from exc
            raise
        finally:
            self.vacate(key)

    def loss(self, connection: ReplicaConnection, exc: ConnectionLost) -> Exception:
        """Return the exception for a batch whose connection is lost."""
        self._note(connection, exc)
        return self._late() if connection.given_up else exc

    def _note(self, connection: ReplicaConnection, exc: BaseException) -> None:
        """Log and report a replica that has sent something that is no message."""
        if isinstance(exc, ConnectionLost) and exc.is_garbage:
            _logger.warning("%s: replica %d: %s", self.owner, connection.replica, exc)
            self._report(connection, 0.0)

    def keep(self, connection: ReplicaConnection) -> None:
        """Keep a connection for the next batch."""
        with self._lock:
            if self.is_current(connection):
                self._unused.setdefault(connection.replica, []).append(connection)
                return
        connection.frames.close()

    def _late(self) -> DeadlineError:
        return DeadlineError(f"{self.owner} did not answer in time, and its replica is replaced.")

    def _lost(self, exc: ConnectionLost) -> ReplicaLostError:
        return ReplicaLostError(f"{self.owner}: its replica has ended while it computed: {exc}.")


class RemoteItems(ReplicaItems[Frame]):
    """The items of a stream, which the replica sends on its connection."""

    def __init__(self, replicas: RemoteReplicas, turn: Turn, first: Frame) -> None:
        super().__init__(first)
        self._replicas = replicas
        self._connection, self._serial = turn
        self._unreported = 0

    def _waiting(self) -> AbstractContextManager[None]:
        return self._replicas.waiting_on(self._connection)

    def _receive(self) -> Frame:
        return receive(self._connection.frames, self._serial)

    def _read(self, message: Frame) -> t.Any:
        self._unreported += 1
        if self._unreported == READ_ITEMS:
            self._unreported = 0
            self._connection.frames.send(MORE, self._serial)
        return self._connection.results.results_of(message.meta, message.region, 1)

    def _stop(self) -> None:
        self._connection.frames.send(STOP, self._serial)

    def _release(self, *, is_lost: bool) -> None:
        if not is_lost:
            self._replicas.keep(self._connection)
