"""`RayReplicas`: the replicas of one version of a model, which are actors on a Ray cluster.

The batches form in this process. A thread that has a batch to compute waits until a replica has
less to do than it can take, and only then takes the batch from the queue. It sends the whole batch
on a socket, if the replica is on the same node, or else by one call of Ray, and waits for the
results.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import typing as t
from _thread import get_ident
from functools import partial
from time import monotonic

from carboy.core.forks import change_in_child
from carboy.core.logmasking import get_masked_logger
from carboy.errors import DeadlineError, ReplicaLostError, UnavailableError

from ..queue.occupied import paused, slots_of_caller
from ..replicas.batches import ResultReader, pack_batch
from ..replicas.frames import BATCH, STALE, ConnectionLost
from ..replicas.otherprocesses import OtherProcesses
from ..replicas.replicaconnection import receive
from .messages import WantedVersion, join, split_parcel
from .nodesocket import SERIAL, NodeConnections
from .rayconnection import first_line
from .rayitems import RayItems

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from carboy.contract.operation import Operation
    from carboy.errors import AnswerError

    from ..queue.calls import Arguments
    from ..queue.state import Slot
    from ..replicas.batches import BatchFormat
    from ..replicas.frames import Buffer
    from ..replicas.replica import Posts, Turns
    from ..replicas.replicaconnection import BatchConnection
    from ..replicas.supervision import WantedReplicas
    from .cluster import RayCluster
    from .messages import Code, Parcel, PoolFacts

# How many batches of this process a replica gets at once, if it computes them quickly: the second
# one, which is a full one (`QueueState.has_room`), is on its way while the first is computed.
WINDOW = 2
# A replica that takes longer for a batch gets the next one when it has answered: otherwise a batch
# would wait for this replica while another one has nothing to do.
_QUICK_S = 0.05
# How quickly a replica that could not be reached is tried again.
_UNREACHABLE_S = 2.0
# How long replicas may take to say that they are alive.
_ALIVE_S = 3.0
# How soon a thread that waits for results notices that the cluster is lost. `ray.shutdown` does not
# wake threads that wait, and may then crash the process or let them wait for ever.
_NOTICE_S = 1.0
# How many items a replica sends before the reader has taken them.
_ITEMS_AHEAD = 16

_logger = get_masked_logger("carboy.models")


class KnownActor:
    """The actor of a replica, as this process uses it.

    Attributes:
        taken: how many turns are taken.
        took_s: how long a batch takes, with its way, as a moving average.
        connection: which connection with the cluster it belongs to.
        not_before_s: when it may be used again after it could not be reached.
        is_reserved: whether it gets no further batches, because one waits to be its only one.
        on_node: the connections with it, if it is on the node of this process.
    """

    def __init__(
        self,
        name: str,
        number: int,
        handle: t.Any,
        took_s: float,
        connection: int,
        form: BatchFormat,
    ) -> None:
        self.name = name
        self.number = number
        self.handle = handle
        self.taken = 0
        self.took_s = took_s
        self.connection = connection
        self.not_before_s = 0.0
        self.is_reserved = False
        self.on_node = NodeConnections(name, form)

    @property
    def room(self) -> int:
        window = WINDOW if self.took_s < _QUICK_S else 1
        return 0 if self.is_reserved else window - self.taken


class _PackedBatch(t.NamedTuple):
    """A batch as it is sent.

    Attributes:
        size: the number of its predictions.
    """

    meta: bytes
    buffers: cabc.Sequence[cabc.Sequence[Buffer]]
    size: int

    def parcel(self) -> t.Any:
        """Return what Ray sends."""
        return join(BATCH, self.meta, self.buffers)


class _Call:
    """A batch that a replica computes.

    Attributes:
        connection: on which the results are awaited; None if they come through Ray.
    """

    def __init__(self, actor: KnownActor, connection: BatchConnection | None) -> None:
        self.actor = actor
        self.connection = connection
        self.is_given_up = False

    def interrupt(self) -> None:
        """Let the thread that waits for results on the connection fail with ConnectionLost."""
        if self.connection is not None:
            self.connection.frames.interrupt()


class RayReplicas(OtherProcesses):
    """The replicas of one version of a model, as a `ModelReplica`. Thread-safe.

    Args:
        want: what the controller must know to start them.
        cluster: the connection with the cluster.
        operation: the types of one prediction.
        owner: the model's name in messages.
        streams: whether `predict` yields.
        retry: whether a batch may be computed again after its replica has died.
        most: how many replicas there may be.
        batch: how many predictions a replica computes together.
        resources: what each replica needs of its node.
    """

    def __init__(
        self,
        want: WantedReplicas,
        cluster: RayCluster,
        operation: Operation,
        *,
        owner: str,
        streams: bool,
        retry: bool,
        most: int,
        batch: int,
        resources: dict[str, float],
    ) -> None:
        super().__init__(want, operation, owner=owner, streams=streams, retry=retry)
        self._cluster = cluster
        self._most = most
        self._batch = batch
        self._resources = resources
        #: Notified when a replica can take a batch, or when there are none any more.
        self._free = threading.Condition()
        self._actors: dict[str, KnownActor] = {}
        #: Counts the connections with the cluster.
        self._connection = 0
        #: The names of actors that have died, which the controller may not know yet.
        self._dead: set[str] = set()
        self._turns: dict[int, KnownActor] = {}
        #: By slot, or by thread without one, the call whose results are awaited.
        self._busy: dict[object, _Call] = {}
        self._readers: list[ResultReader] = []
        self._is_held = False
        self.turns: Turns | None = self
        self.posts: Posts | None = None
        self.batches = most
        self.sends_ahead = not streams
        self.was_loaded = False
        change_in_child(self, RayReplicas.forget_parent)

    def forget_parent(self) -> None:
        """Forget what the threads of the parent process do, in a forked child process. The child
        uses replicas on its node; Ray does not work there.
        """
        self._loading, self._free = threading.Lock(), threading.Condition()
        for call in self._busy.values():
            if call.connection is not None:
                call.connection.frames.close()
        self._busy, self._turns = {}, {}
        for actor in self._actors.values():
            actor.taken, actor.is_reserved = 0, False

    def wanted_with(self, code: Code) -> WantedVersion:
        """Return what the controller gets."""
        want = t.cast("dict[str, t.Any]", self.want)
        return WantedVersion(want, code, self._most, self._batch, self._resources)

    @property
    def replicas(self) -> int:
        """How many replicas there are; 1 if there are none, so that a thread finds that out."""
        return len(self._actors) or 1

    # --- loading -------------------------------------------------------------------------------

    def load(self) -> None:
        """Wait until the replicas are ready, unless they are known.

        Raises:
            ModelLoadError: the model could not be loaded.
            UnavailableError: the cluster cannot be used.
        """
        with self._loading:
            if self.loaded:
                return
            self.loading = True
            try:
                facts = self._cluster.want(self)
            finally:
                self.loading = False
            self.was_loaded = self.loaded = True
            self.apply(facts)

    def apply(self, facts: PoolFacts) -> None:
        """Use the replicas that there are now."""
        if facts.hold_s is not None and not self._is_held:
            self._is_held = True
            self.on_hold(facts.hold_s)
        if facts.about:
            self._note_loaded(facts.about)
        ready = {each.name: each for each in facts.replicas if each.phase == "ready"}
        new = [each for name, each in ready.items() if name not in self._actors]
        # A stream may take minutes.
        took_s = math.inf if self._streams else 0.0
        found = {each.name: self._find_actor(each.name, each.number, took_s) for each in new}
        with self._free:
            self._dead &= ready.keys()
            kept = {name: each for name, each in self._actors.items() if name in ready}
            added = {name: each for name, each in found.items() if each is not None}
            known = {**kept, **added}
            self._use({name: each for name, each in known.items() if name not in self._dead})
            if self.was_loaded and facts.state == "ready" and not self._is_held:
                self.loaded = True
        self._note_readiness(facts.reason)

    def _find_actor(self, name: str, number: int, took_s: float) -> KnownActor | None:
        """Return a replica by the name of its actor; None if it has just ended."""
        import ray

        try:
            handle = ray.get_actor(name)
        except ValueError:
            return None
        return KnownActor(name, number, handle, took_s, self._connection, self.form)

    def _use(self, actors: dict[str, KnownActor]) -> None:
        """Use these replicas only. The caller holds `_free`."""
        for name, each in self._actors.items():
            if name not in actors:
                each.on_node.close()
        self._actors = actors

    def _note_readiness(self, reason: str = "") -> None:
        """Say whether any replica is ready, if that has changed, and wake the threads that wait for
        one.
        """
        with self._free:
            was_ready, self.is_ready = self.is_ready, bool(self._actors) or not self.was_loaded
            self.trouble = reason
            if not self.is_ready:
                self.trouble = f"no replica is ready. {reason}".strip()
            self._free.notify_all()
        if self.is_ready != was_ready:
            self.on_ready()

    def resume_if(self, resumed: cabc.Container[str]) -> None:
        """Go on after the version was held, if the one that should take its place has failed."""
        if self._is_held and self.want["key"] in resumed:
            self._is_held = False
            self.on_hold(None)

    def lose(self) -> None:
        """Note that the cluster cannot be used. Threads that wait for results notice it soon."""
        with self._free:
            self._connection += 1
            self._use({})
            self.loaded = False
        for call in list(self._busy.values()):
            call.interrupt()
        self._note_readiness()
        self.trouble = self._cluster.trouble

    def close(self) -> None:
        """Give the replicas back. They end when no web worker uses them."""
        with self._free:
            self.loaded = self.was_loaded = False
            self.trouble = ""
            self._use({})
            self._free.notify_all()
        self._cluster.release(self)

    @property
    def is_waited_for(self) -> bool:
        """Whether a thread waits for results."""
        return bool(self._busy)

    def answers(self) -> bool:
        """Ask the replicas whether they are alive; return whether one of them is."""
        import ray

        asked = [each.handle.examine.remote() for each in list(self._actors.values())]
        if not asked:
            return False
        done, _ = ray.wait(asked, num_returns=1, timeout=_ALIVE_S)
        try:
            return bool(done) and bool(ray.get(done[0]))
        except ray.exceptions.RayError:
            return False

    # --- turns ---------------------------------------------------------------------------------

    def wait(self) -> None:
        """Wait until a replica can take a batch of the calling thread, which must then call
        `compute` or `give_back`. Returns at once if there are no replicas: `compute` says so.
        """
        try:
            self._turns[get_ident()] = self._take()
        except UnavailableError:
            return

    def give_back(self) -> None:
        """Let another thread have the turn for which the calling thread has waited."""
        if (actor := self._turns.pop(get_ident(), None)) is not None:
            self._release(actor)

    def give_up(self, slot: Slot, took_s: float) -> cabc.Callable[[], object] | None:
        """Let the controller find out whether the replica hangs that computes a batch; it kills it
        then, which ends the wait for the results. Returns None if no results are awaited.
        """
        call = self._busy.get(slot)
        if call is None or call.is_given_up:
            return None
        call.is_given_up = True
        return partial(self._cluster.hangs, call.actor.name, took_s)

    def _take(self) -> KnownActor:
        """Wait for a replica that can take a batch: the one with the least to do.

        Raises:
            UnavailableError: there are no replicas any more.
        """
        with self._free:
            while self.loaded:
                usable = self._usable()
                with_room = (each for each in usable if each.room > 0)
                best = min(with_room, key=lambda each: (each.taken, each.took_s), default=None)
                if best is not None:
                    best.taken += 1
                    return best
                self._wait_for_change(usable)
        raise self._unavailable()

    def _take_alone(self) -> KnownActor:
        """Wait for a replica that has nothing to do, so that no other batch is lost with this one.
        It gets no further batches meanwhile: otherwise this one might wait for ever.

        Raises:
            UnavailableError: there are no replicas any more.
        """
        reserved: KnownActor | None = None
        with self._free:
            try:
                while self.loaded:
                    usable = self._usable()
                    if reserved not in usable:
                        self._end_reservation(reserved)
                        reserved = self._reserve(usable)
                    if reserved is not None and not reserved.taken:
                        reserved.taken = WINDOW
                        return reserved
                    self._wait_for_change(usable)
            finally:
                self._end_reservation(reserved)
        raise self._unavailable()

    def _reserve(self, usable: cabc.Iterable[KnownActor]) -> KnownActor | None:
        others = (each for each in usable if not each.is_reserved)
        best = min(others, key=lambda each: (each.taken, each.took_s), default=None)
        if best is not None:
            best.is_reserved = True
        return best

    def _end_reservation(self, actor: KnownActor | None) -> None:
        if actor is not None:
            actor.is_reserved = False
            self._free.notify_all()

    def _usable(self) -> list[KnownActor]:
        now_s = monotonic()
        return [each for each in self._actors.values() if each.not_before_s <= now_s]

    def _wait_for_change(self, usable: cabc.Sized) -> None:
        # A replica that could not be reached may be tried again after a while.
        self._free.wait(None if len(usable) == len(self._actors) else _UNREACHABLE_S)

    def _unavailable(self) -> UnavailableError:
        return UnavailableError(f"{self.owner}: its replicas cannot be reached. Retry the request.")

    def _release(self, actor: KnownActor, turns: int = 1) -> None:
        with self._free:
            actor.taken -= turns
            self._free.notify_all()

    # --- computing -----------------------------------------------------------------------------

    def compute(self, batch: cabc.Sequence[Arguments]) -> list[t.Any]:
        """Let a replica compute a batch; see `Replica`.

        If the replica dies meanwhile, another one computes the batch, once, and nothing else at
        that time.
        """
        try:
            meta, packer = pack_batch(batch)
        except BaseException:
            self.give_back()
            raise
        packed = _PackedBatch(meta, packer.buffers, len(batch))
        losses = 0
        while True:
            alone = losses > 0
            actor = self._turns.pop(get_ident(), None) or self._waited(alone=alone)
            turns = WINDOW if alone else 1
            try:
                if self._streams:
                    found = self._begin_stream(actor, packed, turns)
                    if found is not None:
                        return [found]
                    continue
                outcome = self._exchange(actor, packed, turns)
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
                return t.cast("list[t.Any]", outcome)

    def _waited(self, *, alone: bool) -> KnownActor:
        """Wait for a replica. That time does not count as time of `predict`."""
        with paused("replica"):
            return self._take_alone() if alone else self._take()

    def _exchange(self, actor: KnownActor, batch: _PackedBatch, turns: int) -> t.Any:
        """Send a batch, and wait for what becomes of it.

        Returns:
            The results; an exception if the batch has failed; None if the replica takes no batches
            any more, so that another one must compute it.

        Raises:
            ConnectionLost: the replica has died, or was given up.
        """
        begun_s = monotonic()
        connection = None
        try:
            connection = actor.on_node.take()
            with self.waiting_on(actor, connection):
                if connection is None:
                    called = actor.handle.compute.remote(batch.parcel())
                    parcel = split_parcel(self._result_of(actor, called))
                    with self._reader() as reader:
                        outcome = reader.outcome_of(*parcel, batch.size)
                else:
                    connection.frames.send(BATCH, SERIAL, batch.meta, batch.buffers)
                    frame = receive(connection.frames, SERIAL)
                    outcome = connection.outcome_of(frame, batch.size)
            if connection is not None:
                actor.on_node.keep(connection)
            if outcome is None:
                self._forget(actor)
            took_s = monotonic() - begun_s
            actor.took_s = took_s if not actor.took_s else 0.8 * actor.took_s + 0.2 * took_s
        finally:
            self._release(actor, turns)
        return outcome

    def _result_of(self, actor: KnownActor, called: t.Any) -> t.Any:
        """Wait for the result of a call.

        Raises:
            RayError: the replica has died, or the cluster was lost.
        """
        import ray
        from ray.exceptions import GetTimeoutError

        while True:
            try:
                return ray.get(called, timeout=_NOTICE_S)
            except GetTimeoutError:
                self._check_connection(actor)

    def next_parcel(self, actor: KnownActor, items: t.Any) -> Parcel:
        """Wait for the next parcel of a stream.

        Raises:
            RayError: the replica has died, or the cluster was lost.
            ConnectionLost: the stream has ended without its last message.
        """
        import ray

        while not (items.next_ready() or ray.wait([items], timeout=_NOTICE_S)[0]):
            self._check_connection(actor)
        try:
            return split_parcel(ray.get(next(items)))
        except StopIteration:
            raise ConnectionLost(
                "the stream has ended without its last message", is_garbage=True
            ) from None

    def _check_connection(self, actor: KnownActor) -> None:
        from ray.exceptions import RayError

        if actor.connection != self._connection:
            raise RayError("the Ray cluster does not answer any more")

    @contextlib.contextmanager
    def waiting_on(
        self, actor: KnownActor, connection: BatchConnection | None = None
    ) -> cabc.Iterator[None]:
        """Let `give_up` know for which replica the calling thread waits, and note if it has died.
        If anything is raised, the connection is closed.

        Raises:
            ConnectionLost: it has died, or has sent something that is no message.
            DeadlineError: it was given up.
        """
        from ray.exceptions import RayError

        slots = slots_of_caller()
        key = slots[0] if slots else get_ident()
        self._busy[key] = call = _Call(actor, connection)
        try:
            with _closed_if_raised(connection):
                self._check_connection(actor)  # otherwise nobody would interrupt the wait
                yield
        except (RayError, ConnectionLost, SystemExit) as exc:
            # Ray raises SystemExit if the node of this process has ended.
            self._note(actor, exc)
            if call.is_given_up:
                raise DeadlineError(
                    f"{self.owner} did not answer in time, and its replica is replaced."
                ) from exc
            raise ConnectionLost(first_line(exc)[:300]) from exc
        finally:
            del self._busy[key]

    def _note(self, actor: KnownActor, exc: BaseException) -> None:
        """Do not use a replica that has died, or could not be reached; report one that sends
        something else than messages.
        """
        from ray.exceptions import ActorDiedError

        is_garbage = isinstance(exc, ConnectionLost) and exc.is_garbage
        if is_garbage:
            _logger.warning("%s: replica %d: %s", self.owner, actor.number, exc)
            self._cluster.hangs(actor.name, 0.0)
        is_lost = isinstance(exc, ConnectionLost) and actor.on_node.has_ended()
        if is_garbage or is_lost or isinstance(exc, ActorDiedError):
            self._forget(actor)
            return
        actor.not_before_s = monotonic() + _UNREACHABLE_S
        self._note_readiness()

    def _forget(self, actor: KnownActor) -> None:
        """Do not use a replica that has died, or takes no batches any more."""
        with self._free:
            self._dead.add(actor.name)
            self._actors.pop(actor.name, None)
        actor.on_node.close()
        self._note_readiness()

    @contextlib.contextmanager
    def _reader(self) -> cabc.Iterator[ResultReader]:
        try:
            reader = self._readers.pop()
        except IndexError:
            reader = ResultReader(self.form)
        try:
            yield reader
        finally:
            self._readers.append(reader)

    def results_of(self, parcel: Parcel, size: int) -> list[t.Any] | AnswerError:
        """Return the results of a parcel; an exception if this process cannot read them."""
        with self._reader() as reader:
            return reader.results_of(parcel.meta, parcel.region, size)

    def _lost(self, exc: ConnectionLost) -> ReplicaLostError:
        return ReplicaLostError(f"{self.owner}: its replica has ended while it computed: {exc}.")

    # --- streams -------------------------------------------------------------------------------

    def _begin_stream(self, actor: KnownActor, batch: _PackedBatch, turns: int) -> RayItems | None:
        """Begin a stream, and wait for its first parcel. Returns None if the replica takes no
        predictions any more.
        """
        name = os.urandom(8)
        try:
            method = actor.handle.stream.options(
                num_returns="streaming", _generator_backpressure_num_objects=_ITEMS_AHEAD
            )
            with self.waiting_on(actor):
                items = method.remote(batch.parcel(), name)
                first = self.next_parcel(actor, items)
        except BaseException:
            self._release(actor, turns)
            raise
        if first.kind == STALE:
            self._forget(actor)
            self._release(actor, turns)
            return None
        return RayItems(self, actor, items, first, name, on_end=lambda: self._release(actor, turns))


@contextlib.contextmanager
def _closed_if_raised(connection: BatchConnection | None) -> cabc.Iterator[None]:
    """Close a connection if anything is raised, because an answer may arrive on it later."""
    try:
        yield
    except BaseException:
        if connection is not None:
            connection.frames.close()
        raise
