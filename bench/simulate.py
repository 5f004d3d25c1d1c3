"""`carboy models simulate` against real runs: does it predict throughput and latency?

`carboy serve` serves a fake device with an exact clock (`apps/device_app.py`), and requests are
sent at moments that are known in advance (`_openloop.py`), by chance, with several loads up to an
overload. The simulator gets the same moments and the cost that the device has by its definition.
Nothing is fitted. What the machine adds is measured, too: how late the load generator was, and how
long batches took, divided by their nominal time. A run whose device was late by more than 3 % does
not count.

The speed of the simulator itself is measured last, for a million requests.

    python bench/simulate.py [--quick] [--json FILE]
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
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
from carboy.models.simulation.plan import ServingPlan
from carboy.models.simulation.simulator import simulate

COST = CostCurve(device_app.FIXED_S, device_app.ITEM_S)
BATCH, QUEUE = 16, 64
LOADS = (0.3, 0.6, 0.9, 1.3)
LATE = 1.03
REQUEST = (
    b"POST /device HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"Content-Length: 1\r\n\r\n7"
)
PLAN = ServingPlan(cost=COST, batch=BATCH, queue=QUEUE)
SETUPS = {
    "worker": ("in the worker", PLAN),
    "wait": ("in the worker, wait 10 ms", dataclasses.replace(PLAN, wait_s=0.01)),
    "replicas": ("2 replicas", dataclasses.replace(PLAN, replicas=2)),
    "single": ("in the worker, one at a time", dataclasses.replace(PLAN, batch=1)),
}
TARGETS = [
    _results.Target(quantity, "predicted", "measured", bound, limit)
    for quantity, off in (("results_per_s", 0.15), ("p99_ms", 0.25))
    for bound, limit in (("least", 1 - off), ("most", 1 + off))
]


@dataclasses.dataclass
class Measured:
    """What a real run gave. The first twentieth is left out, as in the simulation."""

    per_s: float
    latencies_s: list[float]
    shed: float
    size: float
    device_late: float
    client_late_ms: float


def percentile(ordered: list[float], share: float) -> float:
    """Return the value that this share of the values does not exceed, as `Outcome.latency_s`."""
    return ordered[math.ceil(share * len(ordered)) - 1]


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
        latencies_s=latencies_s,
        shed=1 - len(done) / len(sent),
        size=len(done) / max(1, sum(sizes.values())),
        device_late=(computed_s - before_s) / nominal_s,
        client_late_ms=percentile(sorted(s.sent_s - s.due_s for s in sent), 0.99) * 1e3,
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


def compare(record: _results.Record, rounds: int, seconds: float) -> None:
    for key, (title, plan) in SETUPS.items():
        rows = {
            load: record.row(f"{key}-{load:g}", f"{title}, {load:g} of what it can compute",
                             ours="predicted", targets=TARGETS, at=load)
            for load in LOADS
        }  # fmt: skip
        server = serve(plan)
        try:
            run(server.port, [i * 0.05 for i in range(20)])  # connections, threads, caches
            for seed in range(rounds):
                for load, row in rows.items():
                    rate = load * plan.capacity_per_s
                    arrivals_s = chance_arrivals(rate, int(rate * seconds), chance(seed))
                    add(record, row, run(server.port, arrivals_s), plan, arrivals_s)
        finally:
            server.stop()


def add(
    record: _results.Record,
    row: _results.Row,
    measured: Measured,
    plan: ServingPlan,
    arrivals_s: t.Sequence[float],
) -> None:
    if measured.device_late > LATE:
        record.leave_out(row.title, f"its device took {measured.device_late:.3f} of its time")
        return
    predicted = simulate(plan, arrivals_s)
    p50_s, p99_s = (predicted.latency_s(share) for share in (0.5, 0.99))
    row.add("predicted", results_per_s=predicted.answered_per_s, p50_ms=p50_s * 1e3,
            p99_ms=p99_s * 1e3, shed=predicted.shed, batch=predicted.mean_batch)  # fmt: skip
    p50_s, p99_s = (percentile(measured.latencies_s, share) for share in (0.5, 0.99))
    row.add("measured", results_per_s=measured.per_s, p50_ms=p50_s * 1e3,
            p99_ms=p99_s * 1e3, shed=measured.shed, batch=measured.size,
            of_nominal=measured.device_late, late_ms=measured.client_late_ms)  # fmt: skip


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


def speed(record: _results.Record, requests: int) -> None:
    for i, (name, (plan, load)) in enumerate(SPEED_PLANS.items()):
        row = record.row(
            f"speed-{i}", f"simulating a million requests: {name}", ours="carboy",
            targets=[_results.Target("s", "carboy", "", "most", 10)],
        )  # fmt: skip
        cpu_s = time.process_time()
        simulate(plan, chance_arrivals(load * plan.capacity_per_s, requests, chance(1)))
        row.add("carboy", s=(time.process_time() - cpu_s) * 1e6 / requests)


def main() -> None:
    options = _measure.arguments(__doc__).parse_args()
    with priority() as granted:
        how = f"fake device: {COST}, batch {BATCH}, queue {QUEUE}; {granted}"
        record = _results.Record("simulate", options, "carboy", how=how)
        compare(record, *((1, 6.0) if options.quick else (3, 10.0)))
    speed(record, 100_000 if options.quick else 1_000_000)
    record.close()


if __name__ == "__main__":
    main()
