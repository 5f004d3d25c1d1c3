"""The state of one model's queue: which predictions wait, which are computed, and how each ends.

Uses no thread and no clock: the caller holds the queue's lock and passes the time. The batcher
decides which predictions form a batch. Each ticket (queued prediction) is settled once, that is,
gets its result, its failure, or is cancelled:

    admit --> waits --> take --> is computed --> finish: result
                |                   `-- expire: 504, the result is dropped
                |-- expire: 503, was not computed
                |-- withdraw: cancelled
                `-- abandon, or all slots are stuck: 503

A slot is the permission to compute one batch: `take` and `enter` assign a slot to a batch, `vacate`
frees the slot. A slot is stuck when its batch has been computed for longer than the longest
deadline of its tickets. The time before the computation does not count: neither the time in the
queue, nor the time until the model is loaded and its device is free (`hold`, `begin`), because a
model with too many requests does not hang. While all slots are stuck, new predictions are refused.
"""

from __future__ import annotations

import dataclasses
import math
import typing as t
from bisect import bisect_left
from collections.abc import MutableSequence

from carboy.errors import (
    ClosedError,
    CrashError,
    DeadlineError,
    LoadingError,
    QueuedTooLongError,
    QueueFullError,
    StuckError,
)
from carboy.observability.bounds import BATCH_BOUNDS, PREDICTION_BOUNDS_S

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from carboy.errors import UnavailableError

    from ..replicas.replica import Turns
    from .batcher import Batcher
    from .stream import StreamWriter
    from .threads import BatchThreads
    from .ticket import Ticket

# Upper bound of the Retry-After header, in seconds: clients seldom wait longer.
_MAX_RETRY_S = 60
#: How long after its deadline a batch counts as hanging, if the process that computes it can be
#: replaced.
PATIENCE_S = 1.0
#: How a prediction may end, in the order in which `Counters.outcomes` counts them.
OUTCOMES = ("ok", "failed", "refused", "expired", "cancelled")
OK, FAILED, REFUSED, EXPIRED, CANCELLED = range(len(OUTCOMES))


class Statistics(t.NamedTuple):
    """A snapshot of one model's counts.

    `answered`: predictions that `predict` has finished, of which `failed` raised an exception.
    `refused`: rejected because the queue was full, stuck or closed. `expired`: missed their
    deadline. `cancelled`: cancelled by their clients. `batch_sizes`: number of batches by size.
    `latencies`: a histogram of waiting plus computing time; bucket i counts results up to
    `bounds_s[i]` seconds, and the last bucket counts those that took longer.
    """

    answered: int
    failed: int
    refused: int
    expired: int
    cancelled: int
    batches: int
    batch_sizes: dict[int, int]
    bounds_s: tuple[float, ...]
    latencies: tuple[int, ...]
    waited_s: float  # total waiting time of all predictions that were computed
    computed_s: float  # total computing time of all batches
    waiting: int
    computing: int
    stuck: bool


#: What a batch waits for before it is computed; empty while it is computed.
WaitsFor = t.Literal["", "model", "device", "replica"]
Numbers = MutableSequence[float]


class Counters(t.NamedTuple):
    """Numbers that only grow. They may lie in memory that another process reads, for the metrics of
    `carboy serve`.

    In a histogram, the last item is the sum of the values; each item before counts the values up to
    one of the bounds, and the last but one counts the larger values.

    Attributes:
        outcomes: how many predictions have ended, by `OUTCOMES`.
        queue_s: a histogram of how long predictions waited, by `PREDICTION_BOUNDS_S`.
        compute_s: a histogram of how long batches were computed, by `PREDICTION_BOUNDS_S`.
        sizes: a histogram of the sizes of batches, by `BATCH_BOUNDS`.
    """

    outcomes: Numbers
    queue_s: Numbers
    compute_s: Numbers
    sizes: Numbers

    @classmethod
    def new(cls) -> Counters:
        times = [0.0] * (len(PREDICTION_BOUNDS_S) + 2)
        return cls([0.0] * len(OUTCOMES), times, times[:], [0.0] * (len(BATCH_BOUNDS) + 2))

    def add_to(self, other: Counters) -> None:
        for source, target in zip(self, other, strict=True):
            for i, number in enumerate(source):
                target[i] += number


class Counts:
    """The counts of one model since it was first used. Updated once per batch."""

    __slots__ = ("answered", "batch_sizes", "counters", "latencies")

    def __init__(self) -> None:
        self.answered = 0
        self.batch_sizes: dict[int, int] = {}
        self.latencies = [0] * (len(PREDICTION_BOUNDS_S) + 1)
        self.counters = Counters.new()

    def move_to(self, counters: Counters) -> None:
        """Continue to count in other memory, which may have counted before."""
        self.counters.add_to(counters)
        self.counters = counters

    def add_outcome(self, outcome: int, number: int = 1) -> None:
        """Record how predictions have ended, by the position of the outcome in `OUTCOMES`."""
        self.counters.outcomes[outcome] += number

    def add_results(
        self, waits_s: list[float], *, failed: int, took_s: float, ended: bool = True
    ) -> None:
        """Record the results of one batch.

        Args:
            waits_s: how long each prediction waited in the queue.
            failed: how many of them raised an exception.
            took_s: how long the batch was computed.
            ended: False if the results are streams, whose outcome is recorded when they end.
        """
        self.answered += len(waits_s)
        counters = self.counters
        if ended:
            counters.outcomes[OK] += len(waits_s) - failed
            counters.outcomes[FAILED] += failed
        queue_s = counters.queue_s
        queue_s[-1] += sum(waits_s)
        latencies, last_s, bucket, wait_bucket = self.latencies, -1.0, 0, 0
        for waited_s in waits_s:
            # PERF: find the histograms' buckets once for predictions with equal times
            if waited_s != last_s:
                last_s, bucket = waited_s, bisect_left(PREDICTION_BOUNDS_S, waited_s + took_s)
                wait_bucket = bisect_left(PREDICTION_BOUNDS_S, waited_s)
            latencies[bucket] += 1
            queue_s[wait_bucket] += 1

    def copy(self, *, waiting: int, computing: int, stuck: bool) -> Statistics:
        outcomes = list(map(int, self.counters.outcomes))
        return Statistics(
            answered=self.answered,
            failed=outcomes[FAILED],
            refused=outcomes[REFUSED],
            expired=outcomes[EXPIRED],
            cancelled=outcomes[CANCELLED],
            batches=sum(self.batch_sizes.values()),
            batch_sizes=dict(sorted(self.batch_sizes.items())),
            bounds_s=PREDICTION_BOUNDS_S,
            latencies=tuple(self.latencies),
            waited_s=self.counters.queue_s[-1],
            computed_s=self.counters.compute_s[-1],
            waiting=waiting,
            computing=computing,
            stuck=stuck,
        )


@dataclasses.dataclass(slots=True, eq=False)
class Slot:
    """The permission to compute one batch, and that batch. A model has `concurrency` slots.

    Attributes:
        queue: the model's `BatchThreads`; `occupied` asks them what this slot waits for.
        tickets: the queued predictions of the batch that have no result yet.
        size: the number of predictions in the batch.
        started_s: when the computation started.
        allowed_s: how long the computation may take: the longest deadline of the batch, and a
            second more if another process computes it.
        limit_s: when the slot becomes stuck: `allowed_s` after `started_s`.
        stuck: whether `limit_s` has passed and the batch is still being computed.
        waits_for: what the batch waits for before it is computed; empty while it is computed.
        asked: the `BatchThreads` of the models that this batch's `predict` has asked for
            predictions, by which `occupied` finds deadlocks.
        asker: if the result is streamed to another `predict`, or a model is loaded in this slot for
            another `predict`: the slot in which that `predict` runs, by which `occupied` finds
            deadlocks; else None.
        thread: the identifier of the thread that computes the batch.
        writer: the writer of a result that is streamed; None otherwise.
        turn: the turn with which the batch is to be posted; see `Posts`. None if there is none, or
            the batch was posted.
    """

    queue: BatchThreads
    tickets: list[Ticket] = dataclasses.field(default_factory=list)
    size: int = 0
    started_s: float = 0.0
    allowed_s: float = math.inf
    limit_s: float = math.inf
    stuck: bool = False
    waits_for: WaitsFor = ""
    asked: frozenset[BatchThreads] = frozenset()
    asker: Slot | None = None
    thread: int = 0
    writer: StreamWriter | None = None
    turn: t.Any = None

    def computes_for(self, asker: Slot) -> bool:
        """Return whether the batch of this slot (the permission to compute it) contains a
        prediction for which the `predict` in the slot `asker` has asked, or streams the result of
        one.
        """
        if self.asker is asker:
            return True
        return any(ticket.asker is asker and not ticket.settled for ticket in self.tickets)


class QueueState:
    """The state of one queue. The constructor takes the arguments of `PredictionQueue`; callers of
    methods hold the queue's lock.
    """

    def __init__(
        self,
        batcher: Batcher[Ticket],
        counts: Counts,
        *,
        owner: str,
        deadline_s: float | None,
        concurrency: int,
        replaces_hanging: bool = False,
        turns: Turns | None = None,
        computes: bool = True,
    ) -> None:
        self.waiting = batcher
        self.computing: list[Slot] = []
        self.computing_items = 0
        self.stuck_slots = 0
        self.closed = False
        self._closed_because = ""
        self.counts = counts
        self._owner = owner
        self._deadline_s = deadline_s
        self._concurrency = concurrency
        # Whether a batch that hangs can be ended, because it is computed by another process. Its
        # predictions end at their deadlines. But the process is replaced only later, because a
        # batch that takes a little longer costs less than loading the model again.
        self._replaces_hanging = replaces_hanging
        self._patience_s = PATIENCE_S if replaces_hanging else 0.0
        self._turns = turns
        self._computes = computes
        self._slots = concurrency if computes else 0
        # The locks on which threads sleep until no prediction is left to compute, one per thread.
        self._closers: list[t.Any] = []

    # --- arriving and leaving ------------------------------------------------------------------

    def admit(self, ticket: Ticket, now_s: float, *, ignore_limit: bool) -> None:
        """Queue a prediction. Raises UnavailableError if the queue does not accept it."""
        if self.closed or self.is_stuck:
            raise self.refusal()
        if not self.waiting.offer(ticket, now_s, ignore_limit=ignore_limit):
            raise self.refusal(full=True)

    def admit_round(self, tickets: cabc.Sequence[Ticket], now_s: float) -> list[Ticket]:
        """Queue predictions up to the queue's limit. Returns the others, which were refused and
        have an error as their result.
        """
        admitted = 0
        if not self.closed and self.stuck_slots < self._concurrency:
            admitted = self.waiting.offer_round(tickets, now_s)
            if admitted == len(tickets):
                return []
        refused = list(tickets[admitted:])
        full = not (self.closed or self.is_stuck)
        for ticket in refused:
            ticket.settle(self.refusal(full=full), now_s)
        return refused

    def refusal(self, *, full: bool = False) -> UnavailableError:
        """Count one refused prediction, and return the error that says why the queue refused it."""
        self.counts.add_outcome(REFUSED)
        if self.closed:
            return ClosedError(f"{self._owner} {self._closed_because}")
        if not full:
            return StuckError(
                f"{self._owner} hangs: predict has not returned within the time of its deadline.",
                retry_after_s=_clamp_retry_s(self._deadline_s or _MAX_RETRY_S),
            )
        return QueueFullError(
            f"{self._owner} has {len(self.waiting)} predictions waiting, and its queue is full.",
            retry_after_s=self._retry_after_s(),
        )

    def withdraw(self, ticket: Ticket, value: BaseException, now_s: float) -> None:
        """End a waiting or computing prediction with an error, such as a cancellation."""
        ticket.settle(value, now_s)
        if not ticket.batch_size:
            self.waiting.withdraw()
            self.release_closers()

    def abandon(self, now_s: float) -> list[Ticket]:
        """End all waiting predictions with an error, and return them."""
        waiting = list(self.waiting)
        for ticket in waiting:
            self.withdraw(ticket, self.refusal(), now_s)
        return waiting

    def give_away(self) -> list[Ticket]:
        """Remove and return all waiting predictions, for another queue."""
        return self.waiting.take_all()

    def left_without(self, thread: int) -> list[Ticket]:
        """Return the predictions that have not ended and that this thread does not compute."""
        slots = [slot for slot in self.computing if slot.thread != thread]
        computing = [ticket for slot in slots for ticket in slot.tickets if not ticket.settled]
        return [*self.waiting, *computing]

    def fail_begun(self, error: Exception, now_s: float) -> list[Ticket]:
        """End the predictions that are being computed, and those that wait and belong to a request
        of which a part was computed. Returns them.
        """
        parts = [ticket for ticket in self.waiting if ticket.is_part_of_begun]
        computing = [each for slot in self.computing for each in slot.tickets if not each.settled]
        for ticket in (*parts, *computing):
            self.counts.add_outcome(FAILED)
            self.withdraw(ticket, error, now_s)
        return [*parts, *computing]

    def adopt(self, tickets: cabc.Sequence[Ticket], now_s: float) -> list[Ticket]:
        """Queue predictions that another queue has accepted, whatever the limit of this one.
        Returns those that were refused and have an error as their result.
        """
        refused = list(tickets) if self.closed or self.is_stuck else []
        for ticket in refused:
            ticket.settle(self.refusal(), now_s)
        for ticket in () if refused else tickets:
            self.waiting.offer(ticket, now_s, ignore_limit=True)
        return refused

    # --- computing -----------------------------------------------------------------------------

    @property
    def is_stuck(self) -> bool:
        """Whether `predict` hangs in every slot (permission to compute a batch): each batch has
        been computed for longer than its deadline.
        """
        return self.stuck_slots >= self._concurrency

    @property
    def has_room(self) -> bool:
        """Whether a slot (the permission to compute a batch) is free."""
        turns, computing = self._turns, len(self.computing)
        if turns is None:
            return computing < self._slots
        # A replica is free before its results have arrived. Until they have, it gets full batches
        # only: another one may still fill with the next predictions of those who get these results.
        slots = min(self._slots, turns.replicas)
        return computing < slots or (
            turns.sends_ahead
            and computing < 2 * slots
            and len(self.waiting) >= self.waiting.max_size
        )

    def due_s(self, now_s: float) -> float | None:
        """Return when the next batch should begin to compute; a time up to `now_s` means now; None
        if nothing waits or no slot is free.

        The result is valid until the next prediction arrives or the next slot becomes free.
        """
        return self.waiting.due_s(now_s) if self.has_room else None

    def take(self, slot: Slot, now_s: float, *, within_s: float = math.inf) -> list[Ticket]:
        """Assign the next batch to a slot (the permission to compute it). Returns the predictions
        that were left out because they would miss their deadline.

        Args:
            within_s: if given, only take a batch that is due and expected to take less time.
        """
        batch, late = self.waiting.take(now_s, within_s=within_s)
        for ticket in late:
            self._expire(ticket, now_s, begun=False)
        if batch:
            size, allowed_s = len(batch), 0.0
            for ticket in batch:
                ticket.batch_size = size
                ticket.began_s = now_s
                its_time_s = ticket.deadline_s - ticket.arrived_s
                if its_time_s > allowed_s:  # noqa: PLR1730 - PERF: `max` takes 0.1 us per ticket
                    allowed_s = its_time_s
            slot.tickets = batch
            slot.size, slot.started_s = size, now_s
            slot.allowed_s = allowed_s = allowed_s + self._patience_s
            slot.limit_s = now_s + allowed_s
            self.computing.append(slot)
            self.computing_items += size
        return late

    def enter(self, slot: Slot, ticket: Ticket, now_s: float) -> None:
        """Assign a prediction to a slot (permission to compute a batch) without queueing it, even
        if `concurrency` batches are being computed.
        """
        ticket.batch_size = 1
        ticket.began_s = now_s
        slot.tickets = [ticket]
        slot.size, slot.started_s = 1, now_s
        self.computing.append(slot)
        self.computing_items += 1

    def hold(self, slot: Slot, waits_for: WaitsFor) -> None:
        """Record that a batch, to which a slot is assigned, waits until the model is loaded, or its
        device or a replica is free.

        This time does not count towards the time that `predict` may take.
        """
        slot.waits_for = waits_for
        slot.limit_s = math.inf

    def begin(self, slot: Slot, now_s: float) -> None:
        """Record that a batch, to which a slot is assigned, is computed from now on. Before, it
        waited until the model was loaded, or its device or a replica was free.
        """
        slot.waits_for = ""
        slot.started_s = now_s
        slot.limit_s = now_s + slot.allowed_s
        for ticket in slot.tickets:
            ticket.began_s = now_s

    def finish(
        self, slot: Slot, values: list[t.Any], now_s: float, *, ended: bool = True
    ) -> list[Ticket]:
        """Give each prediction of a computed batch its result or failure. Returns these
        predictions, without those that were cancelled or had expired before.

        Args:
            ended: False if the results are streams, whose outcome is recorded when they end.
        """
        started_s = slot.started_s
        done: list[Ticket] = []
        waits_s: list[float] = []
        failed = 0
        for ticket, value in zip(slot.tickets, values, strict=True):
            if ticket.settled:
                continue
            if isinstance(value, BaseException):
                failed += 1
                value = _wrap_crash(value)  # noqa: PLW2901
            # PERF: inlines `ticket.settle`, which saves 0.1 us per prediction.
            ticket.settled = True
            ticket.value = value
            ticket.arguments = None
            ticket.ended_s = now_s
            done.append(ticket)
            waits_s.append(started_s - ticket.arrived_s)
        self.counts.add_results(waits_s, failed=failed, took_s=now_s - started_s, ended=ended)
        slot.tickets = []
        return done

    def vacate(self, slot: Slot, now_s: float) -> int:
        """Free a slot (the permission to compute a batch), record how long its batch took, and
        return how many predictions wait.
        """
        self.computing.remove(slot)
        size, took_s = slot.size, now_s - slot.started_s
        self.computing_items -= size
        slot.writer = slot.asker = None
        slot.asked = frozenset()
        if slot.stuck:
            slot.stuck = False
            self.stuck_slots -= 1
        counts = self.counts
        counts.batch_sizes[size] = counts.batch_sizes.get(size, 0) + 1
        compute_s, sizes = counts.counters.compute_s, counts.counters.sizes
        compute_s[bisect_left(PREDICTION_BOUNDS_S, took_s)] += 1
        compute_s[-1] += took_s
        sizes[bisect_left(BATCH_BOUNDS, size)] += 1
        sizes[-1] += size
        waiting = self.waiting.finished(
            now_s, size=size, took_s=took_s, computing=self.computing_items
        )
        if self._closers:
            self.release_closers()
        return waiting

    # --- deadlines -----------------------------------------------------------------------------

    def expire(self, now_s: float) -> tuple[list[Ticket], list[Slot]]:
        """End all predictions past their deadline. Returns them, and the slots whose batches have
        now been computed for longer than their deadlines. These become stuck, unless the process
        that computes them is replaced.
        """
        expired, stuck = [], []
        for ticket in list(self.waiting):
            if ticket.deadline_s <= now_s:
                self._expire(ticket, now_s, begun=False)
                self.waiting.withdraw()
                expired.append(ticket)
        for slot in self.computing:
            for ticket in slot.tickets:
                if ticket.deadline_s <= now_s and not ticket.settled:
                    self._expire(ticket, now_s, begun=not slot.waits_for)
                    expired.append(ticket)
            if slot.limit_s <= now_s and not slot.stuck:
                if self._replaces_hanging:
                    slot.limit_s = math.inf
                    stuck.append(slot)
                    continue
                slot.stuck = True
                self.stuck_slots += 1
                stuck.append(slot)
                if slot.writer is not None:
                    self.counts.add_outcome(EXPIRED)
        if self.is_stuck:
            # `predict` hangs in all slots, so waiting predictions would miss their deadlines. They
            # fail at once: if their clients retry, another worker may serve them.
            expired += self.abandon(now_s)
        self.release_closers()
        return expired, stuck

    def next_limit_s(self) -> float:
        """Return the next time at which a prediction misses its deadline or `predict` is considered
        hanging.
        """
        return min(self._limits_s(), default=math.inf)

    def _limits_s(self) -> cabc.Iterator[float]:
        for ticket in self.waiting:
            yield ticket.deadline_s
        for slot in self.computing:
            if not slot.stuck:
                yield slot.limit_s
            for ticket in slot.tickets:
                if not ticket.settled:
                    yield ticket.deadline_s

    def _expire(self, ticket: Ticket, now_s: float, *, begun: bool) -> None:
        self.counts.add_outcome(EXPIRED)
        allowed_s = ticket.deadline_s - ticket.arrived_s
        late: DeadlineError | LoadingError | QueuedTooLongError
        if begun:
            late = DeadlineError(f"{self._owner} did not answer within {allowed_s:g} s.")
        elif not self._computes or any(slot.waits_for == "model" for slot in self.computing):
            # The remaining loading time is unknown. Loading has taken up to `allowed_s` already, so
            # that is what Retry-After proposes.
            what = "loaded" if self._computes else "replaced by another version"
            late = LoadingError(
                f"{self._owner} is being {what}, which takes longer than the {allowed_s:g} s that"
                " this prediction may take. Retry the request.",
                retry_after_s=_clamp_retry_s(allowed_s),
            )
        else:
            late = QueuedTooLongError(
                f"{self._owner} was busy and could not answer within {allowed_s:g} s. The"
                " prediction was not computed.",
                retry_after_s=self._retry_after_s(),
            )
        ticket.settle(late, now_s)

    def _retry_after_s(self) -> int:
        return _clamp_retry_s(self.waiting.drain_s(concurrency=self._concurrency))

    # --- closing -------------------------------------------------------------------------------

    def close(self, closer: t.Any, because: str) -> None:
        """Refuse new predictions. When none is left to compute, release the lock `closer`, on which
        the thread that closes the model sleeps.

        Args:
            because: why they are refused, for the error; the model's name stands before it.
        """
        self.closed, self._closed_because = True, because
        self.tell_when_idle(closer)

    def tell_when_idle(self, closer: t.Any) -> None:
        """Release a lock when no prediction is left to compute."""
        self._closers.append(closer)
        self.release_closers()

    def release_closers(self) -> None:
        if self._closers and not len(self.waiting) and len(self.computing) == self.stuck_slots:
            for closer in self._closers:
                closer.release()
            self._closers.clear()


def _wrap_crash(exc: BaseException) -> Exception:
    """Wrap an exception that would end the thread or program, so that only one prediction fails."""
    if isinstance(exc, Exception):
        return exc
    crash = CrashError(f"predict raised {type(exc).__qualname__}: {exc}")
    crash.__cause__ = exc
    return crash


def _clamp_retry_s(seconds: float) -> int:
    return max(1, min(_MAX_RETRY_S, math.ceil(seconds)))
