"""When a dead worker comes back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from carboy.serving.process.restarts import MOST_DELAY_S, STEADY_S, Restarts


def test_first_death_costs_no_time():
    assert Restarts().delay_s(lived_s=0.1) == 0


def test_waits_double_up_to_a_bound():
    restarts = Restarts()
    delays = [restarts.delay_s(lived_s=0) for _ in range(10)]
    assert delays[:5] == [0, 0.5, 1, 2, 4]
    assert delays[-1] == MOST_DELAY_S


@given(st.lists(st.floats(0, STEADY_S * 0.99), max_size=20))
def test_steady_life_forgets_what_was_before(short_lives):
    restarts = Restarts()
    for lived_s in short_lives:
        restarts.delay_s(lived_s)
    assert restarts.delay_s(STEADY_S) == 0
