"""Under `install_as_flask`, only arguments for which Flask would fail are bound."""

import dataclasses
import datetime as dt
import functools
import sys
import typing as t

import msgspec
import pytest

import carboy
from carboy import Carboy, Query


class Item(msgspec.Struct):
    name: str


@dataclasses.dataclass
class Row:
    day: dt.date


class Entry(t.TypedDict):
    day: dt.date


@pytest.fixture
def app(monkeypatch):
    monkeypatch.setitem(sys.modules, "flask", carboy)
    app = Carboy("flasks")
    app.config["PROPAGATE_EXCEPTIONS"] = True
    return app


def test_defaults_stay_defaults(app, client):
    @app.get("/")
    def view(n: int = 1, q: str | None = None):
        return f"{n} {q}"

    assert client.get("/?n=5&q=x").text == "1 None"
    assert app.view_functions["view"] is view


def test_required_parameter_is_bound(app, client):
    @app.post("/")
    def view(item: Item, n: int, m: int = 1) -> Item:
        return Item(f"{item.name} {n} {m}")

    assert client.post("/?n=5&m=3", json={"name": "a"}).json == {"name": "a 5 1"}


def test_marked_parameter_is_bound(app, client):
    @app.get("/")
    def view(n: t.Annotated[int, Query()] = 1, m: int = 1):
        return f"{n} {m}"

    assert client.get("/?n=5&m=3").text == "5 1"


def test_parameter_that_a_decorator_may_supply_is_not_bound(app, client):
    def with_item(f):
        @functools.wraps(f)
        def inner(*args, **kwargs):
            return f(Item("theirs"), *args, **kwargs)

        return inner

    @app.post("/")
    @with_item
    def view(item: Item):
        return item.name

    assert client.post("/", json={"name": "sent"}).text == "theirs"


def test_parameter_of_an_unknown_type_stays_an_error_of_flask(app, client):
    class Session:
        pass

    @app.get("/")
    def view(session: Session, other: Item):
        return "never"

    with pytest.raises(TypeError, match="missing"):
        client.get("/")


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (list[Row], [Row(dt.date(2024, 1, 2))]),
        (Entry, {"day": dt.date(2024, 1, 2)}),
        (list[Entry], [{"day": dt.date(2024, 1, 2)}]),
        (dict[str, Row], {"a": Row(dt.date(2024, 1, 2))}),
    ],
    ids=str,
)
def test_types_that_flask_supports_are_serialized_by_flask(app, client, annotation, value):
    def view():
        return value

    view.__annotations__ = {"return": annotation}
    app.add_url_rule("/", view_func=view)
    assert b"Tue, 02 Jan 2024 00:00:00 GMT" in client.get("/").data


def test_return_value_that_flask_refuses_is_serialized(app, client):
    @app.get("/")
    def view() -> list[Item]:
        return [Item("a")]

    assert client.get("/").json == [{"name": "a"}]


def test_unbindable_parameter_stays_an_error_of_flask(app, client):
    """Two parameters could be the body, which carboy refuses; in Flask, calling the view fails."""

    @app.post("/")
    def view(a: Item, b: Item):
        return "never"

    assert app.view_functions["view"] is view


def test_mistake_with_markers_is_refused(app):
    def view(a: t.Annotated[Item, Query(), carboy.Header()]): ...

    with pytest.raises(TypeError, match="more than one marker"):
        app.add_url_rule("/", view_func=view)
