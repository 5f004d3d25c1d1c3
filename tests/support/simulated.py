"""Simulate one model, its queue and its clients, to measure waiting strategies without waiting."""

from __future__ import annotations

import heapq
import itertools
import random
import typing as t
from collections import deque

from carboy.models.queue.waiting import Cost

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from carboy.models.queue.waiting import Wait

    MakeWait: t.TypeAlias = cabc.Callable[[Cost, "Machine"], Wait]

# For `http`: the time that the server's thread takes to write a response and to read a request, and
# the delay with which a thread wakes that slept until a batch was due.
WRITE_S, READ_S, LATE_S = 15e-6, 15e-6, 60e-6


class Load(t.NamedTuple):
    """The load that clients generate.

    chance: random arrivals, `rate` per second.
    bursts: `rate` times per second `count` requests at once, `gap_s` apart.
    clients: `count` clients that send again `gap_s` (on average, random) after their response.
    http: clients behind a server. One thread writes the responses of a batch one after the other,
        then reads all requests that have arrived, and submits them together. Clients send again
        after
        `gap_s`, varied by up to `spread` of it; without a spread, randomly.
    """

    kind: str
    rate: float = 0.0
    count: int = 0
    gap_s: float = 0.0
    spread: float | None = None

    @property
    def closed(self) -> bool:
        return self.kind in ("clients", "http")


class Machine(t.NamedTuple):
    fixed_s: float
    per_item_s: float
    max_size: int


class Result(t.NamedTuple):
    latency_s: float  # the average time from arrival to response
    spacing_s: float  # the average time between two responses: the reciprocal of the throughput
    size: float  # the average size of a batch


def simulate(
    make_wait: MakeWait,
    machine: Machine,
    *loads: Load,
    items: int = 3000,
    warm_up: float = 0.1,
    seed: int = 1,
) -> Result:
    """Simulate the loads one after the other, and measure the last without its first part.

    The earlier loads take `items` each: they simulate a load that changes.
    """
    simulation = _Simulation(make_wait, machine, seed)
    for load in loads[:-1]:
        simulation.run(load, items, warm_up)
    return simulation.run(loads[-1], items, warm_up)


class _Simulation:
    def __init__(self, make_wait: MakeWait, machine: Machine, seed: int) -> None:
        self.cost = Cost()
        self.wait: Wait = make_wait(self.cost, machine)
        self.machine = machine
        self.random = random.Random(seed)
        self.order = itertools.count()
        self.now_s = 0.0

    def run(self, load: Load, items: int, warm_up: float) -> Result:
        self.load, self.turn = load, 0
        self.events: list[t.Any] = []
        self.queue: deque[float] = deque()
        self.computing: tuple[list[float], float] | None = None
        self.answered: list[tuple[float, float]] = []  # the time of the response, and its latency
        self.sizes: list[int] = []
        self.server = _Server(self) if load.kind == "http" else None
        self.begin(items)
        while self.events and len(self.answered) < items:
            self.now_s, _, what, arguments = heapq.heappop(self.events)
            what(*arguments)
        counted = self.answered[int(len(self.answered) * warm_up) :]
        return Result(
            latency_s=sum(took_s for _, took_s in counted) / len(counted),
            spacing_s=(counted[-1][0] - counted[0][0]) / len(counted),
            size=sum(self.sizes) / len(self.sizes),
        )

    def after(self, delay_s: float, what: cabc.Callable[..., None], *arguments: t.Any) -> None:
        heapq.heappush(self.events, (self.now_s + delay_s, next(self.order), what, arguments))

    def begin(self, items: int) -> None:
        load, count = self.load, max(1, self.load.count)
        if load.closed:
            for _ in range(count):
                self.ask_again(0.0)
            return
        begins_s = 0.0
        for _ in range(0, items, count):
            begins_s += self.random.expovariate(load.rate)
            for i in range(count):
                self.after(begins_s + i * load.gap_s, self.arrive, 1)

    def ask_again(self, answered_s: float) -> None:
        """Let a client send again, this many seconds from now."""
        gap_s, spread = self.load.gap_s, self.load.spread
        if spread is None:
            gap_s = self.random.expovariate(1 / gap_s)
        else:
            gap_s *= self.random.uniform(1 - spread, 1 + spread)
        if self.server:
            self.after(answered_s + gap_s, self.server.ask)
        else:
            self.after(answered_s + gap_s, self.arrive, 1)

    def arrive(self, count: int) -> None:
        """Submit a round: this many requests at the same moment."""
        for _ in range(count):
            self.queue.append(self.now_s)
            self.wait.arrived(self.now_s)
        self.leave()

    def look(self, turn: int) -> None:
        # else another request arrived meanwhile and the decision was made again
        if turn == self.turn:
            self.leave()

    def leave(self) -> None:
        self.turn += 1
        if self.computing or not self.queue:
            return
        waiting, now_s = len(self.queue), self.now_s
        if waiting < self.machine.max_size:
            due_s = self.wait.leaves_s(now_s, waiting=waiting, oldest_s=self.queue[0])
            if due_s > now_s + 1e-9:
                late_s = LATE_S if self.server else 0.0
                self.after(due_s - now_s + late_s, self.look, self.turn)
                return
        size = min(waiting, self.machine.max_size)
        self.computing = ([self.queue.popleft() for _ in range(size)], now_s)
        took_s = self.machine.fixed_s + self.machine.per_item_s * size
        self.after(took_s * self.random.uniform(0.97, 1.03), self.answer)

    def answer(self) -> None:
        assert self.computing
        batch, left_s = self.computing
        self.computing = None
        self.sizes.append(len(batch))
        self.cost.record(len(batch), self.now_s - left_s)
        in_flight = len(self.queue) + len(batch)
        self.wait.finished(self.now_s, size=len(batch), in_flight=in_flight)
        self.answered += [(self.now_s, self.now_s - arrived_s) for arrived_s in batch]
        if self.server:
            self.server.answer(len(batch))
        elif self.load.closed:
            for i in range(len(batch)):
                self.ask_again(i * 20e-6)
        self.leave()


class _Server:
    """The thread that reads and writes. Requests that arrive while it works wait for its next
    read.
    """

    def __init__(self, simulation: _Simulation) -> None:
        self.simulation = simulation
        self.unread = self.unwritten = 0
        self.busy = False

    def ask(self) -> None:
        self.unread += 1
        self.look()

    def answer(self, count: int) -> None:
        self.unwritten += count
        self.look()

    def look(self) -> None:
        if self.busy or not (self.unread or self.unwritten):
            return
        self.busy = True
        for i in range(self.unwritten):
            self.simulation.ask_again((i + 1) * WRITE_S)
        busy_s = self.unwritten * WRITE_S + self.unread * READ_S
        self.simulation.after(busy_s, self.offer, self.unread)
        self.unread = self.unwritten = 0

    def offer(self, count: int) -> None:
        self.busy = False
        if count:
            self.simulation.arrive(count)
        self.look()
