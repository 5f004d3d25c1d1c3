"""The server treats applications as WSGI says. Source: https://peps.python.org/pep-3333/"""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import typing as t
from urllib.parse import quote

import pep3333
import pytest
from polling import PATIENCE_S

pytestmark = pytest.mark.integration


class Response(t.NamedTuple):
    """`whole` is False if the connection ended before the response did."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    whole: bool


@pytest.fixture(scope="module")
def port() -> t.Iterator[int]:
    server = subprocess.Popen(
        [sys.executable, pep3333.__file__], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        yield int(t.cast("t.IO[bytes]", server.stdout).readline())
    finally:
        server.terminate()
        server.communicate(timeout=PATIENCE_S)


def ask(port: int, path: str, method: str = "GET") -> Response:
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client:
        lines = f"{method} {quote(path)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        client.sendall(lines.encode())
        response = http.client.HTTPResponse(client, method=method)
        response.begin()
        try:
            body, whole = response.read(), True
        except http.client.IncompleteRead as exc:
            body, whole = exc.partial, False
        framing = {"date", "server", "connection", "x-request-id"}
        headers = sorted((name.lower(), value) for name, value in response.getheaders())
        kept = [each for each in headers if each[0] not in framing]
        return Response(response.status, kept, body, whole)


def closed(port: int, name: str) -> int:
    return int(ask(port, f"/closed/{name}").body)


CHUNKED = [("transfer-encoding", "chunked")]
TEXT = ("content-type", "text/plain; charset=utf-8")


def sized(size: int, *headers: tuple[str, str]) -> list[tuple[str, str]]:
    return sorted([("content-length", str(size)), *headers])


FAILED = Response(500, sized(26, TEXT), b"500 Internal Server Error\n", whole=True)
LONG = b"x" * pep3333.LONG
EXPECTED = {
    "list": Response(200, sized(2), b"ab", whole=True),
    "list of two": Response(404, sized(2, ("x-a", "1")), b"ab", whole=True),
    "empty list": Response(200, sized(0), b"", whole=True),
    "tuple": Response(200, CHUNKED, b"ab", whole=True),
    "generator": Response(200, CHUNKED, b"ab", whole=True),
    "empty generator": Response(200, CHUNKED, b"", whole=True),
    "generator of empty chunks": Response(200, CHUNKED, b"", whole=True),
    "generator with a length": Response(200, sized(2), b"ab", whole=True),
    "long generator with a length": Response(200, sized(pep3333.LONG), LONG, whole=True),
    "long generator": Response(200, CHUNKED, LONG, whole=True),
    "no content": Response(204, [], b"", whole=True),
    "not modified": Response(304, [], b"", whole=True),
    "late start": Response(201, [*CHUNKED, ("x-late", "1")], b"ab", whole=True),
    "start after an empty chunk": Response(201, [*CHUNKED, ("x-late", "1")], b"a", whole=True),
    "write before a list": Response(200, sized(16), b"written returned", whole=True),
    "write twice before a generator": Response(200, CHUNKED, b"one two three", whole=True),
    "write and return nothing": Response(200, sized(7), b"written", whole=True),
    "write inside": Response(200, CHUNKED, b"1 2 3 4 5", whole=True),
    "write inside and yield nothing": Response(200, CHUNKED, b"written", whole=True),
    "write after the start was late": Response(200, CHUNKED, b"written yielded", whole=True),
    "start again with an error": Response(503, sized(8, ("x-second", "1")), b"replaced", True),
    "start again in the generator": Response(
        503, [*CHUNKED, ("x-second", "1")], b"replaced", whole=True
    ),
    "start again after the first chunk": Response(
        200, [*CHUNKED, ("x-first", "1")], b"a" * 1000, whole=False
    ),
    "start again after a write": FAILED,
    "start twice": FAILED,
    "closed": Response(200, CHUNKED, b"ab", whole=True),
    "closed, joined": Response(200, sized(2), b"ab", whole=True),
    "closed, empty": Response(200, CHUNKED, b"", whole=True),
    "closed, fails at once": FAILED,
    "closed, fails after an empty chunk": FAILED,
    "closed, fails later": Response(200, CHUNKED, b"a" * 1000, whole=False),
    "closed, fails when joined": FAILED,
    "closed, long": Response(200, CHUNKED, LONG, whole=True),
    "closed, long and fails": Response(200, sized(pep3333.LONG + 1), LONG, whole=False),
    "raises": FAILED,
    "leaves": FAILED,
    "no start": FAILED,
    "no start, generator": FAILED,
    "no start, empty": FAILED,
    "line break in a header": FAILED,
}


@pytest.mark.parametrize("name", pep3333.APPS)
def test_application_is_answered_as_the_specification_says(port: int, name: str) -> None:
    expected = EXPECTED[name]
    response = ask(port, f"/app/{name}")
    if not expected.whole:  # how much of it arrives is chance
        assert expected.body.startswith(response.body)
        response = response._replace(body=expected.body)
    assert response == expected
    if name.startswith("closed"):
        assert closed(port, name) == 1


@pytest.mark.parametrize("name", ["list", "generator", "closed", "closed, long", "write inside"])
def test_head_request_has_the_status_and_no_body(port: int, name: str) -> None:
    response = ask(port, f"/app/{name}", "HEAD")
    assert (response.status, response.body) == (EXPECTED[name].status, b"")
    length = dict(EXPECTED[name].headers).get("content-length")
    assert dict(response.headers).get("content-length") == length
    if name.startswith("closed"):
        assert closed(port, name) == 1
