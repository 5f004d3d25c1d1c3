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
class Row:
    setup: str
    load: float
    measured: Measured
    predicted: Outcome

    @property
    def throughput_off(self) -> float:
        return self.predicted.answered_per_s / self.measured.per_s - 1

    @property
    def p99_off(self) -> float:
        return self.predicted.latency_s(0.99) / self.measured.p99_s - 1

    def to_dict(self) -> dict[str, t.Any]:
        return {
            "setup": self.setup,
            "load": self.load,
            "measured": dataclasses.asdict(self.measured),
            "predicted": self.predicted.to_dict(),
            "throughput_off": self.throughput_off,
            "p99_off": self.p99_off,
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


def rows(seconds: float) -> list[Row]:
    found = []
    for setup, options in SETUPS.items():
        plan = dataclasses.replace(ServingPlan(cost=COST, batch=BATCH, queue=QUEUE), **options)
        server = serve(plan)
        try:
            run(server.port, [i * 0.05 for i in range(20)])  # connections, threads, caches
            for seed, load in enumerate(LOADS):
                rate = load * plan.capacity_per_s
                arrivals_s = chance_arrivals(rate, int(rate * seconds), chance(seed))
                measured = run(server.port, arrivals_s)
                found.append(Row(setup, load, measured, simulate(plan, arrivals_s)))
        finally:
            server.stop()
    return found


def print_rows(found: list[Row]) -> None:
    head = ["served", "load", "per s", "predicted", "off", "p50 ms", "predicted", "p99 ms",
            "predicted", "off", "shed", "predicted", "batch", "predicted", "device",
            "client late ms"]  # fmt: skip
    print(_measure.table(head, [
        [
            row.setup, f"{row.load:g}",
            f"{row.measured.per_s:.0f}", f"{row.predicted.answered_per_s:.0f}",
            f"{row.throughput_off:+.0%}",
            f"{row.measured.p50_s * 1e3:.1f}", f"{row.predicted.latency_s(0.5) * 1e3:.1f}",
            f"{row.measured.p99_s * 1e3:.1f}", f"{row.predicted.latency_s(0.99) * 1e3:.1f}",
            f"{row.p99_off:+.0%}",
            f"{row.measured.shed:.1%}", f"{row.predicted.shed:.1%}",
            f"{row.measured.size:.1f}", f"{row.predicted.mean_batch:.1f}",
            f"{row.measured.device_late:.3f}", f"{row.measured.client_late_p99_s * 1e3:.1f}",
        ]
        for row in found
    ]))  # fmt: skip


def verdict(found: list[Row]) -> str:
    fair = [row for row in found if row.measured.device_late <= LATE]
    throughput = max((abs(row.throughput_off) for row in fair), default=0.0)
    p99 = max((abs(row.p99_off) for row in fair), default=0.0)
    late = len(found) - len(fair)
    return (
        f"off by at most {throughput:.0%} in throughput (target {THROUGHPUT:.0%}) and {p99:.0%} in"
        f" p99 (target {P99:.0%}), of {len(fair)} runs whose device was at most {LATE - 1:.0%}"
        f" late; {late} others do not count"
    )


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


def speed(requests: int) -> list[dict[str, t.Any]]:
    found = []
    for name, (plan, load) in SPEED_PLANS.items():
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        simulate(plan, chance_arrivals(load * plan.capacity_per_s, requests, chance(1)))
        scale = 1e6 / requests
        found.append({
            "name": name,
            "cpu_s": (time.process_time() - cpu_s) * scale,
            "wall_s": (time.perf_counter() - wall_s) * scale,
        })  # fmt: skip
    return found


def main() -> None:
    parser = _measure.arguments(__doc__)
    options = parser.parse_args()
    _measure.print_machine("carboy")
    with priority() as granted:
        print(f"fake device: {COST}, batch {BATCH}, queue {QUEUE}; {granted}\n")
        found = rows(6.0 if options.quick else 25.0)
    print_rows(found)
    print(verdict(found), "\n")
    quick = speed(100_000 if options.quick else 1_000_000)
    print(_measure.table(["simulating a million requests", "CPU s", "wall s"], [
        [each["name"], f"{each['cpu_s']:.1f}", f"{each['wall_s']:.1f}"] for each in quick
    ]))  # fmt: skip
    if options.json:
        data = [row.to_dict() for row in found]
        _measure.report_json(options.json, data, "carboy", speed=quick)


if __name__ == "__main__":
    main()
