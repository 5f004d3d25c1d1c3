"""Extensions that change responses: headers, compression, languages, mail, metrics, a toolbar."""

from __future__ import annotations

import datetime as dt
import gzip

import flask
import pytest
from flask_babel import Babel, format_date, gettext
from flask_compress import Compress
from flask_debugtoolbar import DebugToolbarExtension
from flask_mail import Mail, Message
from flask_talisman import Talisman
from prometheus_client import CollectorRegistry
from prometheus_flask_exporter import PrometheusMetrics


@pytest.fixture
def app(app):
    @app.get("/")
    def index():
        return "<html><body>" + "page " * 200 + "</body></html>"

    return app


def test_talisman_redirects_to_https_and_sets_its_headers(app, client):
    Talisman(app, content_security_policy={"default-src": "'self'"})
    answer = client.get("/")
    assert (answer.status_code, answer.location) == (302, "https://localhost/")
    answer = client.get("/", base_url="https://localhost")
    assert answer.headers["Content-Security-Policy"] == "default-src 'self'"
    assert "max-age" in answer.headers["Strict-Transport-Security"]


def test_compress_compresses_the_page(app, client):
    Compress(app)
    answer = client.get("/", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(answer.data) < 200
    assert b"page page" in gzip.decompress(answer.data)
    assert "Accept-Encoding" in answer.headers["Vary"]


def test_babel_uses_the_language_of_the_request(app, client):
    Babel(app, locale_selector=lambda: flask.request.accept_languages.best_match(["de", "en"]))

    @app.get("/date")
    def date():
        gettext("hello")
        return format_date(dt.date(2020, 12, 24), "LLLL")

    languages = [client.get("/date", headers={"Accept-Language": x}).text for x in ("de", "en")]
    assert languages == ["Dezember", "December"]


def test_mail_is_recorded_while_testing(app, client):
    mail = Mail(app)

    @app.post("/order")
    def order():
        mail.send(Message("Thanks", recipients=["ada@example.org"], sender="shop@example.org"))
        return ""

    with mail.record_messages() as outbox:
        client.post("/order")
    assert [message.subject for message in outbox] == ["Thanks"]


def test_metrics_count_requests_by_status(app, client):
    PrometheusMetrics(app, registry=CollectorRegistry(), group_by="endpoint")
    client.get("/")
    client.get("/none")
    page = client.get("/metrics").text
    assert 'flask_http_request_total{method="GET",status="200"} 1.0' in page
    assert 'flask_http_request_total{method="GET",status="404"} 1.0' in page
    assert 'endpoint="index"' in page


def test_toolbar_is_inserted_into_the_page(app, client):
    app.config.update(DEBUG_TB_ENABLED=True, DEBUG_TB_INTERCEPT_REDIRECTS=False)
    DebugToolbarExtension(app)
    page = client.get("/").text
    assert "flDebug" in page
    assert "page page" in page
    assert client.get("/_debug_toolbar/static/css/toolbar.css").status_code == 200
