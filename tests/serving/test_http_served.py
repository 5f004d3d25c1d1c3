"""HTTP itself at a real `carboy serve` of an app with a model: hostile, broken and unusual clients.

What is asked of a server stands in RFC 9110 and RFC 9112. What the gateway makes of requests that
are understood stands in test_predictions_served.py.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import pathlib
import random
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
import spawning
from polling import PATIENCE_S, wait_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
]

APP = """
import os, pathlib, sys, threading, time, typing as t
from carboy import Carboy, Response, request

app = Carboy(__name__)
here = pathlib.Path(__file__).parent
counts = {"closed": 0}

def wait_for(name):
    while not (here / name).exists():
        time.sleep(0.005)

@app.model("/sum", batch=16)
def sum_(xs: list[list[float]]) -> list[float]:
    return [sum(x) for x in xs]

@app.model("/gated")
def gated(name: str) -> str:
    (here / f"{name}-began").touch()
    wait_for(name)
    return name

@app.model("/count")
def count(n: int) -> t.Iterator[int]:
    for i in range(n):
        yield i

@app.model("/endless")
def endless(n: int) -> t.Iterator[str]:
    try:
        while True:
            yield "x" * 100_000
    finally:
        counts["closed"] += 1

@app.route("/echo", methods=["GET", "POST", "PUT", "OPTIONS"])
def echo():
    body = request.get_data()
    return {"method": request.method, "path": request.full_path, "host": request.host,
            "length": len(body), "body": body[:100].decode("latin-1"),
            "headers": dict(request.headers), "keys": sorted(map(str, request.environ))}

@app.get("/n/<int:n>")
def nth(n):
    return str(n)

@app.post("/unread")
def unread():
    return "not read"

@app.get("/status/<int:code>")
def status(code):
    return "body", code

@app.get("/list/<int:size>")
def list_(size):
    return b"x" * size

@app.get("/stream/<int:pieces>")
def stream(pieces):
    def make():
        try:
            for _ in range(pieces):
                yield b"y" * 100_000
        finally:
            counts["closed"] += 1
    return Response(make())

@app.get("/wait/<name>")
def wait(name):
    (here / f"{name}-began").touch()
    wait_for(name)
    return name

@app.get("/turn")
def turn():
    if (here / "slow").exists():
        wait_for("turn-go")
    return "turned"

@app.get("/raise")
def raise_():
    raise RuntimeError("on purpose")

@app.get("/exit")
def exit_():
    sys.exit(3)

@app.get("/state")
def state():
    said = pathlib.Path("/proc/self/status").read_text()
    rss = int(said.partition("VmRSS:")[2].split()[0])
    from gc import get_objects
    shared = [each for each in get_objects() if type(each).__name__ == "SharedResources"]
    servers = [each for each in get_objects() if type(each).__name__ == "HTTPServer"]
    slots = [each for each in get_objects() if type(each).__name__ == "ViewSlots"]
    models = [model.statistics() for model in app.models.values()]
    return {"pid": os.getpid(), "rss_kb": rss, "fds": len(os.listdir("/proc/self/fd")),
            "threads": threading.active_count(), "closed": counts["closed"],
            "held": sum(each.bodies.held_bytes for each in shared),
            "busy": sum(each.busy for each in slots),
            "waiting": sum(each.waiting + each.computing for each in models),
            "connections": sum(len(each.connections) for each in servers)}
"""


class Server(t.NamedTuple):
    program: spawning.Program
    folder: pathlib.Path
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return self.program.url

    def get(self, path: str, **options: t.Any) -> requests.Response:
        return requests.get(f"{self.url}{path}", timeout=PATIENCE_S, **options)

    def state(self) -> dict[str, int]:
        return self.get("/state").json()

    def connect(self, buffer_bytes: int | None = None) -> socket.socket:
        client = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        client.settimeout(PATIENCE_S)
        if buffer_bytes:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        client.connect((self.host, self.program.port))
        return client

    def talk(self, data: bytes, *, half_close: bool = False) -> bytes:
        """All that comes back for some bytes until the server closes."""
        with self.connect() as client:
            client.sendall(data)
            if half_close:
                client.shutdown(socket.SHUT_WR)
            return drain(client)

    def go(self, name: str) -> None:
        (self.folder / name).touch()

    def began(self, name: str) -> None:
        wait_until((self.folder / f"{name}-began").exists)


def drain(client: socket.socket) -> bytes:
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := client.recv(1_000_000):
            answer += piece
    return answer


class Answers:
    """One answer after the other from a connection."""

    def __init__(self, client: socket.socket) -> None:
        self._file = client.makefile("rb")

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def makefile(self, mode: str) -> t.BinaryIO:
        return io.BufferedReader(_Unclosed(self._file), 1)  # type: ignore[arg-type]

    def next(self, method: str = "GET") -> tuple[int, bytes]:
        response = http.client.HTTPResponse(self, method=method)  # type: ignore[arg-type]
        response.begin()
        self.headers = dict(response.getheaders())
        return response.status, response.read()


class _Unclosed(io.RawIOBase):
    def __init__(self, file: t.BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: t.Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def post(path: str, body: bytes, *lines: str) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json"]
    head += [f"Content-Length: {len(body)}", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def get(path: str, *lines: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


def reset(client: socket.socket) -> None:
    """Leave without a farewell: the server gets a RST."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    running = []

    def start(*options: str, text: str = APP, host: str = "127.0.0.1") -> Server:
        folder = tmp_path_factory.mktemp("served")
        program = spawning.serve(folder, "served", text, *options)
        running.append(program)
        return Server(program, folder, host)

    yield start
    for program in running:
        program.stop()


@pytest.fixture(scope="module")
def serving(start) -> Server:
    return start()


@pytest.fixture
def server(serving) -> t.Iterator[Server]:
    """The same for all; each test must leave it as it was, and no traceback in its log."""
    before = len(serving.program.output)
    yield serving
    assert serving.get("/n/1").text == "1"
    said = serving.program.output[before:]
    assert "Traceback" not in said, said
    assert "error while" not in said, said


# ------------------------------------------------------------------------- where a request ends

SMUGGLED = b"GET /n/666 HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def framed(*lines: bytes, body: bytes = b"3\r\n[1]\r\n0\r\n\r\n", version: bytes = b"1.1") -> bytes:
    head = b"POST %b HTTP/" + version + b"\r\nHost: x\r\nContent-Type: application/json\r\n"
    return head + b"".join(lines) + b"\r\n" + body + SMUGGLED


AMBIGUOUS = {
    "length and chunks": framed(b"Content-Length: 3\r\n", CHUNKED),
    "chunks and length": framed(CHUNKED, b"Content-Length: 3\r\n"),
    "two lengths": framed(b"Content-Length: 3\r\nContent-Length: 4\r\n"),
    "the same length twice": framed(b"Content-Length: 3\r\nContent-Length: 3\r\n"),
    "a list of lengths": framed(b"Content-Length: 3, 3\r\n"),
    "length with a plus": framed(b"Content-Length: +3\r\n"),
    "length with a minus": framed(b"Content-Length: -3\r\n"),
    "length in hexadecimal": framed(b"Content-Length: 0x3\r\n"),
    "length with a space": framed(b"Content-Length: 3 0\r\n"),
    "no length": framed(b"Content-Length:\r\n"),
    "an endless length": framed(b"Content-Length: %s\r\n" % (b"9" * 30)),
    "length with a vertical tab": framed(b"Content-Length: \x0b3\r\n"),
    "space before the colon": framed(b"Content-Length : 3\r\n"),
    "coded and chunked": framed(b"Transfer-Encoding: gzip, chunked\r\n"),
    "identity": framed(b"Transfer-Encoding: identity\r\n"),
    "chunked, identity": framed(b"Transfer-Encoding: chunked, identity\r\n"),
    "almost chunked": framed(b"Transfer-Encoding: xchunked\r\n"),
    "chunked in quotes": framed(b'Transfer-Encoding: "chunked"\r\n'),
    "chunked with a parameter": framed(b"Transfer-Encoding: chunked;q=1\r\n"),
    "chunked after a vertical tab": framed(b"Transfer-Encoding: \x0bchunked\r\n"),
    "chunked twice": framed(CHUNKED, CHUNKED),
    "chunked on a folded line": framed(b"Transfer-Encoding:\r\n chunked\r\n"),
    "chunks in HTTP/1.0": framed(CHUNKED, version=b"1.0"),
    "a folded header": framed(b"A: b\r\n c\r\n", b"Content-Length: 3\r\n"),
    "a line before all others": framed(b" A: b\r\n", b"Content-Length: 3\r\n"),
    "a bare LF in the head": framed(b"A: b\n", b"Content-Length: 3\r\n"),
    "a bare CR in the head": framed(b"A: b\rContent-Length: 3\r\n", b"Content-Length: 3\r\n"),
    "a NUL in the head": framed(b"A: b\0c\r\n", b"Content-Length: 3\r\n"),
    "a header without a name": framed(b": b\r\n", b"Content-Length: 3\r\n"),
    "a header without a colon": framed(b"b\r\n", b"Content-Length: 3\r\n"),
    "two hosts": framed(b"Host: y\r\n", b"Content-Length: 3\r\n"),
    "chunk of negative size": framed(CHUNKED, body=b"-3\r\n[1]\r\n0\r\n\r\n"),
    "chunk size with a prefix": framed(CHUNKED, body=b"0x3\r\n[1]\r\n0\r\n\r\n"),
    "chunk size with a space": framed(CHUNKED, body=b"3 \r\n[1]\r\n0\r\n\r\n"),
    "chunk of huge size": framed(CHUNKED, body=b"f" * 17 + b"\r\n[1]\r\n0\r\n\r\n"),
    "chunk without a size": framed(CHUNKED, body=b"\r\n[1]\r\n0\r\n\r\n"),
    "chunk longer than it says": framed(CHUNKED, body=b"3\r\n[1]junk\r\n0\r\n\r\n"),
    "chunk that ends with LF": framed(CHUNKED, body=b"3\n[1]\n0\n\n"),
    "extension that ends with LF": framed(CHUNKED, body=b"3;a\n[1]\r\n0\r\n\r\n"),
    "extension with a NUL": framed(CHUNKED, body=b"3;\0\r\n[1]\r\n0\r\n\r\n"),
    "length in a trailer": framed(CHUNKED, body=b"3\r\n[1]\r\n0\r\nContent-Length: 9\r\n\r\n"),
    "coding in a trailer": framed(CHUNKED, body=b"3\r\n[1]\r\n0\r\nTransfer-Encoding: x\r\n\r\n"),
}


@pytest.mark.parametrize("path", [b"/sum", b"/echo"])
@pytest.mark.parametrize("name", AMBIGUOUS)
def test_request_with_ambiguous_framing_is_400_and_closes_the_connection(server, name, path):
    answer = server.talk(AMBIGUOUS[name] % path)
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.count(b"HTTP/1.1 ") == 1


UNDERSTOOD = {
    "spaces around the length": framed(b"Content-Length: \t3 \t\r\n", body=b"[1]"),
    "length with zeros": framed(b"Content-Length: 0003\r\n", body=b"[1]"),
    "chunked in capitals": framed(b"TRANSFER-ENCODING: CHUNKED \r\n"),
    "extensions": framed(CHUNKED, body=b'3;a=b;c="d"\r\n[1]\r\n0;e\r\n\r\n'),
    "chunks of one byte": framed(CHUNKED, body=b"1\r\n[\r\n1\r\n1\r\n1\r\n]\r\n0\r\n\r\n"),
    "chunk sizes with zeros": framed(CHUNKED, body=b"0003\r\n[1]\r\n000\r\n\r\n"),
    "trailers": framed(CHUNKED, body=b"3\r\n[1]\r\n0\r\nHost: evil\r\nX-Token: t\r\n\r\n"),
    "an underscored length": framed(b"Content_Length: 9\r\nContent-Length: 3\r\n", body=b"[1]"),
    "an underscored coding": framed(
        b"Transfer_Encoding: chunked\r\nContent-Length: 3\r\n", body=b"[1]"
    ),
    "empty lines before": b"\r\n\r\n" + framed(b"Content-Length: 3\r\n", body=b"[1]"),
}


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_next_request_begins_where_the_body_ends(server, name):
    data = UNDERSTOOD[name]
    for path in (b"/sum", b"/echo"):
        with server.connect() as client:
            client.sendall(data % path)
            answers = Answers(client)
            status, body = answers.next()
            assert status == 200
            if path == b"/sum":
                assert json.loads(body) == 1.0
            else:
                seen = json.loads(body)
                assert (seen["body"], seen["host"]) == ("[1]", "x")
                assert "X-Token" not in seen["headers"]
                assert "" not in seen["keys"]
            assert answers.next() == (200, b"666")


# --------------------------------------------------------------------------------- first lines

STRANGE = {
    "no host": b"GET /n/1 HTTP/1.1\r\n\r\n",
    "a URL, and no host": b"GET http://x/n/1 HTTP/1.1\r\n\r\n",
    "a URL without a host": b"GET http:///n/1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a URL of another scheme": b"GET ftp://x/n/1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "an authority": b"GET x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tunnel": b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a star": b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/0.9": b"GET /n/1\r\n\r\n",
    "HTTP/1.2": b"GET /n/1 HTTP/1.2\r\nHost: x\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2 upper": b"GET /n/1 HTTP/2.0\r\nHost: x\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(range(190)),
    "another protocol": b"SSH-2.0-OpenSSH_9.9\r\n",
    "a method of its own": b"FROB /n/1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a method in lower case": b"get /n/1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tab": b"GET\t/n/1\tHTTP/1.1\r\nHost: x\r\n\r\n",
    "a path in UTF-8": "GET /é HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    "a NUL": b"GET /n/1\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    "nothing but NULs": bytes(1000),
}


@pytest.mark.parametrize("name", STRANGE)
def test_invalid_request_line_is_400(server, name):
    answer = server.talk(STRANGE[name])
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert answer.count(b"\r\nConnection: close\r\n") == 1


@pytest.mark.parametrize(
    ("line", "path", "host"),
    [
        ("GET http://shop.example/echo?a=b HTTP/1.1", "/echo?a=b", "shop.example"),
        ("GET HTTPS://shop.example:81/echo HTTP/1.1", "/echo?", "shop.example:81"),
        ("GET /%65cho?a=%62 HTTP/1.1", "/echo?a=%62", "x"),
        ("GET http://shop.example/echo HTTP/1.0", "/echo?", "shop.example"),
    ],
)
def test_absolute_target_sets_the_host(server, line, path, host):
    answer = server.talk(f"{line}\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    seen = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (seen["path"], seen["host"]) == (path, host)


def test_options_asterisk_is_answered(server):
    answer = server.talk(b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer[:12] in {b"HTTP/1.1 200", b"HTTP/1.1 404"}


# ------------------------------------------------------------------------------------ long heads


def padded(size: int, lines: int = 1) -> bytes:
    """A request whose head has so many bytes."""
    head = b"GET /n/7 HTTP/1.1\r\nHost: x\r\n"
    rest = size - len(head) - 2
    each = rest // lines
    for i in range(lines):
        line = b"X-%d: " % i
        length = each if i else rest - each * (lines - 1)
        head += line + b"y" * (length - len(line) - 2) + b"\r\n"
    assert len(head) + 2 == size
    return head + b"\r\n"


@pytest.mark.parametrize("lines", [1, 20, 90])
def test_head_up_to_64_kb_is_read_and_a_longer_one_is_431(server, lines):
    with server.connect() as client:
        client.sendall(padded(63_000, lines))
        assert Answers(client).next() == (200, b"7")
    answer = server.talk(padded(70_000, lines))
    assert answer.startswith(b"HTTP/1.1 431 "), answer
    assert answer.endswith(b"\r\n\r\n")


def test_target_that_is_too_long_is_431(server):
    assert server.talk(get("/" + "a" * 100_000)).startswith(b"HTTP/1.1 431 ")


def test_ten_thousand_headers_are_431(server):
    head = get("/n/1", *(f"X-{i}: {i}" for i in range(10_000)))
    assert server.talk(head).startswith(b"HTTP/1.1 431 ")


def test_endless_head_takes_no_memory(server):
    before = server.state()["rss_kb"]
    with server.connect() as client, contextlib.suppress(OSError):
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
        for _ in range(100):
            client.sendall(b"y" * 1_000_000)
    assert server.state()["rss_kb"] - before < 20_000


@pytest.mark.parametrize("begin", [b"0\r\nX: ", b"3;"], ids=["trailer", "extension"])
@pytest.mark.parametrize("path", ["/sum", "/echo"])
def test_endless_trailer_or_chunk_extension_takes_no_memory(server, path, begin):
    before = server.state()["rss_kb"]
    with server.connect() as client, contextlib.suppress(OSError):
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        client.sendall(head.encode() + CHUNKED + b"\r\n" + begin)
        for _ in range(100):
            client.sendall(b"y" * 1_000_000)
        assert drain(client).startswith(b"HTTP/1.1 400 ")
    assert server.state()["rss_kb"] - before < 20_000


def test_endless_pipelined_head_behind_a_waiting_view_takes_no_memory(server):
    before = server.state()["rss_kb"]
    with server.connect() as client:
        client.sendall(get("/wait/endless-head"))
        server.began("endless-head")
        client.settimeout(1)
        with contextlib.suppress(OSError):
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
            for _ in range(40):
                client.sendall(b"y" * 1_000_000)
        assert server.state()["rss_kb"] - before < 20_000
        server.go("endless-head")
        client.settimeout(PATIENCE_S)
        assert Answers(client).next() == (200, b"endless-head")


# ------------------------------------------------------------------------------------ pipelines


def test_pipelined_requests_are_answered_in_order(server):
    large = b"[" + b" " * 300_000 + b"7]"
    requests_ = [
        (get("/n/1"), "GET", b"1"),
        (post("/sum", b"[1, 2]"), "POST", b"3.0"),
        (get("/n/2"), "GET", b"2"),
        (post("/echo", b"hello"), "POST", None),
        (post("/sum", large), "POST", b"7.0"),
        (get("/list/200000"), "GET", b"x" * 200_000),
        (b"HEAD /n/3 HTTP/1.1\r\nHost: x\r\n\r\n", "HEAD", b""),
        (get("/stream/2"), "GET", b"y" * 200_000),
        (post("/unread", b"12345"), "POST", b"not read"),
        (post("/echo", b"z" * 200_000), "POST", None),
        (post("/count", b"3"), "POST", b"0\n1\n2\n"),
        (get("/n/4"), "GET", b"4"),
    ]
    with server.connect() as client, ThreadPoolExecutor(1) as threads:
        sending = threads.submit(client.sendall, b"".join(each for each, _, _ in requests_))
        answers = Answers(client)
        for _, method, expected in requests_:
            status, body = answers.next(method)
            assert status == 200
            assert expected is None or body == expected
        sending.result()


def test_bytes_of_a_long_body_do_not_count_towards_the_next_head(server):
    body = b"[" + b" " * 65_300 + b"1]"
    head = get("/n/9", "X: " + "y" * 2000)
    for path in ("/sum", "/echo", "/unread"):
        with server.connect() as client:
            client.sendall(post(path, body) + head[:500])
            answers = Answers(client)
            assert answers.next()[0] == 200
            client.sendall(head[500:])
            assert answers.next() == (200, b"9")


def test_a_thousand_pipelined_requests_are_answered_in_order_or_the_connection_is_closed(server):
    data = b"".join(get(f"/n/{i}") for i in range(1000))
    with server.connect() as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        answer = drain(client)
    heads = answer.count(b"HTTP/1.1 200 OK")
    assert 64 <= heads <= 1000
    bodies = [int(part.partition(b"\r\n\r\n")[2]) for part in answer.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == list(range(heads))
    assert heads == 1000 or b"Connection: close" in answer.rpartition(b"HTTP/1.1")[2]


def test_invalid_bytes_behind_a_request_do_not_spoil_its_response(server):
    answer = server.talk(get("/n/5") + b"\x00rubbish\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"\r\n\r\n5")
    answer = server.talk(post("/sum", b"[5]") + b"\x00rubbish\r\n\r\n" + b"x" * 100_000)
    assert answer.startswith(b"HTTP/1.1 200 OK")


def test_requests_sent_byte_by_byte_are_answered(server):
    with server.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = Answers(client)
        for byte in get("/n/1", "X-Some: header") + post("/sum", b"[4]") + get("/n/2"):
            client.send(bytes([byte]))
        assert [answers.next() for _ in range(3)] == [(200, b"1"), (200, b"4.0"), (200, b"2")]


# ------------------------------------------------------------------------------ what clients ask


def test_client_that_half_closes_after_its_request_gets_the_response(server):
    """As `printf ... | nc -N` does."""
    for data, end in (
        (get("/n/8"), b"8"),
        (get("/n/1") + get("/n/8"), b"8"),
        (get("/list/3000000"), b"x" * 3_000_000),
        (post("/echo", b"z" * 1000), None),
        (post("/echo", b"z" * 1_000_000), None),
        (get("/stream/500"), None),
        (post("/sum", b"[1, 2]"), b"3.0"),
        (post("/count", b"3"), None),
    ):
        answer = server.talk(data, half_close=True)
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert end is None or answer.endswith(end)
        if b"chunked" in answer:
            assert answer.endswith(b"\r\n0\r\n\r\n")


def test_responses_to_head_and_of_204_and_304_have_no_body(server):
    with server.connect() as client:
        answers = Answers(client)
        for data, method, status in (
            (b"HEAD /list/5000 HTTP/1.1\r\nHost: x\r\n\r\n", "HEAD", 200),
            (b"HEAD /stream/9 HTTP/1.1\r\nHost: x\r\n\r\n", "HEAD", 200),
            (get("/status/204"), "GET", 204),
            (get("/status/304"), "GET", 304),
            (b"HEAD /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", "HEAD", 404),
        ):
            client.sendall(data)
            assert answers.next(method) == (status, b"")
            if status in (204, 304):
                assert "Content-Length" not in answers.headers
                assert "Transfer-Encoding" not in answers.headers
        client.sendall(get("/n/3"))
        assert answers.next() == (200, b"3")


def test_http_1_0_connection_closes_unless_keep_alive_is_requested(server):
    answer = server.talk(b"GET /n/3 HTTP/1.0\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n3")
    assert b"Connection: close" in answer
    answer = server.talk(b"GET /stream/2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n" + b"y" * 200_000)
    assert b"chunked" not in answer
    with server.connect() as client:
        answers = Answers(client)
        for i in range(3):
            client.sendall(b"GET /n/%d HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n" % i)
            assert answers.next() == (200, b"%d" % i)
            assert answers.headers["Connection"] == "keep-alive"


H2C = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"]
WEBSOCKET = [
    *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
]


def test_websocket_is_400_from_an_ordinary_view_and_the_connection_closes(server):
    answer = server.talk(get("/n/1", *WEBSOCKET) + get("/n/2"))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"Connection: close" in answer
    assert answer.count(b"HTTP/1.1") == 1


def test_upgrade_of_a_post_to_a_websocket_is_ignored(server):
    with server.connect() as client:
        answers = Answers(client)
        client.sendall(post("/sum", b"[4]", *WEBSOCKET) + get("/n/2"))
        assert [answers.next() for _ in range(2)] == [(200, b"4.0"), (200, b"2")]


def test_upgrade_to_http_2_is_ignored(server):
    """Java's client wishes so in each request, in those with a body too."""
    lines = H2C
    with server.connect() as client:
        answers = Answers(client)
        client.sendall(get("/n/1", *lines) + get("/n/2", *lines) + get("/n/3"))
        assert [answers.next() for _ in range(3)] == [(200, b"1"), (200, b"2"), (200, b"3")]
        client.sendall(post("/sum", b"[1, 2]", *lines))
        assert answers.next() == (200, b"3.0")
        head, _, body = post("/sum", b"[1, 2]", *lines).partition(b"\r\n\r\n")
        client.sendall(head + b"\r\n\r\n")
        client.sendall(body + get("/n/4"))
        assert [answers.next() for _ in range(2)] == [(200, b"3.0"), (200, b"4")]
        client.sendall(post("/echo", b"z" * 1_000_000, *lines) + get("/n/5"))
        assert json.loads(answers.next()[1])["length"] == 1_000_000
        assert answers.next() == (200, b"5")
        for path, expected in (("/sum", b"3.0"), ("/echo", None)):
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            head += "\r\n".join([*lines, "Transfer-Encoding: chunked", "", ""])
            client.sendall(head.encode() + b"6\r\n[1, 2]\r\n0\r\n\r\n" + get("/n/6"))
            status, answer = answers.next()
            assert status == 200
            assert expected is None or answer == expected
            assert answers.next() == (200, b"6")


def test_100_continue_is_sent_before_the_body(server):
    for path, body, expected in (
        ("/sum", b"[1, 2]", b"3.0"),
        ("/echo", b"[1, 2]", None),
        ("/sum", b"[" + b" " * 100_000 + b"5]", b"5.0"),
    ):
        with server.connect() as client:
            data = post(path, body, "Expect: 100-continue")
            head = data[: -len(body)]
            client.sendall(head)
            assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.sendall(body + get("/n/1"))
            answers = Answers(client)
            status, answer = answers.next()
            assert status == 200
            assert expected is None or answer == expected
            assert answers.next() == (200, b"1")


def test_100_continue_is_sent_for_a_pipelined_request(server):
    body = b"[1, 2]"
    with server.connect() as client:
        client.sendall(get("/n/1") + post("/sum", body, "Expect: 100-continue")[: -len(body)])
        answers = Answers(client)
        assert answers.next() == (200, b"1")
        assert answers.read(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert answers.next() == (200, b"3.0")


def test_client_whose_body_is_refused_or_unread_gets_no_100_continue(server):
    for path, length, status in (
        ("/unread", 99_999, 200),
        ("/sum", 10**9, 413),
        ("/echo", 10**9, 413),
    ):
        head = post(path, b"", "Expect: 100-continue").replace(b": 0", b": %d" % length)
        with server.connect() as client:
            client.sendall(head)
            answer = drain(client)
        assert answer.startswith(b"HTTP/1.1 %d " % status), answer
        assert b"\r\nConnection: close\r\n" in answer


def test_http_1_0_client_gets_no_100_continue(server):
    data = post("/sum", b"[1]", "Expect: 100-continue").replace(b"HTTP/1.1", b"HTTP/1.0")
    assert server.talk(data).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("path", ["/sum", "/echo", "/unread"])
@pytest.mark.parametrize("size", [2_000_000, 100_000_000])
def test_curl_gets_the_response_whether_its_body_is_read_unread_or_refused(server, path, size):
    command = ["curl", "-sS", "-o", os.devnull, "-w", "%{http_code}", "--data-binary", "@-"]
    command += ["-H", "Content-Type: application/json", "-H", "Expect: 100-continue"]
    body = b"[" + b" " * size + b"1]"
    done = subprocess.run(
        [*command, f"{server.url}{path}"], input=body, capture_output=True, check=False
    )
    expected = 200 if path == "/unread" or size < 10_000_000 else 413
    if path == "/unread" and size > 64 * 1024 * 1024:
        expected = 413
    assert (done.returncode, int(done.stdout)) == (0, expected), done.stderr


# ------------------------------------------------------------------------------- slow and hungry


@pytest.mark.parametrize("path", ["/list/50000000", "/stream/500"])
def test_slow_reader_of_a_large_response_does_not_delay_other_clients(server, path):
    before = server.state()
    with server.connect(buffer_bytes=4096) as client:
        client.sendall(get(path))
        took_s = []
        for _ in range(20):
            client.recv(4096)
            begun_s = time.monotonic()
            assert server.get("/n/1").text == "1"
            took_s.append(time.monotonic() - begun_s)
        now = server.state()
        assert now["rss_kb"] - before["rss_kb"] < 120_000
        assert min(took_s) < 0.1
        if path.startswith("/list"):
            wait_until(lambda: server.state()["busy"] <= 1)  # the one that answers this
    wait_until(lambda: server.state()["busy"] <= 1)
    wait_until(lambda: server.state()["rss_kb"] - before["rss_kb"] < 30_000)


def test_clients_that_never_read_do_not_block_predictions(server):
    clients = [server.connect(buffer_bytes=4096) for _ in range(8)]
    for i, client in enumerate(clients):
        client.sendall(get("/stream/500") if i else post("/endless", b"1"))
        client.recv(100)
    for _ in range(20):
        assert requests.post(f"{server.url}/sum", json=[1, 2], timeout=PATIENCE_S).json() == 3
    for client in clients:
        reset(client)
    wait_until(lambda: server.state()["waiting"] == 0)
    wait_until(lambda: server.state()["busy"] == 1)
    assert server.state()["threads"] < 40


def test_two_thousand_idle_connections_do_not_hinder_another(server):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2300:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    before = server.state()
    idle = []
    try:
        idle.extend(server.connect() for _ in range(2000))
        with requests.Session() as session:
            for i in range(50):
                assert session.get(f"{server.url}/n/{i}", timeout=PATIENCE_S).text == str(i)
        assert server.state()["connections"] >= 2000
        for client in idle[::100]:
            client.sendall(get("/n/1"))
            assert Answers(client).next() == (200, b"1")
    finally:
        for client in idle:
            client.close()
    wait_until(lambda: server.state()["connections"] <= before["connections"])


# ---------------------------------------------------------------------------- clients that leave

LARGE = b"[" + b" " * 1_000_000 + b"1]"
LEFT = {
    "before anything": b"",
    "in its head": b"GET /n/1 HTTP/1.1\r\nHo",
    "in a body": post("/sum", b"[1, 2]")[:-3],
    "in a held body": post("/sum", LARGE)[:-100_000],
    "in a body in chunks": framed(CHUNKED, body=b"ffff\r\n" + b" " * 60_000)[: -len(SMUGGLED)]
    % b"/sum",
    "in a body that a view reads": post("/echo", LARGE)[:-100_000],
    "in a body behind a request": get("/n/1") + post("/sum", LARGE)[:-100_000],
    "with a held body in line": get("/stream/500") + post("/sum", b"[" + b" " * 65_600 + b"1]"),
    "while it streams": get("/stream/500"),
    "while a model streams": post("/endless", b"1"),
    "in a huge answer": get("/list/50000000"),
    "in a huge answer with another in line": get("/list/50000000") + post("/sum", b"[1]"),
    "after its request": post("/sum", b"[1]"),
    "after many": b"".join(post("/sum", b"[1]") for _ in range(50)),
    "in the rest of a body that is refused": post("/sum", b"x" * 100).replace(
        b" 100", b" 99999999"
    ),
}


@pytest.mark.parametrize("leave", [reset, socket.socket.close], ids=["reset", "close"])
@pytest.mark.parametrize("name", LEFT)
def test_client_that_leaves_frees_its_memory_slot_and_descriptors(server, name, leave):
    before = server.state()
    assert before["held"] == 0
    for _ in range(10):
        client = server.connect()
        client.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            client.sendall(LEFT[name])
            if "stream" in name or "huge" in name or "in line" in name:
                client.recv(10)
        leave(client)

    def nothing() -> bool:
        now = server.state()
        return (
            now["held"] == now["waiting"] == 0
            and now["busy"] <= 1
            and now["connections"] <= before["connections"]
            and now["fds"] <= before["fds"] + 1
        )

    wait_until(nothing)


def test_request_whose_client_left_in_the_queue_does_not_run_its_view(server):
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(server.connect()) for _ in range(16)]
        for i, client in enumerate(held):
            client.sendall(get(f"/wait/line-{i}"))
        for i in range(16):
            server.began(f"line-{i}")
        client = server.connect()
        client.sendall(get("/wait/left"))
        reset(client)
        # Predictions go on, and show that the server has read what came before.
        assert requests.post(f"{server.url}/sum", json=[1, 2], timeout=PATIENCE_S).json() == 3
        for i in range(16):
            server.go(f"line-{i}")
        assert [Answers(client).next()[0] for client in held] == [200] * 16
    assert server.state()["busy"] == 1
    assert not list(server.folder.glob("left-began"))


# -------------------------------------------------------------------------- views that misbehave


def test_views_that_fail_are_500_and_predictions_go_on(serving):
    for path in ("/raise", "/exit"):
        for _ in range(20):
            assert serving.get(path).status_code == 500
        assert requests.post(f"{serving.url}/sum", json=[1, 2], timeout=PATIENCE_S).json() == 3
    assert serving.state()["busy"] == 1


def test_quick_view_that_starts_to_wait_delays_no_prediction(server):
    with requests.Session() as session:
        for _ in range(20):
            assert session.get(f"{server.url}/turn").text == "turned"
    server.go("slow")
    clients = [server.connect() for _ in range(10)]
    try:
        for client in clients:
            client.sendall(get("/turn"))
            assert requests.post(f"{server.url}/sum", json=[1, 2], timeout=PATIENCE_S).json() == 3
        assert not select.select(clients, [], [], 0)[0]
    finally:
        server.go("turn-go")
    assert [Answers(client).next() for client in clients] == [(200, b"turned")] * 10
    for client in clients:
        client.close()


# ------------------------------------------------------------------------------- no descriptors


def test_server_without_descriptors_keeps_clients_waiting_and_accepts_them_later(start):
    server = start()
    state = server.state()
    limits = resource.prlimit(state["pid"], resource.RLIMIT_NOFILE)
    with server.connect() as client:
        answers = Answers(client)
        client.sendall(get("/n/1"))
        assert answers.next() == (200, b"1")
        resource.prlimit(state["pid"], resource.RLIMIT_NOFILE, (state["fds"], limits[1]))
        others = [server.connect() for _ in range(5)]
        server.program.wait_until_it_prints("cannot accept connections at the moment")
        client.sendall(get("/n/2") + post("/sum", b"[3]") + get("/stream/100"))
        assert [answers.next()[0] for _ in range(3)] == [200] * 3
    resource.prlimit(state["pid"], resource.RLIMIT_NOFILE, limits)
    for client in others:
        client.sendall(get("/n/3"))
        assert Answers(client).next() == (200, b"3")
        client.close()
    assert server.program.output.count("cannot accept connections") < 200


# --------------------------------------------------------------------------------------- the end


def test_sigterm_lets_requests_in_every_state_finish(start):
    server = start()
    names = ["idle", "half head", "half body", "view", "queue", "stream", "lingering"]
    clients = {name: server.connect() for name in names}
    clients["idle"].sendall(get("/n/1"))
    assert Answers(clients["idle"]).next() == (200, b"1")
    whole = post("/sum", b"[1, 2]")
    clients["half head"].sendall(whole[:20])
    clients["half body"].sendall(whole[:-3])
    clients["view"].sendall(get("/wait/view"))
    server.began("view")
    clients["queue"].sendall(post("/gated", b'"model"'))
    server.began("model")
    clients["stream"].sendall(get("/stream/200"))
    clients["stream"].recv(1, socket.MSG_PEEK)
    clients["lingering"].sendall(b"rubbish\r\n\r\n")
    assert b" 400 " in clients["lingering"].recv(1000)
    server.program.process.send_signal(signal.SIGTERM)
    server.program.wait_until_it_prints("stopping on SIGTERM")
    assert clients["idle"].recv(10) == b""  # closed before the others have ended
    clients["half head"].sendall(whole[20:])
    clients["half body"].sendall(whole[-3:])
    server.go("view")
    server.go("model")
    expected = {"half head": b"3.0", "half body": b"3.0", "view": b"view", "queue": b'"model"'}
    for name, body in expected.items():
        answers = Answers(clients[name])
        assert answers.next() == (200, body), name
        assert answers.headers.get("Connection") == "close"
    assert Answers(clients["stream"]).next() == (200, b"y" * 20_000_000)
    for client in clients.values():
        client.close()
    assert server.program.process.wait(PATIENCE_S) == 0
    said = server.program.output.partition("stopping on SIGTERM")[2]
    assert "Traceback" not in said
    assert "rror" not in said


def test_worker_that_is_killed_under_load_is_replaced(start):
    server = start("--workers", "2")
    pids = set()
    wait_until(lambda: pids.add(server.state()["pid"]) or len(pids) == 2)

    def ask(i: int) -> object:
        try:
            return requests.post(f"{server.url}/sum", json=[i, 1], timeout=PATIENCE_S).json()
        except requests.RequestException:
            return None  # it was with the worker that was killed

    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(ask, i) for i in range(400)]
        wait_until(lambda: sum(each.done() for each in asked) > 50)
        os.kill(min(pids), signal.SIGKILL)
        answers = [each.result() for each in asked]
    assert all(answer in (None, i + 1) for i, answer in enumerate(answers))
    assert answers.count(None) < 100
    fresh = set()
    wait_until(lambda: fresh.add(server.state()["pid"]) or len(fresh - pids) == 1)


# ------------------------------------------------------------------------------------ addresses


def test_server_is_reached_by_ipv6(start):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    server = start("--host", "::1", host="::1")
    answer = server.talk(get("/echo", "Connection: close"))
    assert b"HTTP/1.1 200 OK" in answer
    assert server.talk(post("/sum", b"[1]", "Connection: close")).endswith(b"1.0")


IN_PROCESS = textwrap.dedent(
    """
    if __name__ == "__main__":
        app.serve(port=int(sys.argv[1]), workers=0)
    """
)


def test_app_with_a_model_is_served_in_the_calling_process(tmp_path):
    (tmp_path / "shop.py").write_text(APP + IN_PROCESS)
    port = spawning.free_port()
    program = spawning.start(
        [sys.executable, "shop.py", str(port)],
        log=tmp_path / "program.log",
        port=port,
        cwd=tmp_path,
    )
    try:
        program.wait_until_it_listens()
        server = Server(program, tmp_path)
        assert server.state()["pid"] == program.process.pid
        assert requests.post(f"{server.url}/sum", json=[1, 2], timeout=PATIENCE_S).json() == 3
        with server.connect() as client:
            client.sendall(get("/wait/end"))
            server.began("end")
            program.process.send_signal(signal.SIGTERM)
            server.go("end")
            assert Answers(client).next() == (200, b"end")
        assert program.process.wait(PATIENCE_S) == 0
    finally:
        program.stop()
    assert "Traceback" not in program.output


# ----------------------------------------------------------------------------------------- chance

SEEDS = [
    get("/n/1", "Connection: keep-alive", "Cookie: a=b"),
    post("/sum", b"[1, 2, 3]"),
    post("/echo", b"z" * 300, "Expect: 100-continue"),
    framed(CHUNKED)[: -len(SMUGGLED)] % b"/sum",
    framed(CHUNKED, body=b"1;a=b\r\nx\r\n0\r\nT: v\r\n\r\n")[: -len(SMUGGLED)] % b"/echo",
    get("/n/2", *H2C),
    post("/sum", b"[4]", *WEBSOCKET),
    get("/n/4", *WEBSOCKET),
    b"HEAD http://x/n/3 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    get("/stream/1"),
    post("/count", b"5"),
]
PIECES = [
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b"\0", b":", b",", b";", b"0", b"-1", b"ffffffff", b"%"),
    *(b"\r\n\r\n", b"HTTP/1.1", b"Content-Length: 5\r\n", CHUNKED, b"Host: y\r\n", b"\xff\xfe"),
    *(b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\n"),
]


def mutated(chance: random.Random) -> bytes:
    data = bytearray(b"".join(chance.choices(SEEDS, k=chance.randint(1, 4))))
    for _ in range(chance.randint(0, 4)):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(4)
        if kind == 0:
            data[at:at] = chance.choice(PIECES)
        elif kind == 1:
            del data[at : at + chance.randint(1, 20)]
        elif kind == 2 and at < len(data):
            data[at] = chance.randrange(256)
        else:
            data[at : at + chance.randint(1, 8)] = chance.choice(PIECES)
    return bytes(data)


def test_mutated_requests_are_answered_or_refused(server):
    before = server.state()
    chance = random.Random(int(os.environ.get("CARBOY_FUZZ_SEED", "7")))
    until_s = time.monotonic() + float(os.environ.get("CARBOY_FUZZ_S", "3"))
    while time.monotonic() < until_s:
        data = mutated(chance)
        with server.connect() as client, contextlib.suppress(OSError):
            cut = chance.randrange(len(data) + 1) if chance.random() < 0.3 else len(data)
            client.sendall(data[:cut])
            if cut < len(data):
                client.sendall(data[cut:])
            how = chance.randrange(3)
            if how == 0:
                client.shutdown(socket.SHUT_WR)
                answer = drain(client)
                assert not answer or answer.startswith(b"HTTP/1.1 "), (data, answer)
            elif how == 1:
                reset(client)
    wait_until(lambda: server.state()["connections"] <= before["connections"])
    now = server.state()
    assert (now["held"], now["waiting"], now["busy"]) == (0, 0, 1)
