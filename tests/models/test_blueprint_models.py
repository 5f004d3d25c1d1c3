"""Models that are declared on a blueprint: named, placed and hooked as its endpoints are."""

from __future__ import annotations

import pytest

from carboy import Blueprint, Carboy, abort, jsonify, request
from carboy.errors import SetupFinishedError, SignatureError
from carboy.models import InputError


class Counter:
    """Counts what it has predicted."""

    def __init__(self) -> None:
        self.calls = 0

    def predict(self, step: int) -> int:
        self.calls += step
        return self.calls


def double(x: float) -> float:
    """Twice as much."""
    if x < 0:
        raise InputError("Nothing below 0.")
    return 2 * x


@pytest.fixture
def shop() -> Blueprint:
    return Blueprint("shop", __name__, url_prefix="/shop")


def post(app: Carboy, path: str, value: object, **options: object) -> object:
    return app.test_client().post(path, json=value, **options).json


def test_model_has_the_name_and_prefix_of_its_blueprint(app, shop):
    assert shop.model("/double", batch=1)(double) is double
    app.register_blueprint(shop)
    assert list(app.models) == ["shop.double"]
    assert app.models["shop.double"].rule == "/shop/double"
    assert app.models["shop.double"].predict(2) == 4
    assert post(app, "/shop/double", 4) == 8
    with app.test_request_context("/shop/double"):
        assert app.url_for("shop.double") == "/shop/double"
        assert app.url_for(".double") == "/shop/double"
        assert request.blueprint == "shop"


def test_nothing_is_registered_before_the_blueprint_is(app, shop):
    shop.model("/double")(double)
    assert list(app.models) == []
    assert app.test_client().post("/shop/double", json=1).status_code == 404


def test_options_reach_the_model(app, shop):
    @shop.model("/sum", name="total", batch=8, wait_ms=2, queue=9, max_body_bytes=20)
    def sums(rows: list[list[float]]) -> list[float]:
        return [sum(row) for row in rows]

    app.register_blueprint(shop)
    options = app.models["shop.total"].options
    assert (options.batch, options.wait_ms, options.queue) == (8, 2, 9)
    assert post(app, "/shop/sum", [1, 2, 3]) == 6
    assert app.test_client().post("/shop/sum", json=[1] * 50).status_code == 413


def test_url_prefix_of_the_registration_wins(app, shop):
    shop.model("")(double)
    app.register_blueprint(shop, url_prefix="/market")
    assert post(app, "/market", 1) == 2
    assert list(app.models) == ["shop.double"]


def test_two_registrations_are_two_models(app, shop):
    shop.model("/counter")(Counter)
    app.register_blueprint(shop)
    app.register_blueprint(shop, name="stall", url_prefix="/stall")
    assert list(app.models) == ["shop.counter", "stall.counter"]
    assert post(app, "/shop/counter", 1) == 1
    assert post(app, "/shop/counter", 1) == 2
    assert post(app, "/stall/counter", 1) == 1, "it counts on an object of its own"


def test_one_blueprint_serves_several_apps(shop):
    shop.model("/counter")(Counter)
    apps = [Carboy("one"), Carboy("two")]
    for app in apps:
        app.register_blueprint(shop)
    assert [post(app, "/shop/counter", 5) for app in apps] == [5, 5]


def test_nested_blueprints_join_names_and_prefixes(app, shop):
    inner = Blueprint("fruit", __name__, url_prefix="/fruit")
    inner.model("/double")(double)
    shop.register_blueprint(inner)
    app.register_blueprint(shop)
    assert list(app.models) == ["shop.fruit.double"]
    assert post(app, "/shop/fruit/double", 3) == 6


def test_hooks_and_error_handlers_of_a_blueprint_apply_to_its_models(app, shop):
    shop.model("/double")(double)

    @shop.before_request
    def only_friends() -> None:
        if request.headers.get("X-Friend") != "yes":
            abort(403)

    @shop.errorhandler(422)
    def in_our_words(error: Exception) -> object:
        return jsonify(shop="no"), 422

    app.model("/free")(double)
    app.register_blueprint(shop)
    client = app.test_client()
    assert client.post("/shop/double", json=1).status_code == 403
    assert client.post("/free", json=1).status_code == 200
    friend = {"X-Friend": "yes"}
    assert post(app, "/shop/double", 1, headers=friend) == 2
    assert post(app, "/shop/double", -1, headers=friend) == {"shop": "no"}


def test_subdomain_of_a_blueprint_applies_to_its_models():
    app = Carboy(__name__, subdomain_matching=True)
    app.config["SERVER_NAME"] = "example.org"
    api = Blueprint("api", __name__, subdomain="api")
    api.model("/double")(double)
    app.register_blueprint(api)
    client = app.test_client()
    assert client.post("/double", json=1, base_url="http://api.example.org").json == 2
    assert client.post("/double", json=1).status_code == 404


def test_url_defaults_of_the_blueprint_do_not_reach_a_model(app):
    blueprint = Blueprint("shop", __name__, url_defaults={"language": "en"})
    blueprint.model("/double")(double)
    app.register_blueprint(blueprint)
    assert post(app, "/double", 1) == 2


def test_prefix_with_variables_is_refused_at_registration(app, shop):
    shop.model("/double")(double)
    with pytest.raises(ValueError, match="has no variables"):
        app.register_blueprint(shop, url_prefix="/<tenant>")


@pytest.mark.parametrize(
    ("rule", "options"),
    [("/double", {"name": "a.b"}), ("/v1.2", {})],
    ids=["given", "from the rule"],
)
def test_name_with_a_dot_is_refused_at_once(shop, rule, options):
    with pytest.raises(
        ValueError, match=r"the name .* expected letters, digits, '_' and '-'.*name="
    ):
        shop.model(rule, **options)(double)


def test_options_are_checked_at_once(shop):
    with pytest.raises(ValueError, match="batch=0"):
        shop.model("/double", batch=0)(double)


def test_missing_rule_is_refused_with_advice(shop):
    with pytest.raises(TypeError, match="'/path'"):
        shop.model(double)


def test_types_that_cannot_be_served_name_the_model_by_its_full_name(app, shop):
    @shop.model("/any")
    def untyped(x):
        return x

    with pytest.raises(SignatureError, match=r"shop\.any"):
        app.register_blueprint(shop)


def test_model_after_the_registration_is_refused(app, shop):
    app.register_blueprint(shop)
    with pytest.raises(SetupFinishedError, match="'model'"):
        shop.model("/double")(double)


def test_second_model_of_a_name_is_refused(app, shop):
    shop.model("/double")(double)
    shop.model("/twice", name="double")(double)
    with pytest.raises(ValueError, match=r"'shop\.double' already"):
        app.register_blueprint(shop)


@pytest.mark.parametrize("as_class", [True, False], ids=["class", "function"])
def test_types_local_to_a_factory_are_known_when_it_has_returned(app, as_class):
    def make() -> Blueprint:
        import msgspec

        class Point(msgspec.Struct):
            x: int
            y: int

        class Mirror:
            def predict(self, point: Point) -> Point:
                return Point(point.y, point.x)

        def mirror(point: Point) -> Point:
            return Point(point.y, point.x)

        blueprint = Blueprint("plane", __name__)
        blueprint.model("/mirror")(Mirror if as_class else mirror)
        return blueprint

    app.register_blueprint(make())
    assert post(app, "/mirror", {"x": 1, "y": 2}) == {"x": 2, "y": 1}


def test_document_has_the_models_of_blueprints(app, shop):
    shop.model("/double")(double)
    app.register_blueprint(shop)
    path = app.test_client().get("/openapi.json").json["paths"]["/shop/double"]
    assert set(path) >= {"get", "post"}
