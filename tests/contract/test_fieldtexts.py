"""Texts of queries, headers, cookies and forms keep their meaning: a number is no time, and a whole
number keeps its digits."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import json
import typing as t
from decimal import Decimal

import msgspec
import pydantic
import pytest

from carboy import Carboy, Cookie, Form, Header, Query

if t.TYPE_CHECKING:
    import collections.abc as cabc

LARGE = 2**53 + 1  # no float has this value
NOON = dt.datetime.fromisoformat("2024-02-29T12:00")


def struct(kind: t.Any) -> t.Any:
    return msgspec.defstruct("Record", [("x", kind)])


def data_class(kind: t.Any) -> t.Any:
    return dataclasses.make_dataclass("Record", [("x", kind)])


def model(kind: t.Any) -> t.Any:
    return pydantic.create_model("Record", x=(kind, ...))


def with_pydantic(kind: t.Any) -> t.Any:
    """Return the same type, which pydantic reads because of its metadata."""
    return t.Annotated[kind, pydantic.Field(title="Text")]


# Where the value `x` comes from: the type of a view's parameter.
PLACES: dict[str, cabc.Callable[[t.Any], t.Any]] = {
    "query": lambda kind: t.Annotated[kind, Query("x")],
    "header": lambda kind: t.Annotated[kind, Header("X")],
    "cookie": lambda kind: t.Annotated[kind, Cookie("x")],
    "form": lambda kind: t.Annotated[kind, Form("x")],
    "optional in the query": lambda kind: t.Annotated[kind | None, Query("x")],
    "pydantic in the query": lambda kind: t.Annotated[with_pydantic(kind), Query("x")],
    "pydantic in a form": lambda kind: t.Annotated[with_pydantic(kind), Form("x")],
    "list in the query": lambda kind: t.Annotated[list[kind], Query("x")],
    "list in a form": lambda kind: t.Annotated[list[kind], Form("x")],
    **{
        f"{name} in {place}": lambda kind, record=record, marker=marker: t.Annotated[
            record(kind), marker()
        ]
        for name, record in (("Struct", struct), ("dataclass", data_class), ("model", model))
        for place, marker in (("the query", Query), ("a form", Form))
    },
}


def ask(annotation: t.Any, text: str) -> tuple[int, t.Any]:
    """Send a text as `x` everywhere; return the status, and the argument or the detail."""
    app, seen = Carboy("texts"), []

    @app.post("/")
    def view(given: annotation) -> None:  # type: ignore[valid-type]
        value = getattr(given, "x", given)
        seen.extend(value if isinstance(value, list) else [value])
        return "", 204

    client = app.test_client()
    client.set_cookie("x", text)
    answer = client.post("/", query_string={"x": text}, data={"x": text}, headers={"X": text})
    return answer.status_code, seen[0] if seen else answer.json["detail"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("text", ["20240229", "0", "-3", "1709251200.5", "1e9", "+5", "nan"])
@pytest.mark.parametrize("kind", [dt.datetime, dt.date, dt.time, dt.timedelta])
def test_number_is_no_time(place, kind, text):
    status, detail = ask(PLACES[place](kind), text)
    assert (status, f"got `str` '{text}'" in detail) == (422, True), detail
    assert "x" in detail


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (dt.datetime, "2024-02-29T12:00:00", NOON),
        (dt.datetime, "2024-02-29T12:00", NOON),
        (dt.datetime, "2024-02-29T12:00:00Z", NOON.replace(tzinfo=dt.UTC)),
        (dt.date, "2024-02-29", NOON.date()),
        (dt.time, "12:00:00", NOON.time()),
        (dt.timedelta, "PT1H", dt.timedelta(hours=1)),
        (int, f"{LARGE}", LARGE),
        (int, f"{LARGE}.0", LARGE),
        (int, f"{LARGE}.{'0' * 80}", LARGE),
        (int, f"+0{LARGE}.0", LARGE),
        (int, f"-{LARGE}.0", -LARGE),
        (int, f"{LARGE}0e-1", LARGE),
        (int, "5e3", 5000),
        (int, "007", 7),
        (float, ".5", 0.5),
        (Decimal, f"{LARGE}.1", Decimal(f"{LARGE}.1")),
    ],
)
def test_text_keeps_its_meaning(place, kind, text, value):
    assert ask(PLACES[place](kind), text) == (204, value)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("text", ["5.5", f"{LARGE}.5", "1e99", "1e9999999999", ""])
def test_text_that_is_no_whole_number_is_refused(place, text):
    status, detail = ask(PLACES[place](int), text)
    assert status == 422, detail


@pytest.mark.parametrize("text", ["5_000.0", "٣.0", "0x5", "5.0.0"])
@pytest.mark.parametrize("place", ["query", "form", "Struct in a form"])
def test_number_as_only_python_writes_it_is_refused(place, text):
    assert ask(PLACES[place](int), text)[0] == 422


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (int | dt.datetime, "20240229", 20240229),
        (int | dt.datetime, f"{LARGE}.0", LARGE),
        (int | dt.datetime, "2024-02-29T12:00", NOON),
        (float | dt.datetime, "1.5", 1.5),
        (int | dt.timedelta, "PT1S", dt.timedelta(seconds=1)),
    ],
    ids=str,
)
def test_number_of_a_union_is_a_number(kind, text, value):
    assert ask(t.Annotated[kind, Query("x")], text) == (204, value)
    assert ask(t.Annotated[struct(kind), Form()], text) == (204, value)


def test_number_with_a_fraction_is_no_time_of_a_union():
    status, detail = ask(t.Annotated[int | dt.datetime, Query("x")], "1.5")
    assert (status, "a date and time such as 2024-02-29T12:30:00Z" in detail) == (422, True)


# -- JSON in a field of a form is read as a JSON body is ------------------------------------------


class Event(msgspec.Struct):
    at: dt.datetime
    count: int = 0
    price: Decimal = Decimal(0)


class Events(msgspec.Struct):
    first: Event
    numbers: list[int] = []


def posted(annotation: t.Any, **options: t.Any) -> tuple[int, t.Any]:
    app, seen = Carboy("texts"), []

    @app.model("/")
    def predict(x: annotation) -> bool:  # type: ignore[valid-type]
        seen.append(x)
        return True

    answer = app.test_client().post("/", **options)
    return answer.status_code, seen[0] if seen else answer.json


@pytest.mark.parametrize(
    ("annotation", "value", "path"),
    [
        (Event, {"at": 20240229}, "$.x.at"),
        (Event, {"at": "20240229"}, "$.x.at"),
        (dict[str, dt.datetime], {"a": 1.5}, "$"),
        (list[dt.datetime], [20240229], "$.x[0]"),
        (list[int], ["1"], "$.x[0]"),
        (list[dt.timedelta], [3600], "$.x[0]"),
    ],
    ids=str,
)
def test_json_in_a_field_is_as_strict_as_a_json_body(annotation, value, path):
    text = json.dumps(value)
    status, problem = posted(annotation, data={"x": text})
    assert (status, problem["errors"][0]["path"][: len(path)]) == (422, path)
    assert posted(annotation, json={"x": value})[0] == 422
    status, problem = posted(msgspec.defstruct("Outer", [("x", annotation)]), data={"x": text})
    assert (status, problem["errors"][0]["path"][: len(path)]) == (422, path)


def test_names_of_fields_that_are_keys_keep_their_meaning():
    assert posted(dict[int, int], data={f"{LARGE}.0": "1"}) == (200, {LARGE: 1})
    assert posted(dict[dt.datetime, int], data={"2024-02-29T12:00": "1"}) == (200, {NOON: 1})
    status, problem = posted(dict[dt.datetime, int], data={"20240229": "1"})
    assert status == 422
    assert "keys that are a date and time such as" in problem["detail"]


@pytest.mark.parametrize("how", ["as JSON", "in a field", "in a field of a record"])
def test_numbers_of_json_in_a_field_keep_their_digits(how):
    text = f'{{"at": "2024-02-29T12:00:00", "count": {LARGE}.0, "price": {LARGE}.10}}'
    event = Event(NOON, LARGE, Decimal(f"{LARGE}.10"))
    if how == "as JSON":
        assert posted(Event, data=text, content_type="application/json") == (200, event)
    elif how == "in a field":
        assert posted(Event, data={"x": text}) == (200, event)
    else:
        sent = {"first": text, "numbers": f"[{LARGE}.0, 2]"}
        assert posted(Events, data=sent) == (200, Events(event, [LARGE, 2]))


def test_damaged_json_in_a_field_names_the_field():
    for data in ({"x": "[1,"}, {"numbers": "[1,", "first": "{}"}):
        status, problem = posted(list[int] if "x" in data else Events, data=data)
        assert status == 422
        assert problem["detail"].startswith(
            f"Field {next(iter(data))!r}: The body is not valid JSON"
        )


# -- files in a form ------------------------------------------------------------------------------


class Parcel(msgspec.Struct):
    data: bytes
    more: list[bytes] = []
    seal: t.Annotated[bytes, msgspec.Meta(max_length=3)] | None = None


def test_file_for_bytes_of_a_record_is_its_content():
    files = {
        "data": (io.BytesIO(b"\x89\xff"), "a.bin"),
        "more": [(io.BytesIO(b"1"), "b"), (io.BytesIO(b"2"), "c")],
        "seal": (io.BytesIO(b"abc"), "d"),
    }
    assert posted(Parcel, data=files) == (200, Parcel(b"\x89\xff", [b"1", b"2"], b"abc"))


def test_text_for_bytes_of_a_record_is_base64():
    assert posted(Parcel, data={"data": "iSA="}) == (200, Parcel(b"\x89 "))


def test_file_for_bytes_of_a_record_obeys_its_limits():
    files = {"data": (io.BytesIO(b""), "a"), "seal": (io.BytesIO(b"abcd"), "b")}
    status, problem = posted(Parcel, data=files)
    assert (status, problem["errors"][0]["path"]) == (422, "$.seal")
    assert "length <= 3" in problem["detail"]


def test_file_for_bytes_of_a_pydantic_model_is_its_content():
    class Letter(pydantic.BaseModel):
        data: bytes

    app = Carboy("letters")

    @app.post("/")
    def view(letter: t.Annotated[Letter, Form()]) -> dict:
        return {"size": len(letter.data)}

    files = {"data": (io.BytesIO(b"\x89\xff"), "a.bin")}
    assert app.test_client().post("/", data=files).json == {"size": 2}
