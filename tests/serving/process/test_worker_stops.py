"""A server in this process (`app.serve(workers=0)`, a notebook, a test) stops and leaves nothing
behind.
"""

from __future__ import annotations

import os
import socket
import sys
import threading

import pytest
from alone import measured_alone
from polling import PATIENCE_S, wait_until

from carboy import Carboy
from carboy.serving.http.listener import Listener
from carboy.serving.process.worker import Service
from carboy.serving.settings import Settings

TIMES = 5


def counts() -> list[int]:
    return [len(os.listdir("/proc/self/fd")), threading.active_count()]


def ask(port: int, raw: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        client.sendall(raw)
        return client.recv(10_000)


def start_and_stop() -> list[list[int]]:
    """Descriptors and threads after each server.

    The first one may leave what the process keeps for good: on Python 3.14 one descriptor.
    """
    threads, found = threading.active_count(), []
    for _ in range(1 + TIMES):
        app = Carboy("stopped")
        app.add_url_rule("/", view_func=lambda: "hello")
        app.model("/next")(next_number)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        service = Service(app, Settings(port=port, threads=2, drain_s=0.0))
        service.start()
        body = b"POST /next HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        assert ask(port, body + b"Content-Length: 1\r\n\r\n1").endswith(b"\r\n\r\n2")
        assert ask(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").endswith(b"hello")
        service.stop()
        service.wait()
        # Threads that called `stop`, or belong to the model, end a moment after `wait`.
        wait_until(lambda: threading.active_count() <= threads)
        found.append(counts())
    return found


def next_number(x: int) -> int:
    return x + 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_servers_of_one_process_leave_no_descriptor_and_no_thread() -> None:
    before, *after = measured_alone(start_and_stop)
    assert after == [before] * TIMES


def test_clients_of_the_successor_are_not_refused_although_the_event_loop_is_busy(monkeypatch):
    """The successor has the same socket, which the event loop of the old process still watches."""
    with socket.create_server(("127.0.0.1", 0)) as successor:
        port = successor.getsockname()[1]
        settings = Settings(port=port, threads=1, drain_s=0.0)
        service = Service(Carboy("busy"), settings, [(os.dup(successor.fileno()), False)])
        service.start()
        goes_on, has_stopped = threading.Event(), threading.Event()
        server, stop = service._server, service._server.stop
        monkeypatch.setattr(server, "stop", has_stopped.set)
        service.call(goes_on.wait)
        service.stop(has_successor=True)
        assert has_stopped.wait(PATIENCE_S)
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client:
            successor.settimeout(PATIENCE_S)
            with successor.accept()[0] as connection:
                assert connection.getpeername() == client.getsockname()
        goes_on.set()
        stop()
        service.wait()


def stop(service: Service) -> None:
    """Stop a server, and wait until the thread that stops it has ended, too."""
    before = set(threading.enumerate())
    service.stop()
    waiting = threading.Thread(target=service.wait, daemon=True)
    waiting.start()
    waiting.join(PATIENCE_S)
    assert not waiting.is_alive()
    wait_until(lambda: set(threading.enumerate()) <= before)


def test_event_loop_may_leave_shared_sockets_while_others_refuse_new_clients(monkeypatch):
    """Two threads do this, at the same time if the drain takes no time."""
    with (
        socket.create_server(("127.0.0.1", 0)) as own,
        socket.create_server(("127.0.0.1", 0)) as shared,
    ):
        bind = tuple(f"127.0.0.1:{each.getsockname()[1]}" for each in (own, shared))
        passed = [(os.dup(own.fileno()), False), (os.dup(shared.fileno()), True)]
        service = Service(Carboy("both"), Settings(bind=bind, threads=1, drain_s=0.0), passed)
        refuse_new = Listener.refuse_new

        def refuse_slowly(listener: Listener) -> bool:
            wait_until(lambda: service._server._acceptor.listeners[1].fileno() < 0)
            return refuse_new(listener)

        monkeypatch.setattr(Listener, "refuse_new", refuse_slowly)
        service.start()
        stop(service)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("step", ["drain", "refuse_new", "end_websockets"])
def test_server_stops_although_a_step_fails(monkeypatch, step):
    def fail(*args: object, **options: object) -> None:
        raise RuntimeError(f"{step} has failed")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        settings = Settings(port=port, threads=1, drain_s=0.0, grace_s=0.0)
        service = Service(Carboy("failing"), settings, [(os.dup(listener.fileno()), False)])
        service.start()
        monkeypatch.setattr(service._server, step, fail)
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client:
            # A request that does not end, so that each step is taken.
            client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
            wait_until(lambda: service._server.connections)
            stop(service)
