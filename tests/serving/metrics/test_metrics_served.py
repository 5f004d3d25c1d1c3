"""`/metrics` of real servers: several workers, workers that are killed and replaced."""

from __future__ import annotations

import collections
import http.client
import os
import pathlib
import signal
import threading
import typing as t

import pytest
import requests
import spawning
from polling import wait_until
from prometheus import Metrics, decreased

pytestmark = pytest.mark.integration

APP = """
import os, threading
from carboy import Carboy

app = Carboy(__name__)

@app.get("/")
def index():
    return "hello"

@app.get("/pid")
def pid():
    return str(os.getpid())

@app.get("/slow")
def slow():
    threading.Event().wait(0.002)
    return "slow"

@app.model("/double", batch=8)
class Double:
    version = "v1"

    def __init__(self) -> None:
        self.weights = b"x" * (16 * 2**20)

    def predict(self, x: list[float]) -> list[float]:
        return [2 * each for each in x]
"""
REPLICAS = APP.replace("batch=8", "batch=8, replicas=2")
CLIENTS = 4


class Server(t.NamedTuple):
    """A running server, and the port of its management."""

    program: spawning.Program
    management: int

    @property
    def metrics(self) -> Metrics:
        found = requests.get(f"http://127.0.0.1:{self.management}/metrics", timeout=30)
        assert found.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        return Metrics(found.content)

    def ready_pids(self) -> set[int]:
        """The pids of the two workers; empty while they are not both ready."""
        shown = self.metrics
        if shown.sum("carboy_workers", state="ready") != 2:
            return set()
        found = shown.samples("carboy_worker_resident_memory_bytes")
        return {int(dict(key)["pid"]) for key in found}

    def kill_one_worker(self) -> None:
        """Kill a worker, and wait until another process has taken its place."""
        wait_until(lambda: len(self.ready_pids()) == 2)
        killed = min(self.ready_pids())
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: len(self.ready_pids() - {killed}) == 2)


@pytest.fixture
def serve(tmp_path: pathlib.Path) -> t.Iterator[t.Callable[..., Server]]:
    programs = []

    def serve(*options: str, app: str = APP) -> Server:
        (tmp_path / "shop.py").write_text(app)
        port, management = spawning.free_port(), spawning.free_port()
        words = [spawning.script("carboy"), "serve", "shop:app", "--port", str(port)]
        words += ["--management", f"127.0.0.1:{management}", "--control", "off", *options]
        program = spawning.start(words, log=tmp_path / "log", port=port, cwd=tmp_path)
        programs.append(program)
        program.wait_until_it_prints("serving shop:app")
        return Server(program, management)

    yield serve
    for program in programs:
        program.stop()


class Load:
    """Clients that ask for a path again and again, and count what they get.

    Attributes:
        answered: the number of responses by path and status.
        lost: how many requests got no response, because the worker was killed or has closed the
            connection.
    """

    def __init__(self, port: int, *paths: str) -> None:
        self.answered: collections.Counter[tuple[str, int]] = collections.Counter()
        self.lost = 0
        self._port = port
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(path,))
            for path in paths
            for _ in range(CLIENTS)
        ]

    def __enter__(self) -> t.Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, path: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self._stop.is_set():
            try:
                if path == "/double":
                    headers = {"Content-Type": "application/json"}
                    connection.request("POST", path, b"1.5", headers)
                else:
                    connection.request("GET", path)
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                with self._lock:
                    self.lost += 1
            else:
                with self._lock:
                    self.answered[path, response.status] += 1
        connection.close()

    def has_answers(self, more: int) -> t.Callable[[], bool]:
        until = self.answered.total() + more
        return lambda: self.answered.total() >= until


def test_killed_workers_lose_no_counts_but_those_of_requests_in_flight(serve):
    server = serve("--workers", "2")
    seen = server.metrics
    kills = 3
    with Load(server.program.port, "/", "/slow", "/double") as load:
        for _ in range(kills):
            wait_until(load.has_answers(300))
            server.kill_one_worker()
            now = server.metrics
            assert list(decreased(seen, now)) == []
            seen = now
        wait_until(load.has_answers(300))
    found = server.metrics
    assert list(decreased(seen, found)) == []
    for path, method in (("/", "GET"), ("/slow", "GET"), ("/double", "POST")):
        answered = load.answered[path, 200]
        # Each kill interrupts at most one request of each client. Its response may have been
        # counted, because it is counted before it is sent.
        assert answered <= found.requests(path, method, "200") <= answered + kills * CLIENTS
    answered = load.answered["/double", 200]
    computed = found.sum("carboy_model_requests_total", model="double", outcome="ok")
    assert answered <= computed <= answered + kills * CLIENTS
    assert found.sum("carboy_worker_restarts_total") == kills
    # A client may lose a second request, if it has connected anew before the socket of the killed
    # worker was closed.
    assert 0 < load.lost <= kills * 3 * CLIENTS * 2


def test_counts_stay_when_workers_are_replaced_by_a_reload(serve):
    server = serve("--workers", "2")
    with Load(server.program.port, "/") as load:
        wait_until(load.has_answers(200))
        before = server.metrics
        server.program.process.send_signal(signal.SIGHUP)
        server.program.wait_until_it_prints("reloaded: all workers run the new code")
        assert list(decreased(before, server.metrics)) == []
        wait_until(load.has_answers(200))
    assert server.metrics.requests("/", "GET", "200") == load.answered["/", 200]
    assert load.lost == 0
    wait_until(lambda: server.metrics.sum("http_server_active_requests") == 0)


def test_predictions_are_shown_with_batch_sizes_times_and_outcomes(serve):
    server = serve("--workers", "2")
    with Load(server.program.port, "/double") as load:
        wait_until(load.has_answers(100))
    found, answered = server.metrics, load.answered["/double", 200]
    model = {"model": "double", "version": "v1"}
    assert found.sum("carboy_model_requests_total", outcome="ok", **model) == answered
    assert found.sum("carboy_model_queue_seconds_count", **model) == answered
    assert found.sum("carboy_model_batch_size_sum", **model) == answered
    batches = found.sum("carboy_model_batch_size_count", **model)
    assert batches == found.sum("carboy_model_compute_seconds_count", **model) <= answered
    wait_until(lambda: server.metrics.sum("carboy_model_queue_depth", **model) == 0)
    assert found.kinds["carboy_model_requests"] == "counter"
    wait_until(lambda: server.metrics.sum("carboy_model_replicas", **model) == 2)
    assert server.metrics.sum("carboy_model_memory_bytes", **model) >= 2 * 16 * 2**20 * 0.9


def test_replicas_are_shown_with_the_memory_of_their_processes(serve):
    server = serve("--workers", "2", app=REPLICAS)
    model = {"model": "double", "version": "v1"}
    with Load(server.program.port, "/double") as load:
        wait_until(load.has_answers(20))
    assert load.lost == 0
    wait_until(lambda: server.metrics.sum("carboy_model_replicas", **model) == 2)
    found = server.metrics
    assert found.sum("carboy_model_replicas") == 2
    assert found.sum("carboy_model_memory_bytes", **model) > 2 * 16 * 2**20
    answered = load.answered["/double", 200]
    assert found.sum("carboy_model_requests_total", outcome="ok", **model) == answered


def test_metrics_are_not_shown_if_the_setting_is_off(serve):
    server = serve("--workers", "1", "--metrics", "no")
    url = f"http://127.0.0.1:{server.management}"
    assert requests.get(f"{url}/metrics", timeout=30).status_code == 404
    assert requests.get(f"{url}/livez", timeout=30).status_code == 200
    assert requests.get(f"{server.program.url}/", timeout=30).text == "hello"
