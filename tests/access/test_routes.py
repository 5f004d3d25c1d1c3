"""Which routes of an app need which API key."""

from __future__ import annotations

import pytest
from apikeys import make_key, records

from carboy import Blueprint, Carboy, request

CAT, DOG, BOTH = (
    make_key("cat", models=frozenset({"cat"})),
    make_key("dog", models=frozenset({"dog"})),
    make_key("both"),
)
STRANGER = make_key("stranger")


def make_app(*, keys: bool = True, **config: object) -> Carboy:
    app = Carboy("guarded", instance_path="/nonexistent")
    if keys:
        app.config["ACCESS_KEYS"] = records(CAT, DOG, BOTH)
    app.config["MODEL_PROTOCOLS"] = ["v2", "kserve"]
    app.config.update(config)
    admin = Blueprint("admin", __name__, url_prefix="/admin", access="key")
    admin.get("/")(lambda: "admin")
    admin.get("/help", endpoint="help", access="open")(lambda: "help")
    app.register_blueprint(admin)

    @app.get("/")
    def index():
        return "index"

    @app.get("/who", access="key")
    def who():
        return request.identity.key.name

    for name in ("cat", "dog"):
        app.model(f"/{name}")(type(name, (), {"predict": _predict}))
    app.model("/free", access="open")(type("free", (), {"predict": _predict}))
    return app


def _predict(self, x: int) -> int:
    return x


V2 = {"inputs": [{"name": "x", "shape": [1], "datatype": "INT64", "data": [1]}]}
CAT_ALONE = {None: 401, STRANGER: 401, DOG: 403, CAT: 200, BOTH: 200}
ANY_KEY = {None: 401, STRANGER: 401, DOG: 200, CAT: 200}
NO_KEY = {None: 200, STRANGER: 200, DOG: 200}
ROUTES = {
    "GET /": (None, NO_KEY),
    "GET /who": (None, ANY_KEY),
    "GET /admin/": (None, ANY_KEY),
    "GET /admin/help": (None, NO_KEY),
    "GET /cat": (None, CAT_ALONE),
    "POST /cat": (1, CAT_ALONE),
    "POST /free": (1, NO_KEY),
    "POST /v2/models/cat/infer": (V2, CAT_ALONE),
    "POST /v2/models/cat/versions/1/infer": (V2, CAT_ALONE),
    "POST /v2/models/free/versions/1/infer": (V2, NO_KEY),
    "GET /v2/models/cat": (None, CAT_ALONE),
    "GET /v2/models/cat/config": (None, CAT_ALONE),
    "GET /v2/models/cat/stats": (None, CAT_ALONE),
    "GET /v2/models/free": (None, NO_KEY),
    "POST /v2/repository/index": (None, ANY_KEY),
    "GET /v2/models/stats": (None, ANY_KEY),
    "GET /v1/models": (None, ANY_KEY),
    "POST /v1/models/cat:predict": ({"instances": [1]}, CAT_ALONE),
    "GET /v1/models/cat": (None, NO_KEY),
    "GET /v2/health/ready": (None, NO_KEY),
    "GET /v2/models/cat/ready": (None, NO_KEY),
    "OPTIONS /cat": (None, NO_KEY),
}


@pytest.fixture(scope="module")
def client():
    app = make_app()
    app.load_models()
    yield app.test_client()
    app.close_models()


@pytest.mark.parametrize("route", ROUTES)
def test_route_admits_the_keys_that_it_allows(client, route):
    body, expected = ROUTES[route]
    method, path = route.split()
    found = {
        key: client.open(
            path, method=method, json=body, headers=None if key is None else key.bearer
        ).status_code
        for key in expected
    }
    assert found == expected
