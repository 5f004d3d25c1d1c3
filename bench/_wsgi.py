"""Call a WSGI app as a server does, without a server. Shared by overhead.py and its peers."""

from __future__ import annotations

import collections.abc as cabc
import dataclasses
import io
import sys
import typing as t

from apps import shapes

Environ = dict[str, t.Any]
App = t.Callable[..., cabc.Iterable[bytes]]

# The entries that granian and gunicorn set for a request of python-requests.
_TEMPLATE: Environ = {
    "GATEWAY_INTERFACE": "CGI/1.1",
    "HTTP_ACCEPT": "*/*",
    "HTTP_ACCEPT_ENCODING": "gzip, deflate",
    "HTTP_CONNECTION": "keep-alive",
    "HTTP_HOST": "127.0.0.1:8000",
    "HTTP_USER_AGENT": "python-requests/2.32.5",
    "PATH_INFO": "/",
    "QUERY_STRING": "",
    "REMOTE_ADDR": "127.0.0.1",
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SERVER_SOFTWARE": "bench",
    "wsgi.errors": sys.stderr,
    "wsgi.input_terminated": True,
    "wsgi.multiprocess": False,
    "wsgi.multithread": True,
    "wsgi.run_once": False,
    "wsgi.url_scheme": "http",
    "wsgi.version": (1, 0),
}


@dataclasses.dataclass
class Answer:
    status: str = ""
    headers: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str | None:
        return next((v for k, v in self.headers if k.lower() == name.lower()), None)


def environ_for(shape: shapes.Shape, cookie: str | None = None) -> Environ:
    environ = {**_TEMPLATE, "REQUEST_METHOD": shape.method, "PATH_INFO": shape.path}
    if shape.content_type:
        environ["CONTENT_TYPE"] = shape.content_type
        environ["CONTENT_LENGTH"] = str(len(shape.body))
    if cookie is not None:
        environ["HTTP_COOKIE"] = cookie
    return environ


def ask(app: App, environ: Environ, body: bytes = b"") -> Answer:
    """Send one request and keep the whole response."""
    answer = Answer()

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: object = None
    ) -> t.Any:
        answer.status, answer.headers = status, headers
        return lambda data: None

    result = app({**environ, "wsgi.input": io.BytesIO(body)}, start_response)
    try:
        answer.body = b"".join(result)
    finally:
        close = getattr(result, "close", None)
        if close is not None:
            close()
    return answer


def login(app: App) -> str:
    """Return the session cookie that the app itself sets."""
    answer = ask(app, {**_TEMPLATE, "PATH_INFO": "/login"})
    set_cookie = answer.header("Set-Cookie")
    if set_cookie is None:
        raise SystemExit(f"GET /login: expected a cookie, got {answer.status} {answer.headers}")
    return set_cookie.partition(";")[0]


def check(name: str, shape: shapes.Shape, answer: Answer) -> None:
    """Exit unless the response is the expected one: timing wrong responses would be meaningless."""
    wrong = []
    if not answer.status.startswith("200 "):
        wrong.append(f"status {answer.status!r}, body {answer.body[:200]!r}")
    elif (answer.header("Content-Type") or "").partition(";")[0] != shape.mimetype:
        wrong.append(f"content type {answer.header('Content-Type')!r}")
    elif not shape.check(answer.body):
        wrong.append(f"body {answer.body[:200]!r}")
    wrong += [f"no header {k}: {v}" for k, v in shape.headers if answer.header(k) != v]
    if wrong:
        raise SystemExit(f"{name} answers {shape.method} {shape.path} wrongly: {', '.join(wrong)}")


def caller(app: App, environ: Environ, body: bytes = b"") -> cabc.Callable[[], object]:
    """Return a function that makes one request as cheaply as a server in C would.

    Strings of the request are new objects in every request, as in a server: no peer profits from a
    hash
    that is already cached, or from a string that is the key of its own table.
    """
    fresh = {
        key: environ[key].encode("latin-1")
        for key in ("PATH_INFO", "QUERY_STRING", "HTTP_COOKIE", "CONTENT_TYPE", "CONTENT_LENGTH")
        if environ.get(key)
    }
    wire = tuple(fresh.items())
    stored: list[object] = [None, None]

    def write(data: bytes) -> None: ...

    def start_response(status: str, headers: object, exc_info: object = None) -> t.Any:
        stored[0] = status
        stored[1] = headers
        return write

    new_input = io.BytesIO

    def call() -> None:
        request = environ.copy()
        for key, raw in wire:
            request[key] = raw.decode("latin-1")
        request["wsgi.input"] = new_input(body)
        result = app(request, start_response)
        for _ in result:
            pass
        close = getattr(result, "close", None)
        if close is not None:
            close()

    return call
