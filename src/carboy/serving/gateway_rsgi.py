"""Between granian's RSGI and an application: for apps with models.

    a request --> no body, or a small one that has arrived --> a slot --> the application
              --> a longer one: the application reads it as it comes
              --> longer than allowed: 413, before any thread is taken
              --> a prediction of a model that needs no thread (`predictions`)

A slow client holds no thread while it sends a small body or while its prediction waits. An answer
given before the body was read reaches the client. While the server drains, each answer tells its
client to connect anew next time.
"""

from __future__ import annotations

import io
import itertools
import typing as t
from functools import partial

from werkzeug.exceptions import HTTPException

from .answers import (
    AT_ONCE_BYTES,
    CLOSE,
    KEEP_ALIVE_REST_BYTES,
    TEXT,
    TWO_HOSTS,
    StartResponse,
    too_long,
)
from .body import EMPTY, ChunkedBody, SizedBody
from .environ import Environs, TwoHostsError
from .exchange import Exchange
from .frames import FrameReader
from .habits import Habits, Shift
from .log import logger
from .patience import Patience
from .slots import Slots
from .streams import send_stream

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from _typeshed.wsgi import WSGIApplication

    from .crew import Crew
    from .rsgi import Future, Pairs, Protocol, Scope

    #: Takes requests that need no view.
    Shortcut = cabc.Callable[[Exchange], object]

# What a client has for a body of AT_ONCE_BYTES: 1 kB/s is slower than any line.
AT_ONCE_S = 60.0
# An answer of unknown shape that says it is not longer than this is sent in one piece.
ONE_PIECE_BYTES = 256 * 1024


class RsgiGateway:
    """What the engine calls with each request, on one of its threads.

    Attributes:
        draining: set it once, and clients are asked to connect anew.
        shortcuts: by path, who takes the POSTs to it.
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
        self.shortcuts: cabc.Mapping[str, Shortcut] = {}
        self.patience = Patience()
        self.slots = Slots(threads)
        self.environs = Environs(multiprocess=multiprocess)
        self.crew = crew
        self._habits = Habits(app)
        self._shift = Shift(crew)

    def __call__(self, scope: Scope, protocol: Protocol) -> None:
        exchange = Exchange(scope, protocol)
        if self.shortcuts and scope.method == "POST":
            shortcut = self.shortcuts.get(scope.path)
            if shortcut is not None:
                shortcut(exchange)
                return
        self.handle(exchange)

    def handle(self, exchange: Exchange) -> None:
        """Let the app answer, as soon as the body is there, if it is not too long for that."""
        headers = exchange.headers
        length = headers.get("content-length")
        chunked = "transfer-encoding" in headers
        if not chunked and (length is None or length == "0"):
            self.take_slot(exchange, EMPTY)
            return
        limit = self.max_body_bytes
        if not chunked and limit is not None and int(length) > limit:
            self.refuse(exchange, 413, [TEXT], too_long(length, limit))
        elif chunked or "expect" in headers or int(length) > AT_ONCE_BYTES:
            self.take_slot_unread(exchange)
        else:
            arrival = exchange.protocol()
            self.patience.begin(arrival.cancel, AT_ONCE_S)
            arrival.add_done_callback(partial(self._body_is_there, exchange))

    def refuse(self, exchange: Exchange, status: int, headers: Pairs, body: bytes) -> None:
        """Answer a request without its body, and let the client come to read the answer."""
        self.crew.must_return()  # what is left of the body ends with it
        exchange.protocol.response_bytes(status, [*headers, CLOSE], body)
        # Who waits for leave to send ("100 Continue") got the answer instead.
        if "expect" not in exchange.headers:
            FrameReader(exchange.protocol).discard(self.patience)

    def answer(self, exchange: Exchange, status: int, headers: Pairs, body: bytes) -> None:
        """Answer without the app."""
        if self.draining:
            headers = [*headers, CLOSE]
        exchange.protocol.response_bytes(status, headers, body)

    def take_slot(self, exchange: Exchange, body: t.Any) -> None:
        """Let the app answer a request whose body has been read."""
        self._in_slot(self._ask_safely, exchange, body)

    def take_slot_unread(self, exchange: Exchange) -> None:
        """Let the app answer a request, and read its body if it wants."""
        self.crew.must_return()
        self._in_slot(self._answer_reading, exchange)

    def hand_over(self, exchange: Exchange) -> None:
        """The same on another thread, without a body: the calling one is not for views."""
        self._watch_in_line(exchange)
        self.slots.hand_over(self._ask_safely, exchange, EMPTY)

    def _in_slot(self, job: cabc.Callable[..., None], exchange: Exchange, *args: t.Any) -> None:
        self._watch_in_line(exchange)
        self.slots.run(job, exchange, *args)

    def _watch_in_line(self, exchange: Exchange) -> None:
        if self.slots.full:  # the client may leave before its turn
            exchange.queued = exchange.watch()

    def _body_is_there(self, exchange: Exchange, arrival: Future) -> None:
        in_time = self.patience.end(arrival.cancel)
        try:
            data = arrival.result()
        except BaseException:  # noqa: BLE001  # granian has two classes for it, and CancelledError
            status, text = (400, _CUT_SHORT) if in_time else (408, _TOO_SLOW)
            exchange.protocol.response_bytes(status, [TEXT, CLOSE], text)
            return
        self.take_slot(exchange, io.BytesIO(data))

    def _answer_reading(self, exchange: Exchange) -> None:
        frames = FrameReader(exchange.protocol, trailers="trailer" in exchange.headers)
        if "transfer-encoding" in exchange.headers:
            body: ChunkedBody | SizedBody = ChunkedBody(frames.read, self.max_body_bytes)
        else:
            body = SizedBody(frames.read, int(exchange.headers.get("content-length")))
        self.crew.step_aside()
        self._ask_or_fail(exchange, body, frames)

    def _ask_safely(self, exchange: Exchange, body: t.Any) -> None:
        if exchange.queued is not None:
            exchange.queued.cancel()
        if exchange.gone and exchange.app is None:
            return
        scope = exchange.scope
        view = self._habits.of(scope.method, scope.path)
        self._shift.do(view, self._ask_or_fail, exchange, body, None)

    def _ask_or_fail(self, exchange: Exchange, body: t.Any, frames: FrameReader | None) -> None:
        try:
            self._ask(exchange, body, frames)
        except BaseException:  # noqa: BLE001  # SystemExit of a view must not end a slot
            scope = exchange.scope
            logger.exception("error while answering %s %s", scope.method, scope.path)
            exchange.protocol.response_bytes(500, [TEXT, CLOSE], b"500 Internal Server Error\n")

    def _ask(self, exchange: Exchange, body: t.Any, frames: FrameReader | None) -> None:
        try:
            environ = self.environs.make(exchange, body)
        except TwoHostsError:
            exchange.protocol.response_bytes(400, [TEXT, CLOSE], TWO_HOSTS)
            if frames is not None and "expect" not in exchange.headers:
                frames.discard(self.patience)
            return
        start = StartResponse()
        try:
            chunks = (exchange.app or self.app)(environ, start)
        except HTTPException as exc:  # of the body, in an application that does not know Werkzeug
            chunks = exc(environ, start)
        if frames is not None and not body.done:
            small = isinstance(body, SizedBody) and body.left <= KEEP_ALIVE_REST_BYTES
            waits = "expect" in exchange.headers
            self._send(exchange, start, chunks, close=self.draining or not small or waits)
            if not waits or body.begun():
                frames.discard(self.patience)
        elif type(chunks) is list and len(chunks) == 1 and not self.draining and not start.written:
            exchange.protocol.response_bytes(start.code, start.headers, chunks[0])
        else:
            self._send(exchange, start, chunks, close=self.draining)

    def _send(
        self,
        exchange: Exchange,
        start: StartResponse,
        chunks: cabc.Iterable[bytes],
        *,
        close: bool,
    ) -> None:
        if isinstance(chunks, list):
            whole = b"".join([*(start.written or ()), *chunks])
            code, headers = start.code, start.fields(close=close)
            exchange.protocol.response_bytes(code, headers, whole)
            return
        try:
            stream = iter(chunks)
            if not start.status:
                # A generator comes to its `start_response` with its first chunk.
                stream = itertools.chain([next(stream, b"")], stream)
            if start.written:
                stream = itertools.chain(start.written, stream)
            code, headers = start.code, start.fields(close=close)
            if _is_short(start.headers):
                exchange.protocol.response_bytes(code, headers, b"".join(stream))
            else:
                send_stream(exchange, code, headers, stream)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()


_CUT_SHORT = b"400 Bad Request: the body is shorter than its Content-Length says.\n"
_TOO_SLOW = b"408 Request Timeout: the body did not come in time.\n"


def _is_short(headers: Pairs) -> bool:
    for name, value in headers:
        if name.lower() == "content-length":
            return int(value) <= ONE_PIECE_BYTES
    return False
