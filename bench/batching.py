"""The queue alone: compared with the arithmetic limit, and "auto" compared with fixed waits.

The model is fake: `time.sleep(a + b * n)` for a batch of n, which releases the GIL like a GPU call.
With
enough clients to fill each batch, no batcher can give more than `size / (a + b * size)` results per
second, since predict would have to be called again at the moment it returns. A sleep returns late,
especially on a busy machine, which is not the batcher's fault; so the limit is given twice, by the
formula and by the time actually spent inside predict.

Clients send again as soon as they have their result, each from its own thread, or by a callback
from the
worker thread, as an event loop would be notified (no thread per client).

    python bench/batching.py [--quick] [--json FILE]
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import threading
import time
import typing as t

import _measure
import _results
from carboy.models.queue import PredictionQueue

FIXED_S, PER_ITEM_S = 0.005, 0.0002
TARGET = 0.95
DEADLINE_S = 30.0
WAITS: tuple[t.Any, ...] = ("auto", 0, 0.0005, 0.002, 0.005, 0.02)
CROWDS = (1, 2, 8, 64, 256)
# Clients, the largest batch, and whether each client is a thread.
SATURATED = (
    (128, 32, False),
    (128, 32, True),
    (256, 64, False),
    (256, 64, True),
    (2000, 64, False),
)


@dataclasses.dataclass
class Run:
    """The results of one period of load."""

    answered: int
    seconds: float
    batches: int
    computed_s: float
    waited_s: float

    @property
    def per_s(self) -> float:
        return self.answered / self.seconds

    @property
    def size(self) -> float:
        return self.answered / max(1, self.batches)

    def of_limit(self, size: int) -> float:
        """Return the share of the limit by the formula."""
        return self.per_s * (FIXED_S + PER_ITEM_S * size) / size

    def of_limit_slept(self, size: int) -> float:
        """Return the share of the rate of full batches, for the time that sleeping actually
        took.
        """
        nominal_s = self.batches * FIXED_S + self.answered * PER_ITEM_S
        return self.of_limit(size) * self.computed_s / nominal_s


class FakeReplica:
    loaded = True
    turns = None

    def __init__(self) -> None:
        self.computed_s, self.batches = 0.0, 0

    def load(self) -> None: ...

    def close(self) -> None: ...

    def compute(self, items: list[t.Any]) -> list[t.Any]:
        start_s = time.perf_counter()
        time.sleep(FIXED_S + PER_ITEM_S * len(items))
        self.computed_s += time.perf_counter() - start_s
        self.batches += 1
        return items


def drive(*, clients: int, batch: int, wait_s: t.Any, seconds: float, threads: bool) -> Run:
    model = FakeReplica()
    queue = PredictionQueue(
        model, owner="fake", batch=batch, wait_s=wait_s, deadline_s=DEADLINE_S, queue=clients + 1
    )
    until_s = [time.perf_counter() + 0.3]  # warm up threads, and let "auto" learn
    (_ask_by_threads if threads else _ask_by_calls)(queue, clients, until_s)
    before, model.computed_s, model.batches = queue.statistics(), 0.0, 0
    start_s = time.perf_counter()
    until_s[0] = start_s + seconds
    (_ask_by_threads if threads else _ask_by_calls)(queue, clients, until_s)
    took_s = time.perf_counter() - start_s
    after = queue.statistics()
    queue.close()
    answered = after.answered - before.answered
    waited_s = (after.waited_s - before.waited_s) / max(1, answered)
    return Run(answered, took_s, model.batches, model.computed_s, waited_s)


def _ask_by_threads(queue: PredictionQueue, clients: int, until_s: list[float]) -> None:
    def client() -> None:
        while time.perf_counter() < until_s[0]:
            queue.run(0, deadline_s=DEADLINE_S)

    running = [threading.Thread(target=client) for _ in range(clients)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def _ask_by_calls(queue: PredictionQueue, clients: int, until_s: list[float]) -> None:
    done = threading.Semaphore(0)

    def again(tickets: list[t.Any]) -> None:
        if time.perf_counter() < until_s[0]:
            for _ in tickets:
                queue.submit(0, deliver=again)
        else:
            done.release(len(tickets))

    for _ in range(clients):
        queue.submit(0, deliver=again)
    for _ in range(clients):
        done.acquire()


# --- saturated -----------------------------------------------------------------------------------


def saturated(record: _results.Record, rounds: int, seconds: float) -> None:
    for clients, batch, threads in SATURATED:
        who = "threads" if threads else "calls"
        name = f"{clients} {who}, batches of {batch}"
        row = record.row(
            f"saturated-{clients}-{who}", f"saturated: {name}", ours="carboy", at=clients,
            targets=[_results.Target("of_limit", "carboy", "", "least", TARGET)],
        )  # fmt: skip
        for _ in range(rounds):
            run = drive(clients=clients, batch=batch, wait_s=0, seconds=seconds, threads=threads)
            row.add("carboy", of_limit=run.of_limit(batch), results_per_s=run.per_s,
                    batch=run.size, ms=run.waited_s * 1000)  # fmt: skip
            row.add("the limit by the sleeps", of_limit=run.of_limit_slept(batch))


# --- auto against fixed --------------------------------------------------------------------------


def waits(record: _results.Record, rounds: int, seconds: float) -> None:
    """Compare "auto" with fixed waits, the best of which is not known beforehand."""
    for clients in CROWDS:
        row = record.row(
            f"waits-{clients}", f"{clients} threads, batches of 64", ours="auto", at=clients,
            targets=[_results.Target("results_per_s", "auto", _wait_name(wait), "least", 0.95)
                     for wait in WAITS if wait != "auto"],
        )  # fmt: skip
        for turn in range(rounds):
            for wait in (*WAITS[turn % len(WAITS) :], *WAITS[: turn % len(WAITS)]):
                run = drive(clients=clients, batch=64, wait_s=wait, seconds=seconds, threads=True)
                row.add(_wait_name(wait), results_per_s=run.per_s, batch=run.size)


def _wait_name(wait: t.Any) -> str:
    return wait if isinstance(wait, str) else f"{wait * 1000:g} ms"


# --- one at a time -------------------------------------------------------------------------------


def hand_over(record: _results.Record, rounds: int) -> None:
    """Measure the wall time from submitting to the result, for a model that does nothing."""
    replica = FakeReplica()
    replica.compute = lambda items: items  # type: ignore[method-assign]
    queue = PredictionQueue(replica, owner="nothing", deadline_s=DEADLINE_S)
    executor = concurrent.futures.ThreadPoolExecutor(1)
    ways = {
        "handed to the worker": lambda: queue.run(0, deadline_s=DEADLINE_S),
        "on the caller's own thread": lambda: queue.run(0),
        "ThreadPoolExecutor(1)": lambda: executor.submit(int).result(DEADLINE_S),
    }
    row = record.row("one", "one at a time", ours="handed to the worker")
    for _ in range(rounds):
        for name, way in ways.items():
            for _ in range(100):
                way()
            start_s = time.perf_counter()
            for _ in range(1000):
                way()
            row.add(name, us=(time.perf_counter() - start_s) * 1000)
    executor.shutdown()
    queue.close()


def main() -> None:
    options = _measure.arguments(__doc__).parse_args()
    rounds, seconds = (1, 0.4) if options.quick else (7, 1.5)
    how = f"time.sleep({FIXED_S * 1e3:g} ms + {PER_ITEM_S * 1e3:g} ms per item), in process"
    record = _results.Record("batching", options, "carboy", how=how)
    saturated(record, rounds, seconds)
    waits(record, rounds, seconds)
    hand_over(record, rounds * 3)
    record.close()


if __name__ == "__main__":
    main()
