"""The adaptive wait against no wait and the best fixed one, on simulated machines and loads."""

from __future__ import annotations

import pytest
from simulated import Load, Machine, mean_latency_s

from carboy.models.pacing import AdaptiveWait, Cost, FixedWait

# The fake GPU model of bench/, the same with small batches, one whose cost is mostly per item, a
# quick one, a slow one.
MACHINES = [
    Machine(5e-3, 2e-4, 64),
    Machine(5e-3, 2e-4, 16),
    Machine(1e-3, 1e-3, 16),
    Machine(2e-4, 5e-6, 32),
    Machine(5e-2, 1e-3, 32),
]
FIXED_S = (0, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2)


def loads_for(machine: Machine) -> list[Load]:
    size = machine.max_size
    most = size / (machine.fixed_s + machine.per_item_s * size)
    chance = [Load("chance", rate=used * most) for used in (0.05, 0.3, 0.85)]
    clients = [
        Load("clients", count=count, gap_s=gap_s)
        for count in (1, 2, 8, size, size + 4, 2 * size)
        for gap_s in (5e-5, 5e-4)
    ]
    bursts = [
        Load("bursts", rate=used * most / count, count=count, gap_s=gap_s)
        for count, gap_s in ((4, 1e-4), (size, 1e-5))
        for used in (0.1, 0.5)
    ]
    return [*chance, *clients, *bursts]


@pytest.mark.parametrize("machine", MACHINES, ids=["gpu", "small", "per-item", "quick", "slow"])
def test_auto_is_never_worse_than_no_wait_nor_5_percent_worse_than_the_best_fixed(machine):
    worse = []
    for load in loads_for(machine):
        items = 5000 if load.count == 64 else 2500  # enough batches to learn from
        auto_s = mean_latency_s(AdaptiveWait, machine, load, items=items)
        fixed = [
            mean_latency_s(lambda cost, w=wait_s: FixedWait(w), machine, load, items=items)
            for wait_s in FIXED_S
        ]
        # 2 %: two runs of one wait differ by as much, because other draws meet other queues.
        if auto_s > 1.02 * fixed[0] or auto_s > 1.05 * min(fixed):
            worse.append((load, auto_s / fixed[0], auto_s / min(fixed)))
    assert not worse


def test_clients_in_step_are_brought_into_one_batch():
    # Two that ask again at once: without a wait they alternate, and each waits for the other.
    machine, load = MACHINES[0], Load("clients", count=2, gap_s=5e-5)
    alone = mean_latency_s(lambda cost: FixedWait(0), machine, load)
    assert mean_latency_s(AdaptiveWait, machine, load) < 0.6 * alone


def test_a_lone_client_is_never_held():
    cost = Cost()
    wait = AdaptiveWait(cost)
    now_s = 0.0
    for _ in range(50):
        wait.arrived(now_s, in_flight=1)
        assert wait.leaves_s(now_s, waiting=1, oldest_s=now_s) == now_s
        now_s += 0.005
        cost.record(1, 0.005)
        wait.finished(now_s)
        now_s += 0.0001


@pytest.mark.parametrize(
    ("sizes", "fixed_s", "per_item_s"),
    [((1, 32, 8, 16), 0.005, 0.0002), ((1, 4), 0.0, 0.001), ((1, 8), 0.001, 0.0)],
    ids=["both", "per item only", "fixed only"],
)
def test_the_cost_of_a_batch_is_learnt(sizes, fixed_s, per_item_s):
    cost = Cost()
    for _ in range(100):
        for size in sizes:
            cost.record(size, fixed_s + per_item_s * size)
    assert cost.of(10) == pytest.approx(fixed_s + 10 * per_item_s, rel=0.2)


def test_the_weights_of_a_long_run_do_not_overflow():
    wait = AdaptiveWait(Cost())
    for i in range(200_000):
        wait.arrived(i * 1e-3, in_flight=2)
    assert wait.leaves_s(200.0, waiting=1, oldest_s=200.0) >= 200.0
