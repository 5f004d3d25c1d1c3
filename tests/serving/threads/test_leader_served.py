"""Views that wait, some without having done so before, beside others that must not notice."""

from __future__ import annotations

import contextlib
import pathlib
import signal
import socket
import threading
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
import spawning
from polling import PATIENCE_S, wait_until

# Two looks of the monitor are 40 ms; the rest is for a busy machine. A leader that the monitor does
# not relieve waits until the test ends, so a longer limit finds that as well.
UNNOTICED_S = 5.0
THREADS = 4

pytestmark = pytest.mark.integration

APP = """
import pathlib, threading, time
from carboy import Carboy, Response, request

app = Carboy(__name__)
here = pathlib.Path(__file__).parent

def wait_for_go():
    with open(here / "held", "a") as file:
        file.write("x")
    while not (here / "go").exists():
        time.sleep(0.005)

@app.get("/quick")
def quick():
    return "quick"

@app.get("/page/<int:n>")
def page(n):
    if (here / "database-is-down").exists():
        wait_for_go()
    return f"page {n}"

for i in range(6):
    def another(i=i):
        return page(i)
    app.add_url_rule(f"/another/{i}", f"another{i}", another)

@app.get("/wait")
def wait():
    wait_for_go()
    return "waited"

@app.get("/pause/<int:ms>")
def pause(ms):
    time.sleep(ms / 1000)
    return f"paused {ms}"

@app.post("/length")
def length():
    return str(len(request.get_data()))

@app.post("/unread")
def unread():
    return "no", 401

@app.get("/stream/<int:n>")
def stream(n):
    def lines():
        for i in range(n):
            time.sleep(0.001)
            yield f"{i}\\n"
    return Response(lines())
"""
# With models, predictions would not go on without threads beneath something like this.
FAILING = """
inner = app.wsgi_app

def outer(environ, start_response):
    if environ["PATH_INFO"] == "/fail":
        wait_for_go()
        raise RuntimeError("it is the application's")
    return inner(environ, start_response)

app.wsgi_app = outer
"""
MODEL = """
@app.model("/next")
def next_(x: int) -> int:
    return x + 1
"""


class Server(t.NamedTuple):
    program: spawning.Program
    folder: pathlib.Path

    def get(self, path: str, within_s: float = PATIENCE_S) -> requests.Response:
        return requests.get(f"{self.program.url}{path}", timeout=within_s)

    def text(self, path: str, within_s: float = PATIENCE_S) -> str:
        return self.get(path, within_s).text

    def next(self, x: int, within_s: float = PATIENCE_S) -> int:
        answer = requests.post(f"{self.program.url}/next", json=x, timeout=within_s)
        return t.cast("int", answer.json())

    def held(self) -> int:
        path = self.folder / "held"
        return len(path.read_text()) if path.exists() else 0


Start = t.Callable[[str], Server]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Start]:
    running = []

    def start(way: str) -> Server:
        folder = tmp_path_factory.mktemp(way)
        text = APP + (FAILING if way == "views" else MODEL)
        program = spawning.serve(folder, "shop", text, "--threads", str(THREADS))
        running.append(program)
        return Server(program, folder)

    yield start
    for program in running:
        program.stop()


@pytest.fixture(scope="module", params=["views", "models"])
def way(request: pytest.FixtureRequest) -> str:
    return t.cast("str", request.param)


@pytest.fixture(scope="module")
def shared(way: str, start: Start) -> Server:
    return start(way)


@pytest.fixture
def server(shared: Server) -> Server:
    for name in ("go", "held", "database-is-down"):
        (shared.folder / name).unlink(missing_ok=True)
    return shared


@pytest.fixture
def clients(server: Server) -> t.Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(40) as clients:
        try:
            yield clients
        finally:
            (server.folder / "go").touch()


def learn(server: Server, *paths: str) -> None:
    """Let the server see that these do not wait, with one request after another."""
    with requests.Session() as session:
        for path in paths:
            for _ in range(40):
                session.get(f"{server.program.url}{path}", timeout=PATIENCE_S)


def test_quick_view_that_starts_to_wait_delays_no_other_request(server, clients, way):
    learn(server, "/quick", "/page/1")
    (server.folder / "database-is-down").touch()
    for i in range(THREADS - 1):
        waiting = clients.submit(server.text, f"/page/{i}")
        wait_until(lambda i=i: server.held() == i + 1)
        for _ in range(3):
            assert server.text("/quick", UNNOTICED_S) == "quick"
            if way == "models":
                assert server.next(1, UNNOTICED_S) == 2
        assert not waiting.done()
    (server.folder / "go").touch()
    assert waiting.result().startswith("page")


def test_views_that_start_to_wait_together_delay_no_other_request(server, clients):
    others = [f"/another/{i}" for i in range(THREADS - 1)]
    learn(server, "/quick", *others)
    (server.folder / "database-is-down").touch()
    waiting = [clients.submit(server.text, path) for path in others]
    wait_until(lambda: server.held() == THREADS - 1)
    assert server.text("/quick", UNNOTICED_S) == "quick"
    (server.folder / "go").touch()
    assert sorted(each.result() for each in waiting) == ["page 0", "page 1", "page 2"]


def test_forty_clients_of_a_view_that_waits_are_all_answered(server, clients, way):
    waiting = [clients.submit(server.text, "/wait") for _ in range(40)]
    wait_until(lambda: server.held() == THREADS)
    if way == "models":  # their events have threads of their own
        for x in range(5):
            assert server.next(x, UNNOTICED_S) == x + 1
    assert server.held() == THREADS
    (server.folder / "go").touch()
    assert {each.result() for each in waiting} == {"waited"}
    assert server.held() == 40
    assert server.text("/quick") == "quick"


def test_bodies_are_read_while_all_threads_but_one_wait(server, clients):
    """A body that is read as it comes needs another thread to bring it."""
    waiting = [clients.submit(server.text, "/wait") for _ in range(THREADS - 1)]
    wait_until(lambda: server.held() == THREADS - 1)
    for size in (10, 3_000_000):
        url = f"{server.program.url}/length"
        for body in (b"x" * size, iter([b"x" * size])):
            assert requests.post(url, data=body, timeout=PATIENCE_S).text == str(size)
    (server.folder / "go").touch()
    assert {each.result() for each in waiting} == {"waited"}


@pytest.mark.parametrize("way", ["views"], indirect=True, scope="module")
def test_error_of_an_application_is_500_while_other_views_wait(server, clients):
    for _ in range(THREADS):
        learn(server, "/quick")
        failing = clients.submit(server.get, "/fail")
        wait_until(server.held)
        assert server.text("/quick") == "quick"
        (server.folder / "go").touch()
        assert failing.result().status_code == 500
        (server.folder / "go").unlink()
        (server.folder / "held").unlink()


@pytest.mark.stress  # it has ten seconds
def test_client_that_still_sends_after_its_response_is_disconnected(server):
    learn(server, "/quick")
    with socket.create_connection(("127.0.0.1", server.program.port), PATIENCE_S) as client:
        client.sendall(
            b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n" + b"x" * 70_000
        )
        assert b"401" in client.recv(1000)
        ended = threading.Event()

        def trickle() -> None:
            with contextlib.suppress(OSError):
                while not ended.wait(0.02):
                    client.sendall(b"x" * 65536)

        sender = threading.Thread(target=trickle)
        sender.start()
        try:
            with contextlib.suppress(ConnectionError):  # or in order
                while client.recv(1000):
                    pass
        finally:
            ended.set()
            sender.join()


def test_server_stops_cleanly_with_parked_and_waiting_threads(start, way):
    server = start(way)
    clients = ThreadPoolExecutor(8)
    waiting = [clients.submit(server.text, "/wait") for _ in range(THREADS - 1)]
    wait_until(lambda: server.held() == THREADS - 1)
    paused = list(clients.map(server.text, ["/pause/1"] * 20))
    assert set(paused) == {"paused 1"}
    server.program.process.send_signal(signal.SIGTERM)
    (server.folder / "go").touch()
    assert {each.result() for each in waiting} == {"waited"}
    assert server.program.process.wait(PATIENCE_S) == 0
    for word in ("panic", "FATAL", "Traceback", "have not ended"):
        assert word not in server.program.output


@pytest.mark.stress
def test_no_request_is_lost_among_mixed_concurrent_requests(server, way):
    end_s = time.monotonic() + 8
    upload = b"x" * 300_000

    def ask(session: requests.Session, turn: int) -> tuple[object, object]:
        url = server.program.url
        kind = turn % 8
        if kind == 0:
            return session.get(f"{url}/pause/{turn % 50}", timeout=PATIENCE_S).text, (
                f"paused {turn % 50}"
            )
        if kind == 1:
            got = session.get(f"{url}/stream/{turn % 20}", timeout=PATIENCE_S).text
            return got, "".join(f"{i}\n" for i in range(turn % 20))
        if kind == 2:
            body: t.Any = upload if turn % 3 else iter([upload])
            return session.post(f"{url}/length", data=body, timeout=PATIENCE_S).text, "300000"
        if kind == 3 and way == "models":
            return session.post(f"{url}/next", json=turn, timeout=PATIENCE_S).json(), turn + 1
        if kind == 4:
            return session.get(f"{url}/missing/{turn}", timeout=PATIENCE_S).status_code, 404
        if kind == 5:
            return session.post(f"{url}/unread", data=b"x" * 100, timeout=PATIENCE_S).text, "no"
        return session.get(f"{url}/quick", timeout=PATIENCE_S).text, "quick"

    def client(first: int) -> int:
        turn = first * 5
        with requests.Session() as session:
            while time.monotonic() < end_s:
                got, expected = ask(session, turn)
                assert got == expected
                turn += 1
        return turn - first * 5

    with ThreadPoolExecutor(24) as threads:
        counts = list(threads.map(client, range(24)))
    assert min(counts) > 0
    assert server.text("/quick", UNNOTICED_S) == "quick"
