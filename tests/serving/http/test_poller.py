"""Which sockets have something to do, as each system tells it."""

from __future__ import annotations

import selectors
import socket
import sys
import threading

import pytest
from polling import PATIENCE_S
from stage import Stage, head, post

from carboy.serving.http.poller import READ, WRITE, Epoll, Portable, make_poller, wait_for

MAKERS = {
    "epoll": Epoll,
    "portable": Portable,
    "select": lambda: Portable(selectors.SelectSelector()),
}
if sys.platform != "linux":
    del MAKERS["epoll"]


@pytest.fixture(params=MAKERS)
def poller(request):
    poller = MAKERS[request.param]()
    yield poller
    poller.close()


@pytest.fixture
def pair():
    here, there = socket.socketpair()
    with here, there:
        there.setblocking(False)
        yield here, there


def test_best_poller_of_the_system_is_chosen():
    poller = make_poller()
    assert isinstance(poller, Epoll if sys.platform == "linux" else Portable)
    poller.close()


def test_nothing_is_reported_while_nothing_happens(poller, pair):
    assert poller.wait(0) == []
    poller.add(pair[1].fileno(), READ)
    assert poller.wait(0) == []
    assert poller.wait(0.001) == []


def test_readable_socket_is_reported_until_it_is_read(poller, pair):
    here, there = pair
    poller.add(there.fileno(), READ)
    here.send(b"ab")
    assert poller.wait(PATIENCE_S) == [(there.fileno(), READ)]
    assert poller.wait(PATIENCE_S) == [(there.fileno(), READ)]
    there.recv(10)
    assert poller.wait(0) == []


@pytest.mark.parametrize(
    ("mask", "found"), [(READ, READ), (WRITE, WRITE), (READ | WRITE, READ | WRITE), (0, None)]
)
def test_only_watched_events_are_reported(poller, pair, mask, found):
    here, there = pair
    poller.add(there.fileno(), READ)
    here.send(b"ab")
    poller.change(there.fileno(), mask)
    assert dict(poller.wait(0)).get(there.fileno()) == found


def test_socket_can_be_watched_again_after_an_empty_mask(poller, pair):
    here, there = pair
    poller.add(there.fileno(), READ)
    poller.change(there.fileno(), 0)
    here.send(b"ab")
    assert poller.wait(0) == []
    poller.change(there.fileno(), READ)
    assert poller.wait(PATIENCE_S) == [(there.fileno(), READ)]


def test_removed_socket_is_not_reported(poller, pair):
    here, there = pair
    poller.add(there.fileno(), READ)
    here.send(b"ab")
    poller.remove(there.fileno())
    assert poller.wait(0) == []


def test_closed_connection_is_reported_as_readable(poller, pair):
    here, there = pair
    poller.add(there.fileno(), READ)
    here.shutdown(socket.SHUT_WR)
    ((fd, mask),) = poller.wait(PATIENCE_S)
    assert fd == there.fileno()
    assert mask & READ


def test_reused_descriptor_reports_the_new_socket(poller, pair):
    _, there = pair
    poller.add(there.fileno(), READ)
    assert poller.wait(0) == []
    fd = there.fileno()
    poller.remove(fd)
    there.close()
    other, new = socket.socketpair()
    with other, new:
        other.send(b"a")
        poller.add(new.fileno(), READ)
        assert dict(poller.wait(PATIENCE_S)) == {new.fileno(): READ}
        poller.remove(new.fileno())
        poller.wait(0)


def test_socket_closed_while_watched_raises_nothing(poller, pair):
    """Whoever answers closes; the thread that waits hears of it a moment later."""
    _, there = pair
    poller.add(there.fileno(), READ)
    assert poller.wait(0) == []
    fd = there.fileno()
    there.close()
    poller.wait(0)
    if isinstance(poller, Portable):
        poller.remove(fd)
    other, new = socket.socketpair()
    with other, new:
        other.send(b"a")
        poller.add(new.fileno(), READ)
        assert dict(poller.wait(PATIENCE_S)).get(new.fileno()) == READ


@pytest.mark.parametrize("times", [1, 100_000], ids=["once", "often"])
def test_wake_ends_one_wait(poller, times):
    for _ in range(times):
        poller.wake()
    assert poller.wait(PATIENCE_S) == []
    while times > 1 and poller.wait(0):
        pass
    assert poller.wait(0) == []


@pytest.mark.parametrize("act", ["wake", "send", "change"])
def test_waiting_thread_sees_changes_by_other_threads(poller, pair, act):
    here, there = pair
    poller.add(there.fileno(), READ)
    if act == "change":
        poller.change(there.fileno(), 0)
        here.send(b"a")
    found = []
    thread = threading.Thread(target=lambda: found.append(poller.wait(PATIENCE_S)))
    thread.start()
    if act == "wake":
        poller.wake()
    elif act == "send":
        here.send(b"a")
    else:
        poller.change(there.fileno(), READ)
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    reported = [
        *found[0],
        *poller.wait(0),
    ]  # seen by the wait after the wake-up
    assert (there.fileno(), READ) in reported or act == "wake"


@pytest.mark.parametrize("mask", [READ, WRITE])
def test_wait_for_blocks_until_one_socket_is_ready(pair, mask):
    here, there = pair
    if mask == READ:
        assert not wait_for(there, READ, 0.0)
        here.send(b"a")
    assert wait_for(there, mask, PATIENCE_S)
    if mask == WRITE:
        while wait_for(there, WRITE, 0.0):
            there.send(b"x" * 10_000)
        here.recv(10**7)
        assert wait_for(there, WRITE, PATIENCE_S)


@pytest.mark.parametrize("name", MAKERS)
def test_server_runs_on_each_poller(name):
    """Requests, a long answer, a body that is read as it comes, one that leaves."""
    app_calls = []

    def app(environ, start_response):
        app_calls.append(environ["PATH_INFO"])
        body = environ["wsgi.input"].read()
        start_response("200 OK", [])
        return [body or b"x" * 3_000_000]

    with Stage(poller=MAKERS[name]()) as stage:
        stage.serve(app)
        clients = [stage.connect() for _ in range(5)]
        for client in clients:
            client.send(head() + post(b"body") + head("HEAD"))
        for client in clients[:4]:
            assert len(client.answer().body) == 3_000_000
            assert client.answer().body == b"body"
            assert client.answer("HEAD").status == 200
        for client in clients:
            client.leave()
        stage.until(lambda: not stage.connections)
    assert app_calls
