"""Limit how much code a warm prediction runs in `carboy serve`: functions, files and crossings.

A crossing is a call into another file than that of the previous call on the same thread. A person
who reads the code of a prediction has to make the same jumps. The test counts carboy's functions on
all threads of a separate Python process, over many requests of one client.
"""

from __future__ import annotations

import collections
import itertools
import pathlib
import socket
import sys
import threading
import types
import typing as t
from dataclasses import replace

import pytest
from alone import measured_alone

import carboy
from carboy import Carboy
from carboy.serving.process.worker import Service
from carboy.serving.settings import Settings

REQUESTS = 40
ROOT = f"{pathlib.Path(carboy.__file__).parent}/"
# Groups of files, by folder: the HTTP server with its threads, and encoding with decoding.
HTTP = ("serving/http/", "serving/threads/", "serving/wsgi/")
CODEC = ("contract/",)


class Budget(t.NamedTuple):
    functions: int
    files: int
    crossings: float


# Lower these limits when a prediction needs fewer functions.
PREDICTION = Budget(functions=60, files=15, crossings=35)
# Three threads take part in a stream: the leader reads, the model's thread computes, and the
# stream's thread writes at the client's speed (docs/design.md). Each item that arrives alone costs
# 4 crossings.
STREAM = Budget(functions=108, files=23, crossings=78)


class Calls:
    """Records the calls of carboy's functions by thread, while `on` is set."""

    def __init__(self) -> None:
        self.on = False
        self.by_thread: dict[int, list[types.CodeType]] = collections.defaultdict(list)

    def profile(self, frame: types.FrameType, event: str, arg: object) -> None:
        if self.on and event == "call" and frame.f_code.co_filename.startswith(ROOT):
            self.by_thread[threading.get_ident()].append(frame.f_code)

    def report(self) -> dict[str, t.Any]:
        functions: collections.Counter[tuple[str, str]] = collections.Counter()
        crossings: collections.Counter[str] = collections.Counter()
        for codes in self.by_thread.values():
            files = [code.co_filename.removeprefix(ROOT) for code in codes]
            functions.update((f, c.co_qualname) for f, c in zip(files, codes, strict=True))
            for before, after in itertools.pairwise(files):
                crossings[after] += before != after
        return {
            # without functions that run only occasionally: those of the monitor and of timeouts
            "functions": sorted(f for f, calls in functions.items() if calls >= REQUESTS / 4),
            "crossings": {file: count / REQUESTS for file, count in crossings.items()},
        }


def make_app() -> Carboy:
    app = Carboy("budget")

    @app.model("/batched", batch=8)
    def batched(x: list[list[float]]) -> list[float]:
        return [sum(each) for each in x]

    @app.model("/stream")
    def stream(n: int) -> t.Iterator[int]:
        yield from range(n)

    return app


class Client:
    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))

    def post(self, path: str, body: bytes) -> None:
        """Send a request and read its whole response."""
        self._socket.sendall(
            b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)
        )
        data = b""
        while not self._is_whole(data):
            data += self._socket.recv(65536)
        assert data.startswith(b"HTTP/1.1 200"), data

    @staticmethod
    def _is_whole(data: bytes) -> bool:
        head, found, body = data.partition(b"\r\n\r\n")
        if not found or b"chunked" in head:
            return body.endswith(b"0\r\n\r\n")
        _, _, rest = head.lower().partition(b"content-length: ")
        return len(body) >= int(rest.split(b"\r\n")[0])


def count(path: str, body: bytes) -> dict[str, t.Any]:
    calls = Calls()
    threading.setprofile(calls.profile)  # for threads that start later
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    service = Service(make_app(), replace(Settings(), port=port, workers=1, threads=4))
    service.start()
    client = Client(port)
    for _ in range(REQUESTS):
        client.post(path, body)
    calls.on = True
    for _ in range(REQUESTS):
        client.post(path, body)
    calls.on = False
    return calls.report()


def count_prediction() -> dict[str, t.Any]:
    return count("/batched", b"[1, 2, 3]")


def count_stream() -> dict[str, t.Any]:
    return count("/stream", b"3")


def spent(report: dict[str, t.Any], parts: tuple[str, ...] = ("",)) -> Budget:
    files = {file for file, _ in report["functions"] if file.startswith(parts)}
    return Budget(
        sum(file in files for file, _ in report["functions"]),
        len(files),
        sum(each for file, each in report["crossings"].items() if file in files),
    )


@pytest.mark.parametrize(
    ("measure", "budget"),
    [
        pytest.param(count_prediction, PREDICTION, id="prediction"),
        pytest.param(count_stream, STREAM, id="stream"),
    ],
)
def test_warm_prediction_stays_within_its_budget(measure, budget) -> None:
    report = measured_alone(measure)
    whole, http, codec = spent(report), spent(report, HTTP), spent(report, CODEC)
    listing = "\n".join(f"{file}: {name}" for file, name in report["functions"])
    assert all(map(int.__le__, map(int, whole), map(int, budget))), (
        f"{whole}, of which HTTP {http}, codec {codec}\n{report['crossings']}\n{listing}"
    )


if __name__ == "__main__":
    for measure in (count_prediction, count_stream):
        report = measured_alone(measure)
        sys.stdout.write(f"{measure.__name__}: {spent(report)}\n")
        sys.stdout.write(f"    HTTP {spent(report, HTTP)}, codec {spent(report, CODEC)}\n")
