"""The threads that compute the batches of one model's queue.

Threads start on demand and end after 30 s without work. While one batch is computed, the next one
fills up: one idle thread (the gathering thread) sleeps until that batch is due, the others sleep
until they are woken. A caller's own thread may compute too, if that takes less time than waking
another one. `state` decides what happens to each ticket (queued prediction). No thread polls.
"""

from __future__ import annotations

import dataclasses
import math
import threading
import typing as t
from _thread import get_ident
from contextvars import Context
from functools import partial
from operator import attrgetter
from time import monotonic

from carboy.core.logmasking import get_masked_logger
from carboy.errors import UnreadError

from .calls import in_context, isolate
from .occupied import COMPUTING, Need, occupying, slots_of_caller
from .retries import BatchInputs
from .state import CANCELLED, FAILED, OK, Slot
from .stream import BegunStream, NestedStream, begin
from .ticket import FOREVER, held_lock

if t.TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ..replicas.replica import Posts, Replica, ResultLoop, Turns
    from .calls import Compute
    from .deadlines import DeadlineThread
    from .occupied import Device
    from .state import QueueState, WaitsFor
    from .stream import StreamWriter
    from .ticket import Deliver, Ticket

# A thread without work ends after this time; starting a new one takes 0.1 ms.
IDLE_S = 30.0

# If a batch hangs at a moment at which its computation cannot be ended, that is tried again after
# this time.
_GIVE_UP_AGAIN_S = 0.05
# What `BatchThreads._look` returns if a batch is due that a replica must be free for, and if the
# batch can be posted.
_TAKE_TURN, _POST = -1.0, -2.0

_arguments = attrgetter("arguments")
_logger = get_masked_logger("carboy.models")


class WakeEvent:
    """Wakes one waiting thread. If `set` is called before `wait`, `wait` returns at once."""

    __slots__ = ("_is_set", "_lock")

    def __init__(self) -> None:
        self._lock = held_lock()
        self._is_set = False

    def set(self) -> None:
        """Wake the thread. The caller holds the queue's lock."""
        if not self._is_set:
            self._is_set = True
            self._lock.release()

    def clear(self) -> bool:
        """Reset the event; returns whether it was set. The caller holds the queue's lock."""
        was_set, self._is_set = self._is_set, False
        if was_set:
            # While the event is not set, its lock is held, so that `wait` blocks. If `wait` timed
            # out just before `set` released the lock, nobody holds it: acquire it again.
            self._lock.acquire(blocking=False)
        return was_set

    def wait(self, timeout_s: float) -> None:
        self._lock.acquire(True, timeout_s if timeout_s < threading.TIMEOUT_MAX else FOREVER)


@dataclasses.dataclass(slots=True, eq=False)
class _BatchThread(Slot):
    """A thread that computes batches, one at a time. It is also its own slot: the permission to
    compute one batch.
    """

    event: WakeEvent = dataclasses.field(default_factory=WakeEvent)
    # When the thread wakes by itself, because the batch is due for which it gathers predictions.
    # Used only by one thread at a time, the gathering thread.
    leaves_s: float = math.inf
    # Whether the thread has waited until a replica is free for its next batch.
    has_turn: bool = False


class BatchThreads:
    """The threads that compute one model's batches.

    `replica.compute` and the callbacks that receive results are called without the queue's lock.

    Args:
        streams: whether `predict` yields its result item by item.
        device: a device that models share: of all of them, one batch at a time is computed.
    """

    def __init__(
        self,
        state: QueueState,
        deadlines: DeadlineThread,
        lock: t.Any,
        replica: Replica,
        *,
        owner: str,
        concurrency: int,
        streams: bool,
        device: Device | None,
    ) -> None:
        self._state = state
        self._deadlines = deadlines
        self._lock = lock
        self._replica = replica
        self._turns = replica.turns
        # If `predict` yields, a thread reads the items.
        self._posts = None if streams else replica.posts
        self._loop: ResultLoop | None = None
        # Whether the event loop will post the next batch when a replica may be free.
        self._is_waiting_for_turn = False
        self._device = device
        self._owner = owner
        self._concurrency = concurrency
        sends_ahead = self._turns is not None and self._turns.sends_ahead
        self._most_threads = 2 * concurrency if sends_ahead else concurrency
        self._streams = streams
        self._threads = 0
        # The idle threads, which sleep until they are woken.
        self._idle: list[_BatchThread] = []
        # The thread that will take the next batch: it sleeps until the batch is due, or has just
        # been woken or started.
        self._gathering: _BatchThread | None = None

    # --- waking, under the lock ----------------------------------------------------------------

    def wake_for(self, now_s: float) -> None:
        """Ensure that a thread takes the waiting predictions as soon as a batch is due.

        Raises RuntimeError if the system cannot start another thread.
        """
        if not self._state.has_room:
            return  # nothing to do: a computing thread takes the next batch when it has finished
        gathering = self._gathering
        if gathering is not None:
            if gathering.leaves_s != math.inf:
                due_s = self._state.waiting.due_s(now_s)
                if due_s is not None and (due_s <= now_s or due_s < gathering.leaves_s):
                    gathering.leaves_s = math.inf
                    gathering.event.set()
        elif self._idle:
            self._gathering = thread = self._idle.pop()
            thread.event.set()
        elif self._threads < self._most_threads:
            thread = _BatchThread(self)
            threading.Thread(
                target=self._work, args=(thread,), name=f"{self._owner} batches", daemon=True
            ).start()
            self._threads += 1
            self._gathering = thread

    def wake_all(self) -> None:
        """Wake all threads, so that they compute the remaining predictions and end."""
        for thread in self._idle:
            thread.event.set()
        self._idle.clear()
        if self._gathering is not None:
            self._gathering.event.set()
        # While batches are posted, there may be predictions that no thread waits for.
        if len(self._state.waiting):
            self.wake_for(monotonic())

    def take_if_quick(
        self, now_s: float, limit_s: float, loop: ResultLoop | None = None
    ) -> tuple[Slot | None, list[Ticket]]:
        """Take a batch if the calling thread can `compute` it within `limit_s`; else wake another
        thread for it.

        In this process, a batch is taken only while no other thread computes or waits for a batch
        to fill. Otherwise a batch would leave before it is full. Returns the slot of the batch or
        None, and the predictions that missed their deadline.

        Args:
            now_s: the current time.
            limit_s: how long the batch may take if it is computed in this process.
            loop: the event loop that can receive the results of a replica in another process.
        """
        state, late = self._state, []
        if self._posts is not None:
            if loop is not None and loop is not self._loop:
                self._loop = loop
                loop.tell_at_end(self)
            return self._take_next(now_s)
        if (
            limit_s
            # If the model shares a device with others, or another process computes it, a batch may
            # have to wait for it, which would block the thread that calls this method.
            and self._device is None
            and self._turns is None
            and not (state.computing or state.closed or self._gathering)
        ):
            slot = Slot(self, thread=get_ident())
            late = state.take(slot, now_s, within_s=limit_s)
            if slot.tickets:
                return slot, late
        self.wake_for(now_s)
        return None, late

    def _take_next(self, now_s: float) -> tuple[Slot | None, list[Ticket]]:
        """Take the next batch if it is due and can be posted; else wake a thread for it."""
        due_s = self._state.waiting.due_s(now_s) if self._may_post else None
        if due_s is not None and due_s <= now_s:
            return self._take_to_post(now_s)
        self.wake_for(now_s)
        return None, []

    def _try_next(self, now_s: float) -> tuple[Slot | None, list[Ticket]]:
        """Do as `_take_next`. But if the system allows no further thread now, leave it to the next
        prediction.
        """
        try:
            return self._take_next(now_s)
        except RuntimeError:
            return None, []

    # --- the life of a thread ------------------------------------------------------------------

    def _work(self, thread: _BatchThread) -> None:
        thread.thread = get_ident()
        while self._gather(thread):
            self.compute(thread)

    def _gather(self, thread: _BatchThread) -> bool:
        """Sleep until a batch is due, and take the batch. Returns False if the thread must end."""
        while True:
            with self._lock:
                now_s = monotonic()
                late, sleep_s = self._look(thread, now_s)
            if late:
                deliver(late)
            if thread.tickets:
                return True
            if sleep_s == _TAKE_TURN:
                self._take_turn(thread)
                continue
            if sleep_s == _POST:
                self._post(self._following())
                continue
            if thread.has_turn and sleep_s != 0:
                self._give_turn_back(thread)
            if sleep_s is None:
                return False
            if sleep_s > 0:
                thread.event.wait(sleep_s)

    def _take_turn(self, thread: _BatchThread) -> None:
        """Wait until a replica is free, before a batch is taken: meanwhile the batch fills."""
        t.cast("Turns", self._turns).wait()
        thread.has_turn = True

    def _give_turn_back(self, thread: _BatchThread) -> None:
        """Leave the replica to other processes, because no batch is due."""
        thread.has_turn = False
        t.cast("Turns", self._turns).give_back()

    def _look(self, thread: _BatchThread, now_s: float) -> tuple[list[Ticket], float | None]:
        """Take a batch if one is due, else return how long to sleep. None means that the thread
        must end, and `_TAKE_TURN` that it must wait until a replica is free.
        """
        state = self._state
        was_woken = thread.event.clear()
        if self._gathering is thread:
            self._gathering = None
        was_idle = thread in self._idle
        if was_idle:
            self._idle.remove(thread)
        due_s = state.due_s(now_s)
        if due_s is None:
            if state.closed or (was_idle and not was_woken):
                self._threads -= 1
                state.release_closers()
                return [], None
            self._idle.append(thread)
            return [], IDLE_S
        if due_s > now_s and not state.closed:
            if self._gathering is None:
                self._gathering, thread.leaves_s = thread, due_s
                return [], due_s - now_s
            self._idle.append(thread)
            return [], IDLE_S
        thread.leaves_s = math.inf
        if self._turns is not None and not thread.has_turn:
            # Another thread waits for a turn, or looks soon, or the event loop does.
            if self._gathering is not None or (self._is_waiting_for_turn and self._may_post):
                self._idle.append(thread)
                return [], IDLE_S
            if self._may_post:
                return [], _POST
            self._gathering = thread
            return [], _TAKE_TURN
        late = state.take(thread, now_s)
        if thread.tickets:
            thread.has_turn = False
        if thread.tickets and len(state.waiting):
            self.wake_for(now_s)
        return late, 0

    # --- computing -----------------------------------------------------------------------------

    def compute(self, slot: Slot, values: list[t.Any] | None = None) -> None:
        """Compute the batch to which a slot is assigned, on the calling thread, and deliver the
        results. If the batch is to be posted, return before the results arrive.

        Args:
            slot: the slot.
            values: the results, if they are known already.
        """
        if slot.turn is not None:
            self._post(slot)
            return
        if values is None:
            if self._device is None and self._replica.loaded:
                values = self._run(slot)
            else:
                values = self._run_when_ready(slot)
            if type(values[0]) is BegunStream:
                self._deliver_stream(slot, values.pop())
                return
        state = self._state
        following: Slot | None = None
        late: list[Ticket] = []
        with self._lock:
            now_s = monotonic()
            done = state.finish(slot, values, now_s)
            was_stuck = slot.stuck
            more_wait = state.vacate(slot, now_s) > 0
            # A `_BatchThread` takes the next batch itself.
            if more_wait and type(slot) is Slot:
                following, late = self._try_next(now_s)
        if following is not None:
            self._post(following)  # first of all, because a replica is free
        deliver(done, hurry=more_wait)
        if late:
            deliver(late)
        del values  # break a reference cycle: a failure's traceback refers to this frame
        if was_stuck:
            self._log_return(slot, now_s)

    # --- posting -------------------------------------------------------------------------------

    @property
    def _may_post(self) -> bool:
        """Whether the next batch can be posted: sent to a replica in another process, without a
        thread that waits for its results. The caller holds the queue's lock.
        """
        posts, loop, gathering = self._posts, self._loop, self._gathering
        return (
            posts is not None
            and loop is not None
            and loop.is_running
            and posts.is_possible
            and self._state.has_room
            and not self._state.closed
            # A thread that sleeps until the batch is due may be late. But one that is awake waits
            # for a replica, or looks soon.
            and (gathering is None or gathering.leaves_s != math.inf)
        )

    def _take_to_post(self, now_s: float) -> tuple[Slot | None, list[Ticket]]:
        """Take the next batch if a replica is free for it. If none is, the event loop takes it as
        soon as one is; meanwhile the batch fills.
        """
        if self._is_waiting_for_turn:
            return None, []
        posts, loop = t.cast("Posts", self._posts), t.cast("ResultLoop", self._loop)
        turn = posts.try_turn(loop)
        if turn is None:
            if posts.is_possible and posts.call_when_free(loop, self._on_free):
                self._is_waiting_for_turn = True
            else:
                self._loop = None  # until the next round: threads wait for replicas
                self.wake_for(now_s)
            return None, []
        slot = Slot(self)
        late = self._state.take(slot, now_s)
        if not slot.tickets:
            posts.return_turn(turn)
            return None, late
        slot.turn = turn
        return slot, late

    def loop_ended(self) -> None:
        """Let threads do what an event loop was to do, because it has ended. Another one may have
        followed.
        """
        with self._lock:
            if self._loop is not None and not self._loop.is_running:
                self._loop = None
            self._is_waiting_for_turn = False
        t.cast("Posts", self._posts).loop_ended()
        self._post(self._following())

    def _on_free(self) -> None:
        """Post the next batch, because a replica may be free. The event loop calls this."""
        with self._lock:
            self._is_waiting_for_turn = False
        self._post(self._following())

    def _following(self) -> Slot | None:
        """Take the next batch, if it can be posted now."""
        if not len(self._state.waiting):
            return None
        with self._lock:
            slot, late = self._try_next(monotonic()) if len(self._state.waiting) else (None, [])
        if late:
            deliver(late)
        return slot

    def _post(self, slot: Slot | None) -> None:
        """Send a batch to the replica for which it was taken, and further ones if they are due and
        replicas are free.
        """
        while slot is not None:
            self._send(slot)
            slot = self._following()

    def _send(self, slot: Slot) -> None:
        posts = t.cast("Posts", self._posts)
        turn, slot.turn = slot.turn, None
        try:
            is_sent = posts.post(turn, slot, list(map(_arguments, slot.tickets)), self._on_outcome)
        except BaseException as exc:  # noqa: BLE001  # clients must learn of any failure
            self._on_outcome(slot, exc)
        else:
            if not is_sent:
                self._on_outcome(slot, None)

    def _on_outcome(self, slot: Slot, outcome: t.Any) -> None:
        """Deliver the results of a batch that was posted. If there are none, a thread finds out
        which prediction has failed, or lets another replica compute the batch.
        """
        if type(outcome) is not list:
            again = threading.Thread(
                target=self._compute_after,
                args=(slot, outcome),
                name=f"{self._owner} again",
                daemon=True,
            )
            try:
                again.start()
                return
            except RuntimeError as exc:  # the system allows no further thread
                outcome = [exc] * len(slot.tickets)
        self.compute(slot, outcome)

    def _compute_after(self, slot: Slot, outcome: BaseException | None) -> None:
        slot.thread = get_ident()
        compute = t.cast("Posts", self._posts).compute_after(outcome)
        del outcome  # break a reference cycle: its traceback will refer to this frame
        if all(ticket.settled for ticket in slot.tickets):  # nobody waits for the results
            self.compute(slot, [None] * len(slot.tickets))
        else:
            self.compute(slot, self._run(slot, compute))

    def _run_when_ready(self, slot: Slot) -> list[t.Any]:
        """Wait for the device and load the model, then compute.

        The time before the computation does not count towards the deadline of `predict`.
        """
        device = self._device
        if device is None:
            return self._load_and_run(slot)
        with self._lock:
            self._state.hold(slot, "device")
        with device.use(slot):
            with self._lock:
                self._state.begin(slot, monotonic())
            return self._load_and_run(slot)

    def _load_and_run(self, slot: Slot) -> list[t.Any]:
        values = [None if self._replica.loaded else self._load(slot)] * len(slot.tickets)
        if values[0] is None and not all(ticket.settled for ticket in slot.tickets):
            return self._run(slot)
        try:
            return values
        finally:
            del values  # break a reference cycle: a failure's traceback refers to this frame

    def _load(self, slot: Slot) -> BaseException | None:
        """Load the model, unless it is loaded, before a batch is computed. Returns the exception if
        loading fails.
        """
        with self._lock:
            self._state.hold(slot, "model")
        try:
            with occupying(slot):  # the example may ask for predictions
                self._replica.load()
        except BaseException as exc:  # noqa: BLE001  # clients must learn of any failure
            return exc
        finally:
            with self._lock:
                self._state.begin(slot, monotonic())
        return None

    def pause(self, slot: Slot, waits_for: WaitsFor) -> None:
        """Record that a batch waits for something else, which does not count as time of
        `predict`.
        """
        with self._lock:
            self._state.hold(slot, waits_for)

    def resume(self, slot: Slot) -> None:
        """Record that a batch is computed from now on, after it has waited."""
        with self._lock:
            self._state.begin(slot, monotonic())
            if slot.limit_s < self._deadlines.wakes_s:
                self._deadlines.wake_by(slot.limit_s)

    def give_up(self, slot: Slot, started_s: float) -> bool:
        """End the computation of a batch that hangs. Returns False if it cannot be ended, because
        it is computed by this process.

        Args:
            slot: the slot of the batch.
            started_s: when the computation started, which says whether the slot has another batch
                by now.
        """
        turns = self._turns
        if turns is None:
            return False
        with self._lock:
            if slot not in self._state.computing or slot.started_s != started_s:
                return True
            now_s = monotonic()
            report = turns.give_up(slot, now_s - started_s)
            if report is None:
                slot.limit_s = now_s + _GIVE_UP_AGAIN_S
                self._deadlines.wake()
        if report is not None:
            report()
        return True

    def _run(self, slot: Slot, compute: Compute | None = None) -> list[t.Any]:
        tickets = slot.tickets
        compute = compute or self._replica.compute
        # PERF: as `occupying` does, without its 0.5 us for each batch
        ident = get_ident()
        before = COMPUTING.get(ident, ())
        COMPUTING[ident] = (slot, *before)
        try:
            if (context := tickets[0].context) is not None:
                if self._streams:
                    ticket = tickets[0]
                    is_collected = ticket.is_collected
                    return [begin(compute, context, ticket.arguments, is_collected=is_collected)]
                compute = in_context(context, compute)
            elif type(slot) is Slot:
                # On the thread of one of its callers, a batch must not see that one's `request`.
                compute = partial(t.cast("t.Any", Context().run), compute)
            batch = list(map(_arguments, tickets))
            if len(batch) == 1:
                return isolate(compute, batch)
            if self._turns is not None:  # `predict` changes the inputs in its own process only
                return isolate(compute, batch, is_wanted=lambda i: not tickets[i].settled)
            inputs = BatchInputs(tickets)
            return isolate(compute, batch, is_wanted=inputs.is_wanted, renew=inputs.renew)
        finally:
            if before:
                COMPUTING[ident] = before
            else:
                del COMPUTING[ident]

    def _log_return(self, slot: Slot, now_s: float) -> None:
        took_s = now_s - slot.started_s
        _logger.warning("%s has recovered: predict returned after %.1f s.", self._owner, took_s)

    # --- results item by item ------------------------------------------------------------------

    def _deliver_stream(self, slot: Slot, begun: BegunStream) -> None:
        """Deliver the stream now, but occupy the slot (permission to compute) until its last
        item.
        """
        writer = begun.writer
        ticket = slot.tickets[0]
        item_timeout_s = ticket.deadline_s - ticket.arrived_s
        with self._lock:
            slot.writer, slot.asker = writer, ticket.asker
            slot.limit_s = math.inf
            done = self._state.finish(slot, [begun.stream], monotonic(), ended=False)
        if not done:
            # Nobody will read the stream, because the prediction was cancelled or has expired.
            writer.abandon()
        deliver(done)
        # When the reader of a stream drops the last reference to it, the generator is ended. So
        # this frame must not keep a reference.
        del begun, done, ticket
        self._write_stream(slot, writer, item_timeout_s)

    def _write_stream(self, slot: Slot, writer: StreamWriter, item_timeout_s: float) -> None:
        ident = get_ident()
        COMPUTING[ident] = (slot,)
        failure = writer.write(
            slot,
            item_timeout_s=item_timeout_s,
            deadlines=self._deadlines,
            device=self._device,
        )
        del COMPUTING[ident]
        with self._lock:
            now_s = monotonic()
            was_stuck = slot.stuck
            if not was_stuck:  # if it was, it is counted as expired
                self._state.counts.add_outcome(_outcome_of_stream(failure))
            self._state.vacate(slot, now_s)
        writer.end(failure)
        if was_stuck:
            self._log_return(slot, now_s)

    # --- deadlocks -----------------------------------------------------------------------------

    def needs(self) -> list[Need]:
        """Return what must become free before this model can compute one more prediction.

        The module `occupied` uses this to find deadlocks.
        """
        needs = [] if self._device is None else self._device.needs()
        slots = list(self._state.computing)
        missing = len(slots) + 1 - self._concurrency
        return [*needs, Need(slots, missing)] if missing > 0 else needs

    def needs_of(self, slot: Slot) -> list[Need]:
        """Return what must become free before `slot` does, because its batch waits for the device,
        or for predictions that it has asked for.
        """
        device, needs = self._device, []
        if device is not None and slot.waits_for == "device" and device.slot is not slot:
            needs += device.needs()
        for queue in slot.asked:
            needs += queue._needs_for(slot)
        return needs

    def _needs_for(self, asker: Slot) -> list[Need]:
        """Return what must become free before this model has computed all predictions that the
        batch in the slot `asker` has asked for.
        """
        with self._lock:
            state = self._state
            needs = [Need([each]) for each in state.computing if each.computes_for(asker)]
            if any(ticket.asker is asker for ticket in state.waiting):
                needs += self.needs()
            return needs

    def loading(self) -> AbstractContextManager[Slot]:
        """Note during a `with` block that the calling thread loads the model, so that predictions
        which the model asks of itself meanwhile do not wait for ever.
        """
        outer = next(iter(slots_of_caller()), None)
        return occupying(Slot(self, thread=get_ident(), asker=outer))

    # --- on a caller's own thread --------------------------------------------------------------

    def enter(self, ticket: Ticket, *, at_once: bool = False) -> Slot | None:
        """Assign a slot (the permission to compute) to a prediction, so that the calling thread can
        compute it. Returns None if the prediction must be queued.

        Args:
            at_once: assign a slot in any case, because the prediction would wait for ever in the
                queue.
        """
        state, slot = self._state, Slot(self, thread=get_ident())
        if slots := slots_of_caller():
            ticket.asker = slots[0]
            slots[0].asked |= {self}
        with self._lock:
            must_wait = state.closed or state.is_stuck or self._device is not None
            if not at_once and (must_wait or len(state.waiting) or not state.has_room):
                return None
            state.enter(slot, ticket, monotonic())
        return slot

    def compute_nested(self, ticket: Ticket) -> None:
        """Compute and deliver a prediction on the calling thread, because it would wait for ever in
        the queue (a deadlock; see `occupied`).
        """
        if not self._streams:
            slot = self.enter(ticket, at_once=True)
            assert slot is not None
            self.compute(slot)
            return
        # This thread both produces and reads the items, so a bounded buffer would block it for
        # ever: the generator runs when the caller reads. Until then the slot is free again.
        slot = self.enter(ticket, at_once=True)
        assert slot is not None
        (value,) = self._run_when_ready(slot)
        is_stream = type(value) is BegunStream
        if is_stream:
            value = NestedStream(value, self._count_stream)
        state = self._state
        with self._lock:
            now_s = monotonic()
            done = state.finish(slot, [value], now_s, ended=not is_stream)
            if state.vacate(slot, now_s):
                self.wake_for(now_s)
        deliver(done)
        del value  # break a reference cycle: a failure's traceback refers to this frame

    def _count_stream(self, failure: BaseException | None) -> None:
        with self._lock:
            self._state.counts.add_outcome(_outcome_of_stream(failure))

    def compute_here(self, slot: Slot) -> t.Any:
        """Compute a prediction, to which the slot is assigned, on the calling thread. Returns the
        result or raises the failure.

        Unlike `compute`, this raises KeyboardInterrupt and SystemExit unchanged.
        """
        (value,) = self._run_when_ready(slot)
        failed = isinstance(value, BaseException)
        state = self._state
        with self._lock:
            now_s = monotonic()
            slot.tickets = []
            state.counts.add_results([0.0], failed=failed, took_s=now_s - slot.started_s)
            if state.vacate(slot, now_s):
                self.wake_for(now_s)
        if not failed:
            return value
        try:
            raise value
        finally:
            del value  # break a reference cycle: a failure's traceback refers to this frame


def _outcome_of_stream(failure: BaseException | None) -> int:
    """Return how a stream has ended, as a position in `OUTCOMES`."""
    if failure is None:
        return OK
    # If the client did not read the stream, this is no failure of the model.
    return CANCELLED if isinstance(failure, UnreadError) else FAILED


def deliver(tickets: list[Ticket], *, hurry: bool = False) -> None:
    """Pass predictions that have ended to their callbacks, and wake the threads that wait.

    Each callback is called once, with a list.

    The caller must not hold the queue's lock.

    Args:
        hurry: whether the next batch is due. The first of the waiting threads then wakes the
            others, so that the calling thread can compute that batch sooner.
    """
    if len(tickets) == 1 and tickets[0].lock is not None:
        tickets[0].lock.release()  # PERF: a shortcut for a single waiting thread saves 0.4 us
        return
    callback: Deliver | None = None
    group: list[Ticket] = []
    groups: dict[Deliver | None, list[Ticket]] = {None: group}
    for ticket in tickets:
        # PERF: most tickets have the same callback as the one before, so their group is not looked
        # up.
        if ticket.deliver is not callback:
            callback = ticket.deliver
            group = groups.setdefault(callback, [])
        group.append(ticket)
    waiters = groups.pop(None)
    if hurry and len(waiters) > 2 and waiters[0].wakes_others:
        # PERF: waking a thread takes 10 us or more on busy cores. To leave that to the first
        # waiting thread cuts the time between two batches of 32 predictions from 5 % to 3 % of a
        # batch's 11 ms (bench/batching.py).
        waiters[0].others = waiters[1:]
        del waiters[1:]
    for ticket in waiters:
        ticket.lock.release()
    for callback, group in groups.items():
        try:
            t.cast("Deliver", callback)(group)
        # A callback may fail, for example because its event loop is closed. This must not end the
        # thread that computes.
        except Exception:
            _logger.exception(
                "A callback failed to deliver the results of %d predictions", len(group)
            )
