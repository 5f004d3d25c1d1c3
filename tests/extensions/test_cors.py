"""Flask-CORS: requests from other origins."""

from __future__ import annotations

import flask
import pytest
from flask_cors import CORS, cross_origin

SHOP = "https://shop.example"


@pytest.fixture
def app(app):
    CORS(app, resources={r"/api/*": {"origins": SHOP}}, supports_credentials=True)

    @app.route("/api/price", methods=["GET", "PUT"])
    def price():
        return {"price": 1}

    @app.get("/page")
    def page():
        return "page"

    @app.get("/open")
    @cross_origin()
    def opened():
        return "open"

    @app.get("/api/broken")
    def broken():
        flask.abort(418)

    return app


def preflight(client, origin: str):
    asked = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
    return client.options("/api/price", headers=asked)


def test_preflight_from_an_allowed_origin_is_answered(client):
    answer = preflight(client, SHOP)
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP
    assert "PUT" in answer.headers["Access-Control-Allow-Methods"]
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"


def test_preflight_from_another_origin_is_not_allowed(client):
    assert "Access-Control-Allow-Origin" not in preflight(client, "https://thief.example").headers


@pytest.mark.parametrize(
    ("path", "leave"),
    [("/api/price", SHOP), ("/api/broken", SHOP), ("/page", None), ("/open", SHOP)],
    ids=["resource", "error", "no resource", "decorated view"],
)
def test_responses_have_the_header_where_configured(client, path, leave):
    answer = client.get(path, headers={"Origin": SHOP})
    assert answer.headers.get("Access-Control-Allow-Origin") == leave
