"""The simulator: nothing is lost, the order is kept, and batches are those of the queue."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.models.simulation.arrivals import chance, chance_arrivals
from carboy.models.simulation.costcurve import CostCurve
from carboy.models.simulation.plan import ServingPlan
from carboy.models.simulation.simulator import SimulatedBatch, simulate

COST = CostCurve(0.01, 0.001)

plans = st.builds(
    ServingPlan,
    cost=st.builds(
        CostCurve,
        st.floats(1e-4, 0.5, allow_subnormal=False),
        st.sampled_from([0.0, 1e-4, 0.01]),
    ),
    workers=st.integers(1, 3),
    replicas=st.none() | st.integers(1, 3),
    concurrency=st.integers(1, 2),
    batch=st.sampled_from([1, 2, 7, 32]),
    wait_s=st.sampled_from([0, 0.002, 0.1, "auto"]),
    deadline_s=st.none() | st.sampled_from([0.02, 0.3, 30.0]),
    queue=st.sampled_from([1, 5, 1024]),
    http_s=st.sampled_from([0.0, 0.001]),
)
gaps = st.lists(st.sampled_from([0.0, 1e-4, 0.003, 0.02, 0.4]), min_size=2, max_size=60)


def arrivals_of(gaps_s: list[float]) -> list[float]:
    return list(itertools.accumulate(gaps_s))


def batches_of(plan: ServingPlan, arrivals_s, **options) -> list[SimulatedBatch]:
    found: list[SimulatedBatch] = []
    simulate(plan, arrivals_s, on_batch=found.append, **options)
    return sorted(found)


@given(plans, gaps)
def test_each_request_is_answered_or_shed_once(plan, gaps_s):
    outcome = simulate(plan, arrivals_of(gaps_s))
    assert outcome.arrived == len(gaps_s)
    assert outcome.answered + outcome.refused + outcome.expired == outcome.arrived
    computed = sum(size * number for size, number in outcome.batch_sizes.items())
    assert outcome.answered <= computed <= outcome.arrived - outcome.refused


@given(plans, gaps)
def test_no_batch_is_above_its_size_and_no_more_are_computed_than_allowed(plan, gaps_s):
    batches = batches_of(plan, arrivals_of(gaps_s))
    assert all(1 <= len(each.arrivals_s) <= plan.batch for each in batches)
    changes = sorted(
        [(each.began_s, 1) for each in batches] + [(each.ended_s, -1) for each in batches]
    )
    at_once = itertools.accumulate(change for _, change in changes)
    assert all(number <= plan.parallel for number in at_once)


@given(plans, gaps)
def test_requests_are_computed_in_the_order_of_their_arrival(plan, gaps_s):
    plan = dataclasses.replace(plan, workers=1)
    computed = [at_s for each in batches_of(plan, arrivals_of(gaps_s)) for at_s in each.arrivals_s]
    assert computed == sorted(computed)


@given(plans, gaps)
def test_same_seed_gives_the_same_outcome(plan, gaps_s):
    arrivals_s = arrivals_of(gaps_s)
    assert simulate(plan, arrivals_s, seed=3) == simulate(plan, arrivals_s, seed=3)


@given(
    plans,
    gaps,
    st.sampled_from([0, 0.002, 0.1]),
)
def test_replica_is_never_idle_while_work_waits_longer_than_its_wait(plan, gaps_s, wait_s):
    plan = dataclasses.replace(
        plan, workers=1, replicas=1, wait_s=wait_s, deadline_s=None, queue=1024, http_s=0.0
    )
    arrivals_s = arrivals_of(gaps_s)
    free_s, taken = -math.inf, 0
    for each in batches_of(plan, arrivals_s):
        size = len(each.arrivals_s)
        waited = arrivals_s[taken : taken + plan.batch]
        full_s = waited[-1] if len(waited) == plan.batch else math.inf
        assert each.began_s == max(free_s, min(waited[0] + wait_s, full_s))
        free_s, taken = each.ended_s, taken + size
    assert taken == len(arrivals_s)


@pytest.mark.parametrize("used", [0.3, 0.6, 0.85])
def test_one_at_a_time_waits_as_long_as_queueing_theory_says(used):
    """M/D/1: https://en.wikipedia.org/wiki/M/D/1_queue."""
    service_s = 0.01
    plan = ServingPlan(cost=CostCurve(service_s), queue=10**6, deadline_s=None)
    arrivals_s = chance_arrivals(used / service_s, 300_000, chance(7))
    waited_s = fmean(simulate(plan, arrivals_s).latencies_s) - service_s
    assert waited_s == pytest.approx(used * service_s / (2 * (1 - used)), rel=0.05)


@pytest.mark.parametrize("replicas", [2, 5])
def test_overload_is_answered_at_the_capacity_and_the_rest_is_shed(replicas):
    plan = ServingPlan(cost=COST, batch=8, replicas=replicas, queue=200, deadline_s=None)
    arrivals_s = chance_arrivals(2 * plan.capacity_per_s, 20_000, chance(1))
    outcome = simulate(plan, arrivals_s)
    assert outcome.answered_per_s == pytest.approx(plan.capacity_per_s, rel=0.01)
    assert outcome.shed == pytest.approx(0.5, abs=0.03)
    assert outcome.busy == pytest.approx(1.0, abs=0.01)


def test_deadline_bounds_the_latency_in_an_overload():
    plan = ServingPlan(cost=COST, batch=8, deadline_s=0.2, queue=10_000)
    arrivals_s = chance_arrivals(3 * plan.capacity_per_s, 20_000, chance(1))
    outcome = simulate(plan, arrivals_s)
    assert outcome.refused == 0
    assert outcome.expired > 0.6 * outcome.arrived
    assert outcome.latency_s(1.0) <= 0.2
    # Those that would miss their deadline are left out, so the others are computed in time.
    assert outcome.answered_per_s > 0.9 * plan.capacity_per_s


def test_batch_that_takes_longer_than_its_deadline_answers_nobody():
    plan = ServingPlan(cost=CostCurve(1.0), deadline_s=0.1)
    outcome = simulate(plan, [0.0, 0.01, 0.02, 5.0])
    assert outcome.answered == 0


def test_web_worker_limits_the_throughput():
    plan = ServingPlan(
        cost=CostCurve(1e-5), batch=64, replicas=1, workers=2, http_s=1e-3, queue=100
    )
    outcome = simulate(plan, chance_arrivals(3000, 20_000, chance(1)))
    assert plan.web_capacity_per_s == 2000
    assert outcome.answered_per_s <= 2000
    assert outcome.web_busy == pytest.approx(1.0, abs=0.02)


def test_light_load_has_the_latency_of_a_lone_request():
    plan = ServingPlan(cost=COST, batch=8, http_s=0.004, deadline_s=None)
    outcome = simulate(plan, [float(i) for i in range(100)])
    assert outcome.latency_s(0.5) == pytest.approx(0.004 + 0.011)
    assert outcome.mean_batch == 1


def test_workers_share_replicas_and_form_smaller_batches():
    one, four = (
        simulate(
            ServingPlan(cost=COST, batch=32, replicas=2, workers=workers),
            chance_arrivals(800, 20_000, chance(1)),
        )
        for workers in (1, 4)
    )
    assert four.mean_batch < one.mean_batch
    assert four.answered == one.answered


def test_requests_of_a_burst_share_a_batch():
    arrivals_s = chance_arrivals(40, 4000, random.Random(1), burst=8)
    outcome = simulate(ServingPlan(cost=COST, batch=8, wait_s=0.001), arrivals_s)
    assert outcome.mean_batch > 7
