"""Bad input and faults at a real `carboy serve`: what the wire shows, and what is left behind."""

from __future__ import annotations

import contextlib
import json
import pathlib
import socket
import sys
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
import spawning
from polling import PATIENCE_S, wait_until

HUGE_BYTES = 53_000_000
# What reading a body of the limit may take for a moment; objects of 53 MB of JSON take 1 GB.
FLAT_KB = 120_000

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
]

APP = """
import os, pathlib, threading, time, typing as t
from carboy import Carboy

app = Carboy(__name__)
here = pathlib.Path(__file__).parent

@app.model("/sum", batch=16, wait_ms=200)
def sum_(xs: list[list[float]]) -> list[float]:
    if any(13.0 in x for x in xs):
        raise RuntimeError("thirteen")
    return [sum(x) for x in xs]

@app.model("/hangs", deadline_s=0.3)
def hangs(x: int) -> int:
    while x and not (here / "go").exists():
        time.sleep(0.01)
    return x

@app.model("/exits")
def exits(x: int) -> int:
    if x:
        raise SystemExit("as of a command line's parser")
    return x

@app.model("/story-exits")
def story_exits(n: int) -> t.Iterator[int]:
    yield from range(n)
    raise SystemExit("the end")

@app.model("/story")
class Story:
    def predict(self, n: int) -> t.Iterator[dict[str, int]]:
        name = f"closed-{n}"
        try:
            for i in range(abs(n)):
                if n < 0:  # slowly, and never to the end
                    time.sleep(0.02)
                if n == 13 and i == 5:
                    raise RuntimeError("thirteen")
                yield {"i": i}
        finally:
            (here / name).write_text(threading.current_thread().name)

@app.model("/big")
def big(n: int) -> t.Iterator[str]:
    for i in range(n):
        (here / "made").write_text(str(i))
        yield "x" * 1_000_000

@app.model("/rows", batch=4)
def rows(xs: list[int]) -> list[int]:
    with (here / "rows").open("a") as seen:
        seen.write("".join(f"{x} " for x in xs))
    while 0 in xs and not (here / "rows-go").exists():
        time.sleep(0.01)
    return xs

@app.get("/status")
def status():
    text = pathlib.Path("/proc/self/status").read_text()
    rss, peak = (
        int(text.partition(word + ":")[2].split()[0]) for word in ("VmRSS", "VmHWM")
    )
    return {
        "rss_kb": rss,
        "peak_kb": peak,
        "fds": len(os.listdir("/proc/self/fd")),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "computing": {name: model.statistics().computing for name, model in app.models.items()},
        "waiting": {name: model.statistics().waiting for name, model in app.models.items()},
    }
"""


class Server(t.NamedTuple):
    port: int
    folder: pathlib.Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def status(self) -> dict[str, t.Any]:
        return requests.get(f"{self.url}/status", timeout=PATIENCE_S).json()

    def post(self, rule: str, value: object, **options: t.Any) -> requests.Response:
        return requests.post(f"{self.url}{rule}", json=value, timeout=PATIENCE_S, **options)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    program = spawning.serve(folder, "faulty", APP, "--threads", "32")
    try:
        yield Server(program.port, folder)
    finally:
        program.stop()


def head(length: str) -> bytes:
    return (
        f"POST /sum HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{length}\r\n\r\n"
    ).encode()


def first_line(connection: socket.socket) -> bytes:
    return connection.makefile("rb").readline()


# --- huge bodies -------------------------------------------------------------------------------


def test_announced_53_mb_of_json_are_413_before_they_are_sent(server):
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as connection:
        connection.sendall(head(f"Content-Length: {HUGE_BYTES}") + b"[")
        assert first_line(connection).startswith(b"HTTP/1.1 413 ")


def test_53_mb_of_json_are_413_with_flat_memory_and_other_clients_served(server):
    assert server.post("/sum", [1.0, 2.0]).json() == 3
    before = server.status()
    huge = b"[" + b"1.5," * (HUGE_BYTES // 4) + b"1]"

    def send(number: int) -> int:
        return requests.post(
            f"{server.url}/sum",
            data=huge,
            headers={"Content-Type": "application/json"},
            timeout=PATIENCE_S,
        ).status_code

    with ThreadPoolExecutor(8) as threads:
        refused = [threads.submit(send, i) for i in range(3)]
        served = [threads.submit(server.post, "/sum", [float(i)]) for i in range(20, 40)]
        assert [each.result().json() for each in served] == list(range(20, 40))
        assert [each.result() for each in refused] == [413] * 3
    assert server.status()["peak_kb"] - before["rss_kb"] < FLAT_KB


def test_long_body_of_unknown_length_is_413(server):
    before = server.status()

    def chunks() -> t.Iterator[bytes]:
        yield b"["
        for _ in range(HUGE_BYTES // 100_000):
            yield b"1.5," * 25_000

    with contextlib.suppress(requests.ConnectionError):
        answer = requests.post(
            f"{server.url}/sum",
            data=chunks(),
            headers={"Content-Type": "application/json"},
            timeout=PATIENCE_S,
        )
        assert answer.status_code == 413
    assert server.post("/sum", [1.0]).json() == 1
    assert server.status()["peak_kb"] - before["rss_kb"] < FLAT_KB


# --- the model ---------------------------------------------------------------------------------


def test_one_poisoned_row_of_16_fails_alone(server):
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda i: server.post("/sum", [float(i)]), range(16)))
    assert [answer.status_code for answer in answers] == [200] * 13 + [500] + [200] * 2
    assert "thirteen" not in answers[13].text


def test_model_that_hangs_is_504_then_503_and_recovers_while_others_are_served(server):
    slow = server.post("/hangs", 1)
    assert (slow.status_code, slow.json()["code"]) == (504, "deadline")
    refused = server.post("/hangs", 0)
    assert (refused.status_code, refused.json()["code"]) == (503, "model-stuck")
    assert int(refused.headers["Retry-After"]) >= 1
    assert server.post("/sum", [1.0]).json() == 1
    (server.folder / "go").touch()
    wait_until(lambda: server.post("/hangs", 0).status_code == 200)


def test_predict_that_exits_is_500_and_the_model_goes_on(server):
    for _ in range(2):  # a model has one thread, and it must outlive the first
        assert server.post("/exits", 1).status_code == 500
    assert server.post("/exits", 0).json() == 0


def test_stream_that_exits_ends_with_a_problem_and_the_model_goes_on(server):
    assert server.post("/story-exits", 0).status_code == 500
    lines = server.post("/story-exits", 2).text.splitlines()
    assert lines[:2] == ["0", "1"]
    assert json.loads(lines[2])["error"]["status"] == 500
    assert server.post("/story-exits", 1).text.startswith("0")


def test_clients_that_leave_before_their_turn_are_not_computed(server):
    """A server without threads for them hears of it at once; one with threads cannot."""

    def seen() -> list[str]:
        return (server.folder / "rows").read_text().split()

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(server.post, "/rows", 0)
        wait_until((server.folder / "rows").exists)
        wait_until(lambda: seen() == ["0"])
        leaving = []
        for i in range(10):
            connection = socket.create_connection(("127.0.0.1", server.port), PATIENCE_S)
            connection.sendall(
                head("Content-Length: 3").replace(b"/sum", b"/rows") + b"%d" % (100 + i)
            )
            leaving.append(connection)
        wait_until(lambda: server.status()["waiting"]["rows"] == 10)
        staying = threads.submit(server.post, "/rows", 1)
        wait_until(lambda: server.status()["waiting"]["rows"] == 11)
        for connection in leaving:
            connection.close()
        wait_until(lambda: server.status()["waiting"]["rows"] == 1)
        (server.folder / "rows-go").touch()
        assert (first.result().json(), staying.result().json()) == (0, 1)
    assert seen() == ["0", "1"]


# --- streams -----------------------------------------------------------------------------------


def test_items_arrive_one_by_one_and_the_generator_ends_with_its_client(server):
    with server.post("/story", -4000, stream=True) as answer:  # 80 s, if anybody stayed
        lines = answer.iter_lines(chunk_size=1)
        assert [json.loads(next(lines)) for _ in range(3)] == [{"i": i} for i in range(3)]
    closed = server.folder / "closed--4000"
    wait_until(closed.exists)
    wait_until(closed.read_text)
    assert closed.read_text() == "Model 'story' batches"
    assert server.post("/story", 2).text == '{"i":0}\n{"i":1}\n'


def test_failure_in_a_stream_ends_it_with_a_problem(server):
    *items, last = server.post("/story", 13).text.splitlines()
    assert [json.loads(item) for item in items] == [{"i": i} for i in range(5)]
    assert json.loads(last)["error"]["status"] == 500
    assert "thirteen" not in last


def test_client_that_does_not_read_holds_the_generator_and_no_memory(server):
    server.status()
    before = server.status()
    with server.post("/big", 400, stream=True) as answer:  # 400 MB
        answer.raw.read(10)
        made = server.folder / "made"
        seen = ["", "-"]
        while seen[-1] != seen[-2] or not seen[-1]:  # until it does not get on any more
            time.sleep(0.3)
            seen.append(made.read_text())
        assert int(seen[-1]) < 150
        assert server.status()["rss_kb"] - before["rss_kb"] < FLAT_KB
    wait_until(lambda: server.status()["computing"]["big"] == 0)


# --- and what is left --------------------------------------------------------------------------


def test_refused_hung_and_departed_clients_leave_nothing_behind(server):
    def use() -> None:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda i: server.post("/sum", [float(i)]), range(12, 20)))
            list(threads.map(lambda _: server.post("/sum", "x"), range(8)))
        for _ in range(4):
            with server.post("/story", -50, stream=True) as answer:
                next(answer.iter_lines(chunk_size=1))
        wait_until(lambda: not any(server.status()["computing"].values()))

    def left() -> tuple[int, int]:
        status = server.status()
        return status["fds"], len(status["threads"])

    use()
    before = left()
    for _ in range(3):
        use()
    assert not any(server.status()["waiting"].values())
    # Connections that clients have just closed take a moment to be gone.
    wait_until(lambda: left()[0] <= before[0] + 2 and left()[1] <= before[1] + 2)
