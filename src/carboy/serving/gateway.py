"""Between granian and a WSGI application: what a request and its answer look like to both.

Called for each request, hence no layer more than needed (`bench/serve.py` compares with a bare
callable on granian's own gateway). Compared with granian's own:

* the environ holds the request, and nothing of the process environment, in which the secrets are;
* bodies are bounded, and an answer given before the body was read reaches the client: closing a
  connection on which bytes wait makes the client's system drop the answer (RFC 9112, 9.6);
* while the server drains, each answer tells its client to connect anew next time.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
import typing as t

from werkzeug.exceptions import HTTPException

from .body import EMPTY, ChunkedBody, SizedBody

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from _typeshed.wsgi import WSGIApplication

    from .body import Body

Headers = list[tuple[str, str]]
CLOSE = ("Connection", "close")
# Methods that have no body unless a header says so.
_WITHOUT_BODY = frozenset({"GET", "HEAD"})
# An unread rest up to this size is read away so that the connection can be used again; it is likely
# to have arrived with the headers.
KEEP_ALIVE_REST_BYTES = 64 * 1024
# How long an answer waits for a client that sends on: nginx's lingering_time is 30 s. The client
# has got its answer after milliseconds; this is for slow lines.
LINGER_S = 10.0
# The part of the threads that may wait like this. When they all do, further clients may see a reset
# connection instead of their answer, and the other threads go on serving.
LINGER_PART = 4


class Protocol(t.Protocol):
    """What granian hands over for the answer."""

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None: ...

    def response_iter(self, status: int, headers: Headers, body: t.Any) -> None: ...


class StartResponse:
    """Takes the status line and the headers. The list is granian's from then on."""

    __slots__ = ("headers", "status", "written")

    def __init__(self) -> None:
        self.status = ""
        self.headers: Headers = []
        self.written: list[bytes] | None = None

    def __call__(
        self, status: str, headers: Headers, exc_info: t.Any = None
    ) -> cabc.Callable[[bytes], object]:
        self.status = status
        self.headers = headers
        return self.write

    def write(self, data: bytes) -> None:
        """The old way to answer, kept by PEP 3333 for applications from before WSGI."""
        if self.written is None:
            self.written = []
        self.written.append(data)


class Stream:
    """Chunks for granian, with the `close` of PEP 3333 even where the iterable has none."""

    __slots__ = ("__next__", "close")

    def __init__(
        self, chunks: cabc.Iterator[bytes], close: cabc.Callable[[], object] | None
    ) -> None:
        self.__next__ = chunks.__next__
        self.close = close or _nothing


def _nothing() -> None:
    pass


class Gateway:
    """The callable that granian calls with each request.

    Attributes:
        draining: set it once, and clients are asked to connect anew.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        max_body_bytes: int | None,
        threads: int,
        multiprocess: bool,
    ) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.draining = False
        self.always: dict[str, t.Any] = {
            "GATEWAY_INTERFACE": "CGI/1.1",
            "SCRIPT_NAME": "",
            "SERVER_SOFTWARE": "carboy",
            "wsgi.version": (1, 0),
            "wsgi.errors": sys.stderr,
            "wsgi.input_terminated": True,
            "wsgi.multithread": True,
            "wsgi.multiprocess": multiprocess,
            "wsgi.run_once": False,
        }
        self._bodyless = {**self.always, "wsgi.input": EMPTY}
        self._lingering = threading.BoundedSemaphore(max(1, threads // LINGER_PART))

    def __call__(self, proto: Protocol, environ: dict[str, t.Any]) -> None:
        body: Body | None = None
        if (
            environ["REQUEST_METHOD"] not in _WITHOUT_BODY
            or "CONTENT_LENGTH" in environ
            or "HTTP_TRANSFER_ENCODING" in environ
        ):
            body = self._open_body(environ)
            if body is None:
                self._refuse(proto, environ)
                return
            environ.update(self.always)
        else:
            # PERF: the dict is granian's, made for this request; adding ten keys to it takes 0.2
            # us, merging the process environment and the request into a third one 1 us and more.
            environ.update(self._bodyless)

        start = StartResponse()
        try:
            chunks = self.app(environ, start)
        except HTTPException as exc:  # of the body, in an application that does not know Werkzeug
            chunks = exc(environ, start)

        if body is not None and not body.done:
            self._answer(
                proto, start, chunks, close=self.draining or not _is_rest_small(body, environ)
            )
            self._let_client_finish(body, environ)
        elif type(chunks) is list and len(chunks) == 1 and not self.draining and not start.written:
            code = _CODES.get(start.status) or _code(start.status)
            proto.response_bytes(code, start.headers, chunks[0])
        else:
            self._answer(proto, start, chunks, close=self.draining)

    def _answer(
        self,
        proto: Protocol,
        start: StartResponse,
        chunks: cabc.Iterable[bytes],
        *,
        close: bool,
    ) -> None:
        first = start.written or []
        if isinstance(chunks, list):
            whole: bytes | None = b"".join([*first, *chunks])
        else:
            whole = None
            stream = iter(chunks)
            if not start.status:
                # A generator comes to its `start_response` with its first chunk.
                first = [next(stream, b""), *first]
            if first:
                stream = itertools.chain(first, stream)
        code = _code(start.status)
        headers = [*start.headers, CLOSE] if close else start.headers
        if whole is not None:
            proto.response_bytes(code, headers, whole)
        else:
            proto.response_iter(code, headers, Stream(stream, getattr(chunks, "close", None)))

    def _open_body(self, environ: dict[str, t.Any]) -> Body | None:
        """Put the body into the environ; None if it is announced to be too long."""
        limit = self.max_body_bytes
        read = environ["wsgi.input"].read
        length = environ.get("CONTENT_LENGTH")
        body: Body
        if length is None:
            body = ChunkedBody(read, limit)
        elif limit is not None and int(length) > limit:
            return None
        else:
            body = SizedBody(read, int(length))
        environ["wsgi.input"] = body
        return body

    def _refuse(self, proto: Protocol, environ: dict[str, t.Any]) -> None:
        limit = t.cast("int", self.max_body_bytes)
        text = (
            f"413 Content Too Large: the body has {environ['CONTENT_LENGTH']} bytes, and this"
            f" server takes {limit}.\n"
        )
        headers = [("Content-Type", "text/plain; charset=utf-8"), CLOSE]
        proto.response_bytes(413, headers, text.encode())
        self._let_client_finish(ChunkedBody(environ["wsgi.input"].read, None), environ)

    def _let_client_finish(self, body: Body, environ: dict[str, t.Any]) -> None:
        """Take what the client still sends, so that it comes to read the answer."""
        if "HTTP_EXPECT" in environ and not body.begun():
            # It waits for leave to send ("100 Continue"), and got its answer instead.
            return
        if _is_rest_small(body, environ):
            while body.skip():
                pass
        elif self._lingering.acquire(blocking=False):
            # NOTE: on this thread, because granian 2.8 ends the body when this call returns.
            try:
                until_s = time.monotonic() + LINGER_S
                while time.monotonic() < until_s and body.skip():
                    pass
            finally:
                self._lingering.release()


def _is_rest_small(body: Body, environ: dict[str, t.Any]) -> bool:
    return (
        isinstance(body, SizedBody)
        and body.left <= KEEP_ALIVE_REST_BYTES
        and "HTTP_EXPECT" not in environ
    )


def _code(status: str) -> int:
    if not status:
        raise RuntimeError("The application answered without calling start_response.")
    return int(status[:3])


# PERF: looking up a line that is always the same takes half the time of int(line[:3]).
_CODES = {
    "200 OK": 200,
    "201 CREATED": 201,
    "204 NO CONTENT": 204,
    "302 FOUND": 302,
    "304 NOT MODIFIED": 304,
    "404 NOT FOUND": 404,
}
