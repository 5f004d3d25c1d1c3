"""How long a web worker is busy with one request, apart from `predict`: measured.

    base      CPU time of a worker of `carboy serve` per request for a model that takes a number
    own       time to decode the example of the model, and to encode its answer

The base is measured with a server of its own on this machine, which is stopped afterwards. Its
requests come over TCP without TLS, on connections that stay open.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
import typing as t
from time import perf_counter

from carboy.errors import SimulationError

if t.TYPE_CHECKING:
    from collections import abc as cabc

_APP = """\
from carboy import Carboy

app = Carboy(__name__)


@app.model("/number", batch=32, access="open")
def number(x: list[int]) -> list[int]:
    return x
"""
_REQUEST = (
    b"POST /number HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"Content-Length: 1\r\n\r\n7"
)
_SERVING = re.compile(rb"http://127\.0\.0\.1:(\d+)")
_CONNECTIONS = 32
# The requests that are not counted, and those that are, several times: 2,000 take a worker about
# 50 ms.
_WARM_UP, _REQUESTS, _TIMES = 1_000, 2_000, 5
_PATIENCE_S = 60.0
_OWN_S = 0.2
_WITHOUT_MEASURING = "Say how long a web worker is busy with a request, such as --http 50us."


def measure_base_s() -> float:
    """Return the CPU time of a web worker per request, in seconds: the shortest of five, because
    other programs can only lengthen it. Takes some seconds.

    Raises:
        SimulationError: the system does not tell, or the server does not start.
    """
    if sys.platform != "linux":
        raise SimulationError(
            "--http measured needs Linux, which tells the CPU time of other processes."
            f" {_WITHOUT_MEASURING}"
        )
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "app.py").write_text(_APP, encoding="utf-8")
        with _served(folder) as (pid, port):
            _ask(port, _WARM_UP)
            return min(_slice_s(pid, port) for _ in range(_TIMES))


def _slice_s(pid: int, port: int) -> float:
    before_s = _children_cpu_s(pid)
    _ask(port, _REQUESTS)
    return (_children_cpu_s(pid) - before_s) / _REQUESTS


def measure_own_s(read_and_write: cabc.Callable[[], object]) -> float:
    """Return how long a function takes that decodes a request and encodes its answer, in seconds:
    the shortest of many times.
    """
    taken_s: list[float] = []
    end_s = perf_counter() + _OWN_S
    while not taken_s or perf_counter() < end_s:
        start_s = perf_counter()
        read_and_write()
        taken_s.append(perf_counter() - start_s)
    return min(taken_s)


@contextlib.contextmanager
def _served(folder: str) -> cabc.Iterator[tuple[int, int]]:
    """Run `carboy serve` in a folder; yields the id of its process, and its port."""
    command = [
        *(sys.executable, "-m", "carboy", "--app", "app:app", "serve"),
        *("--host", "127.0.0.1", "--port", "0", "--workers", "1", "--access-log", "off"),
    ]
    env = {name: value for name, value in os.environ.items() if not name.startswith("CARBOY_")}
    with subprocess.Popen(  # noqa: S603  # this Python, with constant arguments
        command,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as server:
        try:
            yield server.pid, _port_of(server)
        finally:
            server.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.communicate(timeout=_PATIENCE_S)
            server.kill()


def _port_of(server: subprocess.Popen[bytes]) -> int:
    said = b""
    for line in t.cast("t.IO[bytes]", server.stderr):
        said += line
        if b" serving " in line and (found := _SERVING.search(line)):
            return int(found[1])
    last = said.decode(errors="replace").strip().rpartition("\n")[2]
    raise SimulationError(
        f"--http measured: the server has not started: {last} ('carboy serve' shows the whole"
        f" error.) {_WITHOUT_MEASURING}"
    )


def _children_cpu_s(pid: int) -> float:
    """Return the CPU time of the processes that a process has started: of the workers."""
    children = [
        int(child)
        for file in pathlib.Path(f"/proc/{pid}/task").glob("*/children")
        for child in file.read_text().split()
    ]
    # The clock of another process, as clock_getcpuclockid(3) returns it on Linux. /proc has the
    # same in hundredths of a second.
    return sum(time.clock_gettime((~child << 3) | 2) for child in children)


def _ask(port: int, requests: int) -> None:
    """Send requests over connections that each have one on the way, and wait for the responses."""
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for _ in range(_CONNECTIONS):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.settimeout(_PATIENCE_S)
            client.sendall(_REQUEST)
            selector.register(client, selectors.EVENT_READ)
        answered = 0
        while answered < requests:
            ready = selector.select(_PATIENCE_S)
            if not ready:
                raise SimulationError(
                    f"--http measured: the server has not answered for {_PATIENCE_S:g} s."
                    f" {_WITHOUT_MEASURING}"
                )
            for key, _ in ready:
                client = t.cast("socket.socket", key.fileobj)
                # The response is short, so that it comes in one piece.
                if not client.recv(65536).startswith(b"HTTP/1.1 200 "):
                    raise SimulationError(
                        f"--http measured: the server has refused a request. {_WITHOUT_MEASURING}"
                    )
                answered += 1
                client.sendall(_REQUEST)
