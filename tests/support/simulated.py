"""One model, its queue and its clients, simulated: what a wait is worth, without waiting."""

from __future__ import annotations

import heapq
import itertools
import random
import typing as t
from collections import deque

from carboy.models.pacing import Cost

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from carboy.models.pacing import Wait


class Load(t.NamedTuple):
    """Who asks. `chance`: arrivals by chance, `rate` per second. `bursts`: `rate` times per second
    `count` at once, `gap_s` apart. `clients`: `count` that ask again `gap_s` (on average) after
    they are answered."""

    kind: str
    rate: float = 0.0
    count: int = 0
    gap_s: float = 0.0


class Machine(t.NamedTuple):
    fixed_s: float
    per_item_s: float
    max_size: int


def mean_latency_s(
    make_wait: cabc.Callable[[Cost], Wait],
    machine: Machine,
    load: Load,
    *,
    items: int = 3000,
    seed: int = 1,
) -> float:
    """Seconds from arrival to answer, on average, after a tenth to warm up.

    For clients it is also the reciprocal of the throughput.
    """
    return _Simulation(make_wait, machine, load, seed).run(items)


class _Simulation:
    def __init__(self, make_wait, machine: Machine, load: Load, seed: int) -> None:
        self.cost = Cost()
        self.wait: Wait = make_wait(self.cost)
        self.machine, self.load = machine, load
        self.random = random.Random(seed)
        self.events: list[t.Any] = []
        self.order = itertools.count()
        self.queue: deque[float] = deque()
        self.computing: tuple[list[float], float] | None = None
        self.latencies: list[float] = []
        self.turn = 0

    def at(self, time_s: float, what: str, value: t.Any = None) -> None:
        heapq.heappush(self.events, (time_s, next(self.order), what, value))

    def run(self, items: int) -> float:
        self.begin(items)
        while self.events and len(self.latencies) < items:
            now_s, _, what, value = heapq.heappop(self.events)
            if what == "arrive":
                self.queue.append(now_s)
                computing = len(self.computing[0]) if self.computing else 0
                self.wait.arrived(now_s, in_flight=len(self.queue) + computing)
            elif what == "answer":
                self.answer(now_s)
            elif value != self.turn:
                continue  # somebody came meanwhile, and it was decided anew
            self.turn += 1
            self.leave(now_s)
        counted = self.latencies[len(self.latencies) // 10 :]
        return sum(counted) / len(counted)

    def begin(self, items: int) -> None:
        load, now_s = self.load, 0.0
        if load.kind == "clients":
            for _ in range(load.count):
                self.at(self.random.expovariate(1 / load.gap_s), "arrive")
            return
        for _ in range(0, items, max(1, load.count)):
            now_s += self.random.expovariate(load.rate)
            for i in range(max(1, load.count)):
                self.at(now_s + i * load.gap_s, "arrive")

    def leave(self, now_s: float) -> None:
        if self.computing or not self.queue:
            return
        waiting = len(self.queue)
        if waiting < self.machine.max_size:
            due_s = self.wait.leaves_s(now_s, waiting=waiting, oldest_s=self.queue[0])
            if due_s > now_s + 1e-9:
                self.at(due_s, "look", self.turn)
                return
        size = min(waiting, self.machine.max_size)
        self.computing = ([self.queue.popleft() for _ in range(size)], now_s)
        took_s = self.machine.fixed_s + self.machine.per_item_s * size
        self.at(now_s + took_s * self.random.uniform(0.97, 1.03), "answer")

    def answer(self, now_s: float) -> None:
        assert self.computing
        batch, left_s = self.computing
        self.computing = None
        self.cost.record(len(batch), now_s - left_s)
        self.wait.finished(now_s)
        for i, arrived_s in enumerate(batch):
            self.latencies.append(now_s - arrived_s)
            if self.load.kind == "clients":
                # Answers are sent one after the other, 20 us each.
                again_s = i * 2e-5 + self.random.expovariate(1 / self.load.gap_s)
                self.at(now_s + again_s, "arrive")
