"""Response caching: a cache does not give the response to one user to another one.

ASVS 5.0: 14.2.2, 14.3.2
Also tested in: tests/test_sessions.py, tests/contract/test_negotiation.py
"""

from __future__ import annotations

import apikeys
import pytest

from carboy import Carboy, Response, g, session

READS = {
    "value": lambda: session.get("user"),
    "membership": lambda: "user" in session,
    "length": lambda: len(session),
    "truth": lambda: bool(session),
    "items": lambda: list(session.items()),
    "permanent": lambda: session.permanent,
    "write": lambda: session.update(user="ada"),
    "clear": lambda: session.clear(),
}


@pytest.mark.parametrize("read", READS)
def test_response_that_depends_on_the_session_varies_by_cookie(app: Carboy, read: str):
    app.add_url_rule("/", "index", lambda: str(READS[read]()))
    assert "Cookie" in app.test_client().get("/").vary


def test_template_that_shows_the_session_varies_by_cookie(app: Carboy):
    from carboy import render_template_string

    app.add_url_rule("/", "index", lambda: render_template_string("{{ session.user }}"))
    assert "Cookie" in app.test_client().get("/").vary


def test_response_that_prolongs_a_session_varies_by_cookie(app: Carboy):
    app.add_url_rule("/in", "login", lambda: str(session.update(user="ada", _permanent=True)))
    app.add_url_rule("/", "index", lambda: "nothing of the user")
    client = app.test_client()
    client.get("/in")
    response = client.get("/")
    assert "Set-Cookie" in response.headers
    assert "Cookie" in response.vary


def test_hook_that_reads_the_session_makes_the_response_vary(app: Carboy):
    app.before_request(lambda: setattr(g, "user", session.get("user")))
    app.add_url_rule("/", "index", lambda: f"hello {g.user}")
    assert "Cookie" in app.test_client().get("/").vary


def test_page_of_a_model_is_not_kept_without_asking_the_server(app: Carboy):
    app.model("/double")(lambda_of_float)
    response = app.test_client().get("/double", headers={"Accept": "text/html"})
    assert response.cache_control.no_cache
    assert "Accept" in response.vary


def lambda_of_float(x: float) -> float:
    return x


@pytest.fixture
def closed(app: Carboy) -> Carboy:
    """An app whose routes need a key, by two headers of which caches know one."""
    app.config["ACCESS_KEYS"] = apikeys.records(KEY)
    app.add_url_rule("/closed", "closed", lambda: "inside", access="key")
    app.add_url_rule("/open", "open", lambda: "for all")
    app.add_url_rule("/public", "public", public, access="key")
    app.model("/double")(lambda_of_float)
    return app


KEY = apikeys.make_key("phone")


def public() -> Response:
    response = Response("the same for each key")
    response.cache_control.public = True
    return response


@pytest.mark.parametrize("headers", [{}, KEY.bearer, {"X-API-Key": KEY.text}, {"X-API-Key": "x"}])
@pytest.mark.parametrize(
    "request_", [{"path": "/closed"}, {"path": "/double", "method": "POST", "json": 1.0}]
)
def test_response_that_depends_on_a_key_is_for_its_sender_alone(closed: Carboy, headers, request_):
    """RFC 9111, section 3.5, keeps shared caches from storing what needs the header Authorization;
    they know nothing of X-API-Key.
    """
    response = closed.test_client().open(headers=headers, **request_)
    assert {"Authorization", "X-API-Key"} <= set(response.vary)
    assert response.cache_control.private


def test_view_may_say_that_its_response_is_the_same_for_each_key(closed: Carboy):
    response = closed.test_client().get("/public", headers=KEY.bearer)
    assert response.cache_control.public
    assert not response.cache_control.private


def test_response_without_a_key_stays_as_the_view_has_made_it(closed: Carboy):
    response = closed.test_client().get("/open")
    assert "Vary" not in response.headers
    assert "Cache-Control" not in response.headers
