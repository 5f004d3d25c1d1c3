"""What only the gateway without threads does; what both do stands in test_gateways."""

from __future__ import annotations

import threading

import pytest
import rsgiend

from carboy.serving import gateway_rsgi
from carboy.serving.answers import CLOSE
from carboy.serving.crew import Crew
from carboy.serving.gateway_rsgi import RsgiGateway

PATIENCE_S = 20.0


class Gate:
    """An app that lets nobody out until it is opened."""

    def __init__(self):
        self.inside, self.opened = threading.Semaphore(0), threading.Event()
        self.seen = []

    def __call__(self, environ, start_response):
        self.seen.append(environ["PATH_INFO"])
        self.inside.release()
        if environ["PATH_INFO"] == "/slow":
            assert self.opened.wait(PATIENCE_S)
        start_response("200 OK", [])
        return [b"done"]


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.opened.set()


def gateway_to(app, threads=1):
    return RsgiGateway(app, max_body_bytes=1000, threads=threads, multiprocess=False, crew=Crew())


def ask(gateway, path="/", *, client=None, method="GET", headers=()):
    client = client or rsgiend.Protocol()
    gateway(rsgiend.Scope(headers, path=path, method=method), client)
    return client


@pytest.fixture
def busy(gate):
    """A gateway whose only slot is taken."""
    gateway = gateway_to(gate)
    clients = []
    thread = threading.Thread(target=lambda: clients.append(ask(gateway, "/slow")))
    thread.start()
    assert gate.inside.acquire(timeout=PATIENCE_S)
    yield gateway
    gate.opened.set()
    thread.join(PATIENCE_S)
    assert clients[0].body == b"done"


def test_what_waits_for_a_slot_holds_no_thread_and_is_answered_in_order(busy, gate):
    clients = [ask(busy, f"/{i}") for i in range(3)]
    assert [client.status for client in clients] == [None] * 3
    gate.opened.set()
    assert clients[-1].answered.wait(PATIENCE_S)
    assert gate.seen == ["/slow", "/0", "/1", "/2"]
    assert not any(client.watched for client in clients)


def test_who_leaves_the_line_is_not_asked_for(busy, gate):
    leaving, staying = ask(busy, "/leaving"), ask(busy, "/staying")
    leaving.leave()
    gate.opened.set()
    assert staying.answered.wait(PATIENCE_S)
    assert gate.seen == ["/slow", "/staying"]
    assert leaving.status is None


def test_a_shortcut_needs_no_slot(busy):
    taken = []
    busy.shortcuts = {"/short": taken.append}
    ask(busy, "/short", method="POST")
    assert [each.scope.path for each in taken] == ["/short"]


@pytest.mark.parametrize(("method", "path"), [("GET", "/short"), ("POST", "/short/")])
def test_a_shortcut_is_for_posts_to_its_path(gate, method, path):
    gateway = gateway_to(gate)
    gateway.shortcuts = {"/short": lambda _: pytest.fail("called")}
    assert ask(gateway, path, method=method).body == b"done"


def test_a_small_body_that_does_not_come_is_408(gate, monkeypatch):
    monkeypatch.setattr(gateway_rsgi, "AT_ONCE_S", 0.01)
    client = rsgiend.Protocol(waits=True)
    ask(gateway_to(gate), client=client, method="POST", headers=[("content-length", "5")])
    assert client.answered.wait(PATIENCE_S)
    assert client.status == 408
    assert CLOSE in client.headers
    assert gate.seen == []


def test_small_bodies_that_are_on_their_way_hold_no_slot(gate):
    gateway = gateway_to(gate)
    slow = rsgiend.Protocol(waits=True)
    ask(gateway, client=slow, method="POST", headers=[("content-length", "5")])
    assert not gateway.slots.full
    assert ask(gateway).body == b"done"
    slow.arrivals[0].end(b"12345")
    assert slow.body == b"done"


def test_an_app_that_exits_answers_500_and_frees_its_slot(caplog):
    def leave(environ, start_response):
        raise SystemExit(3)

    gateway = gateway_to(leave)
    assert ask(gateway).status == 500
    assert not gateway.slots.full
    assert "error while answering GET /" in caplog.text
