"""What a view or a `predict` returns fits its declared type, or the client gets a 500."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import re
import subprocess
import sys
import typing as t
import uuid

import attrs
import msgspec
import numpy as np
import pandas as pd
import PIL.Image
import pydantic
import pytest
from naming import stable_repr

from carboy import Body, Carboy, Image, Response, Tensor, jsonify, redirect
from carboy.contract.answercheck import exact_test, make_check
from carboy.errors import AnswerError, ModelLoadError
from carboy.models import DataFrame, InputError

NAN = float("nan")


class Point(msgspec.Struct):
    x: int
    y: float = 0.0


class Renamed(msgspec.Struct, rename="camel", tag=True):
    first_name: str


class Special(Point):
    extra: int = 1


class Box(msgspec.Struct):
    picture: Image | None = None
    grid: Tensor["float32", 2] | None = None


@dataclasses.dataclass
class Size:
    width: int


@attrs.define
class Weight:
    grams: int


class Row(t.TypedDict):
    name: str
    size: float


class Pet(pydantic.BaseModel):
    id: int = pydantic.Field(alias="petId")
    secret: str = pydantic.Field("s", exclude=True)

    @pydantic.computed_field
    @property
    def twice(self) -> int:
        return 2 * self.id


class Colour(enum.Enum):
    RED = "red"


class Mixed(enum.Enum):
    ONE = 1
    TWO = "two"


T = t.TypeVar("T")


class Page(msgspec.Struct, t.Generic[T]):
    items: list[T]


class Pair(msgspec.Struct, t.Generic[T]):
    first: T
    second: T | None = None


class Node(msgspec.Struct):
    name: str
    parent: Node | None = None


DAY = dt.date(2024, 1, 2)
PICTURE = PIL.Image.new("L", (1, 1))
FRAME = pd.DataFrame({"name": ["a"], "size": [1.5]})
Small = t.Annotated[int, msgspec.Meta(le=9)]
Few = t.Annotated[list[float], pydantic.Field(max_length=2)]

FITS: list[tuple[t.Any, t.Any, t.Any]] = [
    (float, 0.5, 0.5),
    (float, 3, 3),
    (float, NAN, None),
    (float, np.float64(0.5), 0.5),
    (float, np.float32(0.5), 0.5),
    (float, np.array(0.5), 0.5),
    (int, np.int64(3), 3),
    (int, 3.0, 3.0),
    (int, np.float64(3.0), 3.0),
    (bool, np.bool_(True), True),
    (int | None, None, None),
    (Small, 9, 9),
    (dt.date, DAY, "2024-01-02"),
    (dt.datetime, pd.Timestamp("2024-01-02T10:00"), "2024-01-02T10:00:00"),
    (decimal.Decimal, decimal.Decimal("1.5"), "1.5"),
    (uuid.UUID, uuid.UUID(int=7), str(uuid.UUID(int=7))),
    (t.Literal[1, 2], 2, 2),
    (Colour, Colour.RED, "red"),
    (Mixed, Mixed.ONE, 1),
    (list[Colour], [Colour.RED], ["red"]),
    (list[dt.date], [DAY], ["2024-01-02"]),
    (dict[Colour, int], {Colour.RED: 1}, {"red": 1}),
    (dict[dt.date, list[set[int]]], {DAY: [{1}]}, {"2024-01-02": [[1]]}),
    (set[int], {1}, [1]),
    (set[int], [1, 1], [1, 1]),
    (list[Point], (), []),
    (Point, Point(1, 0.5), {"x": 1, "y": 0.5}),
    (Point, Special(1, 0.5), {"x": 1, "y": 0.5, "extra": 1}),
    (Point, Point(np.int64(1), np.float32(0.5)), {"x": 1, "y": 0.5}),
    (Point, {"x": 1}, {"x": 1}),
    (Point | None, None, None),
    (Point | Size, Size(1), {"width": 1}),
    (list[Point], [Point(1), {"x": 2, "y": 1}], [{"x": 1, "y": 0.0}, {"x": 2, "y": 1}]),
    (Renamed, Renamed("a"), {"type": "Renamed", "firstName": "a"}),
    (Size, Size(1), {"width": 1}),
    (Weight, Weight(1), {"grams": 1}),
    (Row, {"name": "a", "size": np.float64(1.5)}, {"name": "a", "size": 1.5}),
    (dict[str, Row], {"a": {"name": "a", "size": 1}}, {"a": {"name": "a", "size": 1}}),
    (Page[dt.date], Page([DAY]), {"items": ["2024-01-02"]}),
    (list[Page[dt.date]], [Page([DAY])], [{"items": ["2024-01-02"]}]),
    (Pet, Pet(petId=1), {"petId": 1, "twice": 2}),
    (Pet, {"petId": 1, "secret": "x"}, {"petId": 1, "twice": 2}),
    (list[Pet], [Pet(petId=1), {"petId": 2}], [{"petId": 1, "twice": 2}, {"petId": 2, "twice": 4}]),
    (Pet | None, None, None),
    (Pet | Point, Point(1), {"x": 1, "y": 0.0}),
    (Page[Pet], Page([Pet(petId=1)]), {"items": [{"petId": 1, "twice": 2}]}),
    (t.Annotated[float, pydantic.Field(le=1)], np.float64(0.5), 0.5),
    (Tensor["float32", 2], np.zeros(2, "float64"), [0.0, 0.0]),
    (Tensor["float32", 2], [1.0, 2.0], [1.0, 2.0]),
    (Tensor["float32"], np.float32(0.5), 0.5),
    (np.ndarray, np.zeros(2), [0.0, 0.0]),
    (list[Point] | np.ndarray, np.zeros(1), [0.0]),
    (DataFrame, FRAME, [{"name": "a", "size": 1.5}]),
    (DataFrame[Row], FRAME, [{"name": "a", "size": 1.5}]),
    (list[Row], FRAME, [{"name": "a", "size": 1.5}]),
    (Box, Box(grid=np.zeros(2)), {"picture": None, "grid": [0.0, 0.0]}),
    (Image | None, None, None),
]  # fmt: skip

MISFITS: list[tuple[t.Any, t.Any, str]] = [
    (float, None, r"`None`, .* type `float`. Expected `float`, got `null` - at `\$`\. Is a `ret"),
    (float, [1.5], r"returned `\[1.5\]`, .* Expected `float`, got `array` - at `\$`"),
    (float, True, r"Expected `float`, got `bool`"),
    (float, {"a": 1}, r"Expected `float`, got `object`"),
    (float, np.array([1.5]), r"`numpy.ndarray` of shape \(1,\), .* `result\[0\]`"),
    (float, pd.Series([1.5]), r"`pandas.*Series` of shape \(1,\), .* `result\[0\]`"),
    (int, 2.5, r"Expected `int`, got `float`"),
    (int, np.float64(2.5), r"Expected `int`, got `float`"),
    (Small, 10, r"Expected `int` <= 9 - at `\$`"),
    (int | None, [1], r"Expected `int \| null`, got `array`"),
    (dt.date, 5, r"Expected `date`, got `int`"),
    (t.Literal[1, 2], 3, r"Invalid enum value 3"),
    (Mixed, 7, r"Expected .*Mixed`, got `int`"),
    (set[int], {"a"}, r"Expected `int`, got `str` - at `\$\[0\]`"),
    (list[Colour], ["blue"], r"Invalid enum value 'blue' - at `\$\[0\]`"),
    (list[dt.date], [DAY, 1], r"Expected `date`, got `int` - at `\$\[1\]`"),
    (Point, None, r"type `.*Point`. Expected `object`, got `null` - at `\$`"),
    (Point, {"b": 1}, r"returned `\{'b': 1\}`, .* missing required field `x` - at `\$`"),
    (Point, Point("a"), r"Expected `int`, got `str` - at `\$\.x`"),
    (Point, Size(1), r"missing required field `x`"),
    (list[Point], Point(1), r"Expected `array`, got `object`"),
    (list[Point], [Point(1), Point(None)], r"Expected `int`, got `null` - at `\$\[1\]\.x`"),
    (Row, {"name": "a"}, r"missing required field `size`"),
    (Size, Size("a"), r"Expected `int`, got `str` - at `\$\.width`"),
    (Weight, Weight("a"), r"Expected `int`, got `str` - at `\$\.grams`"),
    (Page[dt.date], Page(["a"]), r"Invalid RFC3339 .* - at `\$\.items\[0\]`"),
    (Pet, {"id": 1}, r"Field required - at `\$\.petId`"),
    (Pet, Point(1), r"Field required - at `\$\.petId`"),
    (list[Pet], [Pet(petId=1), 5], r"- at `\$\[1\]`"),
    (Page[Pet], Page([5]), r"- at `\$\.items\[0\]`"),
    (Tensor["float32", 2], np.zeros(3), r"Expected a .* of shape \(2\), got .* of shape \(3,\)"),
    (Tensor["int64", 2], np.zeros(2), r"Expected a tensor int64 of shape \(2\), got float64"),
    (Tensor["float32", 2], None, r"Is a `return` missing"),
    (Tensor["float32", 2], [1.0], r"Expected array of length 2, got array of length 1"),
    (list[Tensor["float32", 2]], [np.zeros(3)], r"Expected a tensor float32 .* at `\$\[0\]`"),
    (np.ndarray, {"a": 1}, r"Expected `numpy.ndarray`, got `dict`"),
    (Image, None, r"Is a `return` missing"),
    (Image, np.zeros((2, 2)), r"`numpy.ndarray` of shape \(2, 2\)"),
    (DataFrame[Row], FRAME[["name"]], r"Expected the column 'size', got the columns \['name'\]"),
    (DataFrame[Row], FRAME.assign(b=1), r"Expected no column 'b'"),
    (DataFrame, [1], r"type `.*DataFrame`"),
    (Box, Box(grid=np.zeros(3)), r"Expected a tensor float32 of shape \(2\), .* - at `\$\.grid`"),
    (dict[str, Point], {"a": object()}, r"`object` at `\$\.a`, which has no JSON form"),
]  # fmt: skip


@pytest.fixture
def app() -> Carboy:
    return Carboy("shop", static_folder=None)


def register(app: Carboy, annotation: t.Any, value: t.Any) -> None:
    """Register a view and a model that return a value."""

    def either(n: t.Annotated[int, Body()] = 1) -> t.Any:
        return value

    either.__annotations__["return"] = annotation
    app.post("/view")(either)
    app.model("/model")(either)


@pytest.mark.parametrize(("annotation", "value", "expected"), FITS, ids=stable_repr)
@pytest.mark.parametrize("rule", ["/view", "/model"])
def test_value_that_fits_is_sent(app, rule, annotation, value, expected):
    register(app, annotation, value)
    answer = app.test_client().post(rule, headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json) == (200, expected)


@pytest.mark.parametrize(("annotation", "value", "message"), MISFITS, ids=stable_repr)
@pytest.mark.parametrize(
    ("rule", "owner"),
    [
        ("/view", r"View .*\.either returned "),
        ("/model", r"Model 'model', .*either` .* returned "),
    ],
)
def test_value_that_does_not_fit_is_a_500_that_the_log_explains(
    app, caplog, rule, owner, annotation, value, message
):
    register(app, annotation, value)
    answer = app.test_client().post(rule)
    assert answer.status_code == 500
    assert "returned" not in answer.text  # no inside of a 500
    [record] = caplog.records
    assert re.search(owner + ".*" + message.removeprefix("returned "), str(record.exc_info[1]))
    app.testing = True
    with pytest.raises(AnswerError):
        app.test_client().post(rule)


# --- what only views, or only models, have -------------------------------------------------------


@pytest.mark.parametrize("annotation", [float, Point, list[Point], Image, Pet], ids=str)
@pytest.mark.parametrize(
    ("make", "status"),
    [
        (lambda: "text", 200),
        (lambda: b"bytes", 200),
        (lambda: ("text", 202), 202),
        (lambda: Response("mine", 203), 203),
        (lambda: redirect("/x"), 302),
        (lambda: jsonify(other=1), 200),
        (lambda: (jsonify(other=1), 201), 201),
    ],
    ids=["text", "bytes", "text and status", "response", "redirect", "jsonify", "jsonify, status"],
)
def test_text_and_responses_of_a_view_keep_flasks_meaning(app, annotation, make, status):
    def view():
        return make()

    view.__annotations__["return"] = annotation
    app.get("/")(view)
    assert app.test_client().get("/").status_code == status


@pytest.mark.parametrize(
    ("body", "status"), [(Point(1), 201), (Point("a"), 500), (None, 500)], ids=stable_repr
)
@pytest.mark.parametrize("annotation", [Point, tuple[Point, t.Literal[201]]], ids=str)
def test_body_beside_a_status_is_checked(app, annotation, body, status):
    def view():
        return body, 201

    view.__annotations__["return"] = annotation
    app.get("/")(view)
    assert app.test_client().get("/").status_code == status


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (Point | dict, {"anything": 1}),
        (Point | list, [1]),
        (Point | dict[str, int], {"a": "b"}),
        (Point | t.Iterator[str], iter(["a"])),
    ],
    ids=stable_repr,
)
def test_type_of_flasks_beside_a_typed_one_is_not_checked(app, annotation, value):
    def view():
        return value

    view.__annotations__["return"] = annotation
    app.get("/")(view)
    assert app.test_client().get("/").status_code == 200


def test_nothing_is_checked_under_flasks_name():
    program = (
        "from carboy import install_as_flask; install_as_flask()\n"
        "from flask import Flask\n"
        "import msgspec\n"
        "class Point(msgspec.Struct): x: int\n"
        "app = Flask('x')\n"
        "@app.get('/')\n"
        "def view() -> Point: return Point('a')\n"
        "@app.get('/dict')\n"
        "def other() -> Point: return {'a': 1}\n"
        "client = app.test_client()\n"
        "assert client.get('/').get_json() == {'x': 'a'}\n"
        "assert client.get('/dict').get_json() == {'a': 1}\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (dict, ({"ok": 1}, 201), r"Return the value alone, without a status"),
        (float, "text", r"Expected `float`, got `str` - at `\$`"),
        (str, np.array(["virginica"]), r"Expected `str`, got `array`.* `result\[0\]`"),
        (str, b"text", r"Expected `str`, got `bytes`.* `\.decode\(\)`"),
        (str, 5, r"Expected `str`, got `int`"),
        (bytes, 5, r"Expected `bytes`, got `int`"),
        (Few, [1.0, 2.0, 3.0], r"at most 2 items .* at `\$`"),
        (list[int], [1, "2"], r"Expected `int`, got `str` - at `\$\[1\]`"),
        (list[float], np.zeros((2, 2)), r"Expected `float`, got `array` - at `\$\[0\]`"),
        (list[int], np.zeros(2) + 0.5, r"Expected `int`, got `float` - at `\$\[0\]`"),
        (list[int], pd.Series([1, None], dtype="Int64"), r"got `null` - at `\$\[1\]`"),
        (list[float], np.array(["a"]), r"Expected `float`, got `str` - at `\$\[0\]`"),
        (bool, np.int64(1), r"Expected `bool`, got `int`"),
        (dict[str, float], {"a": None}, r"Expected `float`, got `null` - at `\$\[\.\.\.\]`"),
    ],
    ids=stable_repr,
)
def test_text_and_plain_containers_of_a_model_are_checked(app, caplog, annotation, value, message):
    register(app, annotation, value)
    assert app.test_client().post("/model").status_code == 500
    assert re.search(message, str(caplog.records[0].exc_info[1]))


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (str, "a"),
        (str, np.str_("a")),
        (bytes, b"a"),
        (dict, {"a": object}),
        (list[float], np.zeros(3)),
        (list[float], np.zeros(3, "int8")),
        (list[float], pd.Series([1.5, None])),
        (list[float], pd.Series([1, 2], dtype="Int64")),
        (int, np.uint8(1)),
        (str, np.array(["a"])[0]),
        (list[str], np.array(["a", "b"])),
        (list[str], np.array(["a", "b"], dtype=object)),
        (list[dt.datetime], np.array(["2024-01-01T10"], dtype="datetime64[ns]")),
        (list[list[float]], np.zeros((2, 2))),
        (dict[str, float], {"a": np.float32(1), np.str_("b"): np.float64(2)}),
        (dict[int, str], {1: "a"}),
        (dict[str, int], {1: 1}),
        (t.Any, object()),
        (float | InputError, 1.5),
    ],
    ids=stable_repr,
)
def test_value_fits(annotation, value):
    check = make_check(annotation, "Model 'm'")
    if check is not None:
        check(value)


@pytest.mark.parametrize(
    ("annotation", "exact", "others"),
    [
        (float, [0.5, 3, NAN], [True, np.float64(0.5), "0.5", None]),
        (int | None, [3, None], [3.0, True]),
        (Point, [Point(1), Point(1, 2)], [Point("a"), Point(True), Special(1), {"x": 1}]),
        (Size | None, [Size(1), None], [Size(1.0), 1]),
        (Point | Size, [], [Point(1)]),
        (Pair[Point], [Pair(Point(1)), Pair(Point(1), Point(2))], [Pair(1), Pair(Point("a"))]),
        (Node, [], [Node("a"), Node("a", Node("b"))]),
        (Small, [], [1]),
        (list[int], [], [[1]]),
        (Row, [], [Row(name="a", size=1.0)]),
        (Weight, [], [Weight(1)]),
        (Pet, [], [Pet(petId=1)]),
        (Box, [], [Box()]),
        (Image, [], [PICTURE]),
        (t.Any, [], [1]),
    ],
    ids=stable_repr,
)
def test_exact_value_is_told_by_the_classes_of_its_fields(annotation, exact, others):
    is_exact = exact_test(annotation)
    assert list(map(is_exact, exact)) == [True] * len(exact)
    assert list(map(is_exact, others)) == [False] * len(others)


def test_record_whose_field_was_changed_does_not_fit():
    check, point = make_check(Point, "View show"), Point(1)
    check(point)
    point.x = "a"
    with pytest.raises(AnswerError, match=r"Expected `int`, got `str` - at `\$.x`"):
        check(point)


@pytest.mark.parametrize("annotation", [t.Any, object], ids=str)
def test_type_that_says_nothing_is_not_checked(annotation):
    assert make_check(annotation, "Model 'm'") is None


# --- streams, batches, examples ------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["/view", "/model"])
@pytest.mark.parametrize(("first", "status"), [(Point(1), 200), (Point("a"), 500), (None, 500)])
def test_items_of_a_stream_are_checked(app, rule, first, status):
    def either(n: t.Annotated[int, Body()] = 1) -> t.Iterator[Point]:
        yield first
        yield Point("b")

    app.post("/view")(either)
    app.model("/model")(either)
    answer = app.test_client().post(rule)
    assert answer.status_code == status
    if status == 200:
        lines = answer.data.splitlines()
        assert lines[0] == b'{"x":1,"y":0.0}'
        assert msgspec.json.decode(lines[1])["error"]["status"] == 500


def test_item_of_a_batch_that_does_not_fit_fails_alone(app):
    @app.model("/m", batch=4)
    def m(x: list[int]) -> list[float | InputError]:
        return [{0: "text", 1: InputError("no")}.get(each, 0.5) for each in x]

    client = app.test_client()
    assert [client.post("/m", json=x).status_code for x in (0, 1, 2)] == [500, 422, 200]


@pytest.mark.parametrize("batch", [1, 4])
def test_model_that_does_not_fit_its_type_on_its_example_is_not_ready(app, batch):
    def one(x: float) -> float:
        return "text"  # type: ignore[return-value]

    def several(x: list[float]) -> list[float]:
        return ["text"] * len(x)  # type: ignore[list-item]

    app.model("/m", name="m", example=1, batch=batch)(one if batch == 1 else several)
    with pytest.raises(ModelLoadError, match=r"failed on its example: .*Expected `float`"):
        app.models["m"].load()


def test_stream_that_does_not_fit_its_type_on_its_example_is_not_ready(app):
    @app.model("/m", example=1)
    def m(x: float) -> t.Iterator[float]:
        yield "text"  # type: ignore[misc]

    with pytest.raises(ModelLoadError, match=r"Expected `float`, got `str`"):
        app.models["m"].load()


def test_results_for_a_file_of_inputs_are_checked(app):
    @app.model("/m")
    def m(x: float) -> float:
        return 0.5 if x else "text"  # type: ignore[return-value]

    @app.model("/s")
    def s(x: float) -> t.Iterator[float]:
        yield 0.5
        yield 0.5 if x else "text"  # type: ignore[misc]

    for name, good in (("m", 0.5), ("s", [0.5, 0.5])):
        found = list(app.models[name].map_decoded([{"x": 0.0}, {"x": 1.0}]))
        assert isinstance(found[0], AnswerError)
        assert found[1] == good
    app.models.close()
