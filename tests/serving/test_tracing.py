"""Spans of OpenTelemetry for requests and predictions, read by the SDK's in-memory exporter."""

from __future__ import annotations

import functools
import subprocess
import sys
import typing as t

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from stage import Stage, head, post

from carboy import Carboy
from carboy.errors import ConfigError, ServingError
from carboy.serving import predictions, tracing
from carboy.serving.metrics.workermetrics import WorkerMetrics
from carboy.serving.settings import make_settings
from carboy.serving.wsgi.gateway import Gateway

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = [("traceparent", f"00-{TRACE}-b7ad6b7169203331-01")]
JSON = ("Content-Type", "application/json")


@pytest.fixture
def exporter(monkeypatch) -> InMemorySpanExporter:
    """Receives the spans of a tracer provider that the program has set."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return exporter


def make_app() -> Carboy:
    app = Carboy("shop")

    @app.get("/items/<int:number>")
    def item(number):
        with trace.get_tracer("shop").start_as_current_span("database"):
            return str(number)

    @app.get("/fails")
    def fails():
        raise RuntimeError("on purpose")

    @app.model("/double", batch=8)
    def double(x: list[float]) -> list[float]:
        return [2 * each for each in x]

    return app


def ask(data: bytes, exporter: InMemorySpanExporter) -> dict[str, t.Any]:
    """Answer a request; return the spans by their names."""
    app = make_app()
    with Stage(metrics=WorkerMetrics()) as stage:
        gateway = Gateway(
            app,
            limits=stage.limits,
            threads=4,
            pool=stage.pool,
            tracing=tracing.Tracing(),
            routes=functools.partial(predictions.routes, app),
        )
        stage.handler.on_admit, stage.handler.after_round = gateway.admit, gateway.after_round
        assert stage.connect().ask(data).status is not None
        stage.settle()
    return {span.name: span for span in exporter.get_finished_spans()}


def assert_children(spans: dict[str, t.Any], parent: t.Any, *names: str) -> None:
    """The spans follow one another, within their parent."""
    children = [spans[name] for name in names]
    assert [child.parent.span_id for child in children] == [parent.context.span_id] * len(names)
    times = [parent.start_time]
    for child in children:
        times += [child.start_time, child.end_time]
    times.append(parent.end_time)
    assert times == sorted(times)


def test_view_is_traced_below_the_span_of_its_request(exporter):
    spans = ask(head("GET", "/items/7", PARENT), exporter)
    request = spans["GET /items/<int:number>"]
    assert request.kind is trace.SpanKind.SERVER
    assert f"{request.context.trace_id:032x}" == TRACE
    assert f"{request.parent.span_id:016x}" == "b7ad6b7169203331"
    assert request.attributes["http.route"] == "/items/<int:number>"
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["http.request.method"] == "GET"
    assert_children(spans, request, "queue", "compute")
    assert spans["database"].parent.span_id == spans["compute"].context.span_id


def test_request_without_a_trace_begins_one(exporter):
    assert ask(head("GET", "/items/7"), exporter)["GET /items/<int:number>"].parent is None


def test_failed_view_is_an_error(exporter):
    span = ask(head("GET", "/fails"), exporter)["GET /fails"]
    assert span.status.status_code is trace.StatusCode.ERROR


def test_prediction_is_traced_by_phases(exporter):
    spans = ask(post(b"1.5", "/double", [JSON, *PARENT]), exporter)
    request = spans["POST /double"]
    assert f"{request.context.trace_id:032x}" == TRACE
    assert request.attributes["http.response.status_code"] == 200
    assert_children(spans, request, "read", "decode", "queue", "compute", "encode")


def test_refused_input_is_traced_once(exporter):
    spans = ask(post(b'"x"', "/double", [JSON]), exporter)
    assert list(spans) == ["POST /double"]
    assert spans["POST /double"].attributes["http.response.status_code"] == 422


def test_setting_without_the_package_is_refused(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ServingError, match="opentelemetry-api is not installed"):
        make_settings({"tracing": "yes"}, {})
    assert make_settings({"tracing": "no"}, {}).tracing is False


def test_setting_without_a_tracer_provider_is_refused(monkeypatch):
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.delenv("OTEL_PYTHON_TRACER_PROVIDER", raising=False)
    with pytest.raises(ConfigError, match="has set no tracer provider"):
        tracing.Tracing()


def test_nothing_of_opentelemetry_is_loaded_without_the_setting():
    code = (
        "import sys; from carboy import Carboy; from carboy.serving.process.worker import Service;"
        "from carboy.serving.settings import Settings; Service(Carboy('shop'), Settings());"
        "sys.exit('opentelemetry' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
