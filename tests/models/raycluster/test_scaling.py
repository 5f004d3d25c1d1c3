"""How many replicas a version should have."""

import pytest

from carboy.models.raycluster.scaling import DOWN_S, UP_S, Scaler


def feed(scaler, *, until_s, demand, from_s=0.0):
    """Note the same demand every half second; return the number of replicas at the end."""
    now_s = from_s
    while now_s <= until_s:
        number = scaler.note(now_s, demand)
        now_s += 0.5
    return number


@pytest.mark.parametrize(
    ("demand", "number"),
    [(0, 1), (16, 1), (17, 2), (32, 2), (33, 3), (10_000, 4)],
)
def test_a_replica_has_a_batch_to_compute_and_one_that_waits(demand, number):
    assert feed(Scaler(1, 4, batch=8), until_s=UP_S, demand=demand) == number


def test_a_short_peak_starts_no_replica():
    scaler = Scaler(1, 8, batch=1)
    feed(scaler, until_s=10, demand=1)
    assert feed(scaler, from_s=10.5, until_s=10.5 + UP_S / 2, demand=100) == 1
    assert feed(scaler, from_s=13, until_s=20, demand=1) == 1


def test_the_number_rises_by_what_was_needed_all_the_time():
    scaler = Scaler(1, 8, batch=1)
    feed(scaler, until_s=10, demand=1)
    feed(scaler, from_s=10.5, until_s=12, demand=16)
    assert feed(scaler, from_s=12.5, until_s=14, demand=6) == 3


def test_replicas_end_only_after_a_minute_without_need():
    scaler = Scaler(1, 8, batch=1)
    feed(scaler, until_s=10, demand=16)
    assert scaler.number == 8
    assert feed(scaler, from_s=10.5, until_s=10 + DOWN_S - 1, demand=0) == 8
    assert feed(scaler, from_s=10 + DOWN_S, until_s=12 + DOWN_S, demand=0) == 1


def test_a_need_within_the_minute_keeps_the_replicas():
    scaler = Scaler(1, 8, batch=1)
    feed(scaler, until_s=10, demand=16)
    feed(scaler, from_s=10.5, until_s=40, demand=0)
    feed(scaler, from_s=40.5, until_s=41, demand=10)
    assert feed(scaler, from_s=41.5, until_s=80, demand=0) == 5


def test_the_bounds_hold_for_any_demand():
    assert feed(Scaler(2, 3, batch=4), until_s=200, demand=0) == 2
    assert feed(Scaler(2, 3, batch=4), until_s=200, demand=10**6) == 3
