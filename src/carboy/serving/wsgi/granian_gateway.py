"""Between granian's WSGI and an application: for apps without models, the quickest way.

Called for each request, hence no layer more than needed (`bench/serve.py` compares with a bare
callable on granian's own gateway). Compared with granian's own:

* the environ holds the request, and nothing of the process environment, in which the secrets are;
* bodies are bounded, and an answer given before the body was read reaches the client: closing a
  connection on which bytes wait makes the client's system drop the answer (RFC 9112, 9.6);
* while the server drains, each answer tells its client to connect anew next time.
"""

from __future__ import annotations

import io
import itertools
import threading
import time
import typing as t

from werkzeug.exceptions import HTTPException

from ..http.environ import always
from ..threads.timing import Habits, Shift
from .answers import (
    AT_ONCE_BYTES,
    CLOSE,
    KEEP_ALIVE_REST_BYTES,
    LINGER_S,
    TEXT,
    TWO_HOSTS,
    StartResponse,
    too_long,
)
from .body import EMPTY, ChunkedBody, SizedBody

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from _typeshed.wsgi import WSGIApplication

    from ..threads.leader import Crew
    from .answers import Headers
    from .body import Body

# Methods that have no body unless a header says so.
_WITHOUT_BODY = frozenset({"GET", "HEAD"})
# The part of the threads that may wait like this. When they all do, further clients may see a reset
# connection instead of their answer, and the other threads go on serving.
LINGER_PART = 4


class Protocol(t.Protocol):
    """What granian hands over for the answer."""

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None: ...

    def response_iter(self, status: int, headers: Headers, body: t.Any) -> None: ...


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


class WsgiGateway:
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
        crew: Crew,
    ) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.draining = False
        self._always = always(multiprocess=multiprocess)
        self._bodyless = {**self._always, "wsgi.input": EMPTY}
        self._habits = Habits(app)
        self._crew = crew
        self._shift = Shift(crew)
        self._lingering = threading.BoundedSemaphore(max(1, threads // LINGER_PART))

    def __call__(self, proto: Protocol, environ: dict[str, t.Any]) -> None:
        view = self._habits.of(environ["REQUEST_METHOD"], environ["PATH_INFO"])
        self._shift.do(view, self.handle, proto, environ)

    def handle(self, proto: Protocol, environ: dict[str, t.Any]) -> None:
        """Answer on the calling thread, for an engine that has no other."""
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
            environ.update(self._always)
        else:
            # PERF: the dict is granian's, made for this request; adding ten keys to it takes 0.2
            # us, merging the process environment and the request into a third one 1 us and more.
            environ.update(self._bodyless)
        if environ["SERVER_PROTOCOL"] == "HTTP/1":  # granian 2.8 means 1.0
            environ["SERVER_PROTOCOL"] = "HTTP/1.0"
        if "," in environ["HTTP_HOST"]:  # two headers, of which nobody knows who reads which
            proto.response_bytes(400, [TEXT, CLOSE], TWO_HOSTS)
            if body is not None and not body.done:
                self._let_client_finish(body, environ)
            return

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
            proto.response_bytes(start.code, start.headers, chunks[0])
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
        code, headers = start.code, start.fields(close=close)
        if whole is not None:
            proto.response_bytes(code, headers, whole)
        else:
            proto.response_iter(code, headers, Stream(stream, getattr(chunks, "close", None)))

    def _open_body(self, environ: dict[str, t.Any]) -> Body | None:
        """Put the body into the environ; None if it is announced to be too long.

        What is returned is done if no more of it will come.
        """
        limit = self.max_body_bytes
        read = environ["wsgi.input"].read
        length = environ.get("CONTENT_LENGTH")
        body: Body
        if length is None:
            body = ChunkedBody(read, limit)
        elif limit is not None and int(length) > limit:
            return None
        elif int(length) <= AT_ONCE_BYTES and "HTTP_EXPECT" not in environ:
            # PERF: what has come with the head is read faster by C code than by SizedBody, whose
            # part it is to tell the application of a body that was cut short.
            data = read(int(length))
            whole = io.BytesIO(data)
            environ["wsgi.input"] = (
                whole if len(data) == int(length) else SizedBody(whole.read, int(length))
            )
            return EMPTY
        else:
            body = SizedBody(read, int(length))
        environ["wsgi.input"] = body
        return body

    def _refuse(self, proto: Protocol, environ: dict[str, t.Any]) -> None:
        text = too_long(environ["CONTENT_LENGTH"], self.max_body_bytes)
        proto.response_bytes(413, [TEXT, CLOSE], text)
        self._let_client_finish(ChunkedBody(environ["wsgi.input"].read, None), environ)

    def _let_client_finish(self, body: Body, environ: dict[str, t.Any]) -> None:
        """Take what the client still sends, so that it comes to read the answer."""
        self._crew.must_return()  # what is left ends when granian has this thread back
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
