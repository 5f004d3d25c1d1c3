"""The OpenAPI document says which operations need an API key."""

from __future__ import annotations

import pytest
from apikeys import make_key, records

from carboy import Carboy
from carboy.openapi import operation

EITHER = [{"ApiKeyBearer": []}, {"ApiKeyHeader": []}]


@pytest.fixture
def app() -> Carboy:
    app = Carboy(__name__, instance_path="/nonexistent")
    app.get("/open", endpoint="a")(lambda: "")
    app.get("/keyed", endpoint="b", access="key")(lambda: "")
    app.get("/own", endpoint="c", access="key")(operation(security=[])(lambda: ""))

    @app.model("/model")
    def model(x: int) -> int:
        return x

    return app


def security(app: Carboy) -> dict[str, object]:
    paths = app.openapi()["paths"]
    return {path: [*item.values()][-1].get("security") for path, item in paths.items()}


def test_operations_that_need_a_key_say_so(app):
    assert security(app) == {"/open": None, "/keyed": EITHER, "/own": [], "/model": None}
    app.config["ACCESS_KEYS"] = records(make_key("a"))
    assert security(app) == {"/open": None, "/keyed": EITHER, "/own": [], "/model": EITHER}
    schemes = app.openapi()["components"]["securitySchemes"]
    assert schemes["ApiKeyBearer"]["scheme"] == "bearer"
    assert schemes["ApiKeyHeader"]["name"] == "X-API-Key"
    responses = app.openapi()["paths"]["/model"]["post"]["responses"]
    assert "application/problem+json" in responses["401"]["content"]
    assert {"401", "403"} <= set(responses)


def test_document_that_was_served_follows_the_first_key(app, monkeypatch):
    client = app.test_client()
    assert "security" not in client.get("/openapi.json").json["paths"]["/model"]["post"]
    app.key_store().closed = True  # as when a file of keys appears
    assert client.get("/openapi.json").json["paths"]["/model"]["post"]["security"] == EITHER


def test_app_without_keys_has_no_scheme():
    app = Carboy(__name__, instance_path="/nonexistent")
    app.get("/")(lambda: "")
    assert "securitySchemes" not in app.openapi().get("components", {})


def test_operations_with_a_rate_have_the_response_429_with_its_headers():
    app = Carboy(__name__, instance_path="/nonexistent")
    app.config["ACCESS_RATE"] = ["10/second", "500/day by address"]
    app.get("/all")(lambda: "")
    app.get("/free", rate="unlimited", endpoint="free")(lambda: "")

    @app.model("/model", rate="5/minute")
    def model(x: int) -> int:
        return x

    paths = app.openapi()["paths"]
    refused = paths["/all"]["get"]["responses"]["429"]
    assert refused["description"] == "More requests than allowed: 10/second, 500/day by address."
    assert {"Retry-After", "RateLimit", "RateLimit-Policy"} == set(refused["headers"])
    assert "5/minute" in paths["/model"]["post"]["responses"]["429"]["description"]
    assert "429" not in paths["/free"]["get"]["responses"]
    assert "security" not in paths["/all"]["get"]
