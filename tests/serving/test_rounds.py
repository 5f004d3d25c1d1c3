"""Rounds of predictions while two threads end them: the leader, and one that led until now."""

from __future__ import annotations

import sys
import threading
import typing as t
from types import SimpleNamespace

import pytest

from carboy import Carboy
from carboy.models.protocol import Endpoint, JsonProtocol
from carboy.serving.http.address import Address
from carboy.serving.http.limits import Limits
from carboy.serving.http.listener import Listener
from carboy.serving.http.server import HTTPServer
from carboy.serving.predictions import PendingPrediction, PredictionRoute, SharedResources
from carboy.serving.threads.leader import PoolThread
from carboy.serving.threads.pool import LeaderPool
from carboy.serving.wsgi.gateway import Gateway


class Queue:
    """Notes what is submitted."""

    def __init__(self) -> None:
        self.submitted = []

    def submit_round(self, tickets, *, quick_s, loop):
        for ticket in tickets:
            self.submitted.append(ticket.arguments)
            ticket.settled = True


class Exchange:
    """A request whose whole body is there: a number."""

    fault = None
    reserved_bytes = 0
    headers: t.ClassVar[dict[str, str]] = {}

    def __init__(self, number):
        self.number = number

    size = 0
    pieces: list = []

    def body(self):
        return b""


class Numbers(JsonProtocol):
    """The argument is the number of the request."""

    def decode(self, model, request: PendingPrediction):
        return request.exchange.number


def make_route(gateway):
    model = SimpleNamespace(
        name="m",
        version=None,
        current=SimpleNamespace(queue=Queue(), replica=SimpleNamespace(is_remote=False)),
        versions=SimpleNamespace(canaries=None, shadow=None),
        answers=SimpleNamespace(streams=False),
        options=SimpleNamespace(batch=8),
    )
    endpoint = Endpoint("m", "/m", Numbers(), lambda: None, lambda: 100, None)
    return PredictionRoute(
        Carboy("rounds"), model, endpoint, gateway=gateway, shared=SharedResources(Limits())
    )


@pytest.fixture
def gateway():
    return Gateway(None, limits=Limits(), threads=1, pool=LeaderPool(1))


@pytest.fixture
def end_round(gateway):
    """Ends the round as a thread of the server does it."""
    server = HTTPServer(
        [Listener(Address("127.0.0.1", 0))], handler=gateway, pool=LeaderPool(1), limits=Limits()
    )
    yield lambda: server.handle(None, PoolThread())
    server.close()


def test_round_that_ends_at_any_moment_loses_no_prediction(gateway, end_round):
    route = make_route(gateway)

    class EndedAtOnce(list):
        def append(self, call):
            super().append(call)
            end_round()  # as another thread may do at this moment

    gateway.after_round = EndedAtOnce()
    for number in range(5):
        route.take(Exchange(number))
        end_round()
    assert route.model.current.queue.submitted == list(range(5))


def test_threads_that_begin_and_end_rounds_beside_each_other_lose_no_prediction(gateway, end_round):
    route, each = make_route(gateway), 20_000
    failed = []

    def work(first):
        try:
            for number in range(first, first + each):
                route.take(Exchange(number))
                if number % 3 == 0:
                    end_round()
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
    end_round()
    assert not failed
    assert sorted(route.model.current.queue.submitted) == list(range(2 * each))
