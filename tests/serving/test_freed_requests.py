"""Requests and what they refer to are freed without the garbage collector.

A request that stays in a reference cycle keeps its body until the collector runs: a few clients
whose large bodies are refused would fill the memory, and nothing that is counted would show it.
"""

from __future__ import annotations

import collections
import gc
import logging
import socket
import struct
import time
import types
import typing as t
from dataclasses import replace

import msgspec
import pytest
from alone import measured_alone
from polling import PATIENCE_S

from carboy import Carboy, Image, abort, request
from carboy.models import InputError
from carboy.serving.process.worker import Service
from carboy.serving.settings import Settings

CLIENTS = 200
#: Libraries whose functions are not counted: Werkzeug's matcher (for 404 and 405) and msgspec's
#: schemas leave recursive functions with their cells and sets, which do not refer to the request.
LIBRARIES = ("werkzeug", "msgspec")
#: The collector stops tracking tuples and dicts that it has seen, so their number says nothing.
NOT_COUNTED = {"tuple", "dict", "cell", "set", "function of a library"}
#: When an abstract base class is first asked about a class, its subclasses keep these for ever.
NOT_COUNTED |= {"ReferenceType", "builtin_function_or_method"}

pytestmark = pytest.mark.integration


class Point(msgspec.Struct):
    x: int


def make_app() -> Carboy:
    app = Carboy("freed")
    app.config.update(MODEL_MAX_BODY=200_000)

    @app.model("/sum", batch=4)
    def sum_(xs: list[list[float]]) -> list[float]:
        if [7.0] in xs:
            raise RuntimeError("seven")
        if [8.0] in xs:
            raise InputError("8 is no number for this.")
        return list(map(sum, xs))

    @app.model("/alone")
    def alone(x: int) -> t.Any:
        if x == 7:
            raise RuntimeError("seven")
        return object() if x == 8 else x

    @app.model("/slow", batch=4)
    def slow(xs: list[int]) -> list[int]:
        time.sleep(0.005)
        return xs

    @app.model("/slow-alone")
    def slow_alone(x: int) -> int:
        time.sleep(0.005)
        return x

    @app.model("/size", batch=2)
    def size(picture: list[Image]) -> list[int]:
        return [each.width for each in picture]

    @app.model("/stream")
    def stream(n: int) -> t.Iterator[int]:
        for i in range(n):
            time.sleep(0.001)
            yield i
        raise RuntimeError("at the end")

    @app.post("/upload")
    def upload() -> str:
        return str(len(request.get_data()))

    @app.get("/text")
    def text() -> str:
        return "text"

    @app.get("/json")
    def json() -> dict[str, int]:
        return {"a": 1}

    @app.get("/abort")
    def forbidden() -> str:
        abort(403)

    @app.get("/fails")
    def fails() -> str:
        raise RuntimeError("fails")

    @app.post("/typed")
    def typed(point: Point) -> Point:
        return point

    @app.post("/file")
    def file() -> str:
        return str(len(request.files["picture"].read()))

    @app.get("/chunks/<int:count>")
    def chunks(count: int) -> t.Iterator[bytes]:
        for _ in range(count):
            time.sleep(0.001)
            yield b"chunk"

    return app


def head(path: str, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", *headers, "", ""]
    return "\r\n".join(lines).encode()


def get(path: str, method: str = "GET") -> bytes:
    return head(path).replace(b"POST", method.encode(), 1)


def post(path: str, body: bytes, media_type: str = "application/json") -> bytes:
    length = f"Content-Length: {len(body)}"
    return head(path, f"Content-Type: {media_type}", length) + body


def chunked(path: str, *chunks: bytes) -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
    return head(path, "Content-Type: application/json", "Transfer-Encoding: chunked") + body


FORM = "multipart/form-data; boundary=b"
NO_PICTURE = (
    b"--b\r\nContent-Disposition: form-data; name=picture; filename=a.png\r\n\r\n?\r\n--b--\r\n"
)
LONG = b"[" + b"1," * 50_000
PARTIAL = head("/upload", "Content-Length: 1000000") + b"x" * 70_000


class Kind(t.NamedTuple):
    """What a client sends, and what it does then.

    Attributes:
        then: "reads" one response, or "closes", or "resets" the connection at once.
    """

    sent: bytes
    then: t.Literal["reads", "closes", "resets"] = "reads"


ANSWERED = {
    "200": Kind(post("/sum", b"[1]")),
    "200 of a long body": Kind(post("/sum", LONG + b"1]")),
    "200 of a body in chunks": Kind(chunked("/sum", b"[1]")),
    "422 of predict": Kind(post("/sum", b"[8]")),
    "500": Kind(post("/sum", b"[7]")),
    "500 without a batch": Kind(post("/alone", b"7")),
    "500 of a result": Kind(post("/alone", b"8")),
    "stream that fails": Kind(post("/stream", b"1")),
}
REFUSED = {
    "400": Kind(post("/sum", b"[1,")),
    "400 of the parser": Kind(b"POST / HTTP/1.1\r\nHost : x\r\n\r\n"),
    "413": Kind(post("/sum", LONG + LONG + b"1]")),
    "413 of a body in chunks": Kind(chunked("/sum", *[b"1" * 60_000] * 4)),
    "415": Kind(post("/sum", b"[1]", "image/png")),
    "415 of a file": Kind(post("/size", NO_PICTURE, FORM)),
    "400 of a form": Kind(post("/size", NO_PICTURE, "multipart/form-data")),
    "422": Kind(post("/sum", b'["a"]')),
    "422 of a long body": Kind(post("/sum", LONG + b'"a"]')),
    "422 without a batch": Kind(post("/alone", b'"a"')),
}
VIEWS = {
    "text": Kind(get("/text")),
    "HEAD": Kind(get("/text", "HEAD")),
    "JSON": Kind(get("/json")),
    "typed": Kind(post("/typed", b'{"x": 1}')),
    "upload": Kind(post("/upload", b"x" * 70_000)),
    "file": Kind(post("/file", NO_PICTURE, FORM)),
    "stream": Kind(get("/chunks/2")),
    "403": Kind(get("/abort")),
    "404": Kind(get("/no")),
    "405": Kind(get("/typed")),
    "OPTIONS": Kind(get("/typed", "OPTIONS")),
    "400 of a form": Kind(post("/file", NO_PICTURE, "multipart/form-data")),
    "422 of a typed view": Kind(post("/typed", b'{"x": "a"}')),
    "500 of a view": Kind(get("/fails")),
    "description of a model": Kind(get("/sum")),
}
LEFT = {
    "body that is cut short": Kind(PARTIAL.replace(b"/upload", b"/sum"), "closes"),
    "body that is reset": Kind(PARTIAL.replace(b"/upload", b"/sum"), "resets"),
    "upload that is cut short": Kind(PARTIAL, "closes"),
    "upload that is reset": Kind(PARTIAL, "resets"),
    "upload in chunks that is reset": Kind(chunked("/upload", b"x" * 70_000)[:-9], "resets"),
    "cancelled prediction": Kind(post("/slow", b"1"), "resets"),
    "cancelled prediction without a batch": Kind(post("/slow-alone", b"1"), "resets"),
    "stream that is left": Kind(post("/stream", b"20"), "closes"),
    "stream that is reset": Kind(post("/stream", b"20"), "resets"),
    "stream of a view that is left": Kind(get("/chunks/20"), "closes"),
    "stream of a view that is reset": Kind(get("/chunks/20"), "resets"),
}


def act(port: int, kind: Kind) -> None:
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client:
        client.sendall(kind.sent)
        if kind.then == "reads":
            client.recv(65536)
        elif kind.then == "resets":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def count() -> dict[str, int]:
    """Return how many objects of each type there are."""
    return collections.Counter(map(_name, gc.get_objects()))


def _name(each: object) -> str:
    if isinstance(each, types.GeneratorType):
        return each.__qualname__
    if isinstance(each, types.FunctionType) and str(each.__module__).startswith(LIBRARIES):
        return "function of a library"
    return type(each).__name__


def grown(before: dict[str, int]) -> dict[str, int]:
    # A few belong to the last client, or to a thread that is about to end.
    return {
        name: n
        for name, n in count().items()
        if n - before.get(name, 0) > CLIENTS // 10 and name not in NOT_COUNTED
    }


def measure(kinds: dict[str, Kind]) -> dict[str, t.Any]:
    """Return the first kind of which 200 clients have left anything, and what."""
    logging.disable(logging.CRITICAL)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    service = Service(make_app(), replace(Settings(), port=port, workers=1, threads=4))
    service.start()
    gc.disable()
    for name, kind in kinds.items():
        for _ in range(10):
            act(port, kind)
        time.sleep(0.1)
        gc.collect()
        before = count()
        for _ in range(CLIENTS):
            act(port, kind)
        until_s = time.monotonic() + PATIENCE_S
        while (found := grown(before)) and time.monotonic() < until_s:
            time.sleep(0.05)
        if found:
            return {name: found}
    return {}


def measure_answered() -> dict[str, t.Any]:
    return measure(ANSWERED)


def measure_refused() -> dict[str, t.Any]:
    return measure(REFUSED)


def measure_views() -> dict[str, t.Any]:
    return measure(VIEWS)


def measure_left() -> dict[str, t.Any]:
    return measure(LEFT)


@pytest.mark.parametrize(
    "measure", [measure_answered, measure_refused, measure_views, measure_left]
)
def test_nothing_of_a_request_is_left_to_the_garbage_collector(measure) -> None:
    assert measured_alone(measure) == {}
