"""The sockets of all clients: who is accepted, who leads, when it is over."""

from __future__ import annotations

import errno
import os
import socket
import threading

import pytest
from stage import Stage, head, post

from carboy.serving.http import server as module
from carboy.serving.http.server import SPARE_THREADS, SWEEP_S, Front
from carboy.serving.settings import Settings
from carboy.serving.threads.leader import Crew

PATIENCE_S = 20.0
# Than what the systems at both ends take.
LONG = b"x" * 20_000_000


def app(environ, start_response):
    start_response("200 OK", [])
    return [f"{environ['PATH_INFO']} {environ['REMOTE_ADDR']} {environ['SERVER_PORT']}".encode()]


@pytest.fixture
def make(free_port):
    stages = []

    def make(served=app, **options):
        stage = Stage(Settings(port=free_port, **options))
        stages.append(stage)
        stage.serve(served)
        stage.listen()
        return stage

    yield make
    for stage in stages:
        stage.__exit__()


# ----------------------------------------------------------------------------------- who comes in


def test_who_connects_is_served(make, free_port):
    stage = make()
    clients = [stage.knock() for _ in range(3)]
    for client in clients:
        assert client.ask(head(target="/a")).body == f"/a 127.0.0.1 {free_port}".encode()
    assert len(stage.connections) == 3


def test_the_address_may_be_one_of_ipv6(free_port):
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        return  # this machine has none
    with Stage(Settings(host="::1", port=free_port)) as stage:
        stage.serve(app)
        stage.listen()
        assert stage.knock().ask(head()).body == f"/ ::1 {free_port}".encode()


def test_an_address_that_is_taken_is_told():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with Stage(Settings(port=port)) as stage:
            with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}: "):
                stage.listen()
            stage.front._listener = None  # it is closed


def test_beyond_the_limit_clients_wait_until_one_leaves(make):
    stage = make(connections=2)
    first, second, third = (stage.knock() for _ in range(3))
    assert first.ask(head()).status == second.ask(head()).status == 200
    third.send(head())
    stage.settle()
    assert len(stage.connections) == 2
    assert not third.collect()
    second.leave()
    assert third.answer().status == 200


def test_a_full_front_that_is_left_by_all_at_once_is_not_deaf(make):
    stage = make(connections=1)
    first, second = stage.knock(), stage.knock()
    second.send(head())
    assert first.ask(head()).status == 200
    stage.settle()
    stage.front._sweeps_s = float("inf")  # it has just looked
    first.leave()
    stage.turn()
    assert not stage.connections
    stage.poller.wishes_s.clear()
    stage.turn()
    assert stage.poller.wishes_s[0] <= SWEEP_S
    stage.front._sweeps_s = 0
    assert second.answer().status == 200


class Broken:
    """A listening socket from which nothing can be accepted for a while."""

    def __init__(self, listener, number):
        self.listener, self.number = listener, number

    def accept(self):
        if self.number is None:
            return self.listener.accept()
        raise OSError(self.number, os.strerror(self.number))

    def __getattr__(self, name):
        return getattr(self.listener, name)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_without_descriptors_it_waits_a_moment_and_says_so_once(make, caplog, number):
    stage = make()
    there = stage.knock()
    assert there.ask(head()).status == 200
    broken = stage.front._listener = Broken(stage.front._listener, number)
    late = stage.knock()
    late.send(head())
    stage.turn()
    stage.front._sweeps_s = float("inf")
    caplog.clear()
    for _ in range(20):
        there.send(head())
        stage.turn()  # it does not try at each turn
    assert len(caplog.records) <= 1
    broken.number = None
    stage.front._sweeps_s = 0
    assert late.answer().status == 200
    assert there.answer().status == 200


def test_a_client_that_left_before_its_turn_is_none(make, caplog):
    stage = make()
    listener = stage.front._listener
    stage.front._listener = Broken(listener, errno.ECONNABORTED)
    client = stage.knock()
    for _ in range(3):
        stage.turn()
    stage.front._listener = listener
    assert client.ask(head()).status == 200
    assert not caplog.records


def test_silent_clients_are_asked_whether_they_live(make):
    stage = make()
    client = stage.knock()
    assert client.ask(head()).status == 200
    (connection,) = stage.connections
    assert connection._socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert connection._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_no_descriptor_is_left_behind(free_port):
    before = len(os.listdir("/dev/fd"))
    with Stage(Settings(port=free_port)) as stage:
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
@pytest.mark.parametrize("where", ["call", "connection", "round", "wait", "deadline"])
def test_a_failure_does_not_end_the_thread_that_leads(monkeypatch, caplog, failure, where):
    def fail(*args):
        raise failure

    with Stage() as stage:
        stage.serve(app)
        client = stage.connect()
        stage.turn()
        with monkeypatch.context() as patch:
            if where == "call":
                stage.front.call(fail)
            elif where == "round":
                stage.front.after_round = fail
            elif where == "wait":
                patch.setattr(stage.poller, "wait", fail)
            elif where == "deadline":
                stage.front._connections[-1] = type(
                    "Late", (), {"deadline_s": 0, "expire": fail, "_socket": client._socket}
                )()
            else:
                patch.setattr(module.Connection, "readable", fail)
                client.send(head())
            stage.front._sweeps_s = 0
            stage.turn()
        assert "error while serving" in caplog.text
        stage.front.after_round = lambda: None
        stage.front._connections.pop(-1, None)
        answer = client.answer() if where == "connection" else client.ask(head())
        assert answer.status == 200


def test_what_is_called_for_is_done_in_order_and_at_once():
    done = []
    with Stage() as stage:
        for i in range(3):
            stage.front.call(lambda i=i: done.append(i))
        assert stage.poller._poller.wait(PATIENCE_S) == []  # woken
        stage.turn()
    assert done == [0, 1, 2]


def test_what_is_called_for_by_a_call_is_done_at_the_next_turn():
    done = []
    with Stage() as stage:
        stage.front.call(lambda: stage.front.call(lambda: done.append(1)))
        stage.turn()
        stage.poller.wishes_s.clear()
        stage.turn()
        assert stage.poller.wishes_s == [0]
    assert done == [1]


def test_what_a_leader_that_steps_aside_leaves_is_done_by_the_next_at_once():
    done = []
    with Stage() as stage:
        stage.front.call(stage.crew.step_aside)
        stage.front.call(lambda: done.append(1))
        assert stage.turn().aside
        assert not done
        stage.poller.wishes_s.clear()
        stage.turn()
        assert stage.poller.wishes_s == [0]
    assert done == [1]


def test_the_clients_that_a_leader_that_steps_aside_leaves_are_served_by_the_next():
    taken = []

    def take(exchange):
        taken.append(exchange)
        stage.crew.step_aside()

    def admit(exchange):
        exchange.taker = take

    with Stage() as stage:
        stage.front.admit = admit
        for _ in range(3):
            stage.connect().send(head())
        for i in range(3):
            assert stage.turn().aside
            assert len(taken) == i + 1


def test_a_round_ends_when_all_that_came_together_was_read():
    rounds = []
    with Stage() as stage:
        taken = []

        def admit(exchange):
            exchange.taker = taken.append

        stage.front.admit = admit
        stage.front.after_round = lambda: rounds.append(len(taken))
        for _ in range(4):
            stage.connect().send(head())
        stage.turn()
    assert rounds == [4]


def test_an_idle_front_sleeps():
    with Stage() as stage:
        stage.front._listens = True
        stage.turn()
        assert stage.poller.wishes_s[-1] > 1000
        stage.connect()
        stage.turn()
        assert stage.poller.wishes_s[-1] == SWEEP_S


def test_there_are_no_more_threads_than_asked_for(monkeypatch):
    begun = []

    class Thread:
        def __init__(self, **given):
            begun.append(given)

        def start(self):
            pass

    monkeypatch.setattr(module.threading, "Thread", Thread)
    with Stage(Settings(threads=3)) as stage:
        for _ in range(50):
            stage.front.add_thread()
    assert len(begun) == 3 + SPARE_THREADS
    assert all(each["daemon"] for each in begun)


def test_a_thread_that_the_system_does_not_give_is_not_counted(monkeypatch, caplog):
    class Thread:
        def __init__(self, **given):
            pass

        def start(self):
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module.threading, "Thread", Thread)
    with Stage(Settings(threads=3)) as stage:
        for _ in range(50):
            stage.front.add_thread()
        assert stage.front._threads == 0
    assert "can't start new thread" in caplog.text


# -------------------------------------------------------------------------------------- the end


def test_a_front_without_clients_ends_at_once(make):
    stage = make()
    listener = stage.front._listener
    stage.front.stop()
    stage.settle()
    stage.front.wait()
    assert listener.fileno() == -1


def test_who_waits_in_the_systems_queue_is_served_when_it_stops(make):
    """Its client has connected, and knows of nothing."""
    stage = make()
    clients = [stage.knock() for _ in range(5)]
    for client in clients:
        client.send(head())
    stage.front.stop()
    for client in clients:
        answer = client.answer()
        assert (answer.status, answer.closes) == (200, True)
        assert client.see_end() == b""
    stage.settle()
    stage.front.wait()


def test_nobody_comes_in_when_it_has_stopped(make):
    stage = make()
    address = stage.front._listener.getsockname()
    stage.front.stop()
    stage.settle()
    with pytest.raises(ConnectionRefusedError), socket.create_connection(address):
        pass


def test_it_ends_when_the_last_answer_is_out(make):
    taken = []
    stage = make()

    def admit(exchange):
        exchange.taker = taken.append

    stage.front.admit = admit
    busy, idle = stage.knock(), stage.knock()
    busy.send(head())
    stage.until(lambda: taken and len(stage.connections) == 2)
    stage.front.stop()
    assert idle.see_end() == b""
    assert not stage.front._drained.is_set()
    thread = threading.Thread(target=taken[0].respond, args=(200, [], LONG))
    thread.start()
    thread.join(PATIENCE_S)
    stage.settle()
    assert not stage.front._drained.is_set()  # its client has not read it all
    assert busy.answer().body == LONG
    stage.settle()
    stage.front.wait()


def test_a_second_stop_is_none(make):
    stage = make()
    for _ in range(2):
        stage.front.stop()
        stage.settle()
    stage.front.wait()


def test_new_clients_are_refused_only_where_it_listens():
    with Stage() as stage:
        assert not stage.front.refuse_new()


# ------------------------------------------------------------------------------- with its threads


def test_its_own_threads_serve_many_clients_and_a_view_that_waits_holds_nobody_up(free_port):
    """The only test here in which the front is as in production, but for the end of its threads."""
    opened = threading.Event()
    inside = threading.Semaphore(0)

    def served(environ, start_response):
        if environ["PATH_INFO"] == "/slow":
            inside.release()
            assert opened.wait(PATIENCE_S)
        return app(environ, start_response)

    from carboy.serving.wsgi.gateway import Gateway

    crew = Crew()
    front = Front(Settings(port=free_port, threads=4), crew=crew)
    gateway = Gateway(
        served, max_body_bytes=None, threads=4, crew=crew, call=front.call, leads=front.leads
    )
    front.admit, front.after_round = gateway.admit, gateway.end_round
    front.start()
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
        front.stop()
        front.wait()
        front._listens = True  # its threads, which never end, sleep from now on


def test_it_looks_out_only_where_that_has_paid():
    with Stage() as stage:
        front, waits, wait = stage.front, [], stage.front._poller.wait

        def counted(timeout_s):
            waits.append(timeout_s)
            return wait(0)

        front._poller.wait = counted
        front._spares, front._turns, front._luck = True, 0, 4
        assert front._look_out() is None
        assert front._look_out() is None
        assert waits
        waits.clear()
        assert front._look_out() is None
        assert not waits  # it had no luck
        stage.connect().send(b"G")
        front._turns = module.TRIED_EVERY - 1
        assert front._look_out()  # but tries again now and then
        assert front._luck == 1
        front._poller.wait = wait
