"""STRICT_HEADERS: a strict Content-Security-Policy with nonces, and further headers."""

from __future__ import annotations

import re

import pytest

import carboy
from carboy import Carboy
from carboy.access.strictheaders import parse
from carboy.errors import ConfigError

POLICY = "Content-Security-Policy"
ENVIRON = {"carboy.csp_nonce": "N"}


@pytest.fixture
def app(app):
    app.config["STRICT_HEADERS"] = True

    @app.get("/page")
    def page():
        return carboy.render_template_string(
            '<script nonce="{{ csp_nonce() }}"></script><style nonce="{{ csp_nonce() }}"></style>'
        )

    @app.get("/stream")
    def stream():
        source = '<script nonce="{{ csp_nonce() }}"></script>'
        return carboy.stream_template_string(source)

    @app.get("/json")
    def json():
        return {"a": 1}

    @app.get("/own")
    def own():
        return "own", {POLICY: "default-src 'self'", "x-frame-options": "SAMEORIGIN"}

    @app.get("/same")
    def same():
        response = carboy.make_response("same")
        response.set_etag("1")
        return response.make_conditional(carboy.request)

    @app.get("/fails")
    def fails():
        raise ZeroDivisionError

    return app


def directives(policy: str) -> dict[str, str]:
    return dict(part.partition(" ")[::2] for part in policy.split("; "))


@pytest.mark.parametrize("path", ["/page", "/stream"])
def test_page_has_the_nonce_of_its_policy_and_each_response_another_one(client, path):
    seen = set()
    for _ in range(2):
        answer = client.get(path)
        nonces = set(re.findall(r'nonce="([^"]+)"', answer.text))
        (nonce,) = nonces
        found = directives(answer.headers[POLICY])
        assert found["script-src"] == f"'nonce-{nonce}' 'strict-dynamic'"
        assert f"'nonce-{nonce}'" in found["style-src"]
        assert len(nonce) >= 22  # 128 bits
        seen |= nonces
    assert len(seen) == 2


def test_policy_allows_nothing_that_is_not_listed(client):
    found = directives(client.get("/page").headers[POLICY])
    assert found["default-src"] == "'none'"
    assert found["frame-ancestors"] == found["base-uri"] == "'none'"
    assert "unsafe" not in str(found)


@pytest.mark.parametrize("path", ["/page", "/json", "/missing", "/same", "/static/none"])
def test_every_response_has_the_other_headers(client, path):
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_unhandled_error_has_them_as_well(app, monkeypatch):
    app.testing = False
    # Other apps of the same name have the same logger.
    monkeypatch.setattr(app.logger, "disabled", True)
    answer = app.test_client().get("/fails")
    assert answer.status_code == 500
    assert POLICY in answer.headers


def test_headers_of_the_app_take_precedence(client):
    headers = client.get("/own").headers
    assert headers[POLICY] == "default-src 'self'"
    assert headers.getlist("X-Frame-Options") == ["SAMEORIGIN"]
    assert headers["Referrer-Policy"] == "same-origin"


def test_policy_is_sent_with_documents_only(client):
    assert POLICY not in client.get("/json").headers
    # The browser keeps the policy of the page that it has, whose nonce is in that page.
    unchanged = client.get("/same", headers={"If-None-Match": '"1"'})
    assert unchanged.status_code == 304
    assert POLICY not in unchanged.headers


def test_app_without_the_key_has_no_such_header_and_templates_work():
    app = Carboy("plain")
    app.add_url_rule(
        "/", "index", lambda: carboy.render_template_string("{{ csp_nonce()|length }}")
    )
    answer = app.test_client().get("/")
    assert answer.text == "22"
    assert [name for name, _ in answer.headers] == ["Content-Type", "Content-Length"]


@pytest.mark.parametrize(
    ("value", "name", "expected"),
    [
        ({"X-Frame-Options": None}, "X-Frame-Options", None),
        ({"x-frame-options": "SAMEORIGIN"}, "X-Frame-Options", "SAMEORIGIN"),
        (
            {"Strict-Transport-Security": "max-age=63072000"},
            "Strict-Transport-Security",
            "max-age=63072000",
        ),
        ({POLICY: None}, POLICY, None),
        ({POLICY: "script-src 'nonce-{nonce}'"}, POLICY, "script-src 'nonce-N'"),
    ],
)
def test_single_headers_can_differ(value, name, expected):
    headers = parse(value, "the test").headers(
        "text/html; charset=utf-8", {"carboy.csp_nonce": "N"}
    )
    assert dict(headers).get(name) == expected
    assert dict(headers)["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize(
    ("more", "name", "expected"),
    [
        ({"img-src": "https://cdn.example"}, "img-src", "'self' data: https://cdn.example"),
        (
            {"connect-src": ["https://a.example", "wss:"]},
            "connect-src",
            "'self' https://a.example wss:",
        ),
        ({"frame-ancestors": "'self'"}, "frame-ancestors", "'self'"),
        ({"worker-src": "'self'"}, "worker-src", "'self'"),
        ({"form-action": None}, "form-action", None),
        ({"default-src": "'self'"}, "default-src", "'self'"),
        ({"img-src": "'none'"}, "img-src", "'none'"),
        ({"style-src": ["'unsafe-inline'"]}, "style-src", "'self' 'nonce-N' 'unsafe-inline'"),
        ({"upgrade-insecure-requests": ""}, "upgrade-insecure-requests", ""),
        ({"report-to": "self"}, "report-to", "self"),
    ],
)
def test_sources_are_added_to_the_strict_policy(more, name, expected):
    headers = dict(
        parse({POLICY: more}, "the test").headers("text/html", {"carboy.csp_nonce": "N"})
    )
    found = directives(headers[POLICY])
    assert found.get(name) == expected
    assert found["base-uri"] == "'none'"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("strict", "expected True, False, or a dict"),
        (1, "expected True, False, or a dict"),
        ({"X A": "b"}, "'X A' from the test is no name of a header"),
        ({"X-A": 5}, "the value of X-A is one line of text"),
        ({"X-A": "a\r\nSet-Cookie: b"}, "the value of X-A is one line of text"),
        ({POLICY: {"Img-Src": "a"}}, "Did you mean 'img-src'?"),
        ({POLICY: {"img-src": "a; script-src *"}}, "the sources of 'img-src'"),
        ({POLICY: {"img-src": 5}}, "the sources of 'img-src'"),
        ({POLICY: {"image-src": "https://cdn.example"}}, "Did you mean 'img-src'"),
        ({POLICY: {"plugin-types": "a/b"}}, "is no directive"),
        ({POLICY: {"style-src": "unsafe-inline"}}, "write \"'unsafe-inline'\"."),
        ({POLICY: {"img-src": ["https://cdn.example", "Self"]}}, "the source 'Self' of 'img-src'"),
        ({POLICY: {"script-src": "nonce-{nonce}"}}, "which needs quotes of its own"),
        ({POLICY: {"frame-ancestors": "none"}}, "write \"'none'\"."),
        ({POLICY: {"img-src": "'none' https://cdn.example"}}, "beside other sources"),
    ],
    ids=str,
)
def test_value_that_cannot_be_meant_is_refused_with_the_reason(value, message):
    with pytest.raises(ConfigError) as caught:
        parse(value, "the test")
    assert message in str(caught.value)


@pytest.mark.parametrize("value", [None, False])
def test_key_that_is_off_adds_nothing(value):
    assert parse(value, "the test") is None
