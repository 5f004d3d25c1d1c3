"""`carboy models simulate` against real runs: does it predict throughput and latency?

`carboy serve` serves a fake device with an exact clock (`apps/device_app.py`), and requests are
sent at moments that are known in advance (`_openloop.py`), by chance, with several loads up to an
overload. The simulator gets the same moments and the cost that the device has by its definition.
Nothing is fitted. What the machine adds is measured and printed: how late the load generator was,
and how long batches took, divided by their nominal time. A run whose device was late by more than
3 % does not count.

The speed of the simulator itself is measured last: a million requests.

    python bench/simulate.py [--quick] [--json FILE]
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import statistics
import time
import typing as t
import urllib.request

import _measure
import _openloop
import _results
import _servers
from apps import device_app
from carboy.models.simulation.arrivals import chance, chance_arrivals
from carboy.models.simulation.costcurve import CostCurve
from carboy.models.simulation.outcome import Outcome
from carboy.models.simulation.plan import ServingPlan
from carboy.models.simulation.simulator import simulate

COST = CostCurve(device_app.FIXED_S, device_app.ITEM_S)
BATCH, QUEUE = 16, 64
LOADS = (0.3, 0.6, 0.9, 1.3)
THROUGHPUT, P99 = 0.15, 0.25  # the targets
LATE = 1.03
PREDICTED, MEASURED = "predicted", "measured"
REQUEST = (
    b"POST /device HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"Content-Length: 1\r\n\r\n7"
)
SETUPS = {
    "in the worker": {},
    "in the worker, wait 10 ms": {"wait_s": 0.01},
    "2 replicas": {"replicas": 2},
    "one at a time": {"batch": 1},
}


@dataclasses.dataclass
class Measured:
    """What a real run gave. The first twentieth is left out, as in the simulation."""

    per_s: float
    p50_s: float
    p99_s: float
    shed: float
    size: float
    device_late: float
    client_late_p99_s: float


def serve(plan: ServingPlan) -> _servers.Server:
    env = {
        "DEVICE_BATCH": str(plan.batch),
        "DEVICE_WAIT_MS": str(float(plan.wait_s) * 1e3),
        "DEVICE_QUEUE": str(plan.queue),
        "DEVICE_REPLICAS": str(plan.replicas or 0),
    }
    command = ("-m", "carboy", "--app", "apps.device_app:app", "serve", "--host", "127.0.0.1",
               "--port", "PORT", "--workers", "WORKERS", "--threads", "THREADS",
               "--access-log", "off")  # fmt: skip
    server = _servers.Server(_servers.Kind("device", command, env=env), threads=2)
    server.wait()
    return server


def counts(port: int) -> tuple[dict[int, int], float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/counts", timeout=10) as response:
        found = json.load(response)
    return {int(size): n for size, n in found["batch_sizes"].items()}, found["computed_s"]


def run(port: int, arrivals_s: t.Sequence[float]) -> Measured:
    sizes_before, before_s = counts(port)
    sent = _openloop.send(port, REQUEST, arrivals_s, connections=2 * QUEUE)
    sizes, computed_s = counts(port)
    for size, number in sizes_before.items():
        sizes[size] -= number
    nominal_s = sum(COST.of(size) * number for size, number in sizes.items())
    measured = sent[len(sent) // 20 :]
    from_s, until_s = arrivals_s[len(sent) // 20], arrivals_s[-1]
    done = [each for each in sent if each.status == 200]
    in_time = [each for each in done if from_s <= each.answered_s <= until_s]
    latencies_s = sorted(each.answered_s - each.sent_s for each in measured if each.status == 200)
    assert {each.status for each in sent} <= {200, 503}, {each.status for each in sent}
    return Measured(
        per_s=len(in_time) / (until_s - from_s),
        p50_s=statistics.median(latencies_s),
        p99_s=statistics.quantiles(latencies_s, n=100)[98],
        shed=1 - len(done) / len(sent),
        size=len(done) / max(1, sum(sizes.values())),
        device_late=(computed_s - before_s) / nominal_s,
        client_late_p99_s=statistics.quantiles([s.sent_s - s.due_s for s in sent], n=100)[98],
    )


@contextlib.contextmanager
def priority() -> t.Iterator[str]:
    """Let this process, and the servers that it starts meanwhile, run before other programs of a
    busy machine: they sleep nearly all the time. Yields what was granted, in words.
    """
    try:
        before = os.sched_getscheduler(0), os.sched_getparam(0)
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except (AttributeError, OSError):
        yield "no real-time priority (needs root on Linux): other programs delay client and server"
        return
    try:
        yield "client and server have real-time priority"
    finally:
        os.sched_setscheduler(0, *before)


def measure(record: _results.Record, rounds: int, seconds: float) -> None:
    """Add a row for each way to serve and each load: what was predicted, and what was measured."""
    late = 0
    for setup, options in SETUPS.items():
        plan = dataclasses.replace(ServingPlan(cost=COST, batch=BATCH, queue=QUEUE), **options)
        rows = {load: row_of(record, setup, load) for load in LOADS}
        server = serve(plan)
        try:
            run(server.port, [i * 0.05 for i in range(20)])  # connections, threads, caches
            for seed in range(rounds):
                for load, row in rows.items():
                    rate = load * plan.capacity_per_s
                    arrivals_s = chance_arrivals(rate, int(rate * seconds), chance(seed))
                    measured = run(server.port, arrivals_s)
                    if measured.device_late > LATE:
                        late += 1
                    else:
                        add_round(row, measured, simulate(plan, arrivals_s))
        finally:
            server.stop()
    if late:
        record.leave_out(f"{late} runs", f"their device was late by more than {LATE - 1:.0%}")


def row_of(record: _results.Record, setup: str, load: float) -> _results.Row:
    within = (("results_per_s", THROUGHPUT), ("p99_ms", P99))
    targets = [
        _results.Target(quantity, PREDICTED, MEASURED, bound, limit)
        for quantity, off in within
        for bound, limit in (("most", 1 + off), ("least", 1 - off))
    ]
    key = f"{setup.replace(',', '').replace(' ', '-')}-{load:g}"
    title = f"{setup}, load {load:g}"
    return record.row(key, title, ours=PREDICTED, targets=targets, at=load)


def add_round(row: _results.Row, measured: Measured, predicted: Outcome) -> None:
    row.add(
        PREDICTED, results_per_s=predicted.answered_per_s,
        p50_ms=predicted.latency_s(0.5) * 1e3, p99_ms=predicted.latency_s(0.99) * 1e3,
        refused=predicted.shed, batch=predicted.mean_batch,
    )  # fmt: skip
    row.add(
        MEASURED, results_per_s=measured.per_s, p50_ms=measured.p50_s * 1e3,
        p99_ms=measured.p99_s * 1e3, refused=measured.shed, batch=measured.size,
        late_ms=measured.client_late_p99_s * 1e3,
    )  # fmt: skip


# --- speed ---------------------------------------------------------------------------------------

SPEED_PLANS = {
    "batch 32, 2 replicas": (ServingPlan(cost=CostCurve(2e-3, 1e-4), batch=32, replicas=2), 0.6),
    "batch 32, wait auto": (ServingPlan(cost=CostCurve(2e-3, 1e-4), batch=32, wait_s="auto"), 0.6),
    "batch 1": (ServingPlan(cost=CostCurve(2e-3)), 0.8),
    "2 workers with HTTP, 3 replicas": (
        ServingPlan(cost=CostCurve(2e-3, 1e-4), batch=32, replicas=3, workers=2, http_s=1e-4),
        0.6,
    ),
    "overload, deadline 50 ms": (
        ServingPlan(cost=CostCurve(2e-3, 1e-4), batch=8, deadline_s=0.05),
        3.0,
    ),
}


def measure_speed(record: _results.Record, requests: int, rounds: int) -> None:
    row = record.row("speed", "simulating a million requests", ours=next(iter(SPEED_PLANS)))
    for _ in range(rounds):
        for name, (plan, load) in SPEED_PLANS.items():
            began_s = time.process_time()
            simulate(plan, chance_arrivals(load * plan.capacity_per_s, requests, chance(1)))
            row.add(name, s=(time.process_time() - began_s) * 1e6 / requests)


def main() -> None:
    options = _measure.arguments(__doc__).parse_args()
    with priority() as granted:
        how = f"fake device: {COST}, batch {BATCH}, queue {QUEUE}; {granted}"
        record = _results.Record("simulate", options, "carboy", how=how)
        measure(record, 1 if options.quick else 5, 6.0)
    if options.quick:
        measure_speed(record, 100_000, 1)
    else:
        measure_speed(record, 1_000_000, 3)
    record.close()


if __name__ == "__main__":
    main()
