"""All ways to define a view: decorated, async, class, blueprint, partial, factory."""

import functools
import typing as t

import msgspec
import pytest

from carboy import Blueprint, Carboy, abort, g, request
from carboy.views import MethodView, View


class Item(msgspec.Struct):
    name: str
    price: float = 1.0


def test_view_gets_variables_and_bound_arguments(app, client):
    @app.put("/shops/<int:shop>/<name>")
    def view(shop: int, name: str, item: Item, *, note: str = ""):
        return [shop, name, item.name, note]

    answer = client.put("/shops/3/x?note=n", json={"name": "a"})
    assert answer.json == [3, "x", "a", "n"]


def test_variable_of_any_rule_is_never_bound(app, client):
    @app.get("/pages/<int:page>")
    @app.get("/pages", defaults={"lang": "de"})
    def view(page: int = 1, lang: str = "en", q: str = ""):
        return [page, lang, q]

    assert client.get("/pages/3?page=9&lang=fr&q=x").json == [3, "en", "x"]
    assert client.get("/pages?page=9&lang=fr&q=x").json == [1, "de", "x"]


def test_variable_of_a_later_rule_is_not_bound(app, client):
    def view(page: int = 1):
        return str(page)

    app.add_url_rule("/p", "p", view)
    app.add_url_rule("/p/<int:page>", "p")
    assert client.get("/p?page=5").text == "1"
    assert client.get("/p/7?page=5").text == "7"


def test_endpoint_keeps_one_view(app):
    def view(q: str = ""):
        return q

    def other(q: str = ""):
        return q

    app.add_url_rule("/a", "e", view)
    app.add_url_rule("/b", "e", view)
    app.add_url_rule("/c", "e", app.view_functions["e"])
    with pytest.raises(AssertionError, match="overwriting an existing endpoint"):
        app.add_url_rule("/d", "e", other)


def test_view_registered_by_endpoint_is_bound(app, client):
    from werkzeug.routing import Rule

    bp = Blueprint("bp", __name__)
    app.add_url_rule("/a/<int:n>", endpoint="known", methods=["POST"])

    @app.endpoint("known")
    def known(n: int, item: Item) -> Item:
        return Item(item.name * n)

    @bp.endpoint("of_bp")
    def of_bp(n: int, q: str = ""):
        return f"{n} {q}"

    app.register_blueprint(bp)
    # This rule bypasses `add_url_rule`, so its variable is unknown until the first request.
    app.url_map.add(Rule("/b/<int:n>", endpoint="of_bp"))
    assert client.post("/a/2", json={"name": "x"}).json["name"] == "xx"
    assert client.get("/b/3?n=9&q=z").text == "3 z"


def test_the_function_itself_is_not_changed(app):
    @app.post("/")
    def view(item: Item, q: str = "x") -> Item:
        return item

    item = Item("a")
    assert view(item) is item
    bound = app.view_functions["view"]
    assert bound.__wrapped__ is view
    assert bound.__name__ == "view"


def test_coroutine_view_is_bound(app, client):
    @app.post("/")
    async def view(item: Item, n: int = 1) -> Item:
        return Item(item.name * n)

    assert client.post("/?n=2", json={"name": "a"}).json == {"name": "aa", "price": 1.0}
    assert client.post("/?n=x", json={"name": "a"}).status_code == 422


def passing_on(f):
    @functools.wraps(f)
    def inner(*args, **kwargs):
        return f(*args, **kwargs)

    return inner


def test_decorated_view_is_bound(app, client):
    @app.post("/")
    @passing_on
    @passing_on
    def view(item: Item, n: int = 1) -> Item:
        return Item(item.name * n)

    assert client.post("/?n=2", json={"name": "a"}).json == {"name": "aa", "price": 1.0}


def test_decorator_may_supply_a_type_that_no_request_has(app, client):
    class User:
        name = "ada"

    def with_user(f):
        @functools.wraps(f)
        def inner(*args, **kwargs):
            return f(User(), *args, **kwargs)

        return inner

    @app.get("/")
    @with_user
    def view(user: User, n: int = 1):
        return f"{user.name} {n}"

    assert client.get("/?n=3").text == "ada 3"


def test_an_argument_without_annotation_is_left_to_its_decorator(app, client):
    def with_item(f):
        @functools.wraps(f)
        def inner(**kwargs):
            return f(owned=Item("mine"), **kwargs)

        return inner

    @app.post("/")
    @with_item
    def view(owned, item: Item):
        return f"{owned.name} {item.name}"

    assert client.post("/", json={"name": "sent"}).text == "mine sent"


def test_partial_is_bound(app, client):
    def view(item: Item, n: int, factor: int = 1):
        return f"{item.name} {n} {factor}"

    app.add_url_rule("/", "p", functools.partial(view, factor=5), methods=["POST"])
    assert client.post("/?n=2&factor=9", json={"name": "a"}).text == "a 2 5"


def test_callable_object_is_bound(app, client):
    class Handler:
        __name__ = "handler"

        def __call__(self, n: int):
            return str(n)

    app.add_url_rule("/", "h", Handler())
    assert client.get("/?n=4").text == "4"


class Shop(MethodView):
    def __init__(self, prefix="") -> None:
        self.prefix = prefix

    def get(self, shop: int, page: int = 1) -> list[Item]:
        return [Item(f"{self.prefix}{shop}-{page}")]

    def post(self, shop: int, item: Item) -> tuple[Item, t.Literal[201]]:
        return Item(f"{self.prefix}{item.name}"), 201

    def delete(self, shop: int):
        return f"gone {shop}"


class SharedShop(Shop):
    init_every_request = False


class DecoratedShop(Shop):
    decorators = [passing_on]


@pytest.mark.parametrize("cls", [Shop, SharedShop, DecoratedShop])
def test_each_method_of_a_method_view_is_bound(app, client, cls):
    app.add_url_rule("/shops/<int:shop>", view_func=cls.as_view("shop", prefix="#"))
    assert client.get("/shops/3?page=2").json == [{"name": "#3-2", "price": 1.0}]
    assert client.head("/shops/3").status_code == 200
    assert client.get("/shops/3?page=x").status_code == 422
    made = client.post("/shops/3?page=x", json={"name": "a"})
    assert (made.status_code, made.json) == (201, {"name": "#a", "price": 1.0})
    assert client.delete("/shops/3").text == "gone 3"
    contract = app.view_functions["shop"].contract
    assert set(contract.operations) == {"GET", "POST", "DELETE"}
    assert contract.operation("HEAD") is contract.operation("GET")
    assert contract.operation("POST").answer.status == 201


def test_dispatch_request_of_a_class_is_bound(app, client):
    class Add(View):
        methods = ["POST"]

        def dispatch_request(self, item: Item) -> Item:
            return item

    app.add_url_rule("/", view_func=Add.as_view("add"))
    assert client.post("/", json={"name": "a"}).json == {"name": "a", "price": 1.0}


def test_views_of_nested_and_repeated_blueprints_are_bound(app, client):
    inner, outer = Blueprint("inner", __name__), Blueprint("outer", __name__)

    @inner.post("/<area>/items")
    def add(area: str, item: Item) -> Item:
        return Item(f"{area} {item.name}")

    outer.register_blueprint(inner, url_prefix="/in")
    app.register_blueprint(outer, url_prefix="/out")
    app.register_blueprint(inner, url_prefix="/<lang>", name="again", url_defaults={"lang": "de"})
    assert client.post("/out/in/x/items", json={"name": "a"}).json["name"] == "x a"


def test_local_types_of_a_factory_are_found(app, client):
    """The module of the app factory has `from __future__ import annotations`."""
    source = """
from __future__ import annotations
import msgspec
from carboy import Blueprint
def views(app):
    class Local(msgspec.Struct):
        n: int
    @app.post("/direct")
    def direct(x: Local, more: list[Local] | None = None) -> Local:
        return x
    Direct = direct
def blueprint():
    class Local(msgspec.Struct):
        n: int
    bp = Blueprint("bp", "bp")
    @bp.post("/deferred")
    def deferred(x: Local) -> Local:
        return x
    return bp
"""
    names = {"__name__": "made"}
    exec(source.replace(", more: list[Local] | None = None", ""), names)
    names["views"](app)
    app.register_blueprint(names["blueprint"]())
    assert client.post("/direct", json={"n": 1}).json == {"n": 1}
    assert client.post("/deferred", json={"n": 2}).json == {"n": 2}


def test_hooks_error_handlers_and_g_work_with_typed_views(app, client):
    log = []

    @app.before_request
    def before():
        g.who = request.args.get("who")
        return "stopped" if g.who == "bad" else None

    @app.after_request
    def after(response):
        log.append(response.status_code)
        response.headers["X-After"] = "1"
        return response

    @app.errorhandler(422)
    def handle(error):
        return {"mine": error.members["errors"][0]["path"]}, 418

    @app.post("/")
    def view(item: Item) -> Item:
        return Item(g.who)

    assert client.post("/?who=bad", data="nonsense").text == "stopped"
    assert client.post("/?who=me", json={"name": "a"}).json["name"] == "me"
    answer = client.post("/", json={})
    assert (answer.status_code, answer.json) == (418, {"mine": "$"})
    assert answer.headers["X-After"] == "1"
    assert log == [200, 200, 418]


def test_a_url_value_preprocessor_may_set_arguments(app, client):
    class Project:
        def __init__(self, n):
            self.n = n

    @app.url_value_preprocessor
    def pull(endpoint, values):
        values["project"] = Project(values.pop("project_id"))
        values["item"] = Item("theirs")

    @app.post("/<int:project_id>")
    def view(project: Project, item: Item, q: str = "") -> str:
        return f"{project.n} {item.name} {q}"

    assert client.post("/4?q=x").text == "4 theirs x"
    assert client.post("/4?q=x", json={"name": "mine"}).text == "4 theirs x"


def test_binding_can_be_disabled():
    app = Carboy("off")
    app.config.update(TYPED_VIEWS=False, TESTING=True)

    @app.get("/")
    def view(n: int = 1) -> str:
        return str(n)

    assert app.view_functions["view"] is view
    assert app.test_client().get("/?n=5").text == "1"


def test_view_without_types_is_unchanged(app):
    def plain(x=1):
        return "x"

    def texts(name: str) -> str:
        return name

    def answer() -> "dict":
        return {}

    for view in (plain, answer):
        app.add_url_rule(f"/{view.__name__}", view_func=view)
    app.add_url_rule("/<name>", view_func=texts)
    for view in (plain, texts, answer):
        assert app.view_functions[view.__name__] is view


def test_abort_in_a_typed_view_is_a_problem_or_a_page_by_accept(app, client):
    @app.get("/")
    def view() -> Item:
        abort(404, "No such item.")

    program = client.get("/")
    assert program.mimetype == "application/problem+json"
    assert program.get_json(force=True) == {
        "title": "Not Found",
        "status": 404,
        "detail": "No such item.",
    }
    person = client.get("/", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (person.status_code, person.mimetype) == (404, "text/html")


def test_exception_of_a_view_reaches_the_error_handlers(app, client):
    @app.errorhandler(ZeroDivisionError)
    def handle(error):
        return "handled", 500

    @app.get("/")
    def view(n: int) -> Item:
        return Item(str(1 / n))

    assert client.get("/?n=0").text == "handled"


def test_traceback_shows_the_lines_of_the_view_and_the_binding(app, client):
    import traceback

    @app.get("/")
    def view(n: int) -> Item:
        raise RuntimeError("here")

    with pytest.raises(RuntimeError) as caught:
        client.get("/?n=1")
    lines = "".join(traceback.format_exception(caught.value))
    assert 'raise RuntimeError("here")' in lines
    assert "rv = view(n=a0, **values)" in lines
