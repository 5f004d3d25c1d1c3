from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from carboy.access.tokenbuckets import TokenBuckets

AMOUNTS = st.integers(1, 10_000)
PERIODS = st.sampled_from([1, 10, 60, 3600, 86400])
PAUSES = st.lists(st.floats(0, 120), min_size=1, max_size=200)


def test_full_bucket_gives_its_amount_at_once_and_then_one_token_after_another():
    buckets = TokenBuckets()
    at_once = [buckets.take("me", 4, 60, 0.0) for _ in range(5)]
    assert [(taken.tokens, taken.left) for taken in at_once] == [
        (1, 3),
        (1, 2),
        (1, 1),
        (1, 0),
        (0, 0),
    ]
    assert at_once[-1].next_s == 15.0
    assert [buckets.take("me", 4, 60, at_s).tokens for at_s in (14.9, 15.0, 15.0, 30.0)] == [
        0,
        1,
        0,
        1,
    ]


def test_buckets_of_several_clients_are_independent():
    buckets = TokenBuckets()
    assert [buckets.take(name, 1, 60, 0.0).tokens for name in "abab"] == [1, 1, 0, 0]


@given(AMOUNTS, PERIODS, PAUSES)
def test_no_more_tokens_are_taken_in_any_time_than_the_rate_allows(amount, period_s, pauses_s):
    buckets = TokenBuckets()
    times_s = list(itertools.accumulate(pauses_s))
    taken = [buckets.take("me", amount, period_s, at_s, 3).tokens for at_s in times_s]
    for first, last in itertools.combinations(range(len(taken)), 2):
        allowed = amount + (times_s[last] - times_s[first]) * amount / period_s
        assert sum(taken[first : last + 1]) <= allowed + 1e-6


@given(AMOUNTS, PERIODS, PAUSES)
def test_client_that_waits_as_long_as_it_is_told_gets_a_token(amount, period_s, pauses_s):
    buckets, now_s = TokenBuckets(), 0.0
    for pause_s in pauses_s:
        now_s += pause_s
        taken = buckets.take("me", amount, period_s, now_s, amount)
        now_s += taken.next_s
        if not taken.left:
            assert buckets.take("me", amount, period_s, now_s).tokens == 1


def test_token_that_is_given_back_can_be_taken_again():
    buckets = TokenBuckets()
    buckets.take("me", 1, 60, 0.0)
    buckets.give_back("me", 1, 60)
    assert buckets.take("me", 1, 60, 0.0).tokens == 1


def test_number_of_buckets_is_bounded_whatever_clients_come():
    buckets = TokenBuckets(most=100)
    for number in range(10_000):
        buckets.take(number, 10, 60, number / 1e6)
        assert len(buckets) <= 100


def test_clients_that_came_last_are_remembered_when_there_are_too_many():
    buckets = TokenBuckets(most=100)
    for number in range(1000):
        buckets.take("busy", 10**6, 60, 0.0)
        buckets.take(number, 10, 60, 0.0)
    assert buckets.take("busy", 10**6, 60, 0.0).left == 10**6 - 1001


def test_full_buckets_are_forgotten_first():
    buckets = TokenBuckets(most=100)
    buckets.take("old", 1, 3600, 0.0)
    for number in range(99):
        buckets.take(number, 1, 1, 0.0)
    buckets.take("new", 1, 3600, 5.0)
    assert buckets.take("old", 1, 3600, 5.0).tokens == 0
