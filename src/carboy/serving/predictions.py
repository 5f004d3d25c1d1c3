"""Predictions that wait without a thread.

    POST --> admit: limits --> its body arrives --> take: decoded --> submitted to the model's queue
                                                                                            |
    client <-- respond: encoded <-- deliver: computed, refused, expired or cancelled <------'

Each arrow is a call on the thread that brings the news: the leading thread for the body, and that
thread or the model's own for the result. In between a prediction is an object and a socket. When
its client disconnects, it is cancelled; if its batch does not compute by then, it never will.

Failures are rare, and the app handles them (error handlers, signals, the log): its view is called
with the failure, on a thread for views. The same is done with results where the app has
`after_request` functions. Only refusals for which the app has no handler are sent from here, so
that a full queue refuses at once.
"""

from __future__ import annotations

import dataclasses
import io
import typing as t
from _thread import allocate_lock
from collections import deque
from contextvars import copy_context
from functools import cached_property, partial
from threading import Thread

from carboy.core.problemdetails import Problem
from carboy.models.direct import (
    blueprints_of,
    changes_responses,
    handles_errors_itself,
    obstacle,
)
from carboy.models.protocol import measured
from carboy.models.queue.stream import ResultStream
from carboy.models.queue.ticket import Ticket
from carboy.models.view import OUTCOME, LimitedBody, problem_in_stream, public_problem
from carboy.signals import request_finished, request_started

from .http.environ import environ_of
from .http.exchange import CLOSE, Head
from .http.limits import BODY_CUT_SHORT, BODY_TOO_SLOW, body_too_large
from .log import logger

if t.TYPE_CHECKING:
    import collections.abc as cabc
    from concurrent.futures import ThreadPoolExecutor
    from contextvars import Context

    from _typeshed.wsgi import StartResponse
    from werkzeug.exceptions import HTTPException

    from carboy.contract.answers import Encoded
    from carboy.contract.forms import FormData
    from carboy.ctx import RequestContext
    from carboy.models.host import ModelApp
    from carboy.models.model import Model
    from carboy.models.protocol import Endpoint
    from carboy.wrappers import Request

    from .http.exchange import Exchange
    from .http.limits import Limits
    from .wsgi.gateway import Gateway

# A batch that takes longer is computed beside the leading thread, which reads on meanwhile. To wake
# another thread takes 10 to 100 us, most where a virtual processor had nothing to do. Predictions
# without batches are computed one after the other, so less time is left for each.
QUICK_S = 0.0005
QUICK_ALONE_S = 0.0001
# Decoding a longer body takes longer than to let another thread lead; libraries such as Pillow do
# much of it without the interpreter's lock.
LONG_BYTES = 8 * 1024
# Pictures, arrays and tables are encoded beside the model, not by its thread.
ENCODING_THREADS = 4


def routes(app: object, gateway: Gateway) -> dict[str, cabc.Callable[[Exchange], object]]:
    """By path, the function that admits POSTs to it.

    Args:
        app: a `ModelApp`. Where a model has an obstacle, the app's view takes the requests.
        gateway: calls the app's views.
    """
    app, shared = t.cast("ModelApp", app), SharedResources(gateway.limits)
    found: dict[str, cabc.Callable[[Exchange], object]] = {}
    for model in app.models.values():
        for endpoint in model.endpoints.values():
            reason = obstacle(app, model, endpoint)
            if reason is None:
                route = PredictionRoute(app, model, endpoint, gateway=gateway, shared=shared)
                found[endpoint.path] = route.admit
            else:
                logger.info(
                    "predictions of %r wait on a thread each (at most --threads): %s",
                    endpoint.name,
                    reason,
                )
    return found


class SharedResources:
    """What all models of an app share: memory for large bodies, and threads that encode."""

    def __init__(self, limits: Limits) -> None:
        self.reserved_bytes = 0
        self._limits = limits
        self._lock = allocate_lock()

    def reserve(self, exchange: Exchange, size_bytes: int) -> bool:
        """Count a body with all others, if it is a large one; False if they are too many."""
        if size_bytes <= self._limits.buffered_body_bytes:
            return True
        with self._lock:
            more = size_bytes - exchange.reserved_bytes
            if self.reserved_bytes + more > self._limits.held_bodies_bytes:
                return False
            self.reserved_bytes += more
        exchange.reserved_bytes = size_bytes
        exchange.release = self.release
        return True

    def release(self, exchange: Exchange) -> None:
        """Stop counting a body: it is decoded, or will not be."""
        with self._lock:
            self.reserved_bytes -= exchange.reserved_bytes
        exchange.reserved_bytes = 0

    @cached_property
    def encoders(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(ENCODING_THREADS, "encoders")


class PredictionRoute:
    """Takes the requests to one model by one protocol, and submits them to the model's queue."""

    def __init__(
        self,
        app: ModelApp,
        model: Model,
        endpoint: Endpoint,
        *,
        gateway: Gateway,
        shared: SharedResources,
    ) -> None:
        self.app = app
        self.model = model
        self.protocol = endpoint.protocol
        self.gateway = gateway
        self.shared = shared
        self.queue = model.queue
        self.answers = model.answers
        self.batched = model.options.batch > 1
        self._largest = model.options.batch
        self._quick_s = QUICK_S if self.batched else QUICK_ALONE_S
        if self.answers.streams:
            self._quick_s = 0.0  # a generator may sleep while nobody reads
        limit, served = endpoint.max_body_bytes(), gateway.limits.body_bytes
        self.max_body_bytes = limit if served is None else min(limit, served)
        self._short_body_s = gateway.limits.buffered_body_s(gateway.limits.buffered_body_bytes)
        self._decode = partial(endpoint.protocol.decode, model)
        hit = app.url_map.fast_match(endpoint.path, "POST")
        self.rule = None if hit is None else hit[0]
        self._round: deque[PendingPrediction] = deque()
        self._ends_round = False  # the gateway was asked to call `_end_round`
        self._last_head: tuple[t.Any, Head | None] = None, None

    # --- the request ---------------------------------------------------------------------------

    def admit(self, exchange: Exchange) -> None:
        """Decide, when the head of a request has come, how its body is taken."""
        if request_started.receivers:  # a receiver may connect at any time
            self.gateway.admit_to_view(exchange)
            return
        length, limits = exchange.length or 0, self.gateway.limits
        exchange.limit = self.max_body_bytes
        exchange.handler = self.take
        if length > self.max_body_bytes:
            exchange.body_mode, exchange.fault = "discarded", "too_large"
        elif length > limits.buffered_body_bytes or exchange.chunked:
            # Counted as it arrives: an announced length takes no room from other clients.
            exchange.reserve = partial(self.shared.reserve, exchange)
            exchange.body_timeout_s = limits.buffered_body_s(None if exchange.chunked else length)
        else:
            exchange.body_timeout_s = self._short_body_s

    def take(self, exchange: Exchange) -> None:
        """Decode and submit a request whose body is there, or refuse it."""
        app = self.app
        if not app._got_first_request:
            app._got_first_request = True
        headers = exchange.headers
        pending = PendingPrediction(
            exchange=exchange,
            route=self,
            deliver=self._deliver,
            content_type=headers.get("CONTENT_TYPE", ""),
            encoding=headers.get("HTTP_CONTENT_ENCODING", "").strip().lower(),
            accept=headers.get("HTTP_ACCEPT", ""),
            raw=exchange.body,
        )
        if exchange.fault is not None:
            pending.refuse_body()
            return
        is_short = exchange.size <= LONG_BYTES
        if not is_short:
            self.gateway.step_aside()
        try:
            try:
                pending.arguments = self._decode(pending)
            finally:
                if exchange.reserved_bytes:
                    self.shared.release(exchange)
            if not self.batched:
                pending.enter_context()
            exchange.pieces.clear()  # only the arguments wait, not the body as well
            if self.batched and is_short:
                self._join_round(pending)
            else:  # another thread leads by now, and rounds are the leader's
                self._submit([pending])
        except BaseException as exc:  # noqa: BLE001  # the client waits for an answer whatever it is
            pending.fail(exc)

    # --- rounds --------------------------------------------------------------------------------

    def _join_round(self, pending: PendingPrediction) -> None:
        """Let a prediction be submitted with the others that arrive at the same time."""
        round_ = self._round
        round_.append(pending)
        if not self._ends_round:
            self._ends_round = True
            self.gateway.after_round.append(self._end_round)
        if len(round_) == self._largest:
            self._end_round()  # the batch can be computed while the rest is read

    def _end_round(self) -> None:
        # A thread that led until now may be here beside the one that leads: a prediction that joins
        # from now on is either submitted here, or asks for another end of the round.
        self._ends_round = False
        round_ = []
        try:
            while self._round:
                round_.append(self._round.popleft())
        except IndexError:  # the other thread took the last
            pass
        if round_:
            self._submit(round_)

    def _submit(self, round_: list[PendingPrediction]) -> None:
        self.queue.submit_round(round_, quick_s=self._quick_s)
        for pending in round_:
            if not pending.settled:
                pending.exchange.watch(pending.cancel)

    # --- the response --------------------------------------------------------------------------

    def _deliver(self, tickets: list[Ticket]) -> None:
        """On the thread that computed the tickets, or that gave them up."""
        if len(tickets) > 1 and not self.gateway.leads():
            # The leader reads what these clients send next: beside it, this thread would have to
            # wait for the interpreter's lock once for each response.
            self.gateway.call(partial(self._deliver, tickets))
            return
        for pending in t.cast("list[PendingPrediction]", tickets):
            pending.respond()

    @cached_property
    def changes_responses(self) -> bool:
        """Whether the app may change each response.

        PERF: 0.4 us per prediction. The app's functions are fixed once it has had a request.
        """
        return changes_responses(self.app, self.model)

    def handles(self, problem: Exception) -> bool:
        """Whether the app makes the response to a refusal itself."""
        app = self.app
        found = app._find_error_handler(problem, blueprints_of(self.model))
        return found is not None or handles_errors_itself(app)

    def head(self, answer: Encoded, ticket: Ticket) -> Head:
        """The head of a response with status 200.

        PERF: the predictions of one round and one batch have the same head: 2 us each.
        """
        key = ticket.arrived_s, ticket.began_s, answer.media_type, answer.headers
        last, head = self._last_head
        if head is None or last != key:
            fields = [("Content-Type", answer.media_type), *answer.headers, *measured(ticket)]
            head = Head("200 OK", fields)
            self._last_head = key, head
        return head


class _EnteredContext(t.NamedTuple):
    """The context in which a prediction of its own sees its request."""

    context: Context
    request_context: RequestContext
    environ: dict[str, t.Any]


@dataclasses.dataclass(slots=True, eq=False, kw_only=True)
class PendingPrediction(Ticket):
    """One request for a prediction: the ticket in the queue, and the `PredictionRequest`."""

    exchange: Exchange
    route: PredictionRoute
    content_type: str
    encoding: str
    accept: str
    raw: cabc.Callable[[], bytes]
    state: t.Any = None
    _entered: _EnteredContext | None = None
    _form: Request | None = None  # whose files are open

    # --- what a protocol reads -----------------------------------------------------------------

    @property
    def media_type(self) -> str:
        return self.content_type.partition(";")[0].strip().lower()

    def header(self, name: str) -> str:
        return self.exchange.headers.get(f"HTTP_{name.upper().replace('-', '_')}", "")

    def form(self) -> FormData:
        # Parsed as any view of the app would parse it.
        form = self._form = self._request()
        return LimitedBody(form, self.route.max_body_bytes).form()

    def _environ(self) -> dict[str, t.Any]:
        return environ_of(self.exchange, io.BytesIO(self.raw()))

    def _request(self) -> Request:
        return t.cast("Request", self.route.app.request_class(self._environ()))

    # --- waiting -------------------------------------------------------------------------------

    def enter_context(self) -> None:
        """Let `predict` see the request, as it does where a view waits for it."""
        environ, context = self._environ(), copy_context()
        request_context = self.route.app.request_context(environ)
        request_context._rule, request_context._view_args = self.route.rule, {}
        context.run(request_context.push)
        self._entered = _EnteredContext(context, request_context, environ)
        # A copy: the context may be left while `predict` returns from it.
        self.context = context.copy()

    def _leave_context(self) -> None:
        if self._form is not None:
            self._form.close()
        if self._entered is not None:
            (context, request_context, _), self._entered = self._entered, None
            try:
                context.run(request_context.pop, None)
            except Exception:  # noqa: BLE001  # of a teardown function; the response is sent
                logger.exception("error while ending a request of %r", self.route.model.name)

    def cancel(self) -> None:
        """The client has disconnected."""
        self.route.queue.cancel(self)

    # --- responding ----------------------------------------------------------------------------

    def respond(self) -> None:
        """Send the settled ticket's result or failure; drop it if the client has disconnected."""
        value = self.value
        if self.exchange.disconnected:
            if isinstance(value, ResultStream):
                value.close()  # or it would keep its slot until nobody has read for long
            self._leave_context()
            self.exchange.drop()
            return
        if isinstance(value, BaseException):
            self.fail(value)
            return
        route = self.route
        try:
            if self._is_for_app():
                self._leave_to_app()
            elif route.answers.streams:
                Thread(target=self._stream, args=(value,), name="stream", daemon=True).start()
            elif route.answers.only_json or route.answers.is_light(value):
                self._send()
            else:
                route.shared.encoders.submit(self._send)
        except BaseException as exc:  # noqa: BLE001  # no exit may end the model's thread
            self.fail(exc)

    def _send(self) -> None:
        route = self.route
        try:
            answer = route.protocol.encode(route.model, self, self.value)
            self.exchange.send_response(route.head(answer, self), answer.body)
        except BaseException as exc:  # noqa: BLE001
            self.fail(exc)
            return
        if self._entered is not None or self._form is not None:
            self._leave_context()

    def _stream(self, items: ResultStream) -> None:
        """Send items as they come, on a thread of its own: there are `concurrency` such streams."""
        route, exchange = self.route, self.exchange
        try:
            streamed = route.protocol.stream(route.model, self, items, self._explain)
        except BaseException as exc:  # noqa: BLE001  # of the first item: nothing was sent
            self.fail(exc)
            return
        chunks = streamed.chunks
        headers = [("Content-Type", streamed.media_type), *streamed.headers]
        exchange.watch(chunks.close)
        try:
            exchange.stream("200 OK", headers, chunks)
        except Exception:  # noqa: BLE001  # the thread ends here
            logger.exception("error while sending a stream of %r", route.model.name)
        finally:
            chunks.close()
            self._leave_context()

    def _explain(self, exc: BaseException) -> dict[str, t.Any]:
        return problem_in_stream(self.route.app, self.route.model, self._request(), exc)

    # --- failing -------------------------------------------------------------------------------

    def refuse_body(self) -> None:
        """Respond to a request whose body cannot be had."""
        exchange, route = self.exchange, self.route
        route.shared.release(exchange)
        if exchange.fault == "overloaded":
            self.fail(_too_many_bodies())
        elif exchange.fault == "too_large":
            detail = body_too_large(exchange.length, exchange.limit, "this model")
            self.fail(Problem(413, detail, code="input-too-large"))
        else:
            status, detail = (
                (408, BODY_TOO_SLOW) if exchange.fault == "timeout" else (400, BODY_CUT_SHORT)
            )
            problem = Problem(status, detail, headers=[CLOSE])
            self._respond_refusal(route.protocol.refuse(route.model, self, problem))

    def fail(self, exc: BaseException) -> None:
        """Respond to a failure, or close the connection: the client must not wait for ever."""
        try:
            refusal = self._refusal(exc)
            if refusal is not None:
                self._respond_refusal(refusal)
            else:
                self.settled, self.value = True, exc
                self._leave_to_app()
        except BaseException:  # noqa: BLE001  # of the app's own methods; no thread for its view
            logger.exception("error while answering for %r", self.route.model.name)
            self.exchange.drop()

    def _refusal(self, exc: BaseException) -> HTTPException | None:
        """The response to a failure in which the app has no say."""
        problem, route = public_problem(exc), self.route
        if not isinstance(problem, Problem) or self._is_for_app():
            return None
        refusal = route.protocol.refuse(route.model, self, problem)
        return None if route.handles(refusal) else refusal

    def _respond_refusal(self, refusal: HTTPException) -> None:
        body = refusal.get_body().encode()
        self.exchange.respond(refusal.code or 500, refusal.get_headers(), body)
        self._leave_context()

    # --- the app -------------------------------------------------------------------------------

    def _is_for_app(self) -> bool:
        """Whether the app has something to do to any response to this request."""
        if self._entered is not None and self._entered.request_context.changes_response:
            return True
        # Receivers may connect at any time.
        if self.route.changes_responses or request_finished.receivers:
            return True
        cookie = self.exchange.headers.get("HTTP_COOKIE")
        # A permanent session is sent again with each response.
        return cookie is not None and self.route.app.session_needs_refresh({"HTTP_COOKIE": cookie})

    def _leave_to_app(self) -> None:
        """Let the app's view respond, on a thread for views."""
        if self._entered is not None:
            self.exchange.app = self._resume
        if self._form is not None:
            self._form.close()
        self.exchange.extra = {OUTCOME: self}
        self.route.gateway.hand_over(self.exchange)

    def _resume(self, _: object, start_response: StartResponse) -> cabc.Iterable[bytes]:
        """`Carboy.wsgi_app` in the context that `predict` saw: `g` and the session are the same."""
        assert self._entered is not None
        (context, request_context, environ), self._entered = self._entered, None
        environ[OUTCOME] = self
        respond = self.route.app.respond
        return context.run(respond, request_context, environ, start_response)


def _too_many_bodies() -> Problem:
    return Problem(
        503,
        "The server reads too many large bodies just now.",
        code="bodies-full",
        headers=[("Retry-After", "1")],
    )
