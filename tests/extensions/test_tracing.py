"""Tracing libraries patch classes and app objects, which must disable the fast path."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import flask
import pytest
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@pytest.fixture
def spans():
    return InMemorySpanExporter()


@pytest.fixture
def provider(spans):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    yield provider
    provider.shutdown()


def add_views(app: flask.Flask) -> flask.Flask:
    @app.get("/item/<int:number>")
    def item(number):
        return {"number": number}

    @app.get("/broken")
    def broken():
        return 1 / 0

    return app


def attributes(span) -> tuple[str, int]:
    return span.name, span.attributes["http.status_code"]


def test_instrumented_app_is_traced(app, provider, spans):
    add_views(app)
    FlaskInstrumentor.instrument_app(app, tracer_provider=provider)
    app.testing = False
    client = app.test_client()
    assert client.get("/item/3").json == {"number": 3}
    assert client.get("/broken").status_code == 500
    assert client.get("/none").status_code == 404
    assert [attributes(span) for span in spans.get_finished_spans()] == [
        ("GET /item/<int:number>", 200),
        ("GET /broken", 500),
        ("GET /none", 404),
    ]
    FlaskInstrumentor.uninstrument_app(app)
    spans.clear()
    client.get("/item/3")
    assert not spans.get_finished_spans()


def test_tracing_added_after_the_first_requests_is_noticed(app, provider, spans):
    add_views(app)
    client = app.test_client()
    client.get("/item/1")
    # the library's users do this, because no hooks may be added later
    app._got_first_request = False
    FlaskInstrumentor.instrument_app(app, tracer_provider=provider)
    client.get("/item/2")
    assert len(spans.get_finished_spans()) == 1
    FlaskInstrumentor.uninstrument_app(app)


def test_every_app_created_while_instrumented_is_traced(provider, spans):
    instrumentor = FlaskInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        app = add_views(flask.Flask("traced"))
        assert app.test_client().get("/item/3").status_code == 200
    finally:
        instrumentor.uninstrument()
    assert [attributes(span) for span in spans.get_finished_spans()] == [
        ("GET /item/<int:number>", 200)
    ]


SENTRY = """
import json, os
if os.environ.get("EXTENSIONS_ON") != "flask":
    import carboy
    carboy.install_as_flask()
import flask
import sentry_sdk

events = []

def keep(event, hint=None):
    events.append(event)

app = flask.Flask("shop")

@app.get("/item/<int:number>")
def item(number):
    return {"number": number}

client = app.test_client()
early = client.get("/item/1").status_code      # served before anything is patched

sentry_sdk.init(
    dsn="http://key@127.0.0.1:9/1",
    before_send=keep,
    before_send_transaction=keep,
    traces_sample_rate=1.0,
    default_integrations=False,
    integrations=[__import__("sentry_sdk.integrations.flask", fromlist=["x"]).FlaskIntegration()],
)

late = flask.Flask("late")

@late.get("/broken/<int:number>")
def broken(number):
    raise ValueError("broken")

client.get("/item/2")
status = late.test_client().get("/broken/3").status_code
sentry_sdk.flush()
print(json.dumps({
    "statuses": [early, status],
    "transactions": [e["transaction"] for e in events if e.get("type") == "transaction"],
    "errors": [e["exception"]["values"][0]["type"] for e in events if "exception" in e],
    "urls": [e["request"]["url"] for e in events if "exception" in e],
}))
"""


def test_sentry_sees_requests_and_errors(tmp_path):
    # In its own process: sentry patches the app class permanently.
    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(SENTRY))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", program],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "statuses": [200, 500],
        "transactions": ["item", "broken"],
        "errors": ["ValueError"],
        "urls": ["http://localhost/broken/3"],
    }
