"""Rounds of predictions, when two threads are at them: one that leads, one that led until now."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace

import pytest

from carboy.serving.http.limits import Limits
from carboy.serving.predictions import Desk
from carboy.serving.threads.pool import LeaderPool
from carboy.serving.wsgi.gateway import Gateway


class Model:
    """Counts what it is asked for."""

    options = SimpleNamespace(batch=8)
    site = SimpleNamespace(max_body_bytes=lambda: 100)

    def __init__(self) -> None:
        self.asked = []

    def begin_all(self, round_, on_done):
        self.asked.extend(arguments["x"] for arguments, _ in round_)
        return [None] * len(round_)

    def compute_quickly(self, limit_s):
        """Later."""


class Prediction:
    def began(self, ticket):
        pass


@pytest.fixture
def gateway():
    return Gateway(None, limits=Limits(), threads=1, pool=LeaderPool(1))


def make_desk(gateway):
    return Desk(Model(), SimpleNamespace(gateway=gateway, app=None))


def test_a_round_that_ends_at_any_moment_loses_nobody(gateway, monkeypatch):
    desk = make_desk(gateway)
    note = gateway.call_after_round

    def call_after_round(call):
        note(call)
        gateway.end_round()  # as another thread may do just now

    monkeypatch.setattr(gateway, "call_after_round", call_after_round)
    for x in range(5):
        desk.submit({"x": x}, Prediction(), at_once=False)
        gateway.end_round()
    assert desk.model.asked == list(range(5))


def test_threads_that_begin_and_end_rounds_beside_each_other_lose_nobody(gateway):
    desk, each = make_desk(gateway), 20_000
    failed = []

    def work(first):
        try:
            for x in range(first, first + each):
                desk.submit({"x": x}, Prediction(), at_once=False)
                if x % 3 == 0:
                    gateway.end_round()
        except BaseException as exc:
            failed.append(exc)
            raise

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(i * each,)) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    gateway.end_round()
    assert not failed
    assert sorted(desk.model.asked) == list(range(2 * each))
