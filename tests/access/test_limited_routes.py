"""`rate=` on routes, blueprints, models, keys and in the configuration, in process."""

from __future__ import annotations

import logging

import pytest
from apikeys import make_key, records
from werkzeug.routing import Rule

from carboy import Blueprint, Carboy, request, session
from carboy.access.table import ALONE
from carboy.errors import ConfigError
from carboy.models.direct import guard_of

pytestmark = pytest.mark.usefixtures("clock")
WIRES = ["v2", "kserve", "mlflow"]


def make_app(**config):
    app = Carboy("shop")
    app.config.update(SECRET_KEY="a key that is long enough for sessions", **config)
    return app


def ok():
    return "ok"


def statuses(client, path, number, **options):
    found = []
    for _ in range(number):
        with client.get(path, **options) as response:
            found.append(response.status_code)
    return found


def answered(client, path, number=20, **options):
    return statuses(client, path, number, **options).count(200)


# --- what is declared where ----------------------------------------------------------------------


@pytest.fixture
def app():
    app = make_app(ACCESS_RATE="7/minute")
    blueprint = Blueprint("admin", __name__, url_prefix="/admin", rate="4/minute")
    inner = Blueprint("inner", __name__, url_prefix="/inner", rate="3/minute")
    for owner in (app, blueprint, inner):
        owner.add_url_rule("/plain", "plain", ok)
        owner.add_url_rule("/too", "too", ok)
        owner.add_url_rule("/own", "own", ok, rate="2/minute")
        owner.add_url_rule("/free", "free", ok, rate="unlimited")
    blueprint.register_blueprint(inner)
    app.register_blueprint(blueprint)
    app.register_blueprint(blueprint, name="again", url_prefix="/again", rate="5/minute")
    return app


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/plain", 7),
        ("/own", 2),
        ("/free", 20),
        ("/admin/plain", 4),
        ("/admin/own", 2),
        ("/admin/free", 20),
        ("/admin/inner/plain", 3),
        ("/admin/inner/own", 2),
        ("/again/plain", 5),
    ],
)
def test_innermost_rate_holds(app, path, allowed):
    assert answered(app.test_client(), path) == allowed


def test_routes_for_which_one_declaration_holds_are_counted_together(app):
    client = app.test_client()
    assert statuses(client, "/admin/plain", 3) + statuses(client, "/admin/too", 2) == [200] * 4 + [
        429
    ]
    assert answered(client, "/plain") == 7
    assert answered(client, "/admin/own") == 2
    assert answered(client, "/admin/inner/plain") == 3


def test_rules_of_one_view_are_counted_together():
    app = make_app()
    app.get("/a", rate="3/minute")(app.get("/b", rate="3/minute")(ok))
    client = app.test_client()
    assert statuses(client, "/a", 2) + statuses(client, "/b", 2) == [200, 200, 200, 429]


def test_static_files_count_only_for_a_rate_of_their_own(tmp_path):
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "a.css").write_text("a")
    app = Carboy("shop", root_path=str(tmp_path))
    app.config["ACCESS_RATE"] = "1/minute"
    assert answered(app.test_client(), "/static/a.css") == 20


def test_view_that_is_merely_called_static_is_counted():
    app = make_app()
    part = Blueprint("part", __name__, rate="1/minute")
    part.add_url_rule("/static", "static", ok)
    app.register_blueprint(part)
    assert answered(app.test_client(), "/static") == 1


def test_rate_by_model_of_an_app_without_models_is_reported(caplog):
    part = Blueprint("part", __name__, rate="1/minute by model")
    app = make_app()
    app.register_blueprint(part)
    for each in (app, make_app(ACCESS_RATE="1/hour by model")):
        each.find_overrides()
    assert ["has no effect, because the app has no models" in each for each in caplog.messages] == [
        True,
        True,
    ]


def test_automatic_answer_to_options_is_not_counted():
    app = make_app()
    app.get("/a", rate="1/minute")(ok)
    client = app.test_client()
    assert [client.options("/a").status_code for _ in range(3)] == [200] * 3
    assert answered(client, "/a") == 1


def test_rate_of_the_environment_counts_without_from_project(monkeypatch):
    monkeypatch.setenv("CARBOY_ACCESS_RATE", "9/second, 2/minute")
    app = make_app()
    app.get("/a")(ok)
    assert answered(app.test_client(), "/a") == 2


def project(folder, config=""):
    (folder / "config.py").write_text(config)
    app = Carboy("project", root_path=str(folder))
    app.config.from_project(folder)
    return app


@pytest.mark.parametrize(("given", "allowed"), [("unlimited", 5), ("2/minute", 2)])
def test_rate_of_the_environment_is_read_with_the_project(tmp_path, monkeypatch, given, allowed):
    monkeypatch.setenv("CARBOY_ACCESS_RATE", given)
    app = project(tmp_path)
    app.get("/a")(ok)
    assert answered(app.test_client(), "/a", 5) == allowed


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("ACCESS_RATE = '5/minut'", r"ACCESS_RATE from .*expected a rate, .*'5/minut'"),
        ("ACCESS_RATE = ['unlimited', '5/minute']", r"ACCESS_RATE from .*got 'unlimited'"),
        ("ACCESS_KEYS = ['x']", r"ACCESS_KEYS from .*Expected NAME=KEY"),
        ("ACCESS_KEYS = []", r"ACCESS_KEYS from .*expected at least one key"),
    ],
)
def test_invalid_value_is_refused_when_the_project_is_read(tmp_path, config, reason):
    with pytest.raises(ConfigError, match=reason):
        project(tmp_path, config)


def test_apps_of_one_process_are_counted_apart_also_those_of_one_name():
    for _ in range(2):
        app = make_app(ACCESS_RATE="1/minute")
        app.get("/a")(ok)
        assert answered(app.test_client(), "/a") == 1


@pytest.mark.parametrize("given", [{}, {"rate": None, "access": None, "cors": None}], ids=repr)
def test_none_of_a_registration_leaves_what_the_blueprint_declares(given):
    app = make_app(ACCESS_KEYS=records(key := make_key("phone")))
    blueprint = Blueprint("b", __name__, access="key", rate="2/minute", cors="https://a.example")
    blueprint.get("/a")(ok)
    app.register_blueprint(blueprint, **given)
    client = app.test_client()
    assert client.get("/a").status_code == 401
    headers = {**key.bearer, "Origin": "https://a.example"}
    assert client.get("/a", headers=headers).headers["Access-Control-Allow-Origin"]
    assert statuses(client, "/a", 2, headers=key.bearer) == [200, 429]


def test_options_of_a_programs_own_class_of_rules_keep_their_meaning():
    class TaggedRule(Rule):
        def __init__(self, *args, access=None, rate=None, **options):
            super().__init__(*args, **options)
            self.tags = access, rate

    app = make_app()
    app.url_rule_class = TaggedRule
    app.get("/a", access="admin", rate=5)(ok)

    @app.model("/m", rate="1/minute")
    def model(x: int) -> int:
        return x

    (rule,) = app.url_map.iter_rules("ok")
    assert rule.tags == ("admin", 5)
    client = app.test_client()
    assert answered(client, "/a") == 20
    assert [client.post("/m", json=1).status_code for _ in range(2)][1] == 429


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("rate", ["5", "5/fortnight", 5, [], "5/minute by ip"], ids=repr)
def test_wrong_rate_is_refused_where_it_is_declared(rate):
    app = make_app()
    with pytest.raises(ValueError, match=r"^The rule '/a': rate="):
        app.get("/a", rate=rate)(ok)
    with pytest.raises(ValueError, match=r"^app\.model\(\.\.\.\): rate="):
        app.model("/m", rate=rate)(lambda x: x)
    with pytest.raises(ValueError, match=r"^The blueprint 'b': rate="):
        app.register_blueprint(Blueprint("b", __name__, rate=rate))


@pytest.mark.parametrize("rate", ["5", "", [], 5], ids=repr)
def test_wrong_rate_in_the_configuration_is_an_error_of_it(rate):
    app = make_app(ACCESS_RATE=rate)
    with pytest.raises(ConfigError, match=r"^The config key ACCESS_RATE: rate="):
        app._find_access()


def test_rate_by_model_of_a_view_is_refused():
    with pytest.raises(ValueError, match=r"the route is not one of a model.*'by route'"):
        make_app().get("/a", rate="5/minute by model")(ok)


def test_rate_by_user_needs_a_function_that_names_users():
    app = make_app()
    app.get("/a", rate="5/minute by user")(ok)
    with pytest.raises(ConfigError, match=r"^The rule '/a' has a rate by user, .*identify_user"):
        app._find_access()


@pytest.mark.parametrize("rate", ["5/minute by user", "5/minute by address", "5/minute by model"])
def test_rate_of_a_key_counts_by_key(rate):
    with pytest.raises(ValueError, match="must count by key"):
        type(make_key("phone").stored).from_record({**records(make_key("a"))[0], "rate": rate})


@pytest.mark.parametrize("access", [None, "key"])
def test_page_of_a_model_with_a_rate_asks_for_no_key_after_too_many_requests(access):
    app = make_app(ACCESS_KEYS=records(key := make_key("phone")))

    @app.model("/m", rate="1/minute", access=access)
    def model(x: int) -> int:
        return x

    client, headers = app.test_client(), {"Accept": "text/html", **key.bearer}
    assert client.get("/m", headers=headers).status_code == 200
    refused = client.get("/m", headers=headers)
    assert (refused.status_code, refused.mimetype) == (429, "application/problem+json")
    assert "Retry-After" in refused.headers


# --- the response --------------------------------------------------------------------------------


def test_refusal_is_problem_details_with_the_time_to_wait(clock):
    app = make_app()
    app.get("/a", rate="2/minute")(ok)
    client = app.test_client()
    statuses(client, "/a", 2)
    refused = client.get("/a")
    assert (refused.status_code, refused.mimetype) == (429, "application/problem+json")
    assert refused.json["code"] == "rate-exceeded"
    assert refused.headers["Retry-After"] == "30"
    assert refused.headers["RateLimit-Policy"] == '"2/minute";q=2;w=60'
    assert refused.headers["RateLimit"] == '"2/minute";r=0;t=30'
    clock[0] += 30
    assert client.get("/a").status_code == 200


def test_browser_gets_a_page_with_the_same_headers():
    app = make_app()
    app.get("/a", rate="1/minute")(ok)
    client = app.test_client()
    client.get("/a")
    page = client.get("/a", headers={"Accept": "text/html"})
    assert (page.status_code, page.mimetype) == (429, "text/html")
    assert "The rate 1/minute is exceeded." in page.text
    assert page.headers["Retry-After"] == "60"


def test_error_handlers_and_after_request_functions_get_the_refusal():
    app = make_app()
    calls = []
    app.before_request(lambda: calls.append("before"))
    app.after_request(lambda response: calls.append(response.status_code) or response)
    app.register_error_handler(429, lambda error: (f"slowly: {error.description}", 429))
    app.get("/a", rate="1/minute")(ok)
    client = app.test_client()
    client.get("/a")
    assert client.get("/a").text == "slowly: The rate 1/minute is exceeded."
    assert calls == ["before", 200, 429]


# --- keys and users ------------------------------------------------------------------------------


def test_keys_are_counted_apart_and_refused_requests_do_not_count():
    first, second = make_key("first"), make_key("second")
    app = make_app(ACCESS_KEYS=records(first, second))
    app.get("/a", access="key", rate="3/minute")(ok)
    client = app.test_client()
    assert set(statuses(client, "/a", 9)) == {401}
    assert set(statuses(client, "/a", 9, headers={"X-API-Key": first.text + "x"})) == {401}
    assert answered(client, "/a", headers=first.bearer) == 3
    assert answered(client, "/a", headers=second.bearer) == 3
    assert set(statuses(client, "/a", 9)) == {401}


def test_view_with_a_rate_needs_no_key_although_the_app_has_keys():
    app = make_app(ACCESS_KEYS=records(make_key("phone")))
    app.get("/a", rate="2/minute")(ok)
    assert statuses(app.test_client(), "/a", 3) == [200, 200, 429]


def test_rate_of_a_key_holds_for_all_routes_in_addition_to_theirs():
    slow, fast = make_key("slow", rate="4/minute"), make_key("fast")
    app = make_app(ACCESS_KEYS=records(slow, fast))
    app.get("/a", access="key", rate="3/minute")(ok)
    app.get("/b", access="key")(ok)
    client = app.test_client()
    assert answered(client, "/a", headers=slow.bearer) == 3
    assert answered(client, "/b", headers=slow.bearer) == 1
    assert answered(client, "/b", headers=fast.bearer) == 20
    refused = client.get("/b", headers=slow.bearer)
    assert refused.headers["RateLimit-Policy"] == '"4/minute";q=4;w=60'
    both = client.get("/a", headers=slow.bearer)
    assert both.headers["RateLimit-Policy"] == '"3/minute";q=3;w=60, "4/minute";q=4;w=60'
    assert both.json["violated-policies"] == ["3/minute", "4/minute"]
    assert both.json["detail"] == "The rates 3/minute and 4/minute are exceeded."


@pytest.fixture
def users():
    app = make_app()

    @app.identify_user
    async def user():
        return session.get("user") or request.headers.get("X-Number", type=int)

    @app.get("/login/<name>")
    def login(name):
        session["user"] = name
        return name

    @app.get("/a", rate="2/minute by user")
    def limited():
        return request.identity.user

    app.add_url_rule("/b", "b", lambda: request.identity.user)
    return app


def test_users_are_counted_by_the_name_that_the_app_gives(users):
    client = users.test_client()
    assert answered(client, "/a") == 2
    client.get("/login/ann")
    assert answered(client, "/a") == 2
    assert answered(users.test_client(), "/a", headers={"X-Number": "7"}) == 2
    assert users.test_client().get("/a").status_code == 429


def test_request_has_the_name_of_its_user_also_where_nothing_is_limited(users):
    client = users.test_client()
    assert client.get("/b").text == ""
    client.get("/login/ann")
    assert (client.get("/a").text, client.get("/b").text) == ("ann", "ann")


def test_app_has_one_function_that_names_users(users):
    with pytest.raises(ValueError, match="an app has one such function"):
        users.identify_user(lambda: "x")


class SlowApp(Carboy):
    """An app whose requests do not take the fast path."""

    def full_dispatch_request(self):
        return super().full_dispatch_request()


class TokenError(Exception):
    pass


@pytest.mark.parametrize("cls", [Carboy, SlowApp])
@pytest.mark.parametrize("path", ["/a", "/model", "/free"])
def test_error_of_the_function_that_names_users_goes_to_its_handler(cls, path):
    app = cls("shop")
    views = []
    app.register_error_handler(TokenError, lambda error: (f"handled {error}", 401))

    @app.identify_user
    def user():
        raise TokenError(request.path)

    @app.get("/a", rate="2/minute by user")
    def limited():
        views.append(request.path)
        return "ok"

    @app.model("/model", rate="2/minute by user")
    def model(x: float) -> float:
        views.append(request.path)
        return x

    app.add_url_rule("/free", "free", lambda: request.identity.user)
    method = "POST" if path == "/model" else "GET"
    response = app.test_client().open(path, method=method, json=1.0)
    assert (response.status_code, response.text) == (401, f"handled {path}")
    assert views == []


@pytest.mark.parametrize("cls", [Carboy, SlowApp])
def test_error_of_the_function_that_names_users_without_a_handler_is_logged(cls, caplog):
    app = cls("shop")

    @app.identify_user
    def user():
        raise TokenError("no token")

    app.get("/a", rate="2/minute by user")(ok)
    assert app.test_client().get("/a").status_code == 500
    assert isinstance(caplog.records[-1].exc_info[1], TokenError)


# --- models --------------------------------------------------------------------------------------


@pytest.fixture
def models():
    app = make_app(MODEL_PROTOCOLS=WIRES, MODEL_DEFAULT="double")

    @app.model("/double", batch=4, rate="4/minute")
    def double(x: list[list[float]]) -> list[list[float]]:
        return x

    @app.model("/other", batch=4)
    def other(x: list[float]) -> list[float]:
        return x

    return app


PREDICTIONS = [
    "/double",
    "/v2/models/double/infer",
    "/v2/models/double/versions/1/infer",
    "/v1/models/double:predict",
    "/invocations",
]


@pytest.mark.parametrize("path", PREDICTIONS)
def test_model_is_limited_over_every_protocol_in_its_own_form(models, path):
    client = models.test_client()
    for _ in range(4):
        assert client.post("/double", json=[1.5]).status_code == 200
    refused = client.post(path, json=[1.5])
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "15"
    assert refused.headers["RateLimit"] == '"4/minute";r=0;t=15'
    assert "The rate 4/minute is exceeded" in (refused.json.get("detail") or str(refused.json))
    assert client.post("/other", json=1.5).status_code == 200
    assert client.get("/v2/models/double/ready").status_code == 200


def test_models_are_counted_apart_by_model_whoever_asks():
    app = make_app(ACCESS_RATE="2/minute by model")
    app.get("/view")(ok)
    for name in ("a", "b"):

        @app.model(f"/{name}")
        def model(x: float) -> float:
            return x

    client = app.test_client()

    def ask(path, address):
        response = client.post(path, json=1.0, environ_base={"REMOTE_ADDR": address})
        return response.status_code

    assert [ask("/a", f"192.0.2.{number}") for number in range(4)] == [200, 200, 429, 429]
    assert ask("/b", "192.0.2.1") == 200
    assert answered(client, "/view") == 20


@pytest.mark.parametrize("way", ["model", "route"])
def test_names_of_no_model_are_counted_together(way):
    app = make_app(ACCESS_RATE=f"3/minute by {way}", MODEL_PROTOCOLS=WIRES)

    @app.model("/a")
    def model(x: float) -> float:
        return x

    client = app.test_client()
    unknown = ["/v2/models/b", "/v2/models/c", "/v1/models/d:predict", f"/v2/models/{'e' * 5000}"]
    methods = ["POST" if path.endswith("predict") else "GET" for path in unknown]
    found = [
        client.open(path, method=method).status_code
        for path, method in zip(unknown, methods, strict=True)
    ]
    assert found == [404, 404, 404, 429]
    assert statuses(client, "/v2/models/a", 4) == [200, 200, 200, 429]


def test_rule_that_predictions_match_decides_and_not_another_of_its_endpoint():
    app = make_app()

    @app.model("/dig", rate="1/minute")
    def dig(x: int) -> int:
        return x

    app.add_url_rule("/<lang>/dig", endpoint="dig", rate="unlimited")
    guard = guard_of(app, app.models["dig"].endpoints["json"])
    assert guard is not None and guard.policy.limit is not None


# --- several processes ---------------------------------------------------------------------------


@pytest.mark.parametrize(("multiprocess", "warnings"), [(True, [ALONE]), (False, [])])
def test_process_warns_once_if_others_of_its_server_count_apart(caplog, multiprocess, warnings):
    app = make_app()
    app.get("/a", rate="100/minute")(ok)
    client = app.test_client()
    with caplog.at_level(logging.WARNING, "carboy.admission"):
        answered(client, "/a", environ_overrides={"wsgi.multiprocess": multiprocess})
    assert [record.getMessage() for record in caplog.records] == warnings
