"""The sockets of all clients: who is accepted, who leads, when it is over."""

from __future__ import annotations

import errno
import logging
import math
import os
import socket
import threading
import time
from collections import deque

import pytest
from polling import PATIENCE_S
from stage import Stage, head, post

from carboy.serving.http import server as module
from carboy.serving.http.address import Address
from carboy.serving.http.limits import Limits
from carboy.serving.http.listener import Listener
from carboy.serving.http.poller import MAX_CREDIT, TRY_EVERY, SpinWait, make_poller
from carboy.serving.http.server import SWEEP_S, HTTPServer
from carboy.serving.http.transitions import ANSWERING, HEAD
from carboy.serving.log import NOTICE_S, Notices
from carboy.serving.threads.pool import LeaderPool
from carboy.serving.wsgi.gateway import Gateway

# Than what the systems at both ends take.
LONG = b"x" * 20_000_000


def app(environ, start_response):
    start_response("200 OK", [])
    return [f"{environ['PATH_INFO']} {environ['REMOTE_ADDR']} {environ['SERVER_PORT']}".encode()]


class Clock:
    """The server's clock: it stands still until the test moves it."""

    def __init__(self):
        self.now_s = time.monotonic()

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


@pytest.fixture
def make(free_port):
    stages = []

    def make(served=app, **options):
        stage = Stage(Limits(**options), port=free_port)
        stages.append(stage)
        stage.serve(served)
        stage.listen()
        return stage

    yield make
    for stage in stages:
        stage.__exit__()


# ----------------------------------------------------------------------------------- who comes in


def test_new_connection_is_served(make, free_port):
    stage = make()
    clients = [stage.knock() for _ in range(3)]
    for client in clients:
        assert client.ask(head(target="/a")).body == f"/a 127.0.0.1 {free_port}".encode()
    assert len(stage.connections) == 3


def test_server_listens_on_ipv6(free_port):
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        return  # this machine has none
    with Stage(host="::1", port=free_port) as stage:
        stage.serve(app)
        stage.listen()
        assert stage.knock().ask(head()).body == f"/ ::1 {free_port}".encode()


def test_address_in_use_raises():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        stage = Stage(port=port)
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}: "):
            stage.listen()


def test_client_beyond_the_connection_limit_waits_until_one_leaves(make):
    stage = make(connections=2)
    first, second, third = (stage.knock() for _ in range(3))
    assert first.ask(head()).status == second.ask(head()).status == 200
    third.send(head())
    stage.settle()
    assert len(stage.connections) == 2
    assert not third.collect()
    second.leave()
    assert third.answer().status == 200


def test_full_server_whose_clients_all_leave_accepts_again(make, clock):
    stage = make(connections=1)
    first, second = stage.knock(), stage.knock()
    second.send(head())
    assert first.ask(head()).status == 200
    stage.settle()
    first.leave()
    stage.turn()
    assert not stage.connections
    stage.poller.wishes_s.clear()
    stage.turn()
    assert stage.poller.wishes_s[0] <= SWEEP_S
    clock.now_s += SWEEP_S
    assert second.answer().status == 200


class FailingAccept:
    """Replaces `socket.accept` by a failure, and counts how often it was called."""

    def __init__(self, number):
        self.number, self.calls = number, 0

    def __call__(self):
        self.calls += 1
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_server_without_descriptors_logs_once_and_accepts_later(
    make, clock, monkeypatch, caplog, number
):
    stage = make()
    there = stage.knock()
    assert there.ask(head()).status == 200
    with monkeypatch.context() as patch:
        accept = FailingAccept(number)
        patch.setattr(socket.socket, "accept", lambda _: accept())
        late = stage.knock()
        late.send(head())
        stage.until(lambda: accept.calls)
        for _ in range(20):
            there.send(head())
            stage.turn()
        assert accept.calls == 1  # not at each turn
        assert [record.levelname for record in caplog.records] == ["ERROR"]
    clock.now_s += SWEEP_S
    assert late.answer().status == 200
    assert there.answer().status == 200


def test_client_that_left_before_accept_does_not_delay_those_behind_it(make, monkeypatch, caplog):
    stage = make()
    accept, failures = socket.socket.accept, [ConnectionAbortedError()] * 3

    def fail_first(listener):
        if failures:
            raise failures.pop()
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", fail_first)
    client = stage.knock()
    stage.turn()
    assert stage.connections
    assert client.ask(head()).status == 200
    assert not caplog.records


def test_connections_have_keep_alive_probes_and_no_delay(make, monkeypatch):
    accept, accepted = socket.socket.accept, []

    def keep(listener):
        sock, address = accept(listener)
        accepted.append(sock)
        return sock, address

    monkeypatch.setattr(socket.socket, "accept", keep)
    stage = make()
    assert stage.knock().ask(head()).status == 200
    (sock,) = accepted
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_connections_leave_no_descriptor_behind(free_port):
    before = len(os.listdir("/dev/fd"))
    with Stage(port=free_port) as stage:
        stage.serve(app)
        stage.listen()
        for _ in range(20):
            client = stage.knock()
            client.send(head() + post(b"x") + b"GET")
            client.answer()
            client.leave()
        stage.until(lambda: not stage.connections)
    assert len(os.listdir("/dev/fd")) == before


# -------------------------------------------------------------------------------------- its turns


@pytest.mark.parametrize("failure", [ZeroDivisionError(), SystemExit(), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["call", "connection", "response", "round", "deadline"])
def test_failure_does_not_end_the_leading_thread(monkeypatch, clock, caplog, failure, where):
    def fail(*args):
        raise failure

    with Stage() as stage:
        stage.serve(app)
        client = stage.connect()
        stage.turn()
        with monkeypatch.context() as patch:
            if where == "call":
                stage.server.call(fail)
            elif where == "round":
                stage.handler.after_round = [fail]
            elif where == "deadline":
                clock.now_s = math.inf
                patch.setattr(module.Connection, "expire", fail)
            elif where == "response":
                stage.server.unsent.append(stage.connections[0])
                patch.setattr(module.Connection, "flush", fail)
            else:
                patch.setattr(module.Connection, "readable", fail)
                client.send(head())
            stage.turn()
        assert "error while serving" in caplog.text
        stage.handler.after_round = []
        if where in ("connection", "response", "deadline"):
            assert client.see_end() == b""
            client = stage.connect()
        assert client.ask(head()).status == 200


def test_failure_of_one_connection_leaves_the_deadlines_of_others(monkeypatch, clock):
    expired = []

    def fail(connection):
        expired.append(connection)
        raise ZeroDivisionError

    with Stage() as stage:
        stage.serve(app)
        clients = [stage.connect(), stage.connect()]
        stage.turn()
        connections = stage.connections
        monkeypatch.setattr(module.Connection, "expire", fail)
        clock.now_s = math.inf
        stage.turn()
        assert expired == connections
        assert [client.see_end() for client in clients] == [b"", b""]


def test_connection_that_cannot_even_be_closed_is_read_no_more(monkeypatch, caplog):
    def fail(*args):
        raise ZeroDivisionError

    with Stage() as stage:
        stage.serve(app)
        client = stage.connect()
        (connection,) = stage.connections
        with monkeypatch.context() as patch:
            patch.setattr(module.Connection, "readable", fail)
            patch.setattr(module.Connection, "close", fail)
            client.send(head())
            stage.turn()
        assert not stage.connections
        stage.settle()
        assert not client.collect()
        connection.close()
        assert stage.connect().ask(head()).status == 200
    assert len(caplog.records) == 1  # one line of a kind


def test_calls_are_made_in_order():
    done = []
    with Stage() as stage:
        for i in range(3):
            stage.pool.call(lambda i=i: done.append(i))
        stage.turn()
    assert done == [0, 1, 2]


def test_call_made_by_a_call_waits_for_the_next_turn():
    done = []
    with Stage() as stage:
        stage.server.call(lambda: stage.server.call(lambda: done.append(1)))
        stage.turn()
        stage.poller.wishes_s.clear()
        stage.turn()
        assert stage.poller.wishes_s == [0]
    assert done == [1]


def test_calls_left_by_a_leader_that_stepped_aside_are_made_by_the_next():
    done = []
    with Stage() as stage:
        stage.server.call(stage.pool.step_aside)
        stage.server.call(lambda: done.append(1))
        assert stage.turn().stepped_aside
        assert not done
        stage.poller.wishes_s.clear()
        stage.turn()
        assert stage.poller.wishes_s == [0]
    assert done == [1]


def test_events_left_by_a_leader_that_stepped_aside_are_handled_by_the_next():
    taken = []

    def take(exchange):
        taken.append(exchange)
        stage.pool.step_aside()

    def admit(exchange):
        exchange.handler = take

    with Stage() as stage:
        stage.handler.on_admit = admit
        for _ in range(3):
            stage.connect().send(head())
        for i in range(3):
            assert stage.turn().stepped_aside
            assert len(taken) == i + 1


@pytest.mark.parametrize("relieved_by", ["the view", "the monitor"])
def test_requests_that_a_former_leader_leaves_wake_the_new_leader(relieved_by):
    """The new leader waits already when the response is sent, by which the next request is due."""

    def served(environ, start_response):
        if relieved_by == "the view":
            stage.pool.step_aside()
        else:
            stage.pool.relieve(stage.pool.threads[0])
        assert not stage.poller.poller.wait(0)  # as the new leader does at this moment
        return app(environ, start_response)

    with Stage() as stage:
        stage.serve(served)
        client = stage.connect()
        client.send(head(target="/1") + head(target="/2"))
        assert stage.turn().stepped_aside
        began_s = time.monotonic()
        assert not stage.poller.poller.wait(PATIENCE_S)
        assert time.monotonic() - began_s < PATIENCE_S
        assert client.answer().body.startswith(b"/1 ")
        assert client.answer().body.startswith(b"/2 ")


def test_request_that_becomes_due_while_the_leader_waits_is_handled_as_work():
    """Only then does the monitor notice that a view blocks."""
    with Stage() as stage:
        stage.serve(app)
        client = stage.connect()
        stage.turn()

        class DueMeanwhile:
            def wait(self, timeout_s):
                stage.server.due.append(exchanges.pop())
                return []

            def close(self):
                pass

        exchanges = []
        admit = stage.handler.on_admit
        stage.handler.on_admit = lambda exchange: (admit(exchange), exchanges.append(exchange))
        client.send(head())
        stage.turn()
        assert client.answer().status == 200
        poller, stage.server._poller = stage.server._poller, DueMeanwhile()
        assert stage.server.poll() == []
        stage.server._poller = poller


def test_leader_that_is_relieved_while_it_reads_leaves_the_other_sockets_to_the_next(monkeypatch):
    with Stage() as stage:
        stage.serve(app)
        clients = [stage.connect() for _ in range(3)]
        stage.turn()
        readable = module.Connection.readable
        with monkeypatch.context() as patch:

            def relieve(connection):
                readable(connection)
                stage.pool.step_aside()

            patch.setattr(module.Connection, "readable", relieve)
            for client in clients:
                client.send(head())
            assert stage.turn().stepped_aside
        assert len(stage.server.due) == 1
        for client in clients:
            assert client.answer().status == 200


def test_each_socket_that_is_read_counts_as_progress_for_the_monitor():
    def admit(exchange):
        turns.append(stage.pool.threads[0].turns)
        exchange.handler = lambda exchange: exchange.respond(200, [], b"")

    turns = []
    with Stage() as stage:
        stage.handler.on_admit = admit
        for _ in range(5):
            stage.connect().send(head())
        stage.turn()
    assert turns == sorted(set(turns))
    assert len(turns) == 5


def test_pipelined_requests_wait_until_the_other_sockets_were_read():
    taken = []

    def served(environ, start_response):
        taken.append(environ["PATH_INFO"])
        if len(taken) == 1:
            other.send(head(target="/other"))
        return app(environ, start_response)

    with Stage() as stage:
        stage.serve(served)
        other = stage.connect()
        for _ in range(module.MAX_UNSENT):  # their responses are sent before the turn ends
            stage.connect().send(head(target="/pipelined") * 50)
        stage.settle()
    assert taken.index("/other") <= 2 * module.MAX_UNSENT
    assert len(taken) == 1 + 50 * module.MAX_UNSENT


def test_round_ends_after_all_requests_that_came_together():
    rounds = []
    with Stage() as stage:
        taken = []

        def admit(exchange):
            exchange.handler = taken.append

        stage.handler.on_admit = admit
        stage.handler.after_round = [lambda: rounds.append(len(taken))]
        for _ in range(4):
            stage.connect().send(head())
        stage.turn()
    assert rounds == [4]


def test_leader_does_not_wait_while_a_round_has_not_ended():
    """A pipelined request begins a round when the response before it is sent, after the round."""
    with Stage() as stage:
        stage.serve(app)
        stage.connect()
        stage.turn()
        stage.handler.after_round = [print]
        stage.poller.wishes_s.clear()
        stage.turn()
        assert stage.poller.wishes_s == [0]


def test_server_without_connections_sleeps(make):
    stage = make()
    stage.turn()
    assert stage.poller.wishes_s[-1] > 1000
    stage.connect()
    stage.turn()
    assert stage.poller.wishes_s[-1] == SWEEP_S


# -------------------------------------------------------------------------------------- the end


def test_server_without_connections_stops_at_once(make):
    stage = make()
    address = stage.server.address
    stage.server.stop()
    stage.settle()
    stage.server.wait()
    assert stage.server.address is None
    with pytest.raises(ConnectionRefusedError), socket.create_connection(address):
        pass


def test_clients_in_the_backlog_are_served_when_the_server_stops(make):
    """Its client has connected, and knows of nothing."""
    stage = make()
    clients = [stage.knock() for _ in range(5)]
    for client in clients:
        client.send(head())
    stage.server.stop()
    for client in clients:
        answer = client.answer()
        assert (answer.status, answer.closes) == (200, True)
        assert client.see_end() == b""
    stage.settle()
    stage.server.wait()


def test_clients_in_the_backlog_are_served_although_all_connections_are_taken(make):
    stage = make(connections=2)
    clients = [stage.knock() for _ in range(6)]
    for client in clients[:2]:
        client.send(head()[:-2])
    stage.settle()
    assert len(stage.connections) == 2
    stage.server.stop()
    for client in clients:
        client.send(head()[-2:] if client in clients[:2] else head())
    for client in clients:
        assert client.answer().status == 200
    stage.settle()
    stage.server.wait()


def test_server_is_drained_after_the_last_response(make):
    taken = []
    stage = make()

    def admit(exchange):
        exchange.handler = taken.append

    stage.handler.on_admit = admit
    busy, idle = stage.knock(), stage.knock()
    busy.send(head())
    stage.until(lambda: taken and len(stage.connections) == 2)
    stage.server.stop()
    assert idle.see_end() == b""
    assert not stage.server.drained
    thread = threading.Thread(target=taken[0].respond, args=(200, [], LONG))
    thread.start()
    thread.join(PATIENCE_S)
    stage.settle()
    assert not stage.server.drained  # its client has not read it all
    assert busy.answer().body == LONG
    stage.settle()
    stage.server.wait()


def test_second_stop_is_ignored(make):
    stage = make()
    for _ in range(2):
        stage.server.stop()
        stage.settle()
    stage.server.wait()


def test_refuse_new_is_false_before_the_server_listens():
    with Stage() as stage:
        assert not stage.server.refuse_new()


# ------------------------------------------------------------------------------- with its threads


def test_view_that_waits_does_not_delay_other_clients(free_port):
    """The server as in production, with its threads."""
    opened = threading.Event()
    inside = threading.Semaphore(0)

    def served(environ, start_response):
        if environ["PATH_INFO"] == "/slow":
            inside.release()
            assert opened.wait(PATIENCE_S)
        return app(environ, start_response)

    pool, limits = LeaderPool(4), Limits()
    gateway = Gateway(served, limits=limits, threads=4, pool=pool)
    server = HTTPServer(
        [Listener(Address("127.0.0.1", free_port))], handler=gateway, pool=pool, limits=limits
    )
    server.start()
    try:
        slow = [socket.create_connection(("127.0.0.1", free_port), PATIENCE_S) for _ in range(3)]
        for each in slow:
            each.sendall(head(target="/slow"))
            assert inside.acquire(timeout=PATIENCE_S)
        with socket.create_connection(("127.0.0.1", free_port), PATIENCE_S) as quick:
            for _ in range(50):
                quick.sendall(head())
                assert quick.recv(10_000).startswith(b"HTTP/1.1 200")
        opened.set()
        for each in slow:
            assert each.recv(10_000).startswith(b"HTTP/1.1 200")
            each.close()
    finally:
        opened.set()
        server.stop()
        server.wait()
    assert not pool.threads


class ToldLoopUser:
    def __init__(self):
        self.is_told = False

    def loop_ended(self):
        self.is_told = True


def test_descriptors_that_are_no_clients_are_watched_until_the_server_ends(free_port):
    pool, limits = LeaderPool(4), Limits()
    server = HTTPServer(
        [Listener(Address("127.0.0.1", free_port))],
        handler=Gateway(app, limits=limits, threads=4, pool=pool),
        pool=pool,
        limits=limits,
    )
    called, user = threading.Semaphore(0), ToldLoopUser()
    reading, writing = os.pipe()

    def read():
        os.read(reading, 1)
        called.release()

    with pytest.raises(OSError, match="ended"):
        pool.call_when_readable(reading, read)
    server.start()
    pool.tell_at_end(user)
    for _ in range(3):
        pool.call_when_readable(reading, os.abort)
        pool.call_when_readable(reading, read)  # instead
        os.write(writing, b"xx")
        assert all(called.acquire(timeout=PATIENCE_S) for _ in range(2))
        pool.call_when_readable(reading, None)
        os.write(writing, b"x")
        os.read(reading, 1)  # the server has not read it
    pool.call_when_readable(reading, read)
    assert not user.is_told
    server.stop()
    server.wait()
    assert user.is_told
    pool.call_when_readable(reading, None)
    with pytest.raises(OSError, match="ended"):
        pool.call_when_readable(reading, read)
    os.close(reading)
    os.close(writing)


def test_pipelined_requests_to_a_view_that_waits_do_not_wait_for_the_next_sweep(
    free_port, monkeypatch
):
    monkeypatch.setattr(module, "SWEEP_S", 2 * PATIENCE_S)

    def served(environ, start_response):
        time.sleep(0.001)
        return app(environ, start_response)

    pool, limits = LeaderPool(4), Limits()
    gateway = Gateway(served, limits=limits, threads=4, pool=pool)
    server = HTTPServer(
        [Listener(Address("127.0.0.1", free_port))], handler=gateway, pool=pool, limits=limits
    )
    server.start()
    try:
        with socket.create_connection(("127.0.0.1", free_port), PATIENCE_S) as client:
            client.sendall(head() * 20)
            received = b""
            while received.count(b"HTTP/1.1 200") < 20:
                data = client.recv(10_000)
                assert data
                received += data
    finally:
        server.stop()
        server.wait()


# ------------------------------------------------------------------------ polling before sleeping


class Arrivals:
    """A poller that returns what the test puts in, and counts how often it was asked."""

    def __init__(self):
        self.events, self.asked = [], 0

    def wait(self, timeout_s):
        assert timeout_s == 0
        self.asked += 1
        return self.events


def waits_until_tried(spin_wait, poller):
    """How many calls go by without a poll."""
    asked, calls = poller.asked, 0
    while poller.asked == asked:
        spin_wait.wait()
        calls += 1
    return calls


def test_spin_wait_polls_rarely_while_nothing_arrives():
    poller = Arrivals()
    spin_wait = SpinWait(poller)
    assert [waits_until_tried(spin_wait, poller) for _ in range(3)] == [TRY_EVERY] * 3


def test_spin_wait_polls_at_each_turn_while_events_arrive_in_time():
    poller = Arrivals()
    spin_wait = SpinWait(poller)
    poller.events = [(7, 1)]
    waits_until_tried(spin_wait, poller)
    assert [spin_wait.wait() for _ in range(10)] == [poller.events] * 10
    poller.events = []
    assert spin_wait.wait() is None
    assert waits_until_tried(spin_wait, poller) == 1  # it still has credit
    for _ in range(MAX_CREDIT):
        spin_wait.wait()
    assert waits_until_tried(spin_wait, poller) > 1


class CalledMeanwhile:
    """A poller that another thread interrupts while it polls, and which forgets that at once."""

    def __init__(self, poller):
        self.poller, self.call, self.wishes_s = poller, None, []

    def wait(self, timeout_s):
        self.wishes_s.append(timeout_s)
        if self.call is not None and len(self.wishes_s) == 1:
            self.call()
        return self.poller.wait(0)

    def __getattr__(self, name):
        return getattr(self.poller, name)


class MadeAtOnce(deque):
    """Calls that the leading thread makes before the calling thread has woken it."""

    def append(self, call):
        call()


def test_call_wakes_the_leader_after_another_that_it_made_before_it_was_woken():
    with Stage() as stage:
        pool, poller = stage.pool, stage.poller.poller
        pool._loop, calls = stage.server, pool.calls
        pool.calls = MadeAtOnce()
        pool.call(print)
        pool.calls = calls
        assert not poller.wait(0)  # the leading thread polls before it sleeps
        pool.call(print)
        began_s = time.monotonic()
        assert not poller.wait(PATIENCE_S)
        assert time.monotonic() - began_s < PATIENCE_S


def test_call_that_arrives_while_the_leader_polls_before_it_sleeps_is_made_at_once():
    poller, pool, limits = CalledMeanwhile(make_poller()), LeaderPool(1), Limits()
    gateway = Gateway(app, limits=limits, threads=1, pool=pool)
    server = HTTPServer(
        [Listener(Address("127.0.0.1", 0))],
        handler=gateway,
        pool=pool,
        limits=limits,
        poller=poller,
        spins=True,
    )
    pool._loop = server
    for _ in range(TRY_EVERY - 1):
        server.poll()
    poller.wishes_s.clear()
    poller.call = lambda: pool.call(print)
    assert server.poll() == []
    assert set(poller.wishes_s) == {0}
    server.close()


# ------------------------------------------------------------------------ when all are connected


def test_connection_that_would_time_out_first_makes_room_for_another(caplog):
    caplog.set_level("INFO", "carboy.serving")
    with Stage(Limits(connections=3), port=0) as stage:
        stage.handler.on_admit = lambda exchange: setattr(
            exchange, "handler", lambda exchange: exchange.respond(200, [], b"")
        )
        stage.listen()
        clients = [stage.knock() for _ in range(3)]
        stage.until(lambda: len(stage.connections) == 3)
        assert clients[0].ask(head()).status == 200  # it may be idle for longer than a new one
        another = stage.knock()
        assert another.ask(head()).status == 200
        assert clients[0].ask(head()).status == 200
        assert clients[1].see_end() == b""
        assert len(stage.connections) == 3
        lines = [record.getMessage() for record in caplog.records]
        assert lines == ["all 3 connections are open: closed idle ones for new clients"]


def test_connections_that_are_not_idle_keep_others_waiting(caplog):
    with Stage(Limits(connections=2), port=0) as stage:
        stage.handler.on_admit = lambda exchange: setattr(exchange, "handler", bool)
        stage.listen()
        for raw in (head(), b"GET / HT"):
            stage.knock().send(raw)
        stage.until(lambda: [each.state for each in stage.connections] == [ANSWERING, HEAD])
        stage.knock().send(head())
        stage.until(lambda: caplog.records)
        assert "none is idle, new clients wait" in caplog.text
        assert len(stage.connections) == 2


def test_refusals_are_logged_once_in_a_while(caplog):
    caplog.set_level("INFO", "carboy.serving")
    with Stage() as stage:
        for _ in range(20):
            assert stage.connect().ask(b"no HTTP\r\n\r\n").status == 400
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["refused a request from 127.0.0.1: 400 BAD REQUEST"]


def test_notice_tells_how_many_of_its_kind_were_left_out(caplog):
    now_s = 0.0
    notices = Notices(lambda: now_s)
    for _ in range(5):
        notices.note("a", logging.WARNING, "limit %d", 1)
    notices.note("b", logging.WARNING, "other")
    now_s = NOTICE_S
    notices.note("a", logging.WARNING, "limit %d", 2)
    assert [record.getMessage() for record in caplog.records] == [
        "limit 1",
        "other",
        "limit 2 (4 more times since the last such line)",
    ]


@pytest.mark.parametrize(
    ("address", "host"),
    [("::ffff:192.0.2.1", "192.0.2.1"), ("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::1")],
)
def test_address_of_a_client_by_ipv4_is_written_as_such(address, host):
    with Stage() as stage:
        here, there = socket.socketpair()
        with here:
            assert stage.server.add(there, address, 1).environ["REMOTE_ADDR"] == host
