"""Query, headers and cookies: which texts each type accepts and refuses."""

import dataclasses
import datetime as dt
import enum
import typing as t
import uuid
from decimal import Decimal

import annotated_types
import attrs
import msgspec
import pydantic
import pytest
from pydantic.alias_generators import to_camel

from carboy import Carboy, Cookie, Header, Query
from carboy.errors import SignatureError

NOON = dt.datetime.fromisoformat("2024-02-29T12:30")  # without a zone, as browsers send it


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    S = 1
    M = 2


AtLeastTwo = t.Annotated[int, pydantic.Field(ge=2)]
GOOD = [
    (str, "a", "a"),
    (str, "", ""),
    (str, "%C3%A4+b", "ä b"),
    (int, "7", 7),
    (int, "-7", -7),
    (float, "1.5", 1.5),
    (float, "2", 2.0),
    (bool, "true", True),
    (bool, "0", False),
    (bool, "on", True),
    (bool, "No", False),
    (Decimal, "1.10", Decimal("1.10")),
    (dt.date, "2024-02-29", dt.date(2024, 2, 29)),
    (dt.datetime, "2024-02-29T10:00:00Z", dt.datetime(2024, 2, 29, 10, tzinfo=dt.UTC)),
    (
        uuid.UUID,
        "12345678-1234-5678-1234-567812345678",
        uuid.UUID(int=0x12345678123456781234567812345678),
    ),
    (Color, "red", Color.RED),
    (Size, "2", Size.M),
    (t.Literal["a", "b"], "b", "b"),
    (t.Literal[1, 2], "2", 2),
    (int | None, "3", 3),
    (str | None, "x", "x"),
    (int | str, "x", "x"),
    (list[int], "3", [3]),
    (list[str], "3&x=4", ["3", "4"]),
    (set[int], "3&x=3", {3}),
    (tuple[int, int], "3&x=4", (3, 4)),
    (t.Annotated[int, msgspec.Meta(ge=2)], "2", 2),
    (t.Annotated[str, msgspec.Meta(pattern="^a")], "abc", "abc"),
    (t.NewType("Id", int), "5", 5),
    (t.Annotated[int | None, msgspec.Meta(ge=2)], "2", 2),
    (list[int | None] | None, "3", [3]),
    (str | None, "null", "null"),
    (list[str | None], "null", ["null"]),
    (t.Literal["null", "a"] | None, "null", "null"),
    (t.Annotated[int, pydantic.Field(ge=2)], "2", 2),
    (t.Annotated[list[int], pydantic.Field(max_length=2)], "2&x=3", [2, 3]),
    # as browsers send it
    (int, "01", 1),
    (int, "-007", -7),
    (int, "%2B5", 5),
    (int, "+5+", 5),
    (int, "000", 0),
    (int | None, "01", 1),
    (list[int], "01&x=02", [1, 2]),
    (set[int], "01", {1}),
    (t.Annotated[int, msgspec.Meta(le=9)], "09", 9),
    (t.Annotated[int, pydantic.Field(le=9)], "09", 9),
    (float, ".5", 0.5),
    (float, "-.5", -0.5),
    (float, "5.", 5.0),
    (float, "01.5", 1.5),
    (float, "05.e2", 500.0),
    (Decimal, "01.50", Decimal("1.50")),
    (dt.datetime, "2024-02-29T12:30", NOON),
    (dt.datetime, "2024-02-29T12:30Z", dt.datetime(2024, 2, 29, 12, 30, tzinfo=dt.UTC)),
    (dt.datetime | None, "2024-02-29 12:30", NOON),
    (list[dt.datetime], "2024-02-29T12:30", [NOON]),
    (dt.time, "12:30", dt.time(12, 30)),
    (list[bool], "on&x=no", [True, False]),
    (Size, "02", Size.M),
    (t.Literal[1, 2] | None, "02", 2),
    # texts that may be any text are never rewritten
    (str, "01", "01"),
    (int | str, "x01", "x01"),
    (list[str], "01&x=12:30", ["01", "12:30"]),
    (t.Literal["on", "off"], "on", "on"),
    (t.Literal["on"] | bool, "on", "on"),
]
BAD = [
    (int, "x", "`int`"),
    (int, "", "`int`"),
    (int, "1_0", "`int`"),
    (int, "1.5", "`int`"),
    (float, "nan", "a finite number"),
    (float, "inf", "a finite number"),
    (bool, "maybe", "`bool`"),
    (dt.date, "2024-02-30", "a date such as 2024-02-29"),
    (uuid.UUID, "1", "a UUID"),
    (Color, "green", "'red'"),
    (t.Literal["a"], "b", "'a'"),
    (t.Literal["a", "b"] | None, "c", "one of 'a', 'b'"),
    (dt.datetime, "x", "a date and time such as 2024-02-29T12:30:00Z"),
    (list[t.Literal["a"]], "b", "'a'"),
    (int | None, "x", "`int`"),
    (t.Annotated[int, msgspec.Meta(ge=2)], "1", "`int` >= 2"),
    (t.Annotated[str, msgspec.Meta(max_length=2)], "abc", "`str` of length <= 2"),
    (tuple[int, int], "3", "`array` of length 2"),
    (int | None, "null", "`int`"),
    (t.Annotated[int, pydantic.Field(ge=2)], "1", "greater than or equal to 2"),
    (list[t.Annotated[int, pydantic.Field(ge=2)]], "1", "greater than or equal to 2"),
    (t.Annotated[str, annotated_types.MaxLen(2)] | None, "abc", "at most 2 characters"),
    (Color | None, "null", "'red'"),
    (list[int | None], "null", "`int`"),
    (t.Annotated[int | None, msgspec.Meta(ge=2)], "null", "`int`"),
    (t.Annotated[int | None, msgspec.Meta(ge=2)], "1", "`int` >= 2"),
    (int, "0x1", "`int`"),
    (int, "01.5", "`int`"),
    (int, "-", "`int`"),
    (int, "0" * 70 + "x", "`int`"),
    (float, ".", "`float`"),
    (dt.datetime, "2024-02-30T12:30", "a date and time"),
    (dt.time, "24:30", "a time"),
    (Decimal, "NaN", "a finite number"),
    (Decimal, "sNaN", "a finite number"),
    (Decimal, "-Infinity", "a finite number"),
    (list[Decimal], "NaN", "a finite number"),
    (Decimal | None, "NaN", "a finite number"),
    (t.Annotated[float, pydantic.Field(title="n")], "nan", "a finite number"),
    (t.Annotated[float, pydantic.Field(ge=9)], "inf", "a finite number"),
]


def register_view(app, annotation, *default):
    """Add a view at / with one parameter `x`; return a list to which its arguments are appended."""
    seen = []

    def view(x):
        seen.append(x)
        return "ok"

    view.__annotations__ = {"x": annotation}
    view.__defaults__ = default
    app.add_url_rule("/", view_func=view)
    return seen


@pytest.mark.parametrize(("annotation", "query", "value"), GOOD, ids=str)
def test_text_is_converted_to_the_type(app, client, annotation, query, value):
    seen = register_view(app, annotation)
    assert client.get(f"/?x={query}").status_code == 200
    assert seen == [value]
    assert type(seen[0]) is type(value)


@pytest.mark.parametrize(("annotation", "query", "expected"), BAD, ids=str)
def test_invalid_text_is_refused(app, client, annotation, query, expected):
    seen = register_view(app, annotation)
    answer = client.get(f"/?x={query}")
    assert answer.status_code == 422
    assert answer.mimetype == "application/problem+json"
    [fault] = answer.get_json(force=True)["errors"]
    assert fault["in"] == "query"
    assert fault["path"].startswith("$.x")
    assert expected.lower() in fault["expected"].lower()
    assert not seen


def test_missing_parameter_gets_its_default(app, client):
    seen = register_view(app, int, 5)
    client.get("/")
    client.get("/?y=1")
    client.get("/?x=6")
    assert seen == [5, 5, 6]


@pytest.mark.parametrize("annotation", [int, bool, dt.date | None, list[int], Color, AtLeastTwo])
@pytest.mark.parametrize("query", ["x=", "x=&y=1", "y=1"])
def test_empty_input_of_a_browser_is_a_missing_parameter(app, client, annotation, query):
    seen = register_view(app, annotation, None)
    assert client.get(f"/?{query}").status_code == 200
    assert seen == [None]


@pytest.mark.parametrize("annotation", [str, str | None, list[str]])
def test_empty_text_is_a_text(app, client, annotation):
    seen = register_view(app, annotation, "default")
    client.get("/?x=")
    assert seen == ([[""]] if annotation == list[str] else [""])


def test_changed_default_does_not_affect_other_requests(app, client):
    @app.get("/")
    def view(x: list[int] = [1]) -> dict:  # noqa: B006
        x.append(2)
        return {"x": x}

    assert [client.get("/").json["x"] for _ in range(2)] == [[1, 2], [1, 2]]


def test_missing_required_parameter_is_named(app, client):
    register_view(app, int)
    problem = client.get("/?y=1").get_json(force=True)
    assert problem["errors"][0]["expected"] == "a query parameter named 'x'"
    assert "'x'" in problem["detail"]


def test_optional_type_without_a_default_is_required(app, client):
    """`int | None` allows None as a default, but does not make the parameter optional."""
    register_view(app, int | None)
    assert client.get("/").status_code == 422


def test_first_of_repeated_keys_is_used_for_a_single_value(app, client):
    seen = register_view(app, int)
    client.get("/?x=1&x=2")
    assert seen == [1]


def test_all_errors_are_reported_at_once(app, client):
    @app.get("/")
    def view(
        a: int,
        b: t.Annotated[int, Header("X-B")],
        c: t.Annotated[int, Cookie()],
        d: t.Annotated[bool, Query("dee")] = False,
    ):
        return "ok"

    client.set_cookie("c", "no")
    answer = client.get("/?dee=what", headers={"X-B": "z"})
    errors = answer.get_json(force=True)["errors"]
    assert answer.status_code == 422
    assert [(e["in"], e["path"]) for e in errors] == [
        ("query", "$.a"),
        ("header", "$.X-B"),
        ("cookie", "$.c"),
        ("query", "$.dee"),
    ]


def test_header_is_read_by_name_or_alias(app, client):
    @app.get("/")
    def view(
        user_agent: t.Annotated[str, Header],
        token: t.Annotated[str | None, Header("X-Token")] = None,
        langs: t.Annotated[list[str], Header("Accept-Language")] = (),
        length: t.Annotated[str, Header("Content-Type")] = "none",
    ):
        return [user_agent, token, langs, length]

    plain = client.get("/", headers={"User-Agent": "me"})
    assert plain.json == ["me", None, [], "none"]
    full = client.get(
        "/",
        headers={"User-Agent": "me", "X-Token": "t", "Accept-Language": "de, en;q=0.5"},
        content_type="text/x",
    )
    assert full.json == ["me", "t", ["de", "en;q=0.5"], "text/x"]


def test_cookie_is_read(app, client):
    @app.get("/")
    def view(visits: t.Annotated[int, Cookie()] = 0):
        return str(visits)

    assert client.get("/").text == "0"
    client.set_cookie("visits", "4")
    assert client.get("/").text == "4"


class Filter(msgspec.Struct):
    q: str = ""
    tags: list[str] = []
    page: int = 1


def test_fields_of_a_record_are_read_from_the_query(app, client):
    @app.get("/")
    def view(by: t.Annotated[Filter, Query()]) -> Filter:
        return by

    assert client.get("/?q=a&tags=x&tags=y&page=2").json == {
        "q": "a",
        "tags": ["x", "y"],
        "page": 2,
    }
    assert client.get("/").json == {"q": "", "tags": [], "page": 1}
    assert client.get("/?page=x").status_code == 422


class Scalars(msgspec.Struct):
    n: int = 0
    many: list[int] = []
    ok: bool = False
    name: str = ""
    when: dt.datetime | None = None
    either: int | list[int] = 0
    inner: Filter | None = None
    by: dict[str, int] = {}


@dataclasses.dataclass
class DataScalars:
    n: int = 0
    many: list[int] = dataclasses.field(default_factory=list)
    ok: bool = False
    name: str = ""
    when: dt.datetime | None = None


class DictScalars(t.TypedDict, total=False):
    n: int
    many: list[int]
    ok: bool
    name: str
    when: dt.datetime | None


@attrs.define
class AttrsScalars:
    n: int = 0
    many: list[int] = attrs.field(factory=list)
    ok: bool = False
    name: str = ""
    when: dt.datetime | None = None


class ModelScalars(pydantic.BaseModel):
    n: int = 0
    many: list[int] = []
    ok: bool = False
    name: str = ""
    when: dt.datetime | None = None


@pydantic.dataclasses.dataclass
class ModelDataScalars:
    n: int = 0
    many: list[int] = pydantic.Field(default_factory=list)
    ok: bool = False
    name: str = ""
    when: dt.datetime | None = None


class Aliased(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(alias_generator=to_camel, populate_by_name=True)
    user_ids: list[int] = []
    only_one: int = 0


class Choices(pydantic.BaseModel):
    ids: list[int] = pydantic.Field(
        default=[], validation_alias=pydantic.AliasChoices("id", "identifier")
    )


RECORDS = (Scalars, DataScalars, DictScalars, AttrsScalars, ModelScalars, ModelDataScalars)
OF_RECORDS = [
    ("n=1&n=2", "n", 1),
    ("n=01", "n", 1),
    ("many=1", "many", [1]),
    ("many=01&many=2", "many", [1, 2]),
    ("many=[1,2]", "many", [1, 2]),
    ("ok=0&ok=1", "ok", False),
    ("ok=on", "ok", True),
    ("ok=off", "ok", False),
    ("name=a&name=b", "name", "a"),
    ("name=[Chorus]", "name", "[Chorus]"),
    ("name=[1]", "name", "[1]"),
    ("name=01", "name", "01"),
    ("when=2024-02-29T12:30", "when", NOON),
    ("when=&n=3", "n", 3),
]
OF_ONE_RECORD = [
    (Scalars, "either=01", "either", [1]),
    (Scalars, "either=1&either=2", "either", [1, 2]),
    (Scalars, 'inner={"q":"x"}', "inner", Filter("x")),
    (Scalars, 'by={"a":1}', "by", {"a": 1}),
    (Aliased, "userIds=1", "user_ids", [1]),
    (Aliased, "user_ids=1", "user_ids", [1]),
    (Aliased, "user_ids=1&user_ids=2", "user_ids", [1, 2]),
    (Aliased, "onlyOne=1&onlyOne=2", "only_one", 1),
    (Aliased, "only_one=1&only_one=2", "only_one", 1),
    (Choices, "id=1", "ids", [1]),
    (Choices, "identifier=1", "ids", [1]),
]


@pytest.mark.parametrize(
    ("record", "texts", "name", "value"),
    [
        *((record, *case) for record in RECORDS for case in OF_RECORDS),
        *OF_ONE_RECORD,
    ],
    ids=str,
)
@pytest.mark.parametrize("place", ["query", "form", "model"])
def test_field_of_a_record_is_read_as_a_parameter_is(place, record, texts, name, value):
    app = Carboy("fields", static_folder=None)
    seen = []

    def take(x):
        seen.append(x[name] if isinstance(x, dict) else getattr(x, name))
        return {}

    take.__annotations__ = {"x": t.Annotated[record, Query()] if place == "query" else record}
    {"query": app.get, "form": app.post, "model": app.model}[place]("/")(take)
    client = app.test_client()
    if place == "query":
        answer = client.get(f"/?{texts}")
    else:
        answer = client.post("/", data=texts, content_type="application/x-www-form-urlencoded")
    assert (answer.status_code, seen) == (200, [value]), answer.text


@pytest.mark.parametrize("texts", ["many=[1", "inner={", "by=[1]", "n=[1]", "n=null", "ok=maybe"])
def test_invalid_field_of_a_record_is_refused(app, client, texts):
    @app.get("/")
    def view(x: t.Annotated[Scalars, Query()]): ...

    assert client.get(f"/?{texts}").status_code == 422


def test_view_can_read_the_query_again(app, client):
    from carboy import request

    @app.get("/")
    def view(n: int):
        return f"{n} {request.args['n']}"

    assert client.get("/?n=3").text == "3 3"


class Mixed(enum.Enum):
    ONE = 1
    TWO = "two"


@pytest.mark.parametrize("annotation", [dt.date | dt.datetime, Mixed, list[Mixed]], ids=str)
def test_scalar_that_cannot_be_read_is_refused_at_registration(app, annotation):
    def view(value):
        return {}

    view.__annotations__ = {"value": annotation}
    with pytest.raises(SignatureError, match=r"'value' has the type .* cannot be read"):
        app.get("/")(view)


class Closed(msgspec.Struct, forbid_unknown_fields=True):
    tag: str = ""


class ClosedModel(pydantic.BaseModel):
    model_config = {"extra": "forbid"}
    tag: str = ""


class OpenModel(pydantic.BaseModel):
    model_config = {"extra": "allow"}
    tag: str = ""


class WithPage(msgspec.Struct, forbid_unknown_fields=True):
    tag: str
    page: str


@pytest.mark.parametrize(
    ("record", "value"),
    [
        (Closed, Closed("a")),
        (ClosedModel, ClosedModel(tag="a")),
        (OpenModel, OpenModel(tag="a")),
        (WithPage, WithPage("a", "2")),
    ],
    ids=lambda each: each.__name__ if isinstance(each, type) else "",
)
def test_another_parameter_is_no_further_field_of_a_query_record(app, client, record, value):
    def view(found, page: t.Annotated[int, Query("page")] = 1):
        return repr((found, page))

    view.__annotations__ |= {"found": t.Annotated[record, Query()]}
    app.get("/")(view)
    assert client.get("/?tag=a&page=2").text == repr((value, 2))
    closed = record in (Closed, ClosedModel, WithPage)
    assert client.get("/?tag=a&page=2&x=1").status_code == (422 if closed else 200)
