"""Everything at once: callers who come, wait, cancel, miss their deadlines, read or leave.

Whatever the order, each prediction is settled once with its own answer or a refusal, and nothing
stays behind. A short run is part of the suite; `make stress` runs the long ones.
"""

from __future__ import annotations

import gc
import random
import threading
import time
import typing as t
import weakref

import pytest
from polling import PATIENCE_S

from carboy.errors import CancelledError, DeadlineError, UnavailableError
from carboy.models.collection import Model
from carboy.models.options import Options
from carboy.models.queue import PredictionQueue, threads
from replicas import FunctionReplica

REFUSALS = (CancelledError, DeadlineError, UnavailableError)
LONG = pytest.param(150, marks=pytest.mark.stress, id="long")
SHORT = pytest.param(4, id="short")


class Item:
    """An input of which one can see that nobody holds it any more."""

    def __init__(self, number: int) -> None:
        self.number = number


class Chaos:
    """Callers of one queue, each on a thread, each with its own dice."""

    def __init__(self, queue: PredictionQueue) -> None:
        self.queue = queue
        self.settled: dict[int, int] = {}
        self.wrong: list[object] = []
        self.items: weakref.WeakSet[Item] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._asked = 0

    def deliver(self, tickets: list[t.Any]) -> None:
        with self._lock:
            for ticket in tickets:
                self.settled[id(ticket)] = self.settled.get(id(ticket), 0) + 1

    def call(self, dice: random.Random, kept: list[t.Any]) -> None:
        number = dice.randrange(1000)
        item = Item(number)
        self.items.add(item)
        deadline_s = dice.choice([None, 0.0005, 0.005, PATIENCE_S])
        way = dice.randrange(4)
        try:
            if way == 0:
                self.expect(number, self.queue.run(item, deadline_s=deadline_s))
            elif way == 1:
                ticket = self.queue.submit_and_wait(item, deadline_s=deadline_s)
                self.expect(number, ticket.result())
            else:
                ticket = self.queue.submit(item, deadline_s=deadline_s, deliver=self.deliver)
                kept.append((number, ticket))
                if way == 2:
                    self.queue.cancel(ticket)
        except (*REFUSALS, KeyError):  # the model's own, of every tenth and whom it took along
            pass

    def expect(self, wanted: object, got: object) -> None:
        if wanted != got:
            self.wrong.append((wanted, got))

    def run(self, *, threads: int, calls: int, seed: int) -> list[t.Any]:
        kept: list[list[t.Any]] = [[] for _ in range(threads)]

        def caller(i: int) -> None:
            dice = random.Random(seed * 100 + i)
            for _ in range(calls):
                self.call(dice, kept[i])

        running = [threading.Thread(target=caller, args=(i,)) for i in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join(PATIENCE_S)
        return [each for those in kept for each in those]


def predict(items: list[Item]) -> list[int]:
    for item in items:
        if item.number % 10 == 0:
            raise KeyError(0)
    if items[0].number % 7 == 0:
        time.sleep(0.0005)
    return [item.number for item in items]


@pytest.mark.parametrize("turns", [SHORT, LONG])
@pytest.mark.parametrize(
    "options",
    [
        {"batch": 1},
        {"batch": 8},
        {"batch": 8, "wait_s": "auto", "concurrency": 2},
        {"batch": 4, "wait_s": 0.001, "queue": 6, "concurrency": 3},
    ],
    ids=["single", "batched", "auto, two", "waiting, full, three"],
)
def test_each_ticket_is_settled_once_and_freed(monkeypatch, turns, options):
    monkeypatch.setattr(threads, "IDLE_S", 0.01)
    queue = PredictionQueue(FunctionReplica(predict), owner="chaos", **options)
    for seed in range(turns):
        chaos = Chaos(queue)
        kept = chaos.run(threads=6, calls=25, seed=seed)
        end_s = time.monotonic() + PATIENCE_S
        while not all(ticket.settled for _, ticket in kept) or len(chaos.settled) < len(kept):
            assert time.monotonic() < end_s
        assert set(chaos.settled.values()) <= {1}
        ticket = None
        for number, ticket in kept:
            if not isinstance(ticket.value, (*REFUSALS, KeyError)):
                assert ticket.value == number
        assert not chaos.wrong
        del kept, ticket  # its failure knows the frames of `predict`, and they the batch
    queue.close(PATIENCE_S)  # False where one that missed its deadline computes still
    while queue.statistics().computing:
        assert time.monotonic() < end_s
    assert queue.statistics().waiting == 0
    for thread in threading.enumerate():
        if thread.name.startswith("chaos"):
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
    while chaos.items:  # once is not enough while another thread collects
        assert time.monotonic() < end_s + PATIENCE_S
        gc.collect()


@pytest.mark.parametrize("turns", [SHORT, LONG])
def test_streams_that_are_read_closed_or_dropped_free_their_slots(turns):
    inside: list[int] = []
    most: list[int] = []
    opened, closed = [], []

    def story(n: int) -> t.Iterator[int]:
        opened.append(n)
        inside.append(n)
        try:
            for i in range(n):
                most.append(len(inside))
                yield i
                if i == 97:
                    raise KeyError(n)
        finally:
            inside.pop()
            closed.append(n)

    model = Model("m", "/m", story, Options(concurrency=2))
    wrong: list[object] = []

    def reader(seed: int) -> None:
        dice = random.Random(seed)
        for _ in range(20):
            n, stop = dice.randrange(120), dice.randrange(150)
            got = []
            try:
                stream = model.queue.submit_and_wait(
                    {"n": n}, deadline_s=dice.choice([0.002, None])
                ).result()
                for item in stream:
                    got.append(item)
                    if item == stop:
                        break
                if dice.random() < 0.5:
                    stream.close()
            except (*REFUSALS, KeyError):
                pass
            stream = None  # forgotten
            if got != list(range(len(got))):
                wrong.append(got)

    for turn in range(turns):
        threads = [threading.Thread(target=reader, args=(turn * 10 + i,)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert model.close(PATIENCE_S)
    assert not wrong
    assert max(most) <= 2
    assert sorted(opened) == sorted(closed)
