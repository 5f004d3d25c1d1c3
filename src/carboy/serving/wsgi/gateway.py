"""Pass requests from `carboy.serving.http` to a WSGI application.

    a request --> without a body, or with a small one: when it has arrived, a view slot runs the app
              --> with a longer body: when its beginning has arrived, the app reads the rest
              --> with a body longer than allowed: 413, without occupying a thread
              --> for a WebSocket: the app runs on a thread of its own, and may take the socket
              --> for a model's prediction that needs no thread: see `routes`

A view slot is the permission to run one view. A slow client occupies no thread while it sends a
small body or while its prediction waits. If the application responds before it has read the whole
body, the client still gets the response.
"""

from __future__ import annotations

import contextlib
import io
import logging
import typing as t
from functools import partial
from time import monotonic

from carboy.core.bytesizes import body_too_large, format_size
from carboy.observability.environkeys import FIELDS, REQUEST_ID, ROUTE

from ..http.environ import SOCKET, environ_of
from ..http.exchange import CLOSE, TEXT
from ..http.limits import BODY_CUT_SHORT, BODY_TOO_SLOW, plain_text
from ..log import Notices, logger
from ..threads.slots import ViewSlots
from ..threads.timing import TimingTable
from .body import EMPTY, ChunkedBody, SizedBody
from .driver import INTERNAL_ERROR, NoResponseError, Result

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from _typeshed.wsgi import WSGIApplication

    from carboy.models.replicas.replica import ResultLoop

    from ..http.exchange import Exchange
    from ..http.limits import Limits
    from ..http.sendfile import FileSection
    from ..threads.pool import LeaderPool
    from ..tracing import Tracing
    from .viewwatch import ViewWatch

    #: A function that accepts a request which is answered without a view: it chooses how the body
    #: is read and which function handles the request.
    Route = cabc.Callable[[Exchange], object]
    Routes = cabc.Mapping[str, Route]
    Complete = cabc.Callable[[Exchange, list[tuple[str, str]]], list[tuple[str, str]]]


# The errors by which the call of an application may end after it has used the socket of a
# WebSocket. They are no failure: python-engineio raises ConnectionError, as Werkzeug's server
# expects, and other applications give no response.
_ENDS_OF_WEBSOCKETS = (ConnectionError, NoResponseError)


def _body_of_413(exchange: Exchange, detail: str) -> tuple[tuple[str, str], bytes]:
    """Return the header Content-Type and the body of a 413 response: problem details (JSON) if the
    client accepts JSON, else plain text.
    """
    if "json" not in exchange.headers.get("HTTP_ACCEPT", ""):
        return TEXT, plain_text("413 Content Too Large", detail)
    from carboy.core.problemdetails import MEDIA_TYPE, Problem

    problem = Problem(413, detail, code="input-too-large")
    return ("Content-Type", MEDIA_TYPE), problem.get_body(
        {REQUEST_ID: exchange.request_id}
    ).encode()


class Gateway:
    """Handles a server's requests by calling a WSGI application.

    Args:
        app: the application.
        limits: the limits on request bodies.
        threads: how many views may run at the same time.
        pool: the server's threads.
        timed: whether to measure how long the application takes, for the access log.
        watch: knows how long calls of the application take; None if that is not limited.
        tracing: makes spans of the requests; None for no spans.
        routes: called with this gateway; returns, by URL path, the functions that accept POST
            requests which are answered without a view.
        complete: returns the headers of a response that does not come from the application with
            those that the application adds to all its responses; None if it adds none.

    Attributes:
        call: calls a function soon, on the thread that runs the event loop.
        leads: returns whether the calling thread runs the event loop.
        loop: the event loop, which also watches descriptors that are no clients'.
        after_round: functions that the event loop calls when all requests of a round (those that
            were read together) were passed to their handlers. Only the thread that runs the event
            loop appends to it.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        limits: Limits,
        threads: int,
        pool: LeaderPool,
        timed: bool = False,
        watch: ViewWatch | None = None,
        tracing: Tracing | None = None,
        routes: cabc.Callable[[Gateway], Routes] | None = None,
        complete: Complete | None = None,
    ) -> None:
        self.app = app
        self.limits = limits
        self.slots = ViewSlots(threads)
        self.call = pool.call
        self.leads = pool.leads
        self.loop: ResultLoop = pool
        self.timed = timed
        self.tracing = tracing
        if tracing is not None:
            self._call_app = partial(tracing.run_view, self._call_app)  # type: ignore[method-assign]
        self._call = Result if watch is None else watch.call
        self._pool = pool
        self._timings = TimingTable(app)
        self.after_round: list[cabc.Callable[[], object]] = []
        self.routes: Routes = {} if routes is None else routes(self)
        self._complete = complete
        self._notices = Notices()

    # --- before the body -----------------------------------------------------------------------

    def admit(self, exchange: Exchange) -> None:
        """Choose how the body of a request is read and which function handles the request, after
        its head has arrived.
        """
        route = self.routes.get(exchange.path) if exchange.method == "POST" else None
        if route is not None:
            route(exchange)
        else:
            self.admit_to_view(exchange)

    def admit_to_view(self, exchange: Exchange) -> None:
        """Choose how the body of a request is read, if the application will answer the request."""
        length, limits = exchange.length, self.limits
        if length is None and not exchange.chunked and not exchange.expects_continue:
            exchange.handler = self.take  # PERF: a shortcut, because most requests have no body
        elif limits.body_bytes is not None and length is not None and length > limits.body_bytes:
            exchange.body_mode = "discarded"
            exchange.handler = self._refuse_length
        elif length is not None and length <= limits.buffered_body_bytes:
            exchange.handler = self.take
            exchange.body_timeout_s = limits.body_s
        elif length is not None and exchange.expects_continue:
            # The client sends the body only when the server asks for it (Expect: 100-continue). The
            # application reads the body itself, so that it may refuse the request before the client
            # sends the body.
            exchange.body_mode = "streamed"
            exchange.handler = self.take_unread
        else:
            exchange.stream_above = limits.buffered_body_bytes
            exchange.handler = self.take_begun
            exchange.body_timeout_s = limits.body_s

    def upgrade(self, exchange: Exchange) -> None:
        """Let a thread of its own answer a request for a WebSocket."""
        exchange.handler = self.take_websocket

    def _refuse_length(self, exchange: Exchange) -> None:
        """Refuse a request with a 413 before its body arrives, because the Content-Length exceeds
        the limit.
        """
        limit_bytes = self.limits.body_bytes
        self._notices.note(
            "body too large",
            logging.WARNING,
            "refused a body of %d bytes from %s: --max-body is %s",
            exchange.length,
            exchange.client,
            format_size(limit_bytes),
        )
        detail = body_too_large(exchange.length, limit_bytes, "this server")
        kind, text = _body_of_413(exchange, detail)
        self._respond(exchange, 413, [kind, CLOSE], text)

    def _respond(
        self, exchange: Exchange, status: int, headers: list[tuple[str, str]], text: bytes
    ) -> None:
        """Send a response that the application has not made, with the headers that it adds to all
        of its responses: a page of an allowed site may read them, too.
        """
        if self._complete is not None:
            # Methods of the app may fail, which is why some of these responses are sent.
            with contextlib.suppress(Exception):
                headers = self._complete(exchange, headers)
        exchange.respond(status, headers, text)

    def step_aside(self) -> None:
        """If the calling thread runs the event loop, let another thread run it, because the caller
        may block from now on.

        The other thread also calls the functions in `after_round`. Some of them compute
        predictions: if this thread called them and a model hung, the request that this thread
        handles would have to wait for the model.
        """
        self._pool.step_aside()

    # --- handing over --------------------------------------------------------------------------

    def take(self, exchange: Exchange) -> None:
        """Let the application respond to a request whose body has arrived. If the body is
        incomplete and no more will arrive, send an error response instead.
        """
        if exchange.fault is not None:
            if exchange.fault == "timeout":
                status, text = 408, plain_text("408 Request Timeout", BODY_TOO_SLOW)
            else:
                status, text = 400, plain_text("400 Bad Request", BODY_CUT_SHORT)
            self._respond(exchange, status, [TEXT, CLOSE], text)
            return
        if self.after_round:
            self._defer(self._run, exchange)
            return
        # PERF: does the same as `_run`, without the cost of its calls
        place = self.slots.run(self._answer, exchange)
        if place is not None:
            self._wait(exchange, place)

    def take_begun(self, exchange: Exchange) -> None:
        """Let the application respond to a request with a long body, of which at least the
        beginning has arrived.
        """
        most = self.limits.body_bytes
        if exchange.fault is None and not exchange.complete:
            self.take_unread(exchange)
        elif exchange.chunked and most is not None and exchange.size > most:
            self.take_unread(exchange)  # the application gets the error 413 when it reads the body
        else:
            self.take(exchange)

    def take_unread(self, exchange: Exchange) -> None:
        """Let the application respond to a request, whose body it reads while the body arrives."""
        if self.after_round:
            self._defer(self._run_unread, exchange)
        else:
            self._run_unread(exchange)

    def take_websocket(self, exchange: Exchange) -> None:
        """Let the application respond to a request for a WebSocket, or take its socket. If all
        threads for WebSockets are in use, refuse the request.
        """
        if self._pool.run_apart(self._answer_websocket, exchange):
            return
        most = self.limits.websockets
        self._notices.note(
            "websockets",
            logging.WARNING,
            "refused a WebSocket of %s: all %d of this worker are in use (--max-websockets)",
            exchange.client,
            most,
        )
        status = "503 Service Unavailable"
        text = plain_text(status, "Too many WebSockets are open. Try again later.")
        self._respond(exchange, 503, [TEXT, CLOSE, ("Retry-After", "5")], text)

    def _defer(self, run: cabc.Callable[[Exchange], object], exchange: Exchange) -> None:
        """Run a view after the predictions of its round (the requests that were read together).

        A model that computes at the end of the round may hang on the thread that runs the event
        loop. So the view's request is put into a queue from which the next thread that runs the
        event loop takes it.
        """
        self.call(partial(run, exchange))

    def _run(self, exchange: Exchange) -> None:
        self._wait(exchange, self.slots.run(self._answer, exchange))

    def _run_unread(self, exchange: Exchange) -> None:
        self._wait(exchange, self.slots.run_slow(self._answer_unread, exchange))

    def hand_over(self, exchange: Exchange, release: cabc.Callable[[], object]) -> None:
        """Let the application respond on another thread, and call `release` afterwards, or when the
        client disconnects before that.
        """
        self._wait(exchange, self.slots.hand_over(self._answer_and_release, exchange, release))

    def _wait(self, exchange: Exchange, place: int | None) -> None:
        if place is not None:
            exchange.wait_in_queue(partial(self._leave_queue, place))

    def _leave_queue(self, place: int, exchange: Exchange) -> bool:
        """Remove a request from the queue of those that wait for a slot, because its client has
        disconnected. Returns False if it waits no longer.
        """
        if exchange.app is not None:
            # It must still be called, because it leaves the context of the request.
            return True
        args = self.slots.cancel(place)
        if args is None:
            return False
        for release in args[1:]:
            release()
        exchange.extra = None  # it may refer to the exchange, which would be a reference cycle
        return True

    def _answer_and_release(self, exchange: Exchange, release: cabc.Callable[[], object]) -> None:
        try:
            self._answer(exchange)
        finally:
            release()

    def _answer_unread(self, exchange: Exchange) -> None:
        body: ChunkedBody | SizedBody
        if exchange.length is None:
            body = ChunkedBody(exchange.read, self.limits.body_bytes)
        else:
            body = SizedBody(exchange.read, exchange.length)
        self.step_aside()
        self._call_app(exchange, body)

    def _answer_websocket(self, exchange: Exchange) -> None:
        sock = exchange.transport.offer_socket()
        exchange.extra = {SOCKET: sock}
        exchange.route = None  # the application will find it
        try:
            self._call_app(exchange, EMPTY)
        finally:
            exchange.transport.end_websocket(exchange, sock)

    def _answer(self, exchange: Exchange) -> None:
        if exchange.disconnected and exchange.app is None:
            exchange.drop()
            return
        try:
            view = self._timings.of(exchange.method, exchange.path)
        except BaseException:
            exchange.fail()
            raise
        exchange.route = view.route
        body = io.BytesIO(exchange.body()) if exchange.pieces else EMPTY
        self._pool.run_view(view, self._call_app, exchange, body)

    def _call_app(self, exchange: Exchange, body: t.Any) -> None:
        try:
            environ = environ_of(exchange, body)
            app = exchange.app or self.app
            # `extra` and `app` may refer to the exchange: remove them, to break the reference
            # cycles.
            exchange.extra = exchange.app = None
            if exchange.route is None:
                environ[ROUTE] = ""
            try:
                if self.timed:
                    began_s = monotonic()
                    result = self._call(app, environ, self.limits.joined_response_bytes)
                    exchange.view_s = monotonic() - began_s
                    if (fields := environ.get(FIELDS)) is not None:
                        exchange.fields = fields
                else:
                    result = self._call(app, environ, self.limits.joined_response_bytes)
            finally:
                if exchange.route is None:
                    exchange.route = environ.get(ROUTE, "")
            if result.body is not None:
                try:
                    exchange.respond(result.status, result.headers, result.body)
                finally:
                    result.close()
            elif result.file is not None:
                _send_file(exchange, result, result.file)
            else:
                _stream(exchange, result)
        except BaseException as exc:  # noqa: BLE001  # a view's SystemExit must not occupy a slot
            if exchange.upgraded and isinstance(exc, _ENDS_OF_WEBSOCKETS):
                return
            logger.exception(
                "error while answering %s %s",
                exchange.method,
                exchange.path,
                extra={"request_id": exchange.request_id},
            )
            self._respond(exchange, 500, [TEXT, CLOSE], INTERNAL_ERROR)


def _send_file(exchange: Exchange, result: Result, file: FileSection) -> None:
    try:
        exchange.send_file(result.status, result.headers, file)
    except BaseException:  # such as for a header that HTTP does not allow
        result.close()
        raise


def _stream(exchange: Exchange, result: Result) -> None:
    try:
        exchange.stream(result.status, result.headers, result)
    finally:
        result.close()
