"""Query, headers and cookies: which texts each type accepts and refuses."""

import datetime as dt
import enum
import typing as t
import uuid
from decimal import Decimal

import annotated_types
import msgspec
import pydantic
import pytest

from carboy import Cookie, Header, Query
from carboy.errors import SignatureError


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    S = 1
    M = 2


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
