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
import statistics
import threading
import time
import typing as t

import _measure
from carboy.models.queue.scheduler import Scheduler

FIXED_S, PER_ITEM_S = 0.005, 0.0002
TARGET = 0.95
DEADLINE_S = 30.0
WAITS: tuple[t.Any, ...] = ("auto", 0, 0.0005, 0.002, 0.005, 0.02)
CROWDS = (1, 2, 8, 64, 256)


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

    @property
    def busy(self) -> float:
        """Return the share of time spent inside predict, with batches as full as they were."""
        return self.computed_s / self.seconds

    def of_limit_slept(self, size: int) -> float:
        """Return the share of the rate of full batches, for the time that sleeping actually
        took.
        """
        nominal_s = self.batches * FIXED_S + self.answered * PER_ITEM_S
        return self.of_limit(size) * self.computed_s / nominal_s


class FakeModel:
    def __init__(self) -> None:
        self.computed_s, self.batches = 0.0, 0

    def __call__(self, items: list[t.Any]) -> list[t.Any]:
        start_s = time.perf_counter()
        time.sleep(FIXED_S + PER_ITEM_S * len(items))
        self.computed_s += time.perf_counter() - start_s
        self.batches += 1
        return items


def drive(*, clients: int, batch: int, wait_s: t.Any, seconds: float, threads: bool) -> Run:
    model = FakeModel()
    scheduler = Scheduler(
        model, owner="fake", batch=batch, wait_s=wait_s, deadline_s=DEADLINE_S, queue=clients + 1
    )
    until_s = [time.perf_counter() + 0.3]  # warm up threads, and let "auto" learn
    (_ask_by_threads if threads else _ask_by_calls)(scheduler, clients, until_s)
    before, model.computed_s, model.batches = scheduler.statistics(), 0.0, 0
    start_s = time.perf_counter()
    until_s[0] = start_s + seconds
    (_ask_by_threads if threads else _ask_by_calls)(scheduler, clients, until_s)
    took_s = time.perf_counter() - start_s
    after = scheduler.statistics()
    scheduler.close()
    answered = after.answered - before.answered
    waited_s = (after.waited_s - before.waited_s) / max(1, answered)
    return Run(answered, took_s, model.batches, model.computed_s, waited_s)


def _ask_by_threads(scheduler: Scheduler, clients: int, until_s: list[float]) -> None:
    def client() -> None:
        while time.perf_counter() < until_s[0]:
            scheduler.call(0, deadline_s=DEADLINE_S)

    running = [threading.Thread(target=client) for _ in range(clients)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def _ask_by_calls(scheduler: Scheduler, clients: int, until_s: list[float]) -> None:
    done = threading.Semaphore(0)

    def again(tickets: list[t.Any]) -> None:
        if time.perf_counter() < until_s[0]:
            for _ in tickets:
                scheduler.submit(0, on_done=again)
        else:
            done.release(len(tickets))

    for _ in range(clients):
        scheduler.submit(0, on_done=again)
    for _ in range(clients):
        done.acquire()


# --- saturated -----------------------------------------------------------------------------------


def saturated(rounds: int, seconds: float) -> list[dict[str, t.Any]]:
    cases = [
        (f"{clients} {'threads' if threads else 'calls'}, batch {batch}", clients, batch, threads)
        for clients, batch, threads in (
            (128, 32, False),
            (128, 32, True),
            (256, 64, False),
            (256, 64, True),
            (2000, 64, False),
        )
    ]
    runs: dict[str, list[Run]] = {name: [] for name, *_ in cases}
    for _ in range(rounds):
        for name, clients, batch, threads in cases:
            runs[name].append(
                drive(clients=clients, batch=batch, wait_s=0, seconds=seconds, threads=threads)
            )
    rows = []
    for name, clients, batch, _ in cases:
        mine = runs[name]
        rows.append(
            {
                "name": name,
                "clients": clients,
                "per_s": _median(run.per_s for run in mine),
                "of_limit": _median(run.of_limit(batch) for run in mine),
                "of_limit_slept": _median(run.of_limit_slept(batch) for run in mine),
                "busy": _median(run.busy for run in mine),
                "size": _median(run.size for run in mine),
                "waited_ms": _median(run.waited_s * 1000 for run in mine),
            }
        )
    return rows


# --- auto against fixed --------------------------------------------------------------------------


def waits(rounds: int, seconds: float) -> list[dict[str, t.Any]]:
    rows = []
    for clients in CROWDS:
        runs: dict[t.Any, list[Run]] = {wait: [] for wait in WAITS}
        for turn in range(rounds):
            for wait in (*WAITS[turn % len(WAITS) :], *WAITS[: turn % len(WAITS)]):
                runs[wait].append(
                    drive(clients=clients, batch=64, wait_s=wait, seconds=seconds, threads=True)
                )
        best = max(
            (w for w in WAITS if w != "auto"), key=lambda w: _median(r.per_s for r in runs[w])
        )
        rows.append(
            {
                "clients": clients,
                "auto_per_s": _median(run.per_s for run in runs["auto"]),
                "auto_size": _median(run.size for run in runs["auto"]),
                "zero_size": _median(run.size for run in runs[0]),
                "vs_zero": _ratio(runs["auto"], runs[0]),
                "best_ms": best * 1000,
                "vs_best": _ratio(runs["auto"], runs[best]),
            }
        )
    return rows


# --- one at a time -------------------------------------------------------------------------------


def hand_over(rounds: int) -> list[dict[str, t.Any]]:
    """Measure the wall time from submitting to the result, for a model that does nothing."""
    scheduler = Scheduler(lambda items: items, owner="nothing", deadline_s=DEADLINE_S)
    executor = concurrent.futures.ThreadPoolExecutor(1)
    ways = {
        "on the caller's own thread": lambda: scheduler.call(0),
        "handed to the worker": lambda: scheduler.call(0, deadline_s=DEADLINE_S),
        "ThreadPoolExecutor(1), to compare": lambda: executor.submit(int).result(DEADLINE_S),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            for _ in range(100):
                way()
            start_s = time.perf_counter()
            for _ in range(1000):
                way()
            taken[name].append((time.perf_counter() - start_s) * 1000)
    executor.shutdown()
    scheduler.close()
    return [
        {"name": name, "us": _median(each), "least_us": min(each)} for name, each in taken.items()
    ]


def _median(values: t.Iterable[float]) -> float:
    return statistics.median(values)


def _ratio(mine: list[Run], theirs: list[Run]) -> float:
    return _median(a.per_s / b.per_s for a, b in zip(mine, theirs, strict=True))


def main() -> None:
    parser = _measure.arguments(__doc__)
    options = parser.parse_args()
    rounds, seconds = (3, 0.4) if options.quick else (7, 1.5)
    _measure.print_machine("carboy")
    print(f"fake model: time.sleep({FIXED_S * 1e3:g} ms + {PER_ITEM_S * 1e3:g} ms per item)\n")

    full = saturated(rounds, seconds)
    print(
        _measure.table(
            ["saturated", "per s", "of limit", "of limit slept", "in predict", "batch", "wait ms"],
            [
                [
                    *(row["name"], f"{row['per_s']:.0f}", f"{row['of_limit']:.3f}"),
                    *(f"{row['of_limit_slept']:.3f}", f"{row['busy']:.3f}"),
                    *(f"{row['size']:.1f}", f"{row['waited_ms']:.1f}"),
                ]
                for row in full
            ],
        )
    )
    print(f"target: of limit >= {TARGET}\n")

    auto = waits(rounds, seconds)
    print(
        _measure.table(
            [
                *("threads, batch 64", "auto per s", "batch", "batch at 0"),
                *("auto / 0", "best fixed ms", "auto / best"),
            ],
            [
                [
                    *(str(row["clients"]), f"{row['auto_per_s']:.0f}", f"{row['auto_size']:.1f}"),
                    *(f"{row['zero_size']:.1f}", f"{row['vs_zero']:.2f}"),
                    *(f"{row['best_ms']:g}", f"{row['vs_best']:.3f}"),
                ]
                for row in auto
            ],
        )
    )
    print("target: auto / 0 >= 1, auto / best >= 0.95\n")

    one = hand_over(rounds * 3)
    print(
        _measure.table(
            ["one at a time", "us", "least"],
            [[row["name"], f"{row['us']:.1f}", f"{row['least_us']:.1f}"] for row in one],
        )
    )
    if options.json:
        _measure.report_json(options.json, {"saturated": full, "waits": auto, "one": one}, "carboy")


if __name__ == "__main__":
    main()
