"""The app that the tests run under each server, and the requests that each server is asked.

`make_project` puts the app (`tests/deployed/servers/project`) into a folder. `ask_all` sends all
requests to a server, and returns the responses in a form in which those of two servers can be
compared: without dates, without what describes the connection, and with a placeholder for values
that differ in each run. What they are compared with is what `carboy serve` answers.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import json
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import typing as t
import urllib.parse

import digits
from polling import PATIENCE_S

HOME = pathlib.Path(__file__).resolve().parents[1] / "deployed" / "servers" / "project"


def make_project(folder: pathlib.Path) -> pathlib.Path:
    """Copy the app into a new folder, train its model, and return the folder."""
    shutil.copytree(HOME, folder, ignore=shutil.ignore_patterns("__pycache__", "*.npz"))
    subprocess.run([sys.executable, "train.py"], cwd=folder, check=True)
    return folder


# ------------------------------------------------------------------------------------- addresses


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def connect(url: str) -> http.client.HTTPConnection:
    """Return a connection to `http://host:port` or `unix:/path`."""
    if url.startswith("unix:"):
        return _UnixConnection(url.removeprefix("unix:"), PATIENCE_S)
    parts = urllib.parse.urlsplit(url)
    assert parts.hostname is not None
    return http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=PATIENCE_S)


# -------------------------------------------------------------------------------------- requests


class Asked(t.NamedTuple):
    """A request of the list."""

    name: str
    method: str
    path: str
    headers: dict[str, str] = {}
    # An iterator of chunks is sent with `Transfer-Encoding: chunked`.
    body: bytes | list[bytes] | None = None
    # The status of the response of `carboy serve`.
    status: int = 200


class Answer(t.NamedTuple):
    """A response, in a form that can be compared with that of another server."""

    status: int
    reason: str
    headers: dict[str, list[str]]
    body: str


def form(**fields: str) -> dict[str, t.Any]:
    return {
        "headers": {"Content-Type": "application/x-www-form-urlencoded"},
        "body": urllib.parse.urlencode(fields).encode(),
    }


def as_json(value: object) -> dict[str, t.Any]:
    return {
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps(value).encode(),
    }


def multipart(name: str, content: bytes, kind: str, **fields: str) -> dict[str, t.Any]:
    parts = [
        f'--limit\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'
        for field, value in fields.items()
    ]
    head = (
        f'--limit\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        f"Content-Type: {kind}\r\n\r\n"
    )
    body = "".join(parts).encode() + head.encode() + content + b"\r\n--limit--\r\n"
    return {"headers": {"Content-Type": "multipart/form-data; boundary=limit"}, "body": body}


_LARGE = bytes(range(256)) * (8 << 10)  # 2 MiB, longer than each server keeps in memory

REQUESTS: tuple[Asked, ...] = (
    # pages
    Asked("page", "GET", "/?name=J%C3%BCrgen"),
    Asked("HEAD of a page", "HEAD", "/"),
    Asked("OPTIONS", "OPTIONS", "/"),
    Asked("non-ASCII path and repeated query", "GET", "/hello/%C3%A4%20%E2%82%AC?x=1&x=%26&y="),
    Asked("encoded slash in a path", "GET", "/hello/a%2Fb", status=404),
    Asked("header with a list", "GET", "/seen", {"X-List": "a, b"}),
    Asked("large response", "GET", "/big"),
    Asked("redirect", "GET", "/elsewhere", status=302),
    Asked("two cookies", "GET", "/cookies"),
    # errors
    Asked("unknown page", "GET", "/none", status=404),
    Asked("method that is not allowed", "DELETE", "/", status=405),
    Asked("error in a view", "GET", "/broken", status=500),
    Asked("no content", "GET", "/status/204", status=204),
    Asked("not modified", "GET", "/status/304", status=304),
    Asked("unavailable", "GET", "/status/503", status=503),
    Asked("teapot", "GET", "/status/418", status=418),
    Asked("DELETE", "DELETE", "/status/204", status=204),
    Asked("PUT with a body", "PUT", "/status/201", {}, b"x" * 100, status=201),
    # bodies
    Asked("JSON", "POST", "/json", **as_json({"a": [1, 2.5, None, "ä"]})),
    Asked("JSON that is none", "POST", "/json", {"Content-Type": "application/json"}, b"{", 400),
    Asked("empty body", "POST", "/echo", {}, b""),
    Asked("body of 2 MiB", "POST", "/echo", {"Content-Type": "application/x"}, _LARGE),
    Asked("chunked body", "POST", "/echo", {"Content-Type": "text/plain"}, [b"one", b"two"]),
    Asked("body that is not read", "POST", "/unread", {}, b"x" * 5000),
    Asked("body above a limit", "POST", "/small", {}, b"x" * 1001, 413),
    Asked("upload", "POST", "/upload", **multipart("a.bin", b"\0\r\n--lim", "a/b", title="ü")),
    Asked("upload of 2 MiB", "POST", "/upload", **multipart("b.bin", _LARGE, "application/x")),
    # the model
    Asked("prediction of numbers", "POST", "/digits", **as_json(digits.ZERO)),
    Asked("prediction of a picture", "POST", "/digits", {"Content-Type": "image/png"},
          digits.drawn(digits.SEVEN)),
    Asked("prediction of a wrong input", "POST", "/digits", **as_json([17] * 64), status=422),
    Asked("description of the model", "GET", "/digits", {"Accept": "application/json"}),
    Asked("document", "GET", "/openapi.json"),
    Asked("refusal", "POST", "/refused", status=422),
    # streams
    Asked("stream", "GET", "/stream"),
    Asked("stream that fails", "GET", "/failing-stream"),
    Asked("HEAD of a stream", "HEAD", "/stream"),
    # static files
    Asked("static file", "GET", "/static/style.css"),
    Asked("HEAD of a static file", "HEAD", "/static/style.css"),
    Asked("part of a static file", "GET", "/static/style.css", {"Range": "bytes=3-8"}, status=206),
    Asked("part outside of a static file", "GET", "/static/style.css", {"Range": "bytes=99-"},
          status=416),
    Asked("static file that was not modified", "GET", "/static/style.css",
          {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}, status=304),
    Asked("static file that is missing", "GET", "/static/none.css", status=404),
    Asked("file outside of the static folder", "GET", "/static/../app.py", status=404),
    # a session: the list is asked in this order, and cookies are kept
    Asked("nobody", "GET", "/whoami"),
    Asked("login", "POST", "/login", **form(name="Jürgen"), status=303),
    Asked("somebody", "GET", "/whoami"),
    Asked("logout", "POST", "/logout", status=204),
    Asked("nobody again", "GET", "/whoami"),
)  # fmt: skip


# Headers of the connection, and those that name the server or the moment.
_NOT_COMPARED = {"connection", "date", "keep-alive", "server", "transfer-encoding", "via"}
# Only `carboy serve` makes ids of requests, and puts them into error documents, too.
_NOT_COMPARED |= {"x-request-id"}
_REQUEST_ID = re.compile(rb', "request_id": "[^"]+"')
# Values that differ in each run; their presence is compared.
_VARYING = {"etag", "last-modified", "server-timing"}


def ask_all(
    url: str, *, only: t.Container[str] | None = None, without: t.Container[str] = ()
) -> dict[str, Answer]:
    """Send the requests of the list, in order, and return the responses by name.

    Args:
        url: `http://host:port` or `unix:/path`.
        only: the names of the requests to send; None is all.
        without: the names of requests to leave out.
    """
    cookies: dict[str, str] = {}
    return {
        asked.name: ask(url, asked, cookies)
        for asked in REQUESTS
        if (only is None or asked.name in only) and asked.name not in without
    }


def ask(url: str, asked: Asked, cookies: dict[str, str] | None = None) -> Answer:
    """Send a request on a connection of its own, and return the response.

    Args:
        url: `http://host:port` or `unix:/path`.
        asked: the request.
        cookies: values by name, which are sent, and updated by the response.
    """
    cookies = {} if cookies is None else cookies
    headers = {"Host": "digits.test", "Connection": "close", **asked.headers}
    if cookies:
        headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
    chunked = isinstance(asked.body, list)
    if chunked:
        headers["Transfer-Encoding"] = "chunked"
    with contextlib.closing(connect(url)) as connection:
        try:
            # A server that does not read the body may answer and close before it is sent.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(
                    asked.method, asked.path, asked.body, headers, encode_chunked=chunked
                )
            response = connection.getresponse()
        except ConnectionResetError:  # or its subclass RemoteDisconnected
            return Answer(0, "connection closed", {}, "")
        try:
            body = response.read()
        except http.client.IncompleteRead as exc:
            body = exc.partial + b"[cut short]"
        except (ConnectionResetError, http.client.HTTPException):
            body = b"[cut short]"
    _keep_cookies(response, cookies)
    headers = _comparable(response)
    if response.headers.get_content_type() == "application/problem+json":
        headers["content-length"], body = ["..."], _REQUEST_ID.sub(b"", body)
    if "allow" in headers:  # of a set, which has another order in each process
        headers["allow"] = [", ".join(sorted(headers["allow"][0].split(", ")))]
    return Answer(response.status, response.reason, headers, _text(body))


def _keep_cookies(response: http.client.HTTPResponse, cookies: dict[str, str]) -> None:
    for value in response.headers.get_all("Set-Cookie", []):
        name, _, rest = value.partition("=")
        content = rest.partition(";")[0]
        if content:
            cookies[name] = content
        else:
            cookies.pop(name, None)


def _comparable(response: http.client.HTTPResponse) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in response.getheaders():
        key = name.lower()
        if key not in _NOT_COMPARED:
            found.setdefault(key, []).append("..." if key in _VARYING else _plain(value))
    return found


def _plain(value: str) -> str:
    # A session's cookie has the time in it.
    return re.sub(r"^session=[^;]+", "session=...", value)


def _text(body: bytes) -> str:
    if len(body) > 100_000:
        return f"{len(body)} bytes, SHA-256 {hashlib.sha256(body).hexdigest()}"
    return body.decode(errors="backslashreplace")


# ----------------------------------------------------------------------------------- comparison


def differences(one: dict[str, Answer], other: dict[str, Answer]) -> dict[str, str]:
    """Return what differs between the responses of two servers, by the name of the request."""
    out = {}
    for name in one.keys() | other.keys():
        text = _difference(one.get(name), other.get(name))
        if text:
            out[name] = text
    return out


def _difference(one: Answer | None, other: Answer | None) -> str:
    if one is None or other is None:
        return f"{one} and {other}"
    out = io.StringIO()
    for field in ("status", "reason", "body"):
        a, b = getattr(one, field), getattr(other, field)
        if a != b:
            out.write(f"{field} {a!r:.200} and {b!r:.200}; ")
    for key in sorted(one.headers.keys() | other.headers.keys()):
        a, b = one.headers.get(key), other.headers.get(key)
        if a != b:
            out.write(f"{key} {a} and {b}; ")
    return out.getvalue().removesuffix("; ")


# --------------------------------------------------------------------------------------- streams


def first_item_is_sent_alone(url: str, file: pathlib.Path) -> bool:
    """Return whether a client gets the first item of a stream before the second one is made.

    Args:
        url: `http://host:port` or `unix:/path`.
        file: a path in a folder that the app can see, too. The file is created there.
    """
    with contextlib.closing(connect(url)) as connection:
        connection.request("GET", f"/stream?until={urllib.parse.quote(str(file))}")
        response = connection.getresponse()
        first = response.readline()
        file.touch()
        rest = response.read()
    assert first == b"first\n"
    return rest == b"second\n"
