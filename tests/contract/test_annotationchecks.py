"""What stands in an annotation has an effect on requests, or is refused at registration."""

from __future__ import annotations

import collections
import dataclasses
import functools
import sys
import threading
import typing as t

import annotated_types
import attrs
import msgspec
import pydantic
import pydantic.dataclasses
import pytest
from typing_extensions import TypeAliasType

from carboy import Body, Carboy, Cookie, File, Form, Header, Image, Query, Upload
from carboy.errors import SignatureError
from carboy.models import DataFrame, ImageOptions

if t.TYPE_CHECKING:
    from decimal import Decimal as Missing

Positive = pydantic.Field(gt=0)
Few = msgspec.Meta(max_length=3)
Token = TypeAliasType("Token", t.Annotated[str, Header("X-Token")])
OptionalToken = TypeAliasType("OptionalToken", Token | None)
Bounded = TypeAliasType("Bounded", t.Annotated[int, msgspec.Meta(ge=1)])
OptionalBounded = TypeAliasType("OptionalBounded", Bounded | None)


@dataclasses.dataclass
class Transfer:
    amount: t.Annotated[int, Positive]


@dataclasses.dataclass
class Transfers:
    items: list[Transfer]


class Order(t.TypedDict):
    amount: t.Annotated[int, Positive]
    note: t.NotRequired[str]


class Pair(t.NamedTuple):
    amount: t.Annotated[int, annotated_types.Gt(0)]


class Payment(msgspec.Struct):
    amount: t.Annotated[int, Positive]


class Account(msgspec.Struct):
    transfer: Transfer


@attrs.define
class Pot:
    amount: t.Annotated[int, annotated_types.Gt(0)]


class Limited(pydantic.BaseModel):
    names: t.Annotated[list[str], Few]


class Holder(msgspec.Struct):
    person: Limited


class Marked(msgspec.Struct):
    token: t.Annotated[str, Header()]


class MarkedDefault(msgspec.Struct):
    token: str = Header()


@dataclasses.dataclass
class LimitAsDefault:
    amount: int = pydantic.Field(gt=0)


class Album(msgspec.Struct):
    cover: t.Annotated[Image, ImageOptions(max_pixels=9)]


class Shelf(msgspec.Struct):
    rows: tuple[list[int], ...] = ([],)


class Unordered:
    __hash__ = object.__hash__


@dataclasses.dataclass
class Setup:
    extra: t.Any = Unordered()  # noqa: RUF009


@attrs.define
class Bag:
    items: list[str] = []  # noqa: RUF008


class Line(t.NamedTuple):
    points: list[int] = []


class Frozen(msgspec.Struct, frozen=True):
    n: int = 1


class Fine(msgspec.Struct):
    tags: list[str] = []
    inner: Frozen = Frozen()
    pair: tuple[int, int] = (1, 2)
    maybe: int | msgspec.UnsetType = msgspec.UNSET


@dataclasses.dataclass
class Unreadable:
    amount: Missing


def register(kind: str, annotation: t.Any, *default: t.Any) -> Carboy:
    """Return an app with a view and a model that return `repr` of a parameter `x` of the body."""
    app = Carboy("checks", static_folder=None)

    def echo(x):
        return {"x": repr(x)}

    marked = t.Annotated[annotation, Body()] if kind == "view" else annotation
    echo.__annotations__ = {"x": marked}
    echo.__defaults__ = default
    (app.post if kind == "view" else app.model)("/")(echo)
    return app


BOTH = pytest.mark.parametrize("kind", ["view", "model"])


@BOTH
@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        (Transfer, {"amount": 1}, {"amount": -5}),
        (list[Transfer], [{"amount": 1}], [{"amount": 0}]),
        (dict[str, Transfer], {"a": {"amount": 1}}, {"a": {"amount": 0}}),
        (Transfer | None, {"amount": 1}, {"amount": 0}),
        (Transfers, {"items": [{"amount": 1}]}, {"items": [{"amount": 0}]}),
        (Order, {"amount": 1}, {"amount": 0}),
        (Pair, [1], [0]),
        (list[t.Annotated[int, Positive]], [1], [0]),
        (t.Annotated[str, pydantic.Field(max_length=3)], "abc", "abcd"),
        (t.Annotated[str, annotated_types.Len(1, 3)], "abc", ""),
        (t.Annotated[str | None, Few], "abc", "abcd"),
        (t.Annotated[str | None, annotated_types.MaxLen(3)], "abc", "abcd"),
        (t.Annotated[list[Transfer], Few], [], [{"amount": 1}] * 4),
        (Bounded, 1, 0),
        (list[OptionalBounded], [1, None], [0]),
    ],
    ids=str,
)
def test_limit_of_either_library_is_checked(kind, annotation, good, bad):
    client = register(kind, annotation).test_client()
    assert client.post("/", json=good).status_code == 200
    assert client.post("/", json=bad).status_code == 422


@pytest.mark.parametrize("limit", [Few, pydantic.Field(max_length=3), annotated_types.MaxLen(3)])
def test_limit_of_a_text_is_checked_in_each_form_of_body(limit):
    client = register("model", t.Annotated[str, limit]).test_client()
    for good, status in (("abc", 200), ("abcd", 422)):
        assert client.post("/", json=good).status_code == status
        assert client.post("/", data={"x": good}).status_code == status
        assert client.post("/", data=good, content_type="text/plain").status_code == status


def test_limit_on_a_field_is_in_the_document():
    app = Carboy("documented", static_folder=None)

    def view(x: Transfer): ...
    def other(x: Order): ...

    app.post("/a")(view)
    app.post("/b")(other)
    schemas = app.openapi()["components"]["schemas"]
    for name in ("Transfer", "Order"):
        assert schemas[name]["properties"]["amount"]["exclusiveMinimum"] == 0


@BOTH
@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Payment, ["Payment.amount", "msgspec ignores", "msgspec.Meta"]),
        (list[Payment], ["Payment.amount"]),
        (Pot, ["Pot.amount", "msgspec ignores"]),
        (Account, ["Transfer.amount", "msgspec ignores"]),
        (Limited, ["Limited.names", "pydantic ignores", "pydantic.Field"]),
        (Holder, ["Limited.names", "pydantic ignores"]),
        (DataFrame[Payment], ["Payment.amount", "msgspec ignores"]),
        (t.Annotated[Image, Few], ["has no effect"]),
        (t.Annotated[bytes, pydantic.AfterValidator(len)], ["AfterValidator", "has no effect"]),
        (t.Annotated[int, ImageOptions()], ["ImageOptions", "says nothing about int"]),
        (dict[str, t.Annotated[Image, ImageOptions()]], ["no effect inside a record, a dict"]),
        (Album, ["Album.cover", "no effect inside a record"]),
        (list[t.Annotated[str, Header("X-A")]], ["Header('X-A')", "Write the marker outside"]),
        (t.Annotated[int, Query()] | dict[str, str], ["Query()", "Write the marker outside"]),
        (Marked, ["Marked.token", "Header()"]),
        (LimitAsDefault, ["LimitAsDefault.amount", "describes a parameter"]),
        (MarkedDefault, ["MarkedDefault.token", "describes a parameter"]),
        (Unreadable, ["Missing", "TYPE_CHECKING"]),
        (list[Unreadable], ["Missing", "TYPE_CHECKING"]),
    ],
)
def test_part_of_an_annotation_that_would_be_ignored_is_refused(kind, annotation, words):
    with pytest.raises(SignatureError) as caught:
        register(kind, annotation)
    for word in ("echo", "'x'", *words):
        assert word in str(caught.value)


@pydantic.dataclasses.dataclass
class Coin:
    n: t.Annotated[int, Positive]


class Wallet(msgspec.Struct):
    coins: list[Coin]


@dataclasses.dataclass
class Purse:
    coin: Coin | None


class Pocket(t.TypedDict):
    coin: Coin


@dataclasses.dataclass
class Tenfold:
    n: int

    def __init__(self, n: int) -> None:
        self.n = 10 * n


def traced(cls):
    """Wrap the `__init__` of a class, as beartype and other decorators do."""
    written = cls.__init__

    @functools.wraps(written)
    def __init__(self, *args: t.Any, **options: t.Any) -> None:
        written(self, *args, **options)

    cls.__init__ = __init__
    return cls


@traced
class TracedTenfold(Tenfold):
    pass


@attrs.define
class AttrsTenfold:
    n: int

    def __init__(self, n: int) -> None:
        self.__attrs_init__(n * 10)


@attrs.define
class Renamed:
    price: float = attrs.field(alias="cost", default=0.0)


@attrs.define
class Converted:
    code: str = attrs.field(converter=str.upper)


@BOTH
@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Wallet, ["Wallet.coins", "pydantic dataclass Coin", "pydantic.BaseModel"]),
        (Purse, ["Purse.coin", "pydantic dataclass Coin"]),
        (dict[str, Pocket], ["Pocket.coin", "pydantic dataclass Coin"]),
        (Tenfold, ["Tenfold", "__init__", "__post_init__"]),
        (TracedTenfold, ["TracedTenfold", "__init__", "__post_init__"]),
        (list[AttrsTenfold], ["AttrsTenfold", "__init__", "__attrs_post_init__"]),
        (Renamed, ["Renamed.price", "`alias`", "msgspec.field"]),
        (Converted | int, ["Converted.code", "`converter`"]),
    ],
)
def test_class_whose_own_code_would_not_run_is_refused(kind, annotation, words):
    with pytest.raises(SignatureError) as caught:
        register(kind, annotation)
    for word in ("echo", "'x'", *words):
        assert word in str(caught.value)


@traced
@dataclasses.dataclass
class Traced:
    n: int


@traced
@traced
@attrs.define
class AttrsTraced:
    n: int


@attrs.define
class Private:
    _n: int = attrs.field(validator=attrs.validators.gt(0))


@BOTH
@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        (Private, {"_n": 1}, {"_n": 0}),
        (list[Coin], [{"n": 1}], [{"n": 0}]),
        (Traced, {"n": 1}, {"n": "x"}),
        (AttrsTraced, {"n": 1}, {"n": "x"}),
        (DataFrame[Tenfold], [{"n": 1}], [{"n": "x"}]),
    ],
)
def test_other_classes_of_attrs_and_pydantic_are_read(kind, annotation, good, bad):
    client = register(kind, annotation).test_client()
    assert client.post("/", json=good).status_code == 200
    assert client.post("/", json=bad).status_code == 422


@BOTH
@pytest.mark.parametrize("annotation", [Shelf, Setup, Bag, Line, list[Bag]], ids=str)
def test_default_of_a_field_that_requests_would_share_is_refused(kind, annotation):
    with pytest.raises(SignatureError, match=r"all requests would share.*default_factory"):
        register(kind, annotation)


@BOTH
def test_default_of_a_field_that_cannot_change_is_accepted(kind):
    client = register(kind, Fine).test_client()
    assert client.post("/", json={}).status_code == 200


@BOTH
def test_default_that_cannot_be_copied_is_refused(kind):
    default = {"lock": threading.Lock()}
    with pytest.raises(SignatureError, match=r"cannot be copied.*Write None"):
        register(kind, dict[str, t.Any], default)


Deep = collections.namedtuple("Deep", "items")  # noqa: PYI024 - a default without types


@BOTH
@pytest.mark.parametrize("default", [Deep([]), ([],), {"a": [[]]}, [Fine()]], ids=str)
def test_default_is_not_shared_by_two_requests_at_any_depth(kind, default):
    app = Carboy("deep", static_folder=None)

    def change(x):
        before = repr(x)
        inner = x
        while not isinstance(inner, Fine) and inner:
            inner = inner["a"] if isinstance(inner, dict) else inner[0]
        (inner.tags if isinstance(inner, Fine) else inner).append(1)
        return {"x": before}

    change.__defaults__ = (default,)
    change.__annotations__ = {"x": t.Annotated[t.Any, Body()] if kind == "view" else t.Any}
    (app.post if kind == "view" else app.model)("/")(change)
    client = app.test_client()
    assert [client.post("/").json for _ in range(2)] == [{"x": repr(default)}] * 2


@pytest.mark.parametrize(
    "annotation",
    [
        t.Annotated[str, Header("X-Token")] | None,
        t.Optional[t.Annotated[str, Header("X-Token")]],  # noqa: UP045
        Token,
        Token | None,
        OptionalToken,
        t.Annotated[Token, "a note"],
        t.Annotated[OptionalToken, Few],
    ],
    ids=str,
)
def test_marker_in_an_alias_or_beside_none_is_read(app, client, annotation):
    def view(x=None):
        return {"x": x}

    view.__annotations__ = {"x": annotation}
    app.get("/")(view)
    assert client.get("/", headers={"X-Token": "abc"}).json == {"x": "abc"}
    assert client.get("/?x=query&X-Token=query").json == {"x": None}
    assert client.get("/", headers={"X-Token": "abcd"}).status_code == (
        422 if "Meta" in str(annotation) else 200
    )


def test_two_markers_beside_none_are_refused(app):
    def view(x: t.Annotated[t.Annotated[str, Header()] | None, Query()] = None): ...

    with pytest.raises(SignatureError, match="more than one marker"):
        app.get("/")(view)


@BOTH
@pytest.mark.parametrize(
    "annotation", [t.Annotated[int, annotated_types.Ge(1)], list[t.Annotated[int, Positive]]]
)
def test_limit_that_needs_pydantic_is_refused_without_it(monkeypatch, kind, annotation):
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(SignatureError, match="pip install pydantic"):
        register(kind, annotation)


@pytest.mark.parametrize(
    "annotation",
    [
        t.Annotated[int, msgspec.Meta(max_length=3)],
        t.Annotated[int, pydantic.Field(max_length=3)],
        list[t.Annotated[str, msgspec.Meta(ge=3)]],
        t.Annotated[dict[str, int], msgspec.Meta(ge=3)],
    ],
    ids=str,
)
def test_limit_that_does_not_fit_its_type_is_refused(app, annotation):
    def view(n): ...

    view.__annotations__ = {"n": annotation}
    with pytest.raises(SignatureError, match="'n'"):
        app.post("/")(view)


def test_limit_of_a_parameter_needs_pydantic(app, monkeypatch):
    def view(n: t.Annotated[int, annotated_types.Ge(1)] = 1): ...

    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(SignatureError, match=r"'n'.*pip install pydantic"):
        app.get("/")(view)


FIELD = dataclasses.field(default=1)


@pytest.mark.parametrize(
    "default",
    [
        Header("X-Token"),
        Header,
        Query(),
        Cookie(),
        Form(),
        File(),
        Body(),
        pydantic.Field(ge=1),
        msgspec.field(default=1),
        msgspec.Meta(ge=1),
        FIELD,
    ],
    ids=lambda default: getattr(default, "__name__", type(default).__name__),
)
@pytest.mark.parametrize("annotated", [True, False])
def test_declaration_as_default_is_refused(app, default, annotated):
    def view(token):
        return "let in"

    view.__defaults__ = (default,)
    view.__annotations__ = {"token": str} if annotated else {}
    if not annotated and type(default).__module__ != "carboy.contract.markers":
        return  # a view without types is Flask's
    with pytest.raises(SignatureError, match=r"'token' has the default .*Annotated\[str, "):
        app.post("/")(view)
    if annotated:
        with pytest.raises(SignatureError, match=r"'token' .*has the default .*Annotated\[str, "):
            app.model("/model")(view)


def test_marker_as_default_is_refused_behind_a_decorator_and_under_the_name_of_flask():
    from carboy.contract.binding import bind
    from carboy.contract.signature import Circumstances

    def view(token: str = Header("X-Token")): ...

    @functools.wraps(view)
    def outer(*args, **kwargs):
        return view(*args, **kwargs)

    for as_flask in (False, True):
        about = Circumstances(frozenset(), frozenset(["GET"]), as_flask=as_flask)
        with pytest.raises(SignatureError, match="describes a parameter"):
            bind(outer, about)


def unreadable_with_a_default(a: Missing | None = None): ...
def unreadable_item_with_a_default(a: list[Missing] = ()): ...
def unreadable_and_marked(a: t.Annotated[Missing, Header("X-Quota")] = 1): ...
def unreadable_marked_beside_none(a: t.Annotated[Missing, Header()] | None = None): ...
def unreadable_attribute(a: Missing.Deeper[int] = 1): ...


@pytest.mark.parametrize(
    "view",
    [
        unreadable_with_a_default,
        unreadable_item_with_a_default,
        unreadable_and_marked,
        unreadable_marked_beside_none,
        unreadable_attribute,
    ],
)
def test_unreadable_annotation_with_a_default_is_refused(app, view):
    with pytest.raises(SignatureError, match=r"'a' has the type .*TYPE_CHECKING"):
        app.get("/")(view)


def test_unreadable_argument_of_a_decorator_needs_no_type(app, client):
    def supply(view):
        @functools.wraps(view)
        def wrapper(*args, **kwargs):
            return view(*args, a="supplied", **kwargs)

        return wrapper

    @app.get("/")
    @supply
    def view(a: Missing, n: int = 0):
        return f"{a} {n}"

    assert client.get("/?n=3&a=x").text == "supplied 3"


def test_unreadable_marked_argument_is_refused_behind_a_decorator(app):
    @functools.wraps(unreadable_and_marked)
    def outer(*args, **kwargs):
        return unreadable_and_marked(*args, **kwargs)

    with pytest.raises(SignatureError, match="cannot be found"):
        app.get("/")(outer)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (t.Annotated[int, msgspec.Meta(ge=1)], "is not checked"),
        (t.Annotated[int, Positive], "is not checked"),
        (t.Annotated[int, Query()], "has a marker"),
    ],
    ids=str,
)
def test_limit_or_marker_on_a_variable_of_a_rule_is_refused(app, annotation, words):
    def view(n): ...

    view.__annotations__ = {"n": annotation}
    with pytest.raises(SignatureError, match=f"variable of the rule.*{words}"):
        app.get("/<int:n>")(view)


def test_variable_of_a_rule_may_be_described(app, client):
    @app.get("/<int:n>")
    def view(n: t.Annotated[int, msgspec.Meta(description="Which one.")], q: int = 1):
        return f"{n} {q}"

    assert client.get("/3").text == "3 1"


def test_upload_takes_limits(app, client):
    @app.post("/")
    def view(x: t.Annotated[Upload, Few]):
        return "ok"

    assert client.post("/", data=b"abc", content_type="audio/wav").status_code == 200
    assert client.post("/", data=b"abcd", content_type="audio/wav").status_code == 422
