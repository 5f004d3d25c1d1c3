"""Requests that do not end delay the end of a server no longer than the grace period, whoever stops
it, and whether a supervisor lives or not.
"""

from __future__ import annotations

import os
import pathlib
import signal
import socket
import sys
import threading
import typing as t

import pytest
from polling import PATIENCE_S, wait_until

from carboy import Carboy
from carboy.serving.process.worker import Service
from carboy.serving.settings import Settings

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from spawning import Program

pytestmark = pytest.mark.integration

APP = """
import pathlib, threading, time
from carboy import Carboy, Response

app = Carboy(__name__)
never = threading.Event()

@app.get("/view")
def view():
    pathlib.Path("begun").touch()
    never.wait()

@app.get("/stream")
def stream():
    def lines():
        pathlib.Path("begun").touch()
        while True:
            yield "data: 1\\n\\n"
            time.sleep(0.05)
    return Response(lines(), mimetype="text/event-stream")
"""
LOADING = """
@app.model("/slow")
class Slow:
    def __init__(self):
        pathlib.Path("begun").touch()
        try:
            never.wait()
        except CAUGHT:
            pass
    def predict(self, x: int) -> int:
        return x
"""
CUT_OFF = "requests that have not ended are cut off"


@pytest.fixture
def program(spawn, tmp_path, free_port) -> cabc.Callable[..., Program]:
    """A program that serves APP itself, without workers."""

    def start(grace_s: float, more: str = "", **options: t.Any) -> Program:
        arguments = f"workers=0, port={free_port}, threads=2, drain_s=0.05, grace_s={grace_s}"
        (tmp_path / "shop.py").write_text(f"{APP}{more}\napp.serve({arguments})\n")
        started: Program = spawn(sys.executable, "shop.py", **options)
        return started

    return start


def begin(server: Program, folder: pathlib.Path, path: str) -> socket.socket:
    """Return the connection of a request that is being handled, and never ends."""
    client = socket.create_connection(("127.0.0.1", server.port), PATIENCE_S)
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    wait_until((folder / "begun").exists)
    return client


def is_running(pid: int) -> bool:
    try:
        return ") Z " not in pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def children(server: Program) -> list[int]:
    words = pathlib.Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    return [int(word) for word in words]


@pytest.mark.parametrize("path", ["/view", "/stream"])
def test_server_without_workers_ends_after_the_grace(program, tmp_path, path):
    server = program(0.2)
    with begin(server, tmp_path, path):
        assert server.stop() == 1
    assert f"the grace period of 0.2 s (--grace) is over: {CUT_OFF}" in server.output
    assert "Traceback" not in server.output


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_second_signal_ends_a_server_without_workers_at_once(program, tmp_path, first, second):
    server = program(600)
    with begin(server, tmp_path, "/view") as client:
        server.process.send_signal(first)
        server.wait_until_it_prints(f"stopping on {first.name}")
        assert server.stop(second) == 1
        assert client.recv(1) == b""
    assert f"{second.name} while the server stops: {CUT_OFF}" in server.output


@pytest.mark.parametrize("caught", ["Exception", "BaseException"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_a_server_without_workers_that_loads_its_models(
    program, tmp_path, number, caught
):
    server = program(600, LOADING.replace("CAUGHT", caught), listens=False)
    wait_until((tmp_path / "begun").exists)
    assert server.stop(number) == 0
    assert "stopped" in server.output
    assert "Traceback" not in server.output


def test_worker_does_not_outlive_its_supervisor_because_of_a_request(
    spawn, carboy_command, tmp_path
):
    (tmp_path / "shop.py").write_text(APP)
    words = ("serve", "shop:app", "--port", "{port}", "--workers", "1", "--grace", "0.2")
    server = spawn(carboy_command, *words)
    server.wait_until_it_prints("serving shop:app")
    (worker,) = children(server)
    with begin(server, tmp_path, "/view"):
        server.process.kill()
        wait_until(lambda: not is_running(worker))
    assert CUT_OFF in server.output


def test_view_that_goes_on_after_it_was_cut_off_harms_nothing(caplog):
    """In a notebook, the process and its threads live on."""
    app, begun, goes_on = Carboy("late"), threading.Event(), threading.Event()

    @app.get("/")
    def late() -> str:
        begun.set()
        goes_on.wait()
        return "late"

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        settings = Settings(port=port, threads=1, drain_s=0.0, grace_s=600)
        before = set(threading.enumerate())
        service = Service(app, settings, [(os.dup(listener.fileno()), False)])
        service.start()
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert begun.wait(PATIENCE_S)
            service.stop()
            service.stop_at_once("the test")
            assert not service.wait()
            assert client.recv(1) == b""
    goes_on.set()
    wait_until(lambda: set(threading.enumerate()) <= before)
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
    assert f"the test: {CUT_OFF}" in caplog.text
