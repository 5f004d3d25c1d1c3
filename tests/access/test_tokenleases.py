from __future__ import annotations

import itertools
import logging
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from polling import wait_until

from carboy.access import tokenleases
from carboy.access.tokenleases import LeasedTokens, TokenLender
from carboy.access.tokensources import CountedRate

STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 30), st.floats(0, 30)), min_size=1, max_size=60
)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Server:
    """A lender and workers that it answers at once."""

    def __init__(self, workers: int) -> None:
        self.clock = Clock()
        self.questions = 0
        self.lender = TokenLender(self.clock)
        self.workers = [self._worker(workers) for _ in range(workers)]

    def _worker(self, workers: int) -> LeasedTokens:
        def ask(rate: CountedRate, client: str) -> None:
            self.questions += 1
            source.receive(rate, client, self.lender.lend(rate, client, workers))

        source = LeasedTokens(ask, self.clock)
        return source


def test_low_rate_is_exact_however_many_workers_answer():
    server, rate = Server(workers=8), CountedRate("login", 5, 60)
    taken = [server.workers[turn % 8].counter(rate).take("me") for turn in range(100)]
    assert [each.tokens for each in taken] == [1] * 5 + [0] * 95
    assert taken[-1].next_s == 12.0


@given(st.integers(1, 2000), st.integers(1, 4), STEPS)
def test_workers_together_exceed_a_rate_by_at_most_a_lease(amount, workers, steps):
    server, rate = Server(workers), CountedRate("route", amount, 60)
    times_s = list(itertools.accumulate(pause_s for _, _, pause_s in steps))
    taken = []
    for (which, requests, _), at_s in zip(steps, times_s, strict=True):
        server.clock.now_s = at_s
        source = server.workers[which % workers]
        taken.append(sum(source.counter(rate).take("me").tokens for _ in range(requests)))
    for first, last in itertools.combinations_with_replacement(range(len(steps)), 2):
        allowed = amount * (1 + (times_s[last] - times_s[first]) / 60)
        assert sum(taken[first : last + 1]) <= allowed + amount / 10 + 1e-6


@pytest.mark.parametrize("amount", [7, 100, 5000])
def test_all_of_a_rate_is_available_to_a_client_of_all_workers(amount):
    server, rate = Server(workers=3), CountedRate("route", amount, 3600)
    taken = [server.workers[turn % 3].counter(rate).take("me").tokens for turn in range(2 * amount)]
    assert sum(taken) == amount


def test_lender_is_asked_rarely_for_a_high_rate_and_never_for_clients_that_must_wait():
    server, rate = Server(workers=2), CountedRate("route", 10_000, 60)
    while server.workers[0].counter(rate).take("me").tokens:
        pass
    assert server.questions < 200
    before = server.questions
    for _ in range(1000):
        assert server.workers[0].counter(rate).take("me").tokens == 0
    assert server.questions == before


def test_token_that_is_given_back_is_used_for_the_next_request():
    server, rate = Server(workers=1), CountedRate("route", 1, 60)
    source = server.workers[0]
    assert source.counter(rate).take("me").tokens == 1
    source.counter(rate).give_back("me")
    assert [source.counter(rate).take("me").tokens for _ in range(2)] == [1, 0]


def test_number_of_leases_is_bounded(monkeypatch):
    monkeypatch.setattr(tokenleases, "MAX_BUCKETS", 100)
    server, rate = Server(workers=2), CountedRate("route", 5, 60)
    for number in range(1000):
        counter = server.workers[0].counter(rate)
        counter.take(f"address {number}")
        assert len(counter.leases) <= 100
    assert [server.workers[0].counter(rate).take("address 0").tokens for _ in range(5)] == [
        1,
        1,
        1,
        1,
        0,
    ]


def test_request_waits_for_the_answer_of_the_lender():
    asked: list[tuple[CountedRate, str]] = []
    source = LeasedTokens(lambda *key: asked.append(key))
    rate, found = CountedRate("route", 2, 60), []
    threads = [
        threading.Thread(target=lambda: found.append(source.counter(rate).take("me").tokens))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    lender = TokenLender()
    while len(found) < 3:
        wait_until(lambda: asked or len(found) == 3)
        if asked:
            source.receive(*asked.pop(), lender.lend(rate, "me", 1))
    assert sorted(found) == [0, 1, 1]


def test_worker_counts_alone_while_the_lender_is_silent(caplog, monkeypatch):
    monkeypatch.setattr(tokenleases, "ANSWER_S", 0.01)
    asked: list[tuple[CountedRate, str]] = []
    source, rate = LeasedTokens(lambda *key: asked.append(key)), CountedRate("route", 2, 60)
    with caplog.at_level(logging.ERROR, "carboy.admission"):
        assert [source.counter(rate).take("me").tokens for _ in range(4)] == [1, 1, 0, 0]
        assert [source.counter(rate).take(f"{number}").tokens for number in range(50)] == [1] * 50
    assert len(asked) == 1
    assert [record.getMessage() for record in caplog.records] == [tokenleases.ALONE % 0.01]
    lender = TokenLender()
    source.receive(*asked.pop(), lender.lend(rate, "me", 1))
    assert source.counter(rate).take("me").tokens == 1


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_workers_hold_at_most_a_tenth_of_a_rate_however_long_they_serve(workers):
    server, rate = Server(workers), CountedRate("route", 3000, 1)
    for turn in range(20_000):
        server.clock.now_s += 0.001
        server.workers[turn % workers].counter(rate).take("me")
    counters = [worker.counter(rate) for worker in server.workers]
    held = sum(each.leases["me"].tokens + sum(each.at_hand.get("me", ())) for each in counters)
    assert held <= 300
