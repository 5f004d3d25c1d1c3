"""Predictions and views of an app with models at a real `carboy serve`, under load and misuse.

What a model does to its clients' requests stands in tests/models/test_faults_over_http.py.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import typing as t
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
import spawning
from polling import PATIENCE_S, wait_until

FLAT_KB = 60_000

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
]

APP = """
import pathlib, threading, time, typing as t
import numpy as np
from carboy import Carboy, Image, Response, g, request
from carboy.signals import got_request_exception

app = Carboy(__name__)
app.config["MAX_CONTENT_LENGTH"] = None
here = pathlib.Path(__file__).parent
counts = {"closed": 0, "teardown": 0, "signals": 0}

def wait_for(name):
    while not (here / name).exists():
        time.sleep(0.01)

@app.model("/gated", batch=64, queue=2000, deadline_s=None)
def gated(xs: list[int]) -> list[int]:
    if 0 in xs:
        wait_for("gated-go")
    return xs

@app.model("/narrow", queue=1)
def narrow(x: int) -> int:
    if x == 0:
        (here / "narrow-began").touch()
        wait_for("narrow-go")
    return x

@app.model("/quick", batch=4, deadline_s=1)
def quick(xs: list[int]) -> list[int]:
    if 0 in xs:
        wait_for("quick-go")
    return xs

@app.model("/sum")
def sum_(xs: list[float]) -> float:
    return sum(xs)

@app.model("/sees")
def sees(x: int) -> dict[str, t.Any]:
    g.x = x
    if x == 1:
        raise RuntimeError("one")
    return {"token": request.headers.get("X-Token"), "path": request.path}

@app.model("/size")
def size(picture: Image, label: str) -> list[t.Any]:
    return [*picture.size, label]

@app.model("/array")
def array(n: int) -> np.ndarray:
    return np.arange(n * 2).reshape(n, 2)

@app.model("/slow-stream")
def slow_stream(n: int) -> t.Iterator[int]:
    for i in range(n):
        yield i
        wait_for(f"item-{i}")

@app.errorhandler(RuntimeError)
def failed(error):
    return f"handled {error} {g.x} on {threading.current_thread().name}", 500

@got_request_exception.connect
def note(*_, **__):
    counts["signals"] += 1

@app.teardown_request
def end(exc):
    counts["teardown"] += 1

@app.get("/probe")
def probe():
    return {name: [now.waiting, now.computing] for name, now in
            ((name, model.statistics()) for name, model in app.models.items())}

@app.get("/counts")
def tell():
    status = pathlib.Path("/proc/self/status").read_text()
    rss, peak = (int(status.partition(w + ":")[2].split()[0]) for w in ("VmRSS", "VmHWM"))
    return {**counts, "rss_kb": rss, "peak_kb": peak}

@app.get("/hold")
def hold():
    (here / f"held-{threading.get_ident()}").touch()
    wait_for("hold-go")
    return "held"

@app.post("/length")
def length():
    return str(len(request.get_data()))

@app.get("/gigabyte")
def gigabyte():
    def pieces():
        piece = b"x" * 100_000
        try:
            for i in range(10_000):
                counts["pieces"] = i
                yield piece
        finally:
            counts["closed"] += 1
    return Response(pieces())
"""


class Server(t.NamedTuple):
    program: spawning.Program
    folder: pathlib.Path

    @property
    def url(self) -> str:
        return self.program.url

    def get(self, path: str, **options: t.Any) -> requests.Response:
        return requests.get(f"{self.url}{path}", timeout=PATIENCE_S, **options)

    def post(self, path: str, value: object = None, **options: t.Any) -> requests.Response:
        if value is not None:
            options["json"] = value
        return requests.post(f"{self.url}{path}", timeout=PATIENCE_S, **options)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.program.port), PATIENCE_S)

    def send(self, path: str, body: bytes, *headers: str) -> socket.socket:
        """A request whose answer is read later."""
        client = self.connect()
        lines = [
            f"POST {path} HTTP/1.1",
            "Host: x",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *headers,
        ]
        client.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return client


def read(client: socket.socket) -> tuple[int, bytes]:
    response = http.client.HTTPResponse(client)
    response.begin()
    with client:
        return response.status, response.read()


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    running = []

    def start(*options: str, text: str = APP) -> Server:
        folder = tmp_path_factory.mktemp("served")
        program = spawning.serve(folder, "served", text, *options)
        running.append(program)
        return Server(program, folder)

    yield start
    for program in running:
        program.stop()


@pytest.fixture(scope="module")
def server(start) -> Server:
    return start()


# ------------------------------------------------------------------------------- many that wait


def test_views_answer_while_a_thousand_predictions_wait(server):
    try:
        first = server.send("/gated", b"0")
        wait_until(lambda: server.get("/probe").json()["gated"] == [0, 1])
        clients = [server.send("/gated", b"%d" % (i + 1)) for i in range(1000)]
        wait_until(lambda: server.get("/probe").json()["gated"] == [1000, 1])
        assert server.get("/probe").json()["gated"] == [1000, 1]  # they wait, and this is answered
    finally:
        (server.folder / "gated-go").touch()
    assert read(first) == (200, b"0")
    assert [read(client) for client in clients] == [(200, b"%d" % (i + 1)) for i in range(1000)]


def test_full_queue_is_503_at_once_while_slow_views_hold_all_threads(server):
    with ThreadPoolExecutor(20) as threads:
        held = [threads.submit(server.get, "/hold") for _ in range(20)]
        try:
            wait_until(lambda: len(list(server.folder.glob("held-*"))) == 16)
            computing = server.send("/narrow", b"0")
            wait_until((server.folder / "narrow-began").exists)
            # Of these one waits, and the others are refused: no thread is free, and none needed.
            others = [server.send("/narrow", b"1") for _ in range(4)]
            wait_until(lambda: len(select.select(others, [], [], 0)[0]) == 3)
            answers = [server.post("/narrow", 1) for _ in range(5)]
            assert {answer.status_code for answer in answers} == {503}
            assert {answer.headers["Retry-After"] for answer in answers} == {"1"}
            assert {answer.json()["code"] for answer in answers} == {"queue-full"}
            assert not any(each.done() for each in held)
            (server.folder / "narrow-go").touch()
            assert read(computing) == (200, b"0")
            assert sorted(read(client)[0] for client in others) == [200, 503, 503, 503]
        finally:
            (server.folder / "hold-go").touch()
            (server.folder / "narrow-go").touch()
        assert [each.result().text for each in held] == ["held"] * 20


def test_quick_model_that_hangs_delays_only_its_own_clients(server):
    for x in range(1, 20):  # so it is computed by the thread that leads
        assert server.post("/quick", x).json() == x
    try:
        hanging = server.send("/quick", b"0")
        # a busy machine may have made the model look slow: then its own thread computes
        wait_until(lambda: server.get("/probe").json()["quick"] == [0, 1])
        assert server.post("/sum", [1, 2]).json() == 3
        assert read(hanging)[0] == 504
        assert server.post("/quick", 1).status_code == 503
    finally:
        (server.folder / "quick-go").touch()
    wait_until(lambda: server.post("/quick", 1).status_code == 200)


# ----------------------------------------------------------------------------------- bodies


def test_slow_uploads_hold_no_thread(server):
    clients = []
    for i in range(30):
        client = server.connect()
        path, length = ("/sum", 100_000) if i % 2 else ("/length", 1000)
        client.sendall(
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {length}\r\n\r\n[".encode()
        )
        clients.append(client)
    assert server.get("/probe").status_code == 200
    assert server.post("/sum", [1, 2]).json() == 3
    for i, client in enumerate(clients):
        rest = 100_000 - 2 if i % 2 else 1000 - 2
        client.sendall(b" " * rest + b"]")
    expected = [(200, b"0" if i % 2 else b"1000") for i in range(30)]
    assert [(status, body.replace(b".0", b"")) for status, body in map(read, clients)] == expected


def test_more_large_uploads_than_threads_all_arrive(server):
    """Each reads on a thread; what brings their pieces must not wait for one of those."""
    body = b"x" * 20_000_000

    def send(_: int) -> str:
        return server.post("/length", data=body).text

    with ThreadPoolExecutor(40) as threads:
        assert list(threads.map(send, range(40))) == ["20000000"] * 40


HUGE = 53_000_000


def by_http_client(url: str, huge: bytes) -> int:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE_S)
    connection.request("POST", "/sum", huge, {"Content-Type": "application/json"})
    with contextlib.closing(connection):
        return connection.getresponse().status


def by_curl(url: str, huge: bytes) -> int:
    command = ["curl", "-s", "-o", os.devnull, "-w", "%{http_code}", "--data-binary", "@-"]
    command += ["-H", "Content-Type: application/json", f"{url}/sum"]
    return int(subprocess.run(command, input=huge, capture_output=True, check=False).stdout)


def by_curl_in_chunks(url: str, huge: bytes) -> int:
    command = ["curl", "-s", "-o", os.devnull, "-w", "%{http_code}", "--data-binary", "@-"]
    command += ["-H", "Content-Type: application/json", "-H", "Transfer-Encoding: chunked"]
    done = subprocess.run([*command, f"{url}/sum"], input=huge, capture_output=True, check=False)
    return int(done.stdout)


@pytest.mark.parametrize("client", [by_http_client, by_curl, by_curl_in_chunks])
def test_client_can_read_the_413_to_a_body_that_is_too_long(server, client):
    before = server.get("/counts").json()["rss_kb"]
    assert client(server.url, b"[" + b"1," * (HUGE // 2) + b"1]") == 413
    # Chunks are kept until there are more than allowed: 32 MiB, twice when they are put together.
    assert server.get("/counts").json()["rss_kb"] - before < FLAT_KB


def test_chunked_body_is_computed_unless_it_is_cut_short(server):
    answer = server.post(
        "/sum", data=iter([b"[1,", b"2]"]), headers={"Content-Type": "application/json"}
    )
    assert answer.json() == 3
    head = b"POST /%s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    for path in (b"sum", b"length"):
        with server.connect() as client:
            client.sendall(head % path + b"Transfer-Encoding: chunked\r\n\r\n3\r\n[1]\r\n")
            client.shutdown(socket.SHUT_WR)
            assert client.recv(100)[:12] in {b"", b"HTTP/1.1 400"}


# ------------------------------------------------------------------------------------ streams


def test_long_stream_to_a_slow_client_needs_no_memory_and_ends_with_the_client(server):
    before = server.get("/counts").json()
    client = server.connect()
    client.sendall(b"GET /gigabyte HTTP/1.1\r\nHost: x\r\n\r\n")
    for _ in range(50):
        assert client.recv(1_000_000)
    now = server.get("/counts").json()
    assert now["pieces"] < 1000
    assert now["rss_kb"] - before["rss_kb"] < FLAT_KB
    client.close()
    wait_until(lambda: server.get("/counts").json()["closed"] == before["closed"] + 1)


def test_items_of_a_stream_arrive_one_by_one(server):
    with server.post("/slow-stream", 3, stream=True) as answer:
        lines = answer.iter_lines(chunk_size=1)
        for i in range(3):
            assert next(lines) == b"%d" % i  # the next one is not made before this
            (server.folder / f"item-{i}").touch()
        assert list(lines) == []


# ------------------------------------------------------------------------- as the view would do


def test_single_prediction_sees_its_request_and_runs_teardown(server):
    before = server.get("/counts").json()["teardown"]
    answer = server.post("/sees", 0, headers={"X-Token": "t"})
    assert answer.json() == {"token": "t", "path": "/sees"}
    assert answer.headers["X-Batch-Size"] == "1"
    assert answer.headers["Server-Timing"].startswith("queue;dur=")
    wait_until(lambda: server.get("/counts").json()["teardown"] >= before + 2)


def test_failure_is_handled_by_the_app_on_a_thread_for_views(server):
    before = server.get("/counts").json()["signals"]
    answer = server.post("/sees", 1)
    assert (answer.status_code, answer.text) == (500, "handled one 1 on views")
    assert server.get("/counts").json()["signals"] == before


def test_picture_in_a_form_and_response_in_another_media_type(server):
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (3, 2)).save(file, "PNG")
    answer = server.post("/size", files={"picture": file.getvalue()}, data={"label": "a"})
    assert answer.json() == [3, 2, "a"]
    answer = server.post("/array", 2, headers={"Accept": "application/x-npy"})
    assert answer.content.startswith(b"\x93NUMPY")


HOOKED = """
from carboy import Carboy, abort, request

app = Carboy(__name__)

@app.before_request
def check():
    if request.headers.get("Authorization") != "Bearer t":
        abort(401)

@app.after_request
def mark(response):
    response.headers["X-Mark"] = "1"
    return response

@app.model("/next", batch=4)
def next_(xs: list[int]) -> list[int]:
    return [x + 1 for x in xs]
"""


def test_hooks_run_before_and_after_predictions(start):
    hooked = start(text=HOOKED)
    assert "wait on a thread each" in hooked.program.output
    refused = hooked.post("/next", 1)
    assert (refused.status_code, refused.headers["X-Mark"]) == (401, "1")
    answer = hooked.post("/next", 1, headers={"Authorization": "Bearer t"})
    assert (answer.json(), answer.headers["X-Mark"]) == (2, "1")
    after = start(text=HOOKED.replace("@app.before_request", ""))
    assert "wait on a thread each" not in after.program.output
    answer = after.post("/next", 1)
    assert (answer.json(), answer.headers["X-Mark"]) == (2, "1")


READING = """
from carboy import Carboy, jsonify, request

app = Carboy(__name__)

@app.errorhandler(LookupError)
def unknown(exc):
    return jsonify(no_answer_for=request.get_json()), 422

@app.after_request
def note(response):
    response.headers["X-Input-Bytes"] = str(len(request.get_data()))
    return response

@app.model("/alone")
def alone(x: int) -> int:
    return {5: 5}[x]

@app.model("/batched", batch=8)
def batched(xs: list[int]) -> list[int]:
    return [{5: 5}[x] for x in xs]

@app.model("/replica", replicas=1)
def replica(x: int) -> int:
    return {5: 5}[x]
"""


@pytest.fixture(scope="module")
def reading(start) -> Server:
    return start(text=READING)


@pytest.mark.parametrize("length", [1, 20_000, 200_000])
@pytest.mark.parametrize("path", ["/alone", "/batched", "/replica"])
def test_hooks_and_error_handlers_read_the_body_of_a_prediction(reading, path, length):
    for x, status, answer in ((5, 200, 5), (7, 422, {"no_answer_for": 7})):
        body = str(x).ljust(length)
        headers = {"Content-Type": "application/json"}
        got = requests.post(f"{reading.url}{path}", body, headers=headers, timeout=PATIENCE_S)
        assert (got.status_code, got.json()) == (status, answer)
        assert got.headers["X-Input-Bytes"] == str(length)


LARGE_ITEMS = """
import threading
import typing as t
from carboy import Carboy

app = Carboy(__name__)

@app.model("/parts")
def parts(n: int) -> t.Iterator[str]:
    for _ in range(n):
        yield "x" * 1_000_000
"""


def test_streams_that_clients_do_not_read_keep_no_more_memory_than_allowed(start):
    server = start("--max-held-responses", "40M", text=LARGE_ITEMS)
    unread = [server.send("/parts", b"16") for _ in range(4)]
    assert [each.recv(1) for each in unread] == [b"H"] * 4
    refused = server.post("/parts", 16)
    assert (refused.status_code, refused.json()["code"]) == (503, "responses-full")
    assert server.post("/parts", 0).status_code == 200
    for each in unread:
        each.close()
    wait_until(lambda: server.post("/parts", 2).status_code == 200)


def test_stream_with_items_as_large_as_all_held_responses_is_sent(start):
    server = start("--max-held-responses", "1M", text=LARGE_ITEMS)
    assert len(server.post("/parts", 2).content) > 2_000_000


# -------------------------------------------------------------------------------------- the end


def test_predictions_in_flight_at_the_end_are_answered_without_a_log_line(start):
    server = start()
    first = server.send("/gated", b"0")
    wait_until(lambda: server.get("/probe").json()["gated"][1] == 1)
    clients = [server.send("/gated", b"%d" % i) for i in range(1, 20)]
    wait_until(lambda: server.get("/probe").json()["gated"][0] == 19)
    server.program.process.send_signal(signal.SIGTERM)
    server.program.wait_until_it_prints("stopping on SIGTERM")
    (server.folder / "gated-go").touch()
    assert [read(client) for client in (first, *clients)] == [(200, b"%d" % i) for i in range(20)]
    assert server.program.process.wait(PATIENCE_S) == 0
    said = server.program.output.partition("stopping on SIGTERM")[2].lower()
    assert "panic" not in said
    assert "error" not in said
    assert "traceback" not in said


def is_listening(port: int) -> bool:
    """Whether a socket listens on the port, perhaps one that lets no new client in."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
    return True


def test_client_that_left_a_silent_stream_does_not_keep_the_server(start):
    server = start()
    with server.post("/slow-stream", 3, stream=True) as answer:
        assert next(answer.iter_lines(chunk_size=1)) == b"0"
    # The next item comes when the server only waits for its last connections. The server closes its
    # listening socket at that moment.
    server.program.process.send_signal(signal.SIGTERM)
    server.program.wait_until_it_prints("stopping on SIGTERM")
    wait_until(lambda: not is_listening(server.program.port))
    for i in range(3):
        (server.folder / f"item-{i}").touch()
    assert server.program.process.wait(PATIENCE_S) == 0
