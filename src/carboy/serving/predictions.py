"""Serve predictions over HTTP without a thread that waits for the result.

    POST --> admit: limits --> body arrives --> take: decode --> submit to the model's queue
                                                                                       |
    client <-- respond: encode <-- deliver: computed, refused, expired or cancelled <--'

Each arrow is a call. The calls of the upper line run on the leading thread (the one that reads all
requests), those of the lower line on that thread or on one of the model's threads. A waiting
prediction needs only an object and a socket. If its client disconnects before its batch is
computed, the prediction is cancelled and never computed.

Failures are rare, so the app handles them (error handlers, signals, log): its view is called with
the failure, on a thread for views. Results are passed to the view, too, if the app has
`after_request` functions. Refusals for which the app has no handler are sent from here, so that
requests to a full queue fail fast. `carboy.models.queue` decides when a prediction is computed.
"""

from __future__ import annotations

import dataclasses
import io
import typing as t
from collections import deque
from contextvars import copy_context
from functools import cached_property, partial
from threading import BoundedSemaphore, Thread
from time import monotonic

from carboy.access.browserrules import merged
from carboy.access.guard import PRIVATE
from carboy.core.bytesizes import body_too_large
from carboy.core.identity import ADMISSION
from carboy.core.problemdetails import Problem
from carboy.core.trustedhosts import is_trusted_host
from carboy.models.direct import (
    blueprints_of,
    changes_responses,
    guard_of,
    handles_errors_itself,
    obstacle,
)
from carboy.models.protocol import VERSION_HEADER, JsonProtocol, logged, measured
from carboy.models.queue.group import PredictionGroup
from carboy.models.queue.stream import MAX_BUFFERED_ITEMS, ResultStream
from carboy.models.queue.ticket import Ticket
from carboy.models.replicas.rawbody import RawBody, is_decoded_on_arrival
from carboy.models.view import OUTCOME, LimitedBody, problem_in_stream, public_problem
from carboy.observability.environkeys import REQUEST_ID
from carboy.signals import request_finished, request_started

from .http.budget import Budget
from .http.environ import environ_of
from .http.exchange import CLOSE, UNCOUNTED_BYTES, Head
from .http.limits import BODY_CUT_SHORT, BODY_TOO_SLOW
from .log import logger

if t.TYPE_CHECKING:
    import collections.abc as cabc
    from concurrent.futures import ThreadPoolExecutor
    from contextvars import Context

    from _typeshed.wsgi import StartResponse
    from werkzeug.exceptions import HTTPException

    from carboy.access.guard import Admission, RouteGuard
    from carboy.contract.answers import Encoded
    from carboy.contract.forms import FormData
    from carboy.ctx import RequestContext
    from carboy.models.host import ModelApp
    from carboy.models.model import Model
    from carboy.models.protocol import Endpoint
    from carboy.models.queue.calls import Arguments
    from carboy.models.queue.ticket import Deliver
    from carboy.models.versions.modelversion import ModelVersion
    from carboy.models.versions.shadow import ShadowComparison
    from carboy.wrappers import Request

    from .http.exchange import Exchange
    from .http.limits import Limits
    from .wsgi.gateway import Gateway

# If a batch is expected to take longer than `QUICK_S`, it is computed on another thread, so that
# the leading thread can continue to read requests. Waking a thread takes 10 to 100 us, most if a
# virtual processor is idle. If predictions are not batched, the leading thread may have to compute
# many, one after the other, so the limit for each (`QUICK_ALONE_S`) is lower.
QUICK_S = 0.0005
QUICK_ALONE_S = 0.0001
# While a body is decoded that is longer than this, another thread reads requests. Decoding then
# takes longer than switching threads, and libraries such as Pillow release the GIL.
LONG_BYTES = 8 * 1024
# How many streams whose model has finished may wait for their clients to read the rest of them.
SLOW_STREAMS = 128
# How many streams are sent at least, however large their items are.
LARGE_STREAMS = 4
# How many threads encode pictures, arrays and tables for responses, so that the threads of the
# models can go on computing.
ENCODING_THREADS = 4


def routes(app: object, gateway: Gateway) -> dict[str, cabc.Callable[[Exchange], object]]:
    """Return, for each URL path of a model, the function that handles POST requests without a view.

    Args:
        app: a `ModelApp`. A model is left out if its view must be called (it has an `obstacle`).
        gateway: calls the app's views.
    """
    app, shared = t.cast("ModelApp", app), SharedResources(gateway.limits)
    # Let the app add the URLs of protocols that its configuration switches on.
    app.find_overrides()
    found: dict[str, cabc.Callable[[Exchange], object]] = {}
    for model in app.models.values():
        for endpoint in model.endpoints.values():
            reason = obstacle(app, model, endpoint)
            if reason is None:
                route = PredictionRoute(app, model, endpoint, gateway=gateway, shared=shared)
                found[endpoint.path] = route.admit
            else:
                logger.info(
                    "predictions of %r wait on a thread each (at most --threads), because %s",
                    endpoint.name,
                    reason,
                )
    return found


class SharedResources:
    """The resources that all models of an app share: a memory budget for large request bodies, and
    threads that encode results.
    """

    def __init__(self, limits: Limits) -> None:
        self.bodies = Budget(limits.held_bodies_bytes)
        self._limits = limits

    def reserve(self, exchange: Exchange, size_bytes: int) -> bool:
        """Reserve memory for a request body; returns False if the budget is used up.

        Args:
            size_bytes: how much of the body has arrived. For a small body nothing is reserved.
        """
        if size_bytes <= self._limits.buffered_body_bytes:
            return True
        if not self.bodies.reserve(size_bytes - exchange.reserved_bytes):
            return False
        exchange.reserved_bytes = size_bytes
        exchange.release = self.release
        return True

    def release(self, exchange: Exchange) -> None:
        """Give back the memory that was reserved for the request body, because the prediction has
        ended.
        """
        self.bodies.release(exchange.reserved_bytes)
        exchange.reserved_bytes = 0
        exchange.pieces.clear()

    @cached_property
    def encoders(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(ENCODING_THREADS, "encoders")


class StreamSenders:
    """The threads that send the streams of one model, one per stream.

    A stream occupies the model until its generator has ended. Its last items are sent afterwards,
    so that a client that does not read them keeps its thread, and not the model.

    Args:
        most: the largest number of streams that are sent at once.
    """

    def __init__(self, most: int) -> None:
        self._free = BoundedSemaphore(most)

    def start(self, send: cabc.Callable[[ResultStream], object], items: ResultStream) -> bool:
        """Call `send` on a new thread. Returns False if too many streams are being sent.

        Raises:
            RuntimeError: the system starts no more threads.
        """
        if not self._free.acquire(blocking=False):
            return False
        try:
            Thread(target=self._run, args=(send, items), name="stream", daemon=True).start()
        except BaseException:
            self._free.release()
            raise
        return True

    def _run(self, send: cabc.Callable[[ResultStream], object], items: ResultStream) -> None:
        try:
            send(items)
        finally:
            self._free.release()


class PredictionRoute:
    """Handles the HTTP requests for predictions of one model in one protocol, and submits the
    predictions to the model's queue.
    """

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
        self.answers = model.answers
        self.batched = model.options.batch > 1
        self._max_batch = model.options.batch
        self._is_remote = model.current.replica.is_remote
        self._quick_s = QUICK_S if self.batched else QUICK_ALONE_S
        self.senders: StreamSenders | None = None
        if self.answers.streams:
            self.senders = StreamSenders(model.options.concurrency + SLOW_STREAMS)
            # If `predict` is a generator, it may block the leading thread at each item.
            self._quick_s = 0.0
        limit, served = endpoint.max_body_bytes(), gateway.limits.body_bytes
        self.max_body_bytes = limit if served is None else min(limit, served)
        self._short_body_s = gateway.limits.body_time_s(gateway.limits.buffered_body_bytes)
        # Keep one bound method for all predictions: `queue.threads.deliver` groups predictions by
        # their callback, and calls each callback once for its whole group.
        self.deliver: Deliver = self._respond_to
        self._path = endpoint.path
        hit = app.url_map.fast_match(endpoint.path, "POST")
        self.rule = None if hit is None else hit[0]
        self._browsers = app.find_overrides().browsers
        self.adds_headers = self._browsers.adds_headers
        self.guard = guard_of(app, endpoint)
        self._round: deque[PendingPrediction] = deque()
        self._end_is_scheduled = False  # whether `_end_round` is in `gateway.after_round`
        self._last_head: tuple[t.Any, Head | None] = None, None
        # Whether there is an access log, and the fields in it of a request whose prediction was not
        # computed, with the version that they name.
        self.logs = gateway.timed
        self._tracing = gateway.tracing
        self.traces = self._tracing is not None
        self._unpredicted = model.current, logged(model)
        self._last_logged: tuple[t.Any, dict[str, t.Any]] = None, {}

    # --- the request ---------------------------------------------------------------------------

    def admit(self, exchange: Exchange) -> None:
        """Choose how a request's body is read, after its head has arrived."""
        trusted, headers = self.app.config["TRUSTED_HOSTS"], exchange.headers
        # A view, and so the app, must handle the request if a receiver is connected to the signal
        # `request_started` (which may happen at any time), or if the app may refuse the host or the
        # site that the request comes from (because it may have an error handler for this). Browsers
        # send one of the two headers with each POST.
        if (
            request_started.receivers
            or (trusted is not None and not is_trusted_host(exchange.host, trusted))
            or (
                ("HTTP_ORIGIN" in headers or "HTTP_SEC_FETCH_SITE" in headers)
                and self._may_be_refused(exchange)
            )
        ):
            self.gateway.admit_to_view(exchange)
            return
        if self.logs:
            exchange.fields = self._log_fields()
        exchange.route = self._path
        exchange.handler = self.take
        guard = self.guard
        # PERF: while the app has no keys, these comparisons are all that the guard costs.
        if guard is not None and (
            guard.required or guard.store.closed or monotonic() >= guard.store.due_s
        ):
            self._ask(guard, exchange)
            if exchange.fault == "refused":
                return
        length, limits = exchange.length or 0, self.gateway.limits
        exchange.limit = self.max_body_bytes
        if length > self.max_body_bytes:
            exchange.body_mode, exchange.fault = "discarded", "too_large"
        elif length > limits.buffered_body_bytes or exchange.chunked:
            # Reserve memory for received bytes and not for the announced length, because a client
            # could announce bytes that it never sends.
            exchange.reserve = self.shared.reserve
            exchange.body_timeout_s = limits.body_time_s(None if exchange.chunked else length)
        else:
            exchange.body_timeout_s = self._short_body_s

    def _ask(self, guard: RouteGuard, exchange: Exchange) -> None:
        """Ask the guard of the model about a request, and note what it has decided."""
        if guard.passes(exchange.client):
            exchange.extra = {ADMISSION: guard.passed}
            return
        admission = guard.admit(exchange.headers, exchange.client)
        exchange.extra = {ADMISSION: admission}
        if self.logs:
            exchange.fields = _with_key(exchange)
        if admission.refusal is not None:
            exchange.body_mode, exchange.fault = "discarded", "refused"

    def _may_be_refused(self, exchange: Exchange) -> bool:
        """Whether the app may refuse a request because of the site that it comes from."""
        return self._browsers.may_refuse((self.rule, None), environ_of(exchange, None))

    def take(self, exchange: Exchange) -> None:
        """Decode the request and submit it to the queue, or refuse it if its body is incomplete."""
        app = self.app
        if not app._got_first_request:
            app._got_first_request = True
        get = exchange.headers.get
        encoding = get("HTTP_CONTENT_ENCODING", "")
        pending = PendingPrediction(
            exchange,
            self,
            get("CONTENT_TYPE", ""),
            encoding.strip().lower() if encoding else "",
            get("HTTP_ACCEPT", ""),
            exchange.body,
        )
        pending.deliver = self.deliver
        if exchange.fault is not None:
            pending.refuse_body()
            return
        is_short = exchange.size <= LONG_BYTES
        # A body that a replica decodes takes this thread as little time as a short one.
        is_raw = not is_short and self._decodes_elsewhere(pending)
        if not is_short and not is_raw:
            self.gateway.step_aside()
        try:
            began_s = monotonic() if self.traces else 0.0
            versions = self.model.versions
            if versions.canaries is not None or versions.shadow is not None:
                self._involve_others(pending)
            decoded: t.Any = (
                pending.raw_body() if is_raw else self.protocol.decode(self.model, pending)
            )
            pending.arguments = decoded
            if self.traces:
                exchange.decoding_s = began_s, monotonic()
            if not self.batched and not self._is_remote:
                pending.enter_context()
                # Drop the body: only the arguments are needed while the prediction waits.
                exchange.pieces.clear()
            if type(decoded) is list:
                pending.submit_group(decoded, quick_s=self._quick_s)
            elif self.batched and (is_short or is_raw) and pending.canary is None:
                self._join_round(pending)
            # Submit the prediction alone: it is not batched, another version computes it, or
            # another thread has taken over reading requests.
            else:
                self._submit([pending], pending.canary)
        except BaseException as exc:  # noqa: BLE001  # the client needs a response to any failure
            pending.fail(exc)

    def _involve_others(self, pending: PendingPrediction) -> None:
        """Choose the version that computes the prediction, and keep what the shadow needs of it."""
        versions = self.model.versions
        if versions.canaries is not None:
            pending.canary = versions.canary_for(pending)
        if versions.shadow is not None:
            pending.keep_body()

    def _decodes_elsewhere(self, pending: PendingPrediction) -> bool:
        """Whether the process that computes the prediction also decodes the body."""
        return (
            type(self.protocol) is JsonProtocol
            and self._is_remote
            and not is_decoded_on_arrival(pending.media_type)
        )

    # --- rounds --------------------------------------------------------------------------------

    def _join_round(self, pending: PendingPrediction) -> None:
        """Collect a prediction, to submit it together with others whose requests were read at the
        same time.
        """
        round_ = self._round
        round_.append(pending)
        if not self._end_is_scheduled:
            self._end_is_scheduled = True
            self.gateway.after_round.append(self._end_round)
        if len(round_) == self._max_batch:
            self._end_round()  # the batch is full, so do not wait for further requests

    def _end_round(self) -> None:
        # Reset `_end_is_scheduled` before taking the predictions: if another thread appends one in
        # the meantime, either the loop takes it, or that thread schedules this method again.
        self._end_is_scheduled = False
        round_ = []
        try:
            while self._round:
                round_.append(self._round.popleft())
        except IndexError:  # another thread has taken the last prediction from `_round`
            pass
        if round_:
            self._submit(round_)

    def _submit(self, round_: list[PendingPrediction], canary: ModelVersion | None = None) -> None:
        version = canary or self.model.current
        version.queue.submit_round(round_, quick_s=self._quick_s, loop=self.gateway.loop)
        for pending in round_:
            if not pending.settled:
                pending.exchange.watch(pending.cancel)

    # --- the response --------------------------------------------------------------------------

    def _respond_to(self, tickets: list[Ticket]) -> None:
        """Send the responses of predictions that have ended. Several are sent by the leading
        thread, which reads all requests.
        """
        if len(tickets) > 1 and not self.gateway.leads():
            # This is a thread that computes for the model. If it sent several responses one by one,
            # their clients would send further requests, and it would wait for the GIL while the
            # leading thread reads those. So the leading thread sends all responses.
            self.gateway.call(partial(self._respond_to, tickets))
            return
        for pending in t.cast("list[PendingPrediction]", tickets):
            pending.respond()

    @cached_property
    def changes_responses(self) -> bool:
        """Whether the app has `after_request` functions that may change responses.

        PERF: cached, because finding out takes 0.4 us; an app cannot add functions after its first
        request.
        """
        return changes_responses(self.app, self.model)

    def app_handles(self, problem: Exception) -> bool:
        """Whether the app has an error handler for `problem`, so that the app must create the
        response.
        """
        app = self.app
        found = app._find_error_handler(problem, blueprints_of(self.model))
        return found is not None or handles_errors_itself(app)

    def head(self, answer: Encoded, pending: PendingPrediction) -> Head:
        """Return the head of a response with status 200.

        PERF: predictions whose requests were read together share one head, which saves 2 us each.
        """
        media_type, headers, exchange = answer.media_type, answer.headers, pending.exchange
        more: cabc.Sequence[tuple[str, str]] = ()
        if self.adds_headers or exchange.extra is not None:
            more = self.more_headers(exchange, media_type)
        key = pending.queue, pending.began_s, pending.arrived_s, media_type, headers, more
        last, head = self._last_head
        if head is None or last != key:
            fields = [("Content-Type", media_type), *headers, *measured(pending)]
            head = Head("200 OK", merged(fields, more) if more else fields)
            self._last_head = key, head
        return head

    def more_headers(self, exchange: Exchange, content_type: str) -> list[tuple[str, str]]:
        """Return the headers that a response gets because of its client, and because of what the
        app adds to each response.
        """
        found = list(_private(exchange))
        if self.adds_headers:
            found += self._browsers.headers((self.rule, None), content_type, exchange.headers)
        return found

    def trace(self, pending: PendingPrediction, encoding_s: float | None = None) -> None:
        """Make the spans of a prediction whose response is complete. Only if the server traces.

        Args:
            encoding_s: when encoding the result began; None if there was no result.
        """
        assert self._tracing is not None
        exchange, now_s = pending.exchange, monotonic()
        phases = []
        if (decoding_s := exchange.decoding_s) is not None:
            phases += [("read", exchange.began_s, decoding_s[0]), ("decode", *decoding_s)]
            if pending.batch_size:
                phases += [("queue", decoding_s[1], pending.began_s)]
                phases += [("compute", pending.began_s, pending.ended_s)]
        if encoding_s is not None:
            phases += [("encode", encoding_s, now_s)]
        self._tracing.add_prediction(exchange, phases)

    def _log_fields(self) -> dict[str, t.Any]:
        """Return the fields of a request for the access log, until its prediction is computed."""
        version, fields = self._unpredicted
        if version is not self.model.current:
            fields = logged(self.model)
            self._unpredicted = self.model.current, fields
        return fields

    def logged(self, ticket: Ticket) -> dict[str, t.Any]:
        """Return the fields of a prediction that has ended for its line in the access log.

        PERF: the last result is kept, because all predictions of a batch whose requests were read
        together have the same fields.
        """
        key = ticket.queue, ticket.arrived_s, ticket.began_s, ticket.ended_s
        last, fields = self._last_logged
        if last != key:
            fields = logged(self.model, ticket)
            self._last_logged = key, fields
        return fields


class _EnteredContext(t.NamedTuple):
    """The request context in which an unbatched `predict` runs, and the `contextvars.Context` in
    which it was pushed.
    """

    context: Context
    request_context: RequestContext
    environ: dict[str, t.Any]


@dataclasses.dataclass(slots=True, eq=False)
class PendingPrediction(Ticket):
    """A request for a prediction: both the queue's `Ticket` and the `PredictionRequest`.

    PERF: the constructor is called with arguments by position, and only for fields without a
    default, which saves 0.25 us.
    """

    exchange: Exchange
    route: PredictionRoute
    content_type: str
    encoding: str
    accept: str
    raw: cabc.Callable[[], bytes]
    state: t.Any = dataclasses.field(default=None, init=False)
    # The version that computes the prediction, if that is not the current one.
    canary: ModelVersion | None = dataclasses.field(default=None, init=False)
    _entered: _EnteredContext | None = dataclasses.field(default=None, init=False)
    # The request whose form was parsed. It is kept to close the uploaded files later.
    _form: Request | None = dataclasses.field(default=None, init=False)
    # The predictions of a request that asks for several.
    _group: PredictionGroup | None = dataclasses.field(default=None, init=False)

    can_decode: t.ClassVar[bool] = True

    def decode_again(self) -> Arguments:
        return t.cast("Arguments", self.route.protocol.decode(self.route.model, self))

    def submit_group(self, entries: list[Arguments], *, quick_s: float) -> None:
        """Queue the predictions of a request that asks for several. This object is their owner, and
        is delivered when all of them have ended.
        """
        self.arguments = None
        decode = t.cast("cabc.Callable[[], list[Arguments]]", self.decode_again)
        version = self.canary or self.route.model.current
        group = self._group = PredictionGroup(version.queue, entries, decode)
        if self._entered is not None:
            # Threads that compute at the same time need a context each.
            for ticket in group.tickets:
                ticket.context = self._entered.context.copy()
        group.submit(self, quick_s=quick_s, loop=self.route.gateway.loop)
        if not self.settled:
            self.exchange.watch(self.cancel)

    def raw_body(self) -> RawBody:
        """Return the body for the process that will decode it."""
        return RawBody(self.content_type, self.encoding, tuple(self.exchange.pieces))

    # --- what a protocol reads -----------------------------------------------------------------

    @property
    def media_type(self) -> str:
        return self.content_type.partition(";")[0].strip().lower()

    def header(self, name: str) -> str:
        return self.exchange.headers.get(f"HTTP_{name.upper().replace('-', '_')}", "")

    def form(self) -> FormData:
        # Let the app's request class parse the form, as it does for `request.form` in a view.
        if self._form is not None:  # `form` was called before: close the files of that call
            self._form.close()
        form = self._form = self._request()
        return LimitedBody(form, self.route.max_body_bytes).form()

    def _environ(self) -> dict[str, t.Any]:
        return environ_of(self.exchange, io.BytesIO(self.raw()))

    def _request(self) -> Request:
        environ = self._environ()
        request = self.route.app.request_class(environ)
        # Break a reference cycle: the request and the environ refer to each other.
        environ.pop("werkzeug.request", None)
        return t.cast("Request", request)

    def keep_body(self) -> None:
        """Keep the body after the response, for the comparison with a shadow."""
        body = self.raw()
        self.raw = lambda: body

    def offer_to(self, shadow: ShadowComparison, answer: t.Any) -> None:
        """Let a shadow compute the request after it was answered."""
        if self.raw != self.exchange.body:  # it was kept
            shadow.offer(self, self.decode_again, answer, len(self.raw()), self._close_form)

    # --- waiting -------------------------------------------------------------------------------

    def enter_context(self) -> None:
        """Push a request context, so that `predict` can use `request` as it could if a view called
        it.
        """
        environ, context = self._environ(), copy_context()
        request_context = self.route.app.request_context(environ)
        request_context._rule, request_context._view_args = self.route.rule, {}
        context.run(request_context.push)
        self._entered = _EnteredContext(context, request_context, environ)
        # `predict` runs in a copy of `context`: two threads cannot run code in the same context,
        # and the request context may be popped in `context` while another thread is still in
        # `predict`.
        self.context = context.copy()

    def _close_form(self) -> None:
        if self._form is not None:
            self._form.close()

    def _leave_context(self) -> None:
        if self._form is not None:
            self._close_form()
        if self._entered is not None:
            (context, request_context, _), self._entered = self._entered, None
            try:
                context.run(request_context.pop, None)
            # A teardown function of the app has failed. The response was sent already, so only log
            # the error.
            except Exception:  # noqa: BLE001
                logger.exception(
                    "error in the teardown of a request of model %r",
                    self.route.model.name,
                    extra={"request_id": self.exchange.request_id},
                )

    def cancel(self) -> None:
        """Cancel the prediction, because its client has disconnected."""
        if self._group is not None:
            self._group.cancel()
        else:
            self.queue.cancel(self)

    # --- responding ----------------------------------------------------------------------------

    def respond(self) -> None:
        """Send the result or the failure; drop it if the client has disconnected."""
        exchange, route, value = self.exchange, self.route, self.value
        if route.logs:
            exchange.fields = route.logged(self)
            if exchange.extra is not None:
                exchange.fields = _with_key(exchange)
        if exchange.disconnected:
            if isinstance(value, ResultStream):
                # The client has left, so nobody reads the stream: end it, so that the model is free
                # again.
                value.close()
            self._leave_context()
            self._release_body()
            exchange.drop()
            return
        if isinstance(value, BaseException):
            # Break a reference cycle: the failure's traceback refers to this object.
            self.value = None
            self.fail(value)
            return
        try:
            if self._app_must_respond():
                self._respond_by_app()
            elif route.senders is not None:
                if exchange.reserved_bytes:
                    route.shared.release(exchange)
                if not route.senders.start(self._stream, value):
                    value.close()
                    self.fail(_too_many_responses())
            elif route.answers.only_json or (self._group is None and route.answers.is_light(value)):
                self._send()
            else:
                route.shared.encoders.submit(self._send)
        except BaseException as exc:  # noqa: BLE001  # no exception may end the model's thread
            self.fail(exc)

    def _send(self) -> None:
        exchange, route = self.exchange, self.route
        began_s = monotonic() if route.traces else 0.0
        try:
            answer = route.protocol.encode(route.model, self, self.value)
            body = answer.body
            if len(body) > UNCOUNTED_BYTES and not exchange.hold(len(body)):
                self.fail(_too_many_responses())
                return
            exchange.send_response(route.head(answer, self), body)
        except BaseException as exc:  # noqa: BLE001
            self.fail(exc)
            return
        if route.traces:
            route.trace(self, began_s)
        if exchange.reserved_bytes:
            route.shared.release(exchange)
        if self._entered is not None or self._form is not None:
            self._leave_context()
        if (shadow := route.model.versions.shadow) is not None:
            self.offer_to(shadow, self.value)

    def _stream(self, items: ResultStream) -> None:
        """Send the items of a stream as they arrive. Each open stream occupies a thread of its
        own.
        """
        route, exchange = self.route, self.exchange
        try:
            streamed = route.protocol.stream(route.model, self, items, self._explain)
        # The first item could not be encoded. Nothing was sent yet, so an error response is
        # possible.
        except BaseException as exc:  # noqa: BLE001
            self.fail(exc)
            return
        chunks = streamed.chunks
        # As many items as the stream holds may be encoded while as many again have arrived. A few
        # streams are sent whatever the size of their items is.
        most_bytes = route.gateway.limits.held_responses_bytes // LARGE_STREAMS
        held_bytes = min(2 * MAX_BUFFERED_ITEMS * chunks.item_bytes, most_bytes)
        if held_bytes > UNCOUNTED_BYTES and not exchange.hold(held_bytes):
            chunks.close()
            self.fail(_too_many_responses())
            return
        headers = [("Content-Type", streamed.media_type), *streamed.headers]
        if version := self.queue.version:
            headers.append((VERSION_HEADER, version))
        if route.adds_headers or exchange.extra is not None:
            headers = merged(headers, route.more_headers(exchange, streamed.media_type))
        exchange.watch(chunks.close)
        try:
            exchange.stream("200 OK", headers, chunks)
        except Exception:  # noqa: BLE001  # the thread ends after this
            logger.exception(
                "error while sending a stream of model %r",
                route.model.name,
                extra={"request_id": exchange.request_id},
            )
        finally:
            chunks.close()
            self._leave_context()
            if route.traces:
                route.trace(self)

    def _explain(self, exc: BaseException) -> dict[str, t.Any]:
        return problem_in_stream(self.route.app, self.route.model, self._request(), exc)

    # --- failing -------------------------------------------------------------------------------

    def refuse_body(self) -> None:
        """Respond to a request whose body is incomplete, too slow or too large, or whose client may
        not use the model.
        """
        exchange, route = self.exchange, self.route
        route.shared.release(exchange)
        if exchange.fault == "refused":
            self.fail(t.cast("Problem", t.cast("Admission", _admission(exchange)).refusal))
        elif exchange.fault == "overloaded":
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
        """Respond to a failure. If that fails too, send the server's own 500."""
        try:
            refusal = self._refusal(exc)
            if refusal is not None:
                self._release_body()
                self._respond_refusal(refusal)
            else:
                self.settled, self.value = True, exc
                self._respond_by_app()
        # The response could not be created: a method of the app has raised an exception, or the
        # system lets no further thread start.
        except BaseException:  # noqa: BLE001
            logger.exception(
                "error while responding to a request of model %r",
                self.route.model.name,
                extra={"request_id": self.exchange.request_id},
            )
            self._release_body()
            self.exchange.fail()

    def _refusal(self, exc: BaseException) -> HTTPException | None:
        """Return the response to a failed prediction; None if the app must create it, for example
        by an error handler.
        """
        problem, route = public_problem(exc), self.route
        if not isinstance(problem, Problem) or self._app_must_respond():
            return None
        refusal = route.protocol.refuse(route.model, self, problem)
        return None if route.app_handles(refusal) else refusal

    def _respond_refusal(self, refusal: HTTPException) -> None:
        exchange = self.exchange
        body = refusal.get_body({REQUEST_ID: exchange.request_id}).encode()
        headers = refusal.get_headers()
        if self.route.adds_headers or exchange.extra is not None:
            content_type = next((text for name, text in headers if name == "Content-Type"), "")
            headers = merged(headers, self.route.more_headers(exchange, content_type))
        exchange.respond(refusal.code or 500, headers, body)
        if self.route.traces:
            self.route.trace(self)
        self._leave_context()

    # --- the app -------------------------------------------------------------------------------

    def _app_must_respond(self) -> bool:
        """Whether the app must create the response whatever the result is, because of its hooks or
        its session.
        """
        if self._entered is not None and self._entered.request_context.changes_response:
            return True
        # The receivers of the signal `request_finished` are not cached, because they may connect at
        # any time.
        if self.route.changes_responses or request_finished.receivers:
            return True
        cookie = self.exchange.headers.get("HTTP_COOKIE")
        # Each response to a request with a permanent session must renew the session's cookie, which
        # only the app can do.
        return cookie is not None and self.route.app.session_needs_refresh({"HTTP_COOKIE": cookie})

    def _respond_by_app(self) -> None:
        """Let the app create the response: call its view on a thread for views."""
        if self._entered is not None:
            self.exchange.app = self._resume
        if self._form is not None:
            self._form.close()
        self.exchange.extra = {**(self.exchange.extra or {}), OUTCOME: self}
        # The app's functions may read the body, so it is kept until they have returned.
        self.route.gateway.hand_over(self.exchange, self._release_body)

    def _release_body(self) -> None:
        """Give back the memory that was reserved for the request's body."""
        if self.exchange.reserved_bytes:
            self.route.shared.release(self.exchange)

    def _resume(self, _: object, start_response: StartResponse) -> cabc.Iterable[bytes]:
        """A WSGI application that lets the app create the response to a request whose prediction
        has ended.

        An unbatched `predict` has run in a request context. The app's functions run in the same
        context, so that they see its `g` and session.
        """
        assert self._entered is not None
        (context, request_context, environ), self._entered = self._entered, None
        # Break a reference cycle: the context leads to the environ, which refers to this object.
        self.context = None
        environ[OUTCOME] = self
        respond = self.route.app.respond
        return context.run(respond, request_context, environ, start_response)


def _admission(exchange: Exchange) -> Admission | None:
    return None if exchange.extra is None else exchange.extra.get(ADMISSION)


def _private(exchange: Exchange) -> cabc.Iterable[tuple[str, str]]:
    """Return the headers that keep a response from caches if the request needs a key."""
    admission = _admission(exchange)
    return PRIVATE.items() if admission is not None and admission.keyed else ()


def _with_key(exchange: Exchange) -> cabc.Mapping[str, t.Any]:
    """Return the fields of a request for the access log, with the name of its key if it has one."""
    fields, admission = exchange.fields or {}, _admission(exchange)
    return fields if admission is None else {**fields, **admission.identity.log_fields}


def _too_many_bodies() -> Problem:
    return Problem(
        503,
        "The server is receiving too many large bodies. Retry later.",
        code="bodies-full",
        headers=[("Retry-After", "1")],
    )


def _too_many_responses() -> Problem:
    return Problem(
        503,
        "Clients have not read too many large responses. Retry later.",
        code="responses-full",
        headers=[("Retry-After", "1")],
    )
