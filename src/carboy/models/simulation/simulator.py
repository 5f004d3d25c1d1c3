"""The simulator: moves a virtual clock from event to event, and passes the time to the queues."""

from __future__ import annotations

import math
import typing as t
from array import array
from collections import Counter, deque
from heapq import heappop, heappush

from ..queue.batcher import Batcher
from ..queue.state import EXPIRED, OK, REFUSED, Counts, QueueState, Slot
from ..queue.ticket import Ticket
from .arrivals import chance
from .outcome import Outcome

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from .plan import ServingPlan

# The share of the requests that are not measured, while the queue fills.
_WARM_UP = 1 / 20
# Expired predictions are looked for at most this often within a deadline. The thread of the queue
# wakes for each of them, and the simulation of an overload would take minutes.
_LOOKS_PER_DEADLINE = 50


class SimulatedBatch(t.NamedTuple):
    """A batch of a simulation.

    Attributes:
        began_s: when `predict` was called.
        ended_s: when it returned.
        arrivals_s: when the requests of the batch had come into the queue.
    """

    began_s: float
    ended_s: float
    arrivals_s: list[float]


def simulate(
    plan: ServingPlan,
    arrivals_s: cabc.Sequence[float],
    *,
    seed: int = 1,
    on_batch: cabc.Callable[[SimulatedBatch], object] | None = None,
) -> Outcome:
    """Simulate how a model is served; returns what has become of the requests.

    Args:
        plan: how the model is served.
        arrivals_s: when requests arrive, in seconds, in ascending order; at least one.
        seed: decides which worker gets which request, if there are several.
        on_batch: called with each batch, when it is computed.
    """
    return _Simulator(plan, arrivals_s, seed, on_batch).run()


class _Simulator:
    """One simulation. Whatever happens is an event: a time, a serial number, a function and its
    argument. Arrivals are no events, because they are in order already.
    """

    def __init__(
        self,
        plan: ServingPlan,
        arrivals_s: cabc.Sequence[float],
        seed: int,
        on_batch: cabc.Callable[[SimulatedBatch], object] | None,
    ) -> None:
        self.plan = plan
        self.on_batch = on_batch
        self._arrivals_s = arrivals_s
        self._random = chance(seed)
        self._events: list[tuple[float, int, cabc.Callable[[float, t.Any], None], t.Any]] = []
        self._serial = 0
        self._workers = [_SimulatedWorker(self, plan) for _ in range(plan.workers)]
        #: Replicas that wait for a batch, and workers whose batches wait for a replica.
        self._free = math.inf if plan.replicas is None else plan.replicas
        self._turns: deque[_SimulatedWorker] = deque()
        count = len(arrivals_s)
        #: The part of the time that is measured.
        self.from_s, self.until_s = arrivals_s[int(count * _WARM_UP)], arrivals_s[-1]
        self.latencies_s = array("d")
        self.measured = 0
        self.computed_s = self.web_s = 0.0

    def run(self) -> Outcome:
        events, now_s = self._events, 0.0
        first, *others = (worker.arrive for worker in self._workers)
        arrive_at = (first, *others)
        choose = self._random.choice
        for at_s in self._arrivals_s:
            while events and events[0][0] <= at_s:
                now_s, _, happen, what = heappop(events)
                happen(now_s, what)
            if others:
                choose(arrive_at)(at_s)
            else:
                first(at_s)
        while events:
            now_s, _, happen, what = heappop(events)
            happen(now_s, what)
        return self._outcome(max(now_s, self.until_s))

    def at(
        self, time_s: float, happen: cabc.Callable[[float, t.Any], None], what: t.Any = None
    ) -> None:
        """Call a function with the time, when it has come, and with an argument."""
        self._serial = serial = self._serial + 1
        heappush(self._events, (time_s, serial, happen, what))

    # --- replicas ------------------------------------------------------------------------------

    def take_turn(self, worker: _SimulatedWorker) -> bool:
        """Give a free replica to a worker; returns False if it must wait for one."""
        if self._free:
            self._free -= 1
            return True
        if worker not in self._turns:
            self._turns.append(worker)
        return False

    def give_turn(self, now_s: float) -> None:
        """Give a replica that has become free to the worker that has waited longest."""
        self._free += 1
        while self._free and self._turns:
            self._turns.popleft().look(now_s)

    # --- the end -------------------------------------------------------------------------------

    def _outcome(self, end_s: float) -> Outcome:
        plan, measured_s = self.plan, self.until_s - self.from_s
        counts = [worker.counts for worker in self._workers]
        sizes: Counter[int] = Counter()
        for each in counts:
            sizes.update(each.batch_sizes)
        ended = [int(sum(each.counters.outcomes[how] for each in counts)) for how in range(5)]
        offered = len(self._arrivals_s) - int(len(self._arrivals_s) * _WARM_UP) - 1

        def per_s(number: float) -> float:
            return number / measured_s if measured_s else 0.0

        return Outcome(
            arrived=len(self._arrivals_s),
            answered=ended[OK],
            refused=ended[REFUSED],
            expired=ended[EXPIRED],
            offered_per_s=per_s(offered),
            answered_per_s=per_s(self.measured),
            latencies_s=sorted(self.latencies_s),
            batch_sizes=dict(sizes),
            busy=per_s(self.computed_s) / plan.parallel,
            web_busy=per_s(self.web_s) / plan.workers,
            simulated_s=end_s,
        )

    def overlap_s(self, from_s: float, until_s: float) -> float:
        """Return how much of a time is in the part that is measured."""
        return max(0.0, min(until_s, self.until_s) - max(from_s, self.from_s))


class _SimulatedWorker:
    """A web worker: the thread that reads and answers requests, and the queue of the model.

    A ticket (queued prediction) has the time at which its request arrived as its argument, and as
    its result.
    """

    def __init__(self, simulator: _Simulator, plan: ServingPlan) -> None:
        self._simulator = simulator
        self._cost = plan.cost
        self._http_s = plan.http_s / 2
        self._shares_replicas = plan.replicas is not None
        self._deadline_s = math.inf if plan.deadline_s is None else plan.deadline_s
        self._patience_s = self._deadline_s / _LOOKS_PER_DEADLINE
        self.counts = Counts()
        self._state = QueueState(
            Batcher(max_size=plan.batch, wait_s=plan.wait_s, max_waiting=plan.queue),
            self.counts,
            owner="the model",
            deadline_s=plan.deadline_s,
            concurrency=plan.concurrency if plan.replicas is None else plan.replicas,
            replaces_hanging=self._shares_replicas,
        )
        self._slots: list[Slot] = []
        # When the next batch is due, and when the next deadline passes, as far as events will come.
        self._look_s = self._limit_s = math.inf
        self._is_busy = False
        self._unread: list[float] = []
        self._unsent: list[Ticket] = []

    # --- HTTP ----------------------------------------------------------------------------------

    def arrive(self, at_s: float) -> None:
        """Let a request arrive."""
        if self._http_s:
            self._unread.append(at_s)
            if not self._is_busy:
                self._serve(at_s)
            return
        self._submit(
            [Ticket(arguments=at_s, arrived_s=at_s, deadline_s=at_s + self._deadline_s)], at_s
        )

    def _serve(self, now_s: float) -> None:
        """Answer what has ended, then read what has arrived: one round of the leading thread."""
        if not (self._unread or self._unsent):
            return
        simulator, http_s, sent_s = self._simulator, self._http_s, now_s
        for ticket in self._unsent:
            sent_s += http_s
            if type(ticket.value) is float:
                self._record(sent_s, [ticket.value])
        self._unsent = []
        read, self._unread = self._unread, []
        end_s = sent_s + http_s * len(read)
        simulator.web_s += simulator.overlap_s(now_s, end_s)
        self._is_busy = True
        simulator.at(end_s, self._end_round, read)

    def _end_round(self, now_s: float, read: list[float]) -> None:
        self._is_busy = False
        if read:
            deadline_s = now_s + self._deadline_s
            self._submit(
                [Ticket(arguments=at_s, arrived_s=now_s, deadline_s=deadline_s) for at_s in read],
                now_s,
            )
        if not self._is_busy:
            self._serve(now_s)

    def _respond(self, ended: list[Ticket], now_s: float) -> None:
        """Send results and failures."""
        if self._http_s:
            self._unsent += ended
            if not self._is_busy:
                self._serve(now_s)
            return
        self._record(now_s, [each.value for each in ended if type(each.value) is float])

    def _record(self, now_s: float, arrivals_s: list[float]) -> None:
        simulator = self._simulator
        from_s = simulator.from_s
        if from_s <= now_s <= simulator.until_s:
            simulator.measured += len(arrivals_s)
        simulator.latencies_s.extend([now_s - each for each in arrivals_s if each >= from_s])

    # --- the queue -----------------------------------------------------------------------------

    def _submit(self, tickets: list[Ticket], now_s: float) -> None:
        """Queue predictions, as `PredictionQueue.submit_round` does."""
        refused = self._state.admit_round(tickets, now_s)
        if (limit_s := tickets[0].deadline_s) < self._limit_s:
            self._limit_s = limit_s
            self._simulator.at(limit_s, self._expire)
        self.look(now_s)
        if refused:
            self._respond(refused, now_s)

    def _look_again(self, now_s: float, _: None) -> None:
        if now_s == self._look_s:  # else a batch has left earlier than was planned
            self._look_s = math.inf
            self.look(now_s)

    def look(self, now_s: float) -> None:
        """Take the batches that are due, as the threads of the queue do (`BatchThreads`)."""
        state, simulator = self._state, self._simulator
        while (due_s := state.due_s(now_s)) is not None:
            if due_s > now_s:
                if due_s < self._look_s:
                    self._look_s = due_s
                    simulator.at(due_s, self._look_again)
                return
            if self._shares_replicas and not simulator.take_turn(self):
                return
            self._look_s = math.inf
            self._take(now_s)

    def _take(self, now_s: float) -> None:
        slot = self._slots.pop() if self._slots else Slot(t.cast("t.Any", None))
        late = self._state.take(slot, now_s)
        if slot.tickets:
            took_s = self._cost.of(slot.size)
            self._simulator.computed_s += self._simulator.overlap_s(now_s, now_s + took_s)
            self._simulator.at(now_s + took_s, self._finish, slot)
        else:
            self._slots.append(slot)
            if self._shares_replicas:
                self._simulator.give_turn(now_s)
        if late:
            self._respond(late, now_s)

    def _finish(self, now_s: float, slot: Slot) -> None:
        state, on_batch = self._state, self._simulator.on_batch
        if on_batch is not None:
            arrivals_s = [each.arrived_s for each in slot.tickets]
            on_batch(SimulatedBatch(slot.started_s, now_s, arrivals_s))
        done = state.finish(slot, [each.arguments for each in slot.tickets], now_s)
        state.vacate(slot, now_s)
        self._slots.append(slot)
        self._respond(done, now_s)
        if self._shares_replicas:
            self._simulator.give_turn(now_s)
        self.look(now_s)

    def _expire(self, now_s: float, _: None) -> None:
        """End what has missed its deadline, as the queue's `DeadlineThread` does."""
        if now_s != self._limit_s:
            return
        expired, _stuck = self._state.expire(now_s)
        limit_s = self._state.next_limit_s()
        self._limit_s = limit_s = max(limit_s, now_s + self._patience_s)
        if limit_s != math.inf:
            self._simulator.at(limit_s, self._expire)
        if expired:
            self._respond(expired, now_s)
