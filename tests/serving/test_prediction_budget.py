"""Limit how much code a warm prediction runs in `carboy serve`: functions, files and crossings.

A crossing is a call into another file than that of the previous call on the same thread. A person
who reads the code of a prediction has to make the same jumps. The test counts carboy's functions on
all threads of a separate Python process, for each of many requests of one client, and takes the
medians: on a busy machine single requests take other paths, because threads run in another order.
"""

from __future__ import annotations

import collections
import itertools
import pathlib
import socket
import statistics
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
# The items of a stream, and the bytes between two of them: the end of a line and that of a chunk.
ITEMS = 3
ITEM_END = b"\n\r\n"
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
# stream's thread writes at the client's speed (docs/design.md). Each of the three items is sent
# alone: a further item costs 4 crossings. The queue's threads ask its state when a batch is due, as
# the simulator does (`carboy models simulate`), which costs 3. The streams that are sent are
# counted, which takes 2 functions.
STREAM = Budget(functions=115, files=23, crossings=88)
# What a request costs more if the server counts it for the metrics.
METRICS = Budget(functions=1, files=1, crossings=2)


class Calls:
    """Records the calls of carboy's functions by thread, while `on` is set."""

    def __init__(self) -> None:
        self.on = False
        self.by_thread: dict[int, list[types.CodeType]] = collections.defaultdict(list)

    def profile(self, frame: types.FrameType, event: str, arg: object) -> None:
        if self.on and event == "call" and frame.f_code.co_filename.startswith(ROOT):
            self.by_thread[threading.get_ident()].append(frame.f_code)

    def take(self) -> tuple[set[tuple[str, str]], collections.Counter[str]]:
        """Return the functions of one request and its crossings by file, and forget them."""
        functions: set[tuple[str, str]] = set()
        crossings: collections.Counter[str] = collections.Counter()
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for ident, codes in list(self.by_thread.items()):
            if names.get(ident) == "carboy-monitor":  # it runs at intervals, not for a request
                continue
            files = [code.co_filename.removeprefix(ROOT) for code in codes]
            functions.update((f, c.co_qualname) for f, c in zip(files, codes, strict=True))
            for before, after in itertools.pairwise(files):
                crossings[after] += before != after
            del codes[:-1]  # the call that the next request's first call is compared with
        return functions, crossings


def report(
    requests: list[tuple[set[tuple[str, str]], collections.Counter[str]]],
) -> dict[str, t.Any]:
    """Return the functions that most requests have called, and the median crossings by file."""
    calls = collections.Counter(itertools.chain.from_iterable(each for each, _ in requests))
    files = set().union(*(crossings for _, crossings in requests))
    return {
        "functions": sorted(f for f, count in calls.items() if count > len(requests) / 2),
        "crossings": {
            file: statistics.median(crossings[file] for _, crossings in requests)
            for file in sorted(files)
        },
    }


def make_app(sends_next: threading.Semaphore) -> Carboy:
    app = Carboy("budget")

    @app.model("/batched", batch=8)
    def batched(x: list[list[float]]) -> list[float]:
        return [sum(each) for each in x]

    @app.model("/stream")
    def stream(n: int) -> t.Iterator[int]:
        for item in range(n):
            sends_next.acquire()
            yield item

    return app


class Client:
    """Sends requests to the server of the same process. It lets a stream produce the next item when
    it has received the one before, so that each item is sent alone.
    """

    def __init__(self, port: int, sends_next: threading.Semaphore) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._sends_next = sends_next

    def post(self, path: str, body: bytes) -> None:
        """Send a request and read its whole response."""
        self._socket.sendall(
            b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)
        )
        data, received = b"", -1
        while not self._is_whole(data):
            items = data.partition(b"\r\n\r\n")[2].count(ITEM_END)
            if path == "/stream" and received < items < ITEMS:
                self._sends_next.release()
            received = items
            data += self._socket.recv(65536)
        assert data.startswith(b"HTTP/1.1 200"), data

    @staticmethod
    def _is_whole(data: bytes) -> bool:
        head, found, body = data.partition(b"\r\n\r\n")
        if not found or b"chunked" in head:
            return body.endswith(b"0\r\n\r\n")
        _, _, rest = head.lower().partition(b"content-length: ")
        return len(body) >= int(rest.split(b"\r\n")[0])


def count(path: str, body: bytes, *, metrics: bool) -> dict[str, t.Any]:
    calls, sends_next = Calls(), threading.Semaphore(0)
    threading.setprofile(calls.profile)  # for threads that start later
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = replace(Settings(), port=port, workers=1, threads=4, metrics=metrics)
    service = Service(make_app(sends_next), settings)
    service.start()
    client = Client(port, sends_next)
    for _ in range(REQUESTS):
        client.post(path, body)
    calls.on = True
    requests = []
    for _ in range(REQUESTS):
        client.post(path, body)
        requests.append(calls.take())
    calls.on = False
    return report(requests)


def count_prediction(*, metrics: bool = False) -> dict[str, t.Any]:
    return count("/batched", b"[1, 2, 3]", metrics=metrics)


def count_stream(*, metrics: bool = False) -> dict[str, t.Any]:
    return count("/stream", b"%d" % ITEMS, metrics=metrics)


def count_prediction_with_metrics() -> dict[str, t.Any]:
    return count_prediction(metrics=True)


def count_stream_with_metrics() -> dict[str, t.Any]:
    return count_stream(metrics=True)


def plus_metrics(budget: Budget) -> Budget:
    return Budget(*map(sum, zip(budget, METRICS, strict=True)))


def spent(found: dict[str, t.Any], parts: tuple[str, ...] = ("",)) -> Budget:
    files = {file for file, _ in found["functions"] if file.startswith(parts)}
    return Budget(
        sum(file in files for file, _ in found["functions"]),
        len(files),
        sum(each for file, each in found["crossings"].items() if file in files),
    )


@pytest.mark.parametrize(
    ("measure", "budget"),
    [
        pytest.param(count_prediction, PREDICTION, id="prediction"),
        pytest.param(count_stream, STREAM, id="stream"),
        pytest.param(
            count_prediction_with_metrics, plus_metrics(PREDICTION), id="prediction with metrics"
        ),
        pytest.param(count_stream_with_metrics, plus_metrics(STREAM), id="stream with metrics"),
    ],
)
def test_warm_prediction_stays_within_its_budget(measure, budget) -> None:
    found = measured_alone(measure)
    whole, http, codec = spent(found), spent(found, HTTP), spent(found, CODEC)
    listing = "\n".join(f"{file}: {name}" for file, name in found["functions"])
    assert all(map(int.__le__, map(int, whole), map(int, budget))), (
        f"{whole}, of which HTTP {http}, codec {codec}\n{found['crossings']}\n{listing}"
    )


if __name__ == "__main__":
    for measure in (
        *(count_prediction, count_stream),
        *(count_prediction_with_metrics, count_stream_with_metrics),
    ):
        found = measured_alone(measure)
        sys.stdout.write(f"{measure.__name__}: {spent(found)}\n")
        sys.stdout.write(f"    HTTP {spent(found, HTTP)}, codec {spent(found, CODEC)}\n")
