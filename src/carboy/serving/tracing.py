"""Spans of OpenTelemetry for the requests of a worker, by the setting `tracing`.

    GET /items/<int:id>                     POST /classify
      queue    until a thread was free        read      until the body had arrived
      compute  the view                       decode    the input
                                              queue     until the batch began
                                              compute   the batch
                                              encode    the result

The span of a request continues the trace of the client (header `traceparent`, or what the program's
propagator reads). While a view runs, its span `compute` is the current one, so that the spans of
the program and of its libraries are below it.

The program decides where spans go: it must install OpenTelemetry's SDK and set a tracer provider.
"""

from __future__ import annotations

import typing as t
from time import monotonic, monotonic_ns, time_ns

from ..errors import ConfigError, ServingError

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .http.exchange import Exchange

    #: The name of a phase, and when it began and ended (by `time.monotonic`).
    Phase = tuple[str, float, float]

INSTRUMENTATION = "carboy"


def require_package() -> None:
    """Raise ServingError if OpenTelemetry is not installed."""
    from importlib.util import find_spec

    if find_spec("opentelemetry") is None:
        raise ServingError(
            "Setting 'tracing': the package opentelemetry-api is not installed. Install"
            " opentelemetry-sdk and an exporter, or set 'tracing' to no."
        )


class Tracing:
    """Makes the spans of requests. Thread-safe.

    Raises:
        ConfigError: the program has set no tracer provider, so that all spans would be lost.
    """

    def __init__(self) -> None:
        from opentelemetry import context, trace

        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            raise ConfigError(
                "Setting 'tracing': the app has set no tracer provider, so all spans would be lost."
                " Call opentelemetry.trace.set_tracer_provider() where the app is made, or set"
                " 'tracing' to no."
            )
        self._attach, self._detach = context.attach, context.detach
        self._set_span = trace.set_span_in_context
        self._tracer = trace.get_tracer(INSTRUMENTATION)

    def run_view(
        self, call: cabc.Callable[[Exchange, t.Any], object], exchange: Exchange, body: t.Any
    ) -> None:
        """Let a view answer a request, by `call`, and make the request's spans."""
        now_s = monotonic()
        request = _RequestSpan(self._tracer, exchange)
        request.add("queue", exchange.began_s, now_s)
        compute = request.begin("compute", now_s)
        token = self._attach(self._set_span(compute, request.context))
        try:
            call(exchange, body)
        finally:
            self._detach(token)
            now_s = monotonic()
            compute.end(request.epoch_ns(now_s))
            request.end(now_s)

    def add_prediction(self, exchange: Exchange, phases: cabc.Iterable[Phase]) -> None:
        """Make the spans of a prediction that has been answered."""
        request = _RequestSpan(self._tracer, exchange)
        for phase in phases:
            request.add(*phase)
        request.end(monotonic())


class _RequestSpan:
    """The span of a request, which continues the trace of the client.

    Attributes:
        context: the OpenTelemetry context in which the request's other spans are made.
    """

    def __init__(self, tracer: t.Any, exchange: Exchange) -> None:
        from opentelemetry import propagate, trace

        self._tracer = tracer
        self._exchange = exchange
        self._error = trace.StatusCode.ERROR
        # All times of the request are converted by one difference between the clocks, so that their
        # order stays the same.
        self._offset_ns = time_ns() - monotonic_ns()
        headers = {
            name.removeprefix("HTTP_").replace("_", "-").lower(): value
            for name, value in exchange.headers.items()
        }
        parent = propagate.extract(headers)
        self._span = tracer.start_span(
            exchange.method,
            parent,
            kind=trace.SpanKind.SERVER,
            start_time=self.epoch_ns(exchange.began_s),
            attributes={
                "http.request.method": exchange.method,
                "url.path": exchange.path,
                "url.scheme": str(exchange.transport.environ["wsgi.url_scheme"]),
                "network.protocol.version": exchange.version.removeprefix("HTTP/"),
                "client.address": exchange.client,
                "carboy.request_id": exchange.request_id,
            },
        )
        self.context = trace.set_span_in_context(self._span, parent)

    def epoch_ns(self, time_s: float) -> int:
        """Convert a time of `time.monotonic` to nanoseconds since the epoch."""
        return self._offset_ns + int(time_s * 1e9)

    def begin(self, name: str, began_s: float) -> t.Any:
        return self._tracer.start_span(name, self.context, start_time=self.epoch_ns(began_s))

    def add(self, name: str, began_s: float, ended_s: float) -> None:
        self.begin(name, began_s).end(self.epoch_ns(max(began_s, ended_s)))

    def end(self, now_s: float) -> None:
        span, exchange = self._span, self._exchange
        if exchange.route:
            span.update_name(f"{exchange.method} {exchange.route}")
            span.set_attribute("http.route", exchange.route)
        if exchange.status:
            span.set_attribute("http.response.status_code", int(exchange.status))
        if exchange.status[:1] == "5":
            span.set_status(self._error)
        span.end(self.epoch_ns(now_s))
