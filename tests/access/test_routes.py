"""Which routes of an app need which API key."""

from __future__ import annotations

import pytest
from apikeys import make_key, records

from carboy import Blueprint, Carboy, request
from carboy.testing import CallError

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
KEY_OF_ALL = {None: 401, STRANGER: 401, DOG: 403, BOTH: 200}
NO_KEY = {None: 200, STRANGER: 200, DOG: 200}
ROUTES = {
    "GET /": (None, NO_KEY),
    "GET /who": (None, KEY_OF_ALL),
    "GET /admin/": (None, KEY_OF_ALL),
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


# URLs that need no key although the app has keys: probes, and carboy's own pages.
OPEN_URLS = {
    "/static/<path:filename>",
    "/model/_page/<digest>/<path:name>",
    *("/openapi.json", "/openapi.yaml", "/docs", "/docs/assets/<name>"),
    *("/redoc", "/redoc/assets/<name>"),
    *("/v2", "/v2/health/live", "/v2/health/ready", "/v1/models/<name>"),
    *("/v2/models/<name>/ready", "/v2/models/<name>/versions/<number>/ready"),
    *("/ping", "/health", "/version", "/vertex-health"),
}


@pytest.mark.parametrize("protocols", [["v2", "kserve", "mlflow", "openai"], ["sagemaker"]])
def test_each_url_of_a_model_needs_a_key_except_probes(protocols, monkeypatch):
    monkeypatch.setenv("AIP_PREDICT_ROUTE", "/vertex")
    monkeypatch.setenv("AIP_HEALTH_ROUTE", "/vertex-health")
    app = Carboy("wires", instance_path="/nonexistent")
    app.config.update(
        ACCESS_KEYS=records(BOTH), MODEL_PROTOCOLS=protocols, MODEL_REPOSITORY_CONTROL=True
    )

    @app.model("/model")
    def model(text: str) -> list[float]:
        return [1.0]

    app.find_overrides()
    client, found = app.test_client(), {}
    variables = {"<name>": "model", "<number>": "1", "<path:rest>": "x"}
    for rule in app.url_map.iter_rules():
        path = rule.rule
        for variable, value in variables.items():
            path = path.replace(variable, value)
        method = "POST" if "POST" in rule.methods else "GET"
        statuses = (
            client.open(path, method=method, headers=headers).status_code
            for headers in ({}, STRANGER.bearer, BOTH.bearer)
        )
        found[rule.rule] = tuple(status == 401 for status in statuses)
    assert {path for path, refused in found.items() if refused == (False,) * 3} <= OPEN_URLS
    keyed = {path: refused for path, refused in found.items() if path not in OPEN_URLS}
    assert set(keyed.values()) == {(True, True, False)}
    assert {"/model", "/vertex", "/invocations"} <= set(keyed)
    if "v2" in protocols:
        assert {"/v2/repository/models/<name>/load", "/v1/embeddings"} <= set(keyed)


def test_websocket_needs_the_key_of_its_route():
    app = Carboy(__name__)
    app.config["ACCESS_KEYS"] = records(BOTH)
    app.route("/shout", websocket=True, access="key")(lambda: "accepted")
    client, upgrade = app.test_client(), {"Upgrade": "websocket", "Connection": "Upgrade"}
    assert client.get("/shout", headers=upgrade).status_code == 401
    assert client.get("/shout", headers={**upgrade, **BOTH.bearer}).text == "accepted"


# --- lists of models ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "key", "names"),
    [
        ("POST /v2/repository/index", CAT, {"cat", "free"}),
        ("POST /v2/repository/index", BOTH, {"cat", "dog", "free"}),
        ("GET /v2/models/stats", DOG, {"dog", "free"}),
        ("GET /v1/models", CAT, {"cat", "free"}),
        ("GET /v2/nothing", CAT, {"cat", "free"}),
        ("GET /v1/models/nothing", None, {"free"}),
        ("GET /v2/models/nothing/ready", CAT, {"cat", "free"}),
    ],
)
def test_lists_and_messages_name_only_models_that_the_key_may_use(client, path, key, names):
    method, path = path.split()
    headers = {} if key is None else key.bearer
    text = client.open(path, method=method, headers=headers).text
    assert {name for name in ("cat", "dog", "free") if name in text} == names


# --- how a key is sent ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": f"Bearer {CAT.text}"}, 200),
        ({"Authorization": f"bearer   {CAT.text} "}, 200),
        ({"X-API-Key": CAT.text}, 200),
        ({"X-API-Key": CAT.text, "Authorization": "Bearer of.another.program"}, 200),
        ({"X-API-Key": CAT.text, "Authorization": "Basic YTpi"}, 200),
        ({"X-API-Key": STRANGER.text, "Authorization": f"Bearer {CAT.text}"}, 401),
        ({"Authorization": CAT.text}, 401),
        ({"Authorization": f"Basic {CAT.text}"}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Authorization": f"Bearer {CAT.text},{CAT.text}"}, 401),
        ({"Cookie": f"X-API-Key={CAT.text}"}, 401),
    ],
)
def test_key_is_sent_in_one_of_two_headers(client, headers, status):
    assert client.post("/cat", json=1, headers=headers).status_code == status


def test_key_in_the_url_or_the_body_is_not_read(client):
    query = {"api_key": CAT.text, "key": CAT.text}
    assert client.post("/cat", query_string=query, data=query).status_code == 401


def test_refusals_of_unknown_revoked_and_expired_keys_are_the_same():
    from datetime import UTC, datetime

    past = datetime(2020, 1, 1, tzinfo=UTC)
    ended = [make_key("a", revoked=past), make_key("b", expires=past)]
    client = make_app(ACCESS_KEYS=records(*ended)).test_client()
    wrong = f"carboy_{ended[0].stored.id}_{STRANGER.text.rpartition('_')[2]}"
    found = [
        client.get("/who", headers={"X-API-Key": key})
        for key in (STRANGER.text, wrong, "hunter2", *(each.text for each in ended))
    ]
    assert len({(each.status_code, each.text, str(each.headers)) for each in found}) == 1
    assert found[0].headers["WWW-Authenticate"] == 'Bearer realm="API key", error="invalid_token"'


# --- what a refusal looks like --------------------------------------------------------------------


def test_program_gets_problem_details_and_a_browser_a_page(client):
    program, browser = (
        client.get("/who", headers={"Accept": accept}) for accept in ("*/*", "text/html")
    )
    assert program.json == {
        "title": "Unauthorized",
        "status": 401,
        "detail": (
            "This URL needs an API key, in the header Authorization: Bearer KEY, or X-API-Key: KEY."
        ),
        "code": "key-missing",
    }
    assert browser.status_code == 401
    assert browser.mimetype == "text/html"
    assert browser.headers["WWW-Authenticate"] == 'Bearer realm="API key"'


def test_protocol_refuses_in_its_own_form(client):
    assert set(client.post("/v2/models/cat/infer", json=V2).json) == {"error"}
    assert set(client.get("/v2/models/cat").json) == {"error"}
    response = client.post("/cat", json=1, headers=DOG.bearer)
    assert response.json["detail"] == "The API key may not use the model 'cat'."
    assert response.json["code"] == "key-not-allowed"


def test_response_that_follows_upon_a_key_is_for_one_client(client):
    for path, key in (("/who", BOTH), ("/who", None), ("/cat", CAT)):
        response = client.get(path, headers={} if key is None else key.bearer)
        assert {"Authorization", "X-API-Key"} <= set(response.vary.as_set(preserve_casing=True))
        assert response.headers["Cache-Control"] == "private"
    assert "Cache-Control" not in client.get("/").headers


# --- who decides ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, {"/": 200, "/who": 401, "/admin/help": 200, "/cat": 401, "/free": 200}),
        (
            {"ACCESS_DEFAULT": "key"},
            {"/": 401, "/who": 401, "/admin/help": 200, "/cat": 401, "/free": 200},
        ),
        ({"ACCESS_DEFAULT": "open"}, {"/": 200, "/who": 401, "/cat": 200, "/v1/models": 200}),
        ({"ACCESS_PROBES": "key"}, {"/v2/health/ready": 401, "/v1/models/cat": 401}),
        ({"ACCESS_DEFAULT": "key"}, {"/v2/health/ready": 503, "/openapi.json": 401}),
        ({"ACCESS_DEFAULT": "key", "OPENAPI_ACCESS": "open"}, {"/openapi.json": 200}),
        ({"OPENAPI_ACCESS": "key"}, {"/openapi.json": 401, "/docs": 401}),
        ({"ACCESS_KEYS": [], "ACCESS_KEYS_FILE": "none.json"}, {"/": 200, "/cat": 401}),
        ({"ACCESS_KEYS": []}, {"/": 200, "/who": 401, "/cat": 200, "/v1/models": 200}),
    ],
)
def test_innermost_declaration_decides(config, expected):
    client = make_app(**config).test_client()
    assert {path: client.get(path).status_code for path in expected} == expected


def test_registration_of_a_blueprint_may_decide_otherwise_and_nested_ones_inherit():
    outer, inner = Blueprint("outer", __name__), Blueprint("inner", __name__)
    inner.get("/inner")(lambda: "inner")
    outer.get("/outer")(lambda: "outer")
    outer.register_blueprint(inner)
    app = Carboy(__name__)
    app.config["ACCESS_KEYS"] = records(BOTH)
    app.register_blueprint(outer, access="key")
    app.register_blueprint(outer, name="again", url_prefix="/again")
    client = app.test_client()
    paths = ("/outer", "/inner", "/again/outer", "/again/inner")
    assert [client.get(path).status_code for path in paths] == [401, 401, 200, 200]


def test_environment_variable_counts_without_from_project(monkeypatch):
    monkeypatch.setenv("CARBOY_ACCESS_KEYS", f"both={BOTH.text}")
    client = make_app(keys=False).test_client()
    assert client.get("/cat").status_code == 401
    assert client.get("/cat", headers=BOTH.bearer).status_code == 200


@pytest.mark.parametrize("value", ["keys", "", True, ["key"]])
def test_unknown_value_is_refused_at_registration(value):
    app = Carboy(__name__)
    with pytest.raises(ValueError, match=r"The rule '/a': access=.*: expected 'key'"):
        app.get("/a", access=value)(lambda: "")
    with pytest.raises(ValueError, match="The blueprint 'a'"):
        app.register_blueprint(Blueprint("a", __name__, access=value))
    with pytest.raises(ValueError, match=r"app\.model"):
        app.model("/m", access=value)(lambda x: x)
    app.config["ACCESS_DEFAULT"] = value
    with pytest.raises(ValueError, match="The config key ACCESS_DEFAULT"):
        app.test_client().get("/")


def test_second_rule_of_a_model_is_guarded_as_the_first():
    app = make_app()
    app.add_url_rule("/kitten", endpoint="cat", methods=["POST"])
    client = app.test_client()
    assert client.post("/kitten", json=1).status_code == 401
    assert client.post("/kitten", json=1, headers=DOG.bearer).status_code == 403
    assert client.post("/kitten", json=1, headers=CAT.bearer).status_code == 200


def test_model_that_is_defined_again_declares_again(monkeypatch):
    monkeypatch.setattr("sys.ps1", ">>> ", raising=False)
    app = make_app()
    client = app.test_client()

    def define(access):
        app.model("/pet", access=access)(
            type("pet", (), {"predict": _predict, "__module__": "__main__"})
        )
        return client.post("/pet", json=1).status_code

    assert [define("key"), define("open"), define(None)] == [401, 200, 401]


def test_app_without_declarations_and_models_has_nothing_to_ask():
    app = Carboy(__name__)
    app.get("/")(lambda: "")
    assert app.find_overrides().access is None


@pytest.mark.parametrize(
    ("keys", "access", "text"),
    [
        ([BOTH, CAT], "key", "2 valid; needed at 2 URLs"),
        ([BOTH], None, "1 valid; needed at 1 URL"),
        ([], "key", "none is valid; needed at 1 URL; make one by 'carboy keys new NAME'"),
        ([], None, ""),
    ],
)
def test_server_says_how_many_keys_there_are(keys, access, text):
    app = Carboy(__name__, static_folder=None, instance_path="/nonexistent")
    app.config["ACCESS_KEYS"] = records(*keys)
    app.config["OPENAPI_ENABLED"] = False
    app.get("/", access=access)(lambda: "")
    app.model("/model")(type("Model", (), {"predict": _predict}))
    assert app.find_overrides().access.describe_keys() == text


# --- beside hooks and error handlers --------------------------------------------------------------


@pytest.mark.parametrize("is_quick", [True, False])
def test_key_is_asked_for_before_hooks_and_the_response_passes_through_them(is_quick):
    class Slow(Carboy):
        def dispatch_request(self):
            return super().dispatch_request()

    app = (Carboy if is_quick else Slow)(__name__)
    app.config["ACCESS_KEYS"] = records(BOTH)
    seen = []
    app.get("/a", access="key")(lambda: seen.append("view") or "a")

    @app.before_request
    def before():
        seen.append(request.identity.key.name)

    @app.after_request
    def after(response):
        response.headers["Access-Control-Allow-Origin"] = "*"
        return response

    @app.errorhandler(401)
    def refused(error):
        return {"sorry": error.code}, 401, dict(error.get_headers())

    client = app.test_client()
    assert app.find_overrides().fast_path is is_quick
    response = client.get("/a")
    assert seen == []
    assert response.json == {"sorry": 401}
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "Bearer" in response.headers["WWW-Authenticate"]
    assert client.get("/a", headers=BOTH.bearer).text == "a"
    assert seen == ["both", "view"]


def test_route_that_needs_no_key_has_an_identity_without_one():
    app = Carboy(__name__)
    app.get("/")(lambda: [request.identity.address, request.identity.key])
    assert app.test_client().get("/").json == ["127.0.0.1", None]


def test_program_may_give_request_an_identity_of_its_own():
    app = Carboy(__name__)

    @app.get("/")
    def index():
        request.identity = "mine"
        return request.identity

    assert app.test_client().get("/").text == "mine"


def test_client_call_sends_a_key(client):
    assert client.call("cat", x=3, _key=CAT.text) == 3
    assert client.call("who", _key=BOTH.text) == "both"
    with pytest.raises(CallError, match="401"):
        client.call("cat", x=3)
    with pytest.raises(CallError, match="may not use the model"):
        client.call("cat", x=3, _key=DOG.text)
