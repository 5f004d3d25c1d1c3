"""The simulator forms the batches that the queue forms, whose threads see a clock of the test."""

from __future__ import annotations

import random
import threading
import typing as t

import pytest

import carboy.models.queue
import carboy.models.queue.deadlines
import carboy.models.queue.threads
from carboy.models.queue import PredictionQueue
from carboy.models.queue.ticket import Ticket
from carboy.models.simulation.costcurve import CostCurve
from carboy.models.simulation.plan import ServingPlan
from carboy.models.simulation.simulator import SimulatedBatch, simulate

pytestmark = pytest.mark.timeout(120)

COST = CostCurve(0.01, 0.001)
PATIENCE_S = 60.0


class Computing(t.NamedTuple):
    batch: SimulatedBatch
    may_end: threading.Event


class SteppedQueue:
    """A `PredictionQueue` whose threads sleep until the test moves the clock."""

    turns = posts = None
    loaded = True

    def __init__(self, plan: ServingPlan, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        self.computing: list[Computing] = []
        self.computed: list[SimulatedBatch] = []
        self._cost = plan.cost
        self._changed = threading.Condition()
        self._asleep: list[t.Any] = []
        modules = carboy.models.queue, carboy.models.queue.threads, carboy.models.queue.deadlines
        for module in modules:
            monkeypatch.setattr(module, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(carboy.models.queue.threads.WakeEvent, "wait", self._sleep)
        self._queue = PredictionQueue(
            t.cast("t.Any", self),
            owner="the model",
            batch=plan.batch,
            wait_s=plan.wait_s,
            queue=plan.queue,
            concurrency=plan.concurrency,
        )

    # --- what the threads call -----------------------------------------------------------------

    def _note(self, change: t.Callable[[], object]) -> None:
        with self._changed:
            change()
            self._changed.notify_all()

    @property
    def _sleep(self) -> t.Callable[[t.Any, float], None]:
        def sleep(event: t.Any, timeout_s: float) -> None:
            self._note(lambda: self._asleep.append(event))
            event._lock.acquire()
            self._note(lambda: self._asleep.remove(event))

        return sleep

    def compute(self, arrivals_s: list[float]) -> list[float]:
        ends_s = self.now_s + self._cost.of(len(arrivals_s))
        mine = Computing(SimulatedBatch(self.now_s, ends_s, arrivals_s), threading.Event())
        self._note(lambda: self.computing.append(mine))
        assert mine.may_end.wait(PATIENCE_S)
        return arrivals_s

    # --- what the test calls -------------------------------------------------------------------

    def run(self, arrivals_s: list[float]) -> list[SimulatedBatch]:
        waiting = list(arrivals_s)
        while waiting or not self._queue.is_idle:
            self._step(waiting)
            self._settle()
        assert self._queue.close(PATIENCE_S)
        return sorted(self.computed)

    def _step(self, waiting: list[float]) -> None:
        """Move the clock to the next event, and let it happen."""
        queue = self._queue
        gathering = queue._threads._gathering
        ending = min(self.computing, key=lambda each: each.batch.ended_s, default=None)
        ends_s = float("inf") if ending is None else ending.batch.ended_s
        leaves_s = float("inf") if gathering is None else gathering.leaves_s
        arrives_s = waiting[0] if waiting else float("inf")
        self.now_s = min(ends_s, leaves_s, arrives_s)
        if self.now_s == ends_s:
            self.computing.remove(ending)
            self.computed.append(ending.batch)
            ending.may_end.set()
        elif self.now_s == leaves_s:
            with queue._lock:
                gathering.event.set()
        else:
            waiting.pop(0)
            queue.submit_round([Ticket(arguments=arrives_s, deliver=lambda _: None)])

    def _settle(self) -> None:
        """Wait until each thread sleeps or computes."""
        threads = self._queue._threads

        def is_settled() -> bool:
            asleep = sum(not event._is_set for event in self._asleep)
            return asleep + len(self.computing) == threads._threads

        with self._changed:
            assert self._changed.wait_for(is_settled, PATIENCE_S)


@pytest.mark.parametrize("used", [0.3, 0.9, 2.0], ids=["light", "busy", "overload"])
@pytest.mark.parametrize(
    ("batch", "wait_s", "concurrency"),
    [(1, 0, 1), (8, 0, 1), (8, 0.005, 1), (8, 0.05, 2), (8, "auto", 1), (4, "auto", 3), (1, 0, 2)],
)
def test_batches_are_those_of_the_queue(batch, wait_s, concurrency, used, monkeypatch):
    plan = ServingPlan(
        cost=COST,
        batch=batch,
        wait_s=wait_s,
        concurrency=concurrency,
        queue=20,
        deadline_s=None,
    )
    chance, arrivals_s = random.Random(5), [0.0]
    for _ in range(150):
        arrivals_s.append(arrivals_s[-1] + chance.expovariate(used * plan.capacity_per_s))
    simulated: list[SimulatedBatch] = []
    simulate(plan, arrivals_s, on_batch=simulated.append)
    assert SteppedQueue(plan, monkeypatch).run(arrivals_s) == sorted(simulated)
