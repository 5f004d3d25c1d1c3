"""CORS: which origins are allowed, and what an app answers to them, in process."""

from __future__ import annotations

import pytest

import carboy
from carboy import Blueprint, Carboy
from carboy.access.browserrules import merged
from carboy.access.cors import parse
from carboy.errors import ConfigError

SHOP, THIEF = "https://shop.example", "https://thief.example"


@pytest.mark.parametrize(
    ("declared", "origin", "allowed"),
    [
        (SHOP, SHOP, True),
        (SHOP, "https://shop.example:8443", False),
        (SHOP, "http://shop.example", False),
        (SHOP, "https://shop.example.thief.example", False),
        (SHOP, "https://thief.example#https://shop.example", False),
        (SHOP, "null", False),
        (SHOP, None, False),
        ("HTTPS://Shop.Example:443", SHOP, True),
        ("https://bücher.example", "https://xn--bcher-kva.example", True),
        ("http://[::1]:3000", "http://[::1]:3000", True),
        ("http://[0:0:0:0:0:0:0:1]", "http://[::1]", True),
        ("https://shop.example:0443", SHOP, True),
        ("https://my_shop.example.", "https://my_shop.example.", True),
        ("https://*.bücher.example", "https://a.xn--bcher-kva.example", True),
        ("capacitor://localhost", "capacitor://localhost", True),
        ("app://.", "app://.", True),
        ("http://[::ffff:1.2.3.4]", "http://[::ffff:102:304]", True),
        ([SHOP, THIEF], THIEF, True),
        ("*", THIEF, True),
        ("*", "null", True),
        ("https://*.shop.example", "https://a.b.shop.example", True),
        ("https://*.shop.example", SHOP, False),
        ("https://*.shop.example", "https://thiefshop.example", False),
        ("https://*.shop.example", "https://a.shop.example.thief.example", False),
        ("https://*.shop.example", "https://thief.example/.shop.example", False),
        ("http://localhost:*", "http://localhost:3000", True),
        ("http://localhost:*", "http://localhost", True),
        ("http://localhost:*", "http://localhost.thief.example", False),
        ("http://localhost:*", "http://localhost:30@thief.example", False),
    ],
)
def test_origin_is_allowed_only_if_it_is_declared(declared, origin, allowed):
    assert parse(declared, "here").allows(origin) is allowed


@pytest.mark.parametrize("declared", [None, False])
def test_nothing_declared_allows_no_site(declared):
    assert parse(declared, "here") is None


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (5, "expected an origin such as"),
        (True, "expected an origin such as"),
        ([], "expected an origin such as"),
        ({"credentials": True}, "expected an origin such as"),
        ("shop.example", "Does 'https://shop.example' say what you mean?"),
        ("https://shop.example/", "An origin has no path: write 'https://shop.example'"),
        ("https://*", "is no origin"),
        ("https://a.*.example", "is no origin"),
        ([SHOP, 7], "7 is no origin"),
        (f"{SHOP},{THIEF}", f"Several sites are a list: ['{SHOP}', '{THIEF}']."),
        (f"{SHOP}, b.example", "Several sites are a list"),
        (f"{SHOP};", "is no origin"),
        (f'["{SHOP}"]', "is no origin"),
        ("https://'shop.example'", "is no origin"),
        ("https://%61.example", "is no origin"),
        ("https://a..example", "is no origin"),
        ("https://[::1::]", "is no origin"),
        ("https://" + "\u00fc" * 60 + ".example", "is no origin"),
        ("https://stra\u00dfe.example", "Write the name in ASCII"),
        ("https://*.STRA\u1e9eE.example", "Write the name in ASCII"),
        ("https://shop.example:99999", "is no origin"),
        ("null", "pages of every site can have it"),
        ({"origins": "*", "credentials": True}, "List the origins"),
        ({"origins": SHOP, "credentials": "yes"}, "'credentials' is True or False, not 'yes'"),
        ({"origins": SHOP, "max_age_s": -1}, "at least 0, not -1"),
        ({"origins": SHOP, "max_age_s": True}, "at least 0, not True"),
        ({"origins": SHOP, "expose": "X-A, X-B"}, "a list of names of headers"),
        ({"origins": SHOP, "headers": ["a b"]}, "a list of names of headers"),
        ({"origins": SHOP, "headers": "*", "credentials": True}, "List the names"),
        ({"origin": SHOP}, "there is no option 'origin'. Did you mean 'origins'?"),
    ],
)
def test_value_that_cannot_be_meant_is_refused_with_the_reason(declared, message):
    with pytest.raises(ConfigError) as caught:
        parse(declared, "The rule '/a': cors")
    assert str(caught.value).startswith("The rule '/a': cors: ")
    assert message in str(caught.value)


# ------------------------------------------------------------------------------------- in an app


@pytest.fixture
def app(app):
    app.config["CORS_POLICY"] = SHOP

    @app.route("/price", methods=["GET", "PUT"])
    def price():
        return "1"

    @app.get("/public", cors="*")
    def public():
        return {"a": 1}

    @app.get("/secret", cors=False)
    def secret():
        return "secret"

    @app.get("/own")
    def own():
        own_headers = {"Access-Control-Allow-Origin": THIEF, "Vary": "Accept-Language"}
        return "own", own_headers

    @app.get("/page")
    def page():
        carboy.session["a"] = 1
        return "page"

    @app.get("/fails")
    def fails():
        carboy.abort(418)

    @app.get("/dir/")
    def directory():
        return "directory"

    part = Blueprint(
        "part", "part", cors={"origins": THIEF, "credentials": True, "expose": ["X-Total"]}
    )
    part.add_url_rule("/part", "list", lambda: "part")
    part.add_url_rule("/part/public", "public", lambda: "part", cors="*")
    inner = Blueprint("inner", "inner")
    inner.add_url_rule("/inner", "list", lambda: "inner")
    part.register_blueprint(inner)
    app.register_blueprint(part)
    return app


def allowed(client, path: str, origin: str | None = SHOP) -> str | None:
    answer = client.get(path, headers={"Origin": origin} if origin else {})
    return answer.headers.get("Access-Control-Allow-Origin")


def preflight(client, path: str, *, origin: str = SHOP, method: str = "GET", **more: str):
    headers = {"Origin": origin, "Access-Control-Request-Method": method, **more}
    return client.options(path, headers=headers)


@pytest.mark.parametrize(
    ("path", "origin", "leave"),
    [
        ("/price", SHOP, SHOP),
        ("/price", THIEF, None),
        ("/price", None, None),
        ("/public", THIEF, "*"),
        ("/public", None, "*"),
        ("/secret", SHOP, None),
        ("/part", THIEF, THIEF),
        ("/part", SHOP, None),
        ("/part/public", SHOP, "*"),
        ("/inner", THIEF, THIEF),
        ("/own", SHOP, THIEF),
        ("/fails", SHOP, SHOP),
        ("/dir", SHOP, SHOP),
        ("/missing", SHOP, SHOP),
    ],
)
def test_innermost_declaration_decides_and_headers_of_the_app_win(client, path, origin, leave):
    assert allowed(client, path, origin) == leave


@pytest.mark.parametrize(
    ("path", "origin", "vary"),
    [
        ("/price", SHOP, "Origin"),
        ("/price", THIEF, "Origin"),
        ("/price", None, "Origin"),
        ("/public", SHOP, None),
        ("/secret", SHOP, None),
        ("/page", SHOP, "Cookie, Origin"),
        ("/own", SHOP, "Accept-Language, Origin"),
    ],
)
def test_response_varies_by_origin_where_it_depends_on_it(client, path, origin, vary):
    answer = client.get(path, headers={"Origin": origin} if origin else {})
    assert answer.headers.get("Vary") == vary


def test_headers_are_joined_without_repeating_any():
    more = (("Vary", "Origin"), ("X-A", "new"), ("vary", "Origin, Cookie"), ("X-B", "b"))
    assert merged([("x-a", "own")], more) == [
        ("x-a", "own"),
        ("Vary", "Origin, Cookie"),
        ("X-B", "b"),
    ]
    assert merged([("Vary", "*")], more[:1]) == [("Vary", "*")]


def test_credentials_and_exposed_headers_are_sent_if_they_are_declared(client):
    answer = client.get("/part", headers={"Origin": THIEF})
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert answer.headers["Access-Control-Expose-Headers"] == "X-Total"
    assert "Access-Control-Allow-Credentials" not in client.get("/public").headers


def test_preflight_request_is_answered_with_what_the_page_may_send(client):
    names = "Authorization, Content-Type"
    asked = {"Access-Control-Request-Headers": names}
    answer = preflight(client, "/price", method="PUT", **asked)
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP
    assert answer.headers["Access-Control-Allow-Methods"] == "PUT"
    assert answer.headers["Access-Control-Allow-Headers"] == names
    assert answer.headers["Access-Control-Max-Age"] == "600"
    assert "Access-Control-Request-Headers" in answer.headers["Vary"]


@pytest.mark.parametrize(
    ("path", "origin", "method"),
    [
        ("/price", THIEF, "PUT"),
        ("/price", SHOP, "DELETE"),
        ("/secret", SHOP, "GET"),
        ("/part", SHOP, "GET"),
    ],
    ids=["other origin", "method without a rule", "no CORS", "other origin of a blueprint"],
)
def test_preflight_request_for_what_is_not_allowed_gets_no_permission(client, path, origin, method):
    answer = preflight(client, path, origin=origin, method=method)
    assert "Access-Control-Allow-Methods" not in answer.headers


def test_preflight_request_meets_no_hook_of_the_app(app, client):
    app.before_request(lambda: carboy.abort(401))
    assert preflight(client, "/price", method="PUT").status_code == 204
    assert client.put("/price", headers={"Origin": SHOP}).status_code == 401


def test_options_request_that_is_no_preflight_lists_the_methods(client):
    answer = client.options("/price")
    assert answer.status_code == 200
    assert set(answer.allow) == {"GET", "HEAD", "OPTIONS", "PUT"}


def test_listed_headers_are_the_only_ones_that_pages_may_send():
    app = Carboy("one")
    app.add_url_rule("/a", "a", lambda: "a", cors={"origins": SHOP, "headers": ["X-A"]})
    asked = {"Access-Control-Request-Headers": "x-b"}
    answer = preflight(app.test_client(), "/a", **asked)
    assert answer.headers["Access-Control-Allow-Headers"] == "X-A"


def test_names_that_are_no_header_names_are_not_sent_back(client):
    asked = {"Access-Control-Request-Headers": "x-a;<script>"}
    assert "Access-Control-Allow-Headers" not in preflight(client, "/price", **asked).headers


def test_app_without_cors_answers_as_flask(client):
    app = Carboy("plain")
    app.add_url_rule("/a", "a", lambda: "a")
    answer = preflight(app.test_client(), "/a")
    assert answer.status_code == 200
    assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]


def test_rule_that_is_added_after_a_test_context_is_known():
    app = Carboy("late")
    with app.test_request_context("/"):
        pass
    app.add_url_rule("/a", "a", lambda: "a", cors="*")
    assert allowed(app.test_client(), "/a") == "*"


def test_models_declare_sites_as_views_do():
    app = Carboy("models")
    app.config["MODEL_PROTOCOLS"] = ["v2"]

    @app.model("/double", cors=SHOP)
    def double(x: float) -> float:
        return 2 * x

    client = app.test_client()
    for path in ("/double", "/v2/models/double/infer"):
        assert preflight(client, path, method="POST").status_code == 204
    answer = client.post("/double", json=2, headers={"Origin": SHOP})
    assert answer.json == 4
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP
    refused = client.post("/double", json="a", headers={"Origin": SHOP})
    assert refused.status_code == 422
    assert refused.headers["Access-Control-Allow-Origin"] == SHOP


def test_second_rule_of_a_model_is_for_the_same_sites():
    app = Carboy("models")

    @app.model("/double", name="double", cors=SHOP)
    def double(x: float) -> float:
        return 2 * x

    app.add_url_rule("/twice", "twice", app.view_functions["double"], methods=["POST"])
    app.add_url_rule("/own", "own", app.view_functions["double"], methods=["POST"], cors=False)
    client = app.test_client()
    assert preflight(client, "/twice", method="POST").status_code == 204
    answer = client.post("/twice", json=2, headers={"Origin": SHOP})
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP
    answer = client.post("/own", json=2, headers={"Origin": SHOP})
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_page_of_a_declared_site_can_read_that_a_key_is_missing():
    app = Carboy("keyed")

    @app.model("/double", cors=SHOP, access="key")
    def double(x: float) -> float:
        return 2 * x

    client = app.test_client()
    assert preflight(client, "/double", method="POST").status_code == 204
    refused = client.post("/double", json=2, headers={"Origin": SHOP})
    assert refused.status_code == 401
    assert refused.headers["Access-Control-Allow-Origin"] == SHOP


def test_model_with_a_site_that_is_none_is_refused_at_registration():
    with pytest.raises(ValueError, match=r"app\.model\(\.\.\.\): cors: 'shop' is no origin"):

        @Carboy("models").model("/double", cors="shop")
        def double(x: float) -> float:
            return 2 * x


def test_environment_may_name_several_sites(tmp_path, monkeypatch):
    (tmp_path / "config.py").write_text("")
    monkeypatch.setenv("CARBOY_CORS_POLICY", f"{SHOP},{THIEF}")
    app = Carboy("project", root_path=str(tmp_path))
    app.config.from_project(tmp_path)
    app.add_url_rule("/a", "a", lambda: "a")
    assert allowed(app.test_client(), "/a", THIEF) == THIEF


def test_site_that_is_none_is_refused_when_the_project_is_read(tmp_path, monkeypatch):
    (tmp_path / "config.py").write_text("CORS_POLICY = 'shop.example'")
    with pytest.raises(ConfigError, match=r"'shop\.example' is no origin"):
        Carboy("project", root_path=str(tmp_path)).config.from_project(tmp_path)


# ------------------------------------------------------------- the URLs of a model's protocols

PREDICTIONS = (
    "/{}",
    "/v2/models/{}/infer",
    "/v2/models/{}/versions/1/infer",
    "/v1/models/{}:predict",
)
DESCRIPTIONS = (
    "/v2/models/{}",
    "/v2/models/{}/config",
    "/v2/models/{}/stats",
    "/v2/models/{}/ready",
    "/v2/models/{}/versions/1",
    "/v2/models/{}/versions/1/ready",
    "/v1/models/{}",
)


def served_by_protocols(policy: str | None) -> Carboy:
    app = Carboy("protocols")
    app.config.update(MODEL_PROTOCOLS=["v2", "kserve"], CORS_POLICY=policy)

    def predict(x: float) -> float:
        return x

    part = Blueprint("part", "part", cors=SHOP)
    app.model("/secret", name="secret", cors=False)(predict)
    app.model("/shop", name="shop", cors=SHOP)(predict)
    app.model("/plain", name="plain")(predict)
    part.model("/inner", name="inner")(predict)
    app.register_blueprint(part)
    return app


@pytest.mark.parametrize("url", [*PREDICTIONS, *DESCRIPTIONS])
@pytest.mark.parametrize(
    ("policy", "model", "origin", "leave"),
    [
        ("*", "secret", THIEF, None),
        ("*", "shop", THIEF, None),
        ("*", "shop", SHOP, SHOP),
        ("*", "plain", THIEF, "*"),
        (None, "shop", SHOP, SHOP),
        (None, "shop", THIEF, None),
        (None, "plain", SHOP, None),
        (SHOP, "secret", SHOP, None),
    ],
)
def test_cors_of_a_model_holds_for_all_its_urls(policy, model, origin, leave, url):
    client, path = served_by_protocols(policy).test_client(), url.format(model)
    method = "POST" if url in PREDICTIONS else "GET"
    answer = client.open(path, method=method, json={}, headers={"Origin": origin})
    assert answer.status_code not in (404, 405)
    assert answer.headers.get("Access-Control-Allow-Origin") == leave
    asked = preflight(client, path, origin=origin, method=method)
    assert asked.headers.get("Access-Control-Allow-Origin") == leave


@pytest.mark.parametrize("url", ["/v2/models/{}/versions/1", "/v1/models/{}"])
def test_cors_of_a_blueprint_holds_for_all_urls_of_its_models(url):
    app = served_by_protocols("*")
    path = url.format(next(name for name in app.models if name.endswith("inner")))
    assert allowed(app.test_client(), path, SHOP) == SHOP
    assert allowed(app.test_client(), path, THIEF) is None


def test_page_about_no_model_has_the_cors_of_the_app():
    client = served_by_protocols(SHOP).test_client()
    answer = client.get("/v2/models/unknown", headers={"Origin": SHOP})
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (404, SHOP)
    assert allowed(client, "/v2/health/ready") == SHOP
