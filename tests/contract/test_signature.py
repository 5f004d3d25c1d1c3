"""Ambiguous signatures are refused at registration, with a message that says what to write."""

import functools
import typing as t

import msgspec
import pydantic
import pytest

from carboy import Body, Carboy, Cookie, File, Form, Header, Query, Upload, raises
from carboy.contract.operation import UNSET
from carboy.contract.signature import describe
from carboy.errors import SignatureError
from carboy.views import MethodView


class Item(msgspec.Struct):
    name: str


class Other(msgspec.Struct):
    name: str


class Unknown:
    pass


def two_bodies(a: Item, b: Other): ...
def a_marked_and_an_unmarked_body(a: t.Annotated[Item, Body()], b: Other): ...
def unknown_type(a: Unknown): ...
def unreadable_name(a: "Missing"): ...
def marked_unreadable(a: "t.Annotated[Missing, Query()]"): ...
def list_of_unknown(a: list[Unknown]): ...
def two_markers(a: t.Annotated[int, Query(), Header()]): ...
def file_from_query(a: t.Annotated[Upload, Query()]): ...
def record_from_header(a: t.Annotated[Item, Header()]): ...
def record_as_file(a: t.Annotated[Item, File()]): ...
def list_from_cookie(a: t.Annotated[list[int], Cookie()]): ...
def body_beside_a_file(a: t.Annotated[Item, Body()], b: Upload): ...
def bodies_beside_a_file(
    a: t.Annotated[Item, Body()], b: t.Annotated[Other, Body()], c: Upload
): ...
def list_beside_a_field(a: list[Item], b: t.Annotated[str, Form()]): ...


def positional(a: int, /): ...
def positional_with_a_default(a: int = 1, /): ...
def named_record(a: t.Annotated[Item, Query("item")]): ...
def two_of_a_name(a: t.Annotated[int, Form("n")], b: t.Annotated[int, Form("n")]): ...
def keys_of_a_name(a: t.Annotated[int, Body()], b: t.Annotated[int, Body("a")]): ...


class Numbers(pydantic.RootModel[list[int]]):
    pass


def root_of_the_query(a: t.Annotated[Numbers, Query()]): ...
def root_of_the_form(a: t.Annotated[Numbers, Form()]): ...


@pytest.mark.parametrize(
    ("view", "words"),
    [
        (positional, ["'a' stands before a `/`", "by name"]),
        (positional_with_a_default, ["'a' stands before a `/`"]),
        (named_record, ["'a' is marked Query('item')", "Leave the name out"]),
        (two_of_a_name, ["'b' has the name 'n' in the body, as 'a' has"]),
        (keys_of_a_name, ["'b' has the name 'a' in the body, as 'a' has"]),
        (root_of_the_query, ["'a' is marked Query()", "a: Annotated[list[int], Query()]"]),
        (root_of_the_form, ["'a' is marked Form()", "a: Annotated[list[int], Form()]"]),
        (two_bodies, ["'a' and 'b' would both be the body", "a: Annotated[Item, Body()]"]),
        (a_marked_and_an_unmarked_body, ["would both be the body"]),
        (unknown_type, ["'a' has the type Unknown", "Struct", "leave the annotation out"]),
        (unreadable_name, ["'a' has the type 'Missing'", "cannot be found", "TYPE_CHECKING"]),
        (marked_unreadable, ["cannot be found"]),
        (list_of_unknown, ["cannot be read from a request"]),
        (two_markers, ["more than one marker"]),
        (file_from_query, ["is marked Query()", "scalars", "Upload"]),
        (record_from_header, ["is marked Header()"]),
        (record_as_file, ["is marked File()"]),
        (list_from_cookie, ["is marked Cookie()"]),
        (body_beside_a_file, ["beside fields or files"]),
        (bodies_beside_a_file, ["'a' (Item) would be the body", "beside fields or files"]),
        (list_beside_a_field, ["beside fields or files", "take a record"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_ambiguous_signature_is_refused_at_registration(app, view, words):
    with pytest.raises(SignatureError) as caught:
        app.add_url_rule("/", view_func=view, methods=["POST"])
    message = str(caught.value)
    assert f"{view.__module__}.{view.__name__} ({__file__}:" in message
    for word in words:
        assert word in message
    assert isinstance(caught.value, TypeError)


def test_body_parameter_needs_a_method_with_a_body(app):
    def view(item: Item): ...

    with pytest.raises(SignatureError, match=r"GET has none.*Annotated\[Item, Query\(\)\]"):
        app.add_url_rule("/", view_func=view)

    def several(items: list[Item]): ...

    with pytest.raises(SignatureError, match=r"GET has none.*PUT or PATCH\.$"):
        app.add_url_rule("/", view_func=several)

    def marked(item: t.Annotated[Item, Body()]): ...

    with pytest.raises(SignatureError, match="GET has none"):
        app.add_url_rule("/m", view_func=marked)


def test_parameter_of_an_unknown_type_keeps_its_default(app, client):
    """A default may be a dependency of a Flask program, so the parameter is not bound."""
    unknown = Unknown()

    @app.get("/")
    def view(service: Unknown = unknown, item: Item = Item("kept"), n: int = 1):  # noqa: B008
        assert service is unknown
        return f"{item.name} {n}"

    assert client.get("/?n=2").text == "kept 2"


def test_return_type_under_type_checking_is_ignored(app):
    def view() -> "Missing": ...

    app.add_url_rule("/", view_func=view)
    assert app.view_functions["view"] is view


def test_contract_describes_parameters_body_and_answer():
    app = Carboy("x")

    @app.post("/<int:shop>")
    @raises(404, 409, description="Why.")
    def view(
        shop: int,
        item: Item,
        q: t.Annotated[int, msgspec.Meta(ge=1, description="From Meta.")] = 1,
        token: t.Annotated[str, Header("X-Token", description="Said.")] = "",
        tags: list[str] | None = None,
    ) -> Item: ...

    operation = app.view_functions["view"].contract.operation("POST")
    assert operation.function is view
    assert dict(operation.path) == {"shop": int}
    q, token, tags = operation.parameters
    assert (q.name, q.alias, q.place, q.default, q.description) == (
        "q",
        "q",
        "query",
        1,
        "From Meta.",
    )
    assert (token.alias, token.place, token.description) == ("X-Token", "header", "Said.")
    assert tags.many
    assert not tags.required
    body = operation.body
    item = body.single
    assert (item.name, item.annotation, item.default, body.required) == ("item", Item, UNSET, True)
    assert body.media_types[0] == "application/json"
    assert operation.answer.annotation is Item
    assert [(each.status, each.source) for each in operation.failures] == [
        (404, "declared"),
        (409, "declared"),
        (400, "implied"),
        (413, "implied"),
        (415, "implied"),
        (422, "implied"),
    ]
    assert operation.bound == ("q", "token", "tags", "item")


def test_raises_may_be_above_the_route(app):
    @raises(410)
    @app.get("/")
    def view() -> Item: ...

    operation = app.view_functions["view"].contract.operation("GET")
    assert [each.status for each in operation.failures] == [410]


@pytest.mark.parametrize("statuses", [(), (200,), ("404",), (True,)], ids=str)
def test_raises_accepts_error_statuses_only(statuses):
    with pytest.raises((ValueError, TypeError), match="@raises"):
        raises(*statuses)


def test_a_view_that_binds_nothing_can_be_described():
    @raises(404)
    def view(shop: int, q: str = "") -> str: ...

    operation = describe(view, {"shop"}).operation("GET")
    assert operation.parameters == ()
    assert operation.body is None
    assert operation.answer.kind == "flask"
    assert dict(operation.path) == {"shop": int}
    assert [(each.status, each.problem) for each in operation.failures] == [(404, False)]


def test_missing_method_of_a_class_has_no_operation():
    class Only(MethodView):
        def get(self, n: int = 1): ...

    contract = describe(Only.as_view("only"))
    with pytest.raises(KeyError, match="answers GET"):
        contract.operation("POST")


def test_marker_has_a_readable_repr():
    assert repr(Query()) == "Query()"
    assert repr(Header("X-A")) == "Header('X-A')"


class Scores(pydantic.RootModel[dict[str, int]]):
    pass


def test_root_model_of_an_object_is_read_from_a_query(app, client):
    @app.get("/")
    def view(a: t.Annotated[Scores, Query()]):
        return repr(a.root)

    assert client.get("/?x=1&y=2").text == "{'x': 1, 'y': 2}"


def test_positional_parameters_that_come_from_elsewhere_are_accepted(app, client):
    @app.get("/default")
    def default(a=1, /):
        return str(a)

    app.get("/partial", endpoint="partial")(functools.partial(positional_with_a_default, 1))
    assert client.get("/default").text == "1"
