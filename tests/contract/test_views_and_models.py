"""Views and models read the same requests alike, and send the same values alike."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime as dt
import enum
import gc
import io
import json
import typing as t
import uuid
import weakref
from decimal import Decimal

import annotated_types
import attrs
import msgspec
import numpy as np
import pandas as pd
import PIL.Image
import pydantic
import pytest
from frames import to_parquet

from carboy import Body, Carboy, Image, Tensor, Upload
from carboy.errors import SignatureError
from carboy.models import DataFrame

FORM, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"
NPY, MSGPACK, CSV = "application/x-npy", "application/msgpack", "text/csv"
PARQUET = "application/vnd.apache.parquet"

Grid = Tensor["float32", "h", "w"]
AtLeastOne = t.Annotated[int, pydantic.Field(ge=1)]
AtMostNine = t.Annotated[int, annotated_types.Le(9)]
Short = t.Annotated[str, msgspec.Meta(max_length=4)]


class Point(msgspec.Struct):
    x: int
    y: int = 0


class Flower(msgspec.Struct):
    name: str
    tags: list[str] = []
    day: dt.date | None = None


@dataclasses.dataclass
class Size:
    width: int
    height: int = 1


class Album(msgspec.Struct):
    photos: list[str] = []
    pages: int = 0
    size: Size | None = None
    shown: bool = False


@pydantic.dataclasses.dataclass
class PydanticSize:
    width: int


class Row(t.TypedDict):
    name: str
    size: float


@attrs.define
class Pot:
    volume: float


class Person(pydantic.BaseModel):
    name: str
    age: int = pydantic.Field(default=1, ge=0)


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    name: str


class Post(msgspec.Struct):
    title: str
    photo: Image
    papers: list[Upload] = []


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


def npy(value: t.Any, dtype: str = "float32") -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(value, dtype))
    return stream.getvalue()


def png() -> bytes:
    stream = io.BytesIO()
    PIL.Image.new("RGB", (8, 4), "red").save(stream, "PNG")
    return stream.getvalue()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


PNG, GRID = png(), npy([[1, 2]])
TABLE = to_parquet(pd.DataFrame({"name": ["a"], "size": [1.5]}))


class Sent(t.NamedTuple):
    data: t.Any
    content_type: str | None = None


def as_json(value: t.Any) -> Sent:
    return Sent(json.dumps(value).encode(), "application/json")


def as_msgpack(value: t.Any) -> Sent:
    return Sent(msgspec.msgpack.encode(value), MSGPACK)


def form(**fields: t.Any) -> Sent:
    return Sent(fields, FORM)


def parts(**fields: t.Any) -> Sent:
    return Sent(fields, MULTIPART)


class File(t.NamedTuple):
    content: bytes
    name: str = "a.bin"


# For each annotation, requests that are accepted and requests that are refused.
INPUTS: list[tuple[t.Any, list[Sent]]] = [
    (Point, [
        as_json({"x": 1}), as_json({"x": {"x": 1}}), as_json({"x": 1, "y": 2}), as_json({"x": "a"}),
        as_json({"x": {"x": "a"}}), as_json({"x": {"z": 1}}), as_json({}), as_json([1]),
        as_json({"z": 1}), as_json(None), as_msgpack({"x": 1}), as_msgpack({"x": {"x": 1}}),
        as_msgpack({"x": "a"}), form(x="1"), form(x="1", y="2"), form(x="a"), form(x='{"x": 3}'),
        form(y="1"), form(), parts(x="1"), Sent(b'{"x": 1', "application/json"),
        Sent(b"", "application/json"), Sent(b""), Sent(b'{"x": 1}'), Sent(b'{"x": 1}', FORM),
        Sent(b'{"x": 1}', "text/plain"), Sent(b"\xc1", MSGPACK), Sent(b"x", "image/png"),
        Sent(b"x", MULTIPART), Sent(b'{"x": 1}', "application/vnd.api+json"),
    ]),
    (Flower, [
        as_json({"name": "a", "day": "2024-02-29"}), as_json({"x": {"name": "a"}}),
        as_json({"name": "a", "day": "no"}), as_json({"name": "a", "unknown": 1}),
        as_msgpack({"name": "a", "tags": ["b"]}), form(name="a", tags=["b", "c"], day=""),
        form(name="a", tags="b", button="send"), form(x='{"name": "a"}'), form(day="2024-02-29"),
        parts(name="a"), parts(name="a", tags=File(b"x")),
    ]),
    (Album, [
        form(photos=["a", "b"]), form(photos="a"), form(photos='["a", "b"]'), form(photos="[a"),
        form(pages="01", size='{"width": 2}'), form(size="{"), form(shown=["0", "1"]),
        form(shown="on", pages=["1", "2"]), form(pages="x"), parts(photos='["a"]', pages="1"),
        as_json({"photos": ["a"], "size": {"width": 1}}), as_json({"photos": '["a"]'}),
    ]),
    (PydanticSize, [as_json({"width": 2}), form(width="02"), form(width="x"), as_json({}),
                    as_msgpack({"width": 1}), as_json({"x": {"width": 2}})]),
    (Size, [as_json({"width": 2}), as_json({"x": {"width": 2}}), as_json({"width": "2"}),
            form(width="2"), as_msgpack({"width": 2, "height": 3})]),
    (Row, [as_json({"name": "a", "size": 1}), as_json({"name": "a"}), form(name="a", size="1.5")]),
    (Pot, [as_json({"volume": 1}), form(volume="inf"), as_json({"x": {"volume": 1}})]),
    (Person, [
        as_json({"name": "a"}), as_json({"x": {"name": "a"}}), as_json({"name": 1, "age": "q"}),
        as_json({"name": "a", "age": -1}), as_json(3), as_msgpack({"name": "a"}), form(name="a"),
        form(name="a", age="-1"), form(x='{"name": "a"}'), parts(name="a", age="7"),
        Sent(b"{", "application/json"),
    ]),
    (list[Person], [as_json([{"name": "a"}]), as_json({"x": [{"name": "a"}]}), as_json([{}]),
                    as_msgpack([{"name": "a"}]), form(x='[{"name": "a"}]')]),
    (Person | None, [as_json(None), as_json({"name": "a"}), as_json({"x": None})]),
    (list[Point], [
        as_json([{"x": 1}]), as_json({"x": [{"x": 1}]}), as_json([{"x": "a"}]), as_json({"y": []}),
        as_msgpack([{"x": 1}]), form(x='[{"x": 1}]'), parts(x='[{"x": 1}]'), form(x="[1"),
        form(other="1"),
    ]),
    (dict[str, int], [as_json({"a": 1}), as_json({"x": 1}), as_json({"x": {"a": 1}}),
                      as_json({"a": "b"}), as_msgpack({"a": 1}), form(a="1", b="2"), form(x="1")]),
    (dict[str, t.Any], [as_json({"x": {"a": 1}}), as_json({"a": [1]}), as_json([1])]),
    (Cat | Dog, [as_json({"type": "Dog", "name": "Rex"}), as_json({"type": "Cow"}),
                 as_json({"x": {"type": "Cat", "lives": 7}})]),
    (Point | None, [as_json(None), as_json({"x": 1}), as_json({"x": None})]),
    (list[list[float]], [as_json([[1, 2]]), as_json({"x": [[1]]}), as_json([["a"]]),
                         form(x="[[1, 2]]"), form(x="[[NaN]]"), as_json([[1], [None]])]),
    (int, [as_json(1), as_json({"x": 1}), as_json("1"), as_msgpack(1), form(x="1"),
           as_json({"y": 1})]),
    (Colour, [as_json("red"), as_json("green"), as_json({"x": "blue"})]),
    (uuid.UUID, [as_json(str(uuid.UUID(int=1))), as_json("no")]),
    (AtLeastOne, [as_json(1), as_json(0), as_json({"x": 0}), as_json({"x": 2}), as_msgpack(0),
                  form(x="2")]),
    (AtMostNine, [as_json(9), as_json(10), as_json({"x": 10})]),
    (str, [as_json("a"), as_json({"x": "a"}), as_json(1), Sent("ä".encode(), "text/plain"),
           Sent(b"\xff", "text/plain"), Sent("ä".encode("latin-1"), "text/plain; charset=latin-1"),
           Sent(b"a,b", CSV), Sent(b"a", "image/png"), as_msgpack("a"),
           form(x="a")]),
    (Short, [as_json("abcd"), as_json("abcde"), Sent(b"abcde", "text/plain")]),
    (Image, [
        as_json(b64(PNG)), as_json({"x": b64(PNG)}), as_json(f"data:image/png;base64,{b64(PNG)}"),
        as_json("no"), as_json(1), as_json(b64(b"hello")), Sent(PNG, "image/png"), Sent(PNG),
        Sent(PNG, FORM), Sent(PNG, "application/octet-stream"), Sent(b"x", "image/png"),
        Sent(b"", "image/png"), parts(x=File(PNG)), parts(photo=File(PNG)), parts(x=b64(PNG)),
        parts(x=File(b"x")), parts(a=File(PNG), b=File(PNG)), parts(), form(x=b64(PNG)),
        as_msgpack(PNG), as_msgpack({"x": PNG}), as_msgpack(b64(PNG)), Sent(b"a,b", CSV),
    ]),
    (Image | None, [as_json(None), as_json({}), Sent(PNG, "image/png"), as_json({"x": None})]),
    (Image | list[float], [as_json([1, 2]), as_json({"x": [1]}), Sent(PNG, "image/png"),
                           as_json(b64(PNG)), parts(x="[1, 2]"), parts(x=File(PNG))]),
    (list[Image], [as_json([b64(PNG)]), as_json({"x": [b64(PNG)] * 2}), parts(x=[File(PNG)] * 2),
                   parts(x=[File(PNG), File(b"x")]), parts(photos=File(PNG))]),
    (Grid, [
        as_json([[1, 2]]), as_json({"x": [[1, 2]]}), as_json([[1, 2], [3]]), as_json([["a"]]),
        as_json(b64(GRID)), Sent(GRID, NPY), Sent(GRID), Sent(GRID[:-1], NPY), Sent(b"x", NPY),
        Sent(npy([[1]], "float64"), NPY), parts(x=File(GRID)), parts(any=File(GRID)),
        parts(x="[[1, 2]]"), form(x="[[1, 2]]"), as_msgpack([[1.0, 2.0]]), as_msgpack(GRID),
        Sent(b"[[NaN]]", "application/json"),
    ]),
    (Grid | None, [as_json(None), as_json([[1]]), as_json({"x": None})]),
    (DataFrame, [
        as_json([{"a": 1}]), as_json({"x": [{"a": 1}]}), as_json({"a": [1, 2]}), as_json("a\n1\n"),
        as_json([]), Sent(b"a,b\n1,x\n", CSV), Sent(TABLE, PARQUET), Sent(TABLE), as_json(1),
        parts(x=File(b"a\n1\n", "a.csv")), form(x="a\n1\n"), form(x='[{"a": 1}]'),
        as_msgpack([{"a": 1}]), Sent(b"PK\3\4", "application/zip"),
    ]),
    (DataFrame[Row], [as_json([{"name": "a", "size": 1}]), as_json([{"name": "a"}]),
                      as_json({"x": [{"name": "a", "size": "q"}]}), Sent(b"name,size\na,1\n", CSV),
                      Sent(b"name\na\n", CSV)]),
    (DataFrame | None, [as_json(None), as_json({"x": None}), Sent(b"a\n1\n", CSV)]),
    (bytes, [as_json(b64(b"ab")), as_json({"x": b64(b"ab")}), as_json("?"), Sent(b"ab"),
             Sent(b"%PDF", "application/pdf"), Sent(b"", "application/pdf"), Sent(b""),
             parts(x=File(b"ab")), parts(x=b64(b"ab")), as_msgpack(b"ab"),
             Sent(b"<p>", "text/html")]),
    (Upload, [as_json(b64(b"ab")), Sent(b"ab", "audio/wav"), parts(x=File(b"ab", "b.txt")),
              parts(x=[File(b"a"), File(b"b")]), parts(y=File(b"ab"))]),
    (list[Upload], [parts(x=[File(b"a"), File(b"b")]), as_json([b64(b"a")])]),
    (Upload | int, [as_json(1), parts(x=File(b"a")), as_json(b64(b"a"))]),
    (Post, [
        parts(title="t", photo=File(PNG)), parts(title="t", photo=File(PNG), papers=File(b"p")),
        parts(title="t", photo=File(b"x")), parts(photo=File(PNG)), parts(title="t"),
        as_json({"title": "t", "photo": b64(PNG)}), as_json({"title": "t", "photo": "no"}),
        as_json({"x": {"title": "t", "photo": b64(PNG), "papers": [b64(b"p")]}}),
        as_msgpack({"title": "t", "photo": PNG}),
    ]),
]  # fmt: skip

# Differences between views and models, with reasons. A scalar of a view comes from the query, so it
# needs Body() to be the body. Body() excludes forms: a form is 415, and the error lists no forms.
NO_FORMS = "Body() takes no form"
DIFFERENT: dict[tuple[t.Any, int], str] = {
    (str, 7): NO_FORMS,
    (str, 9): NO_FORMS,
    (int, 4): NO_FORMS,
    (AtLeastOne, 5): NO_FORMS,
}

SCALARS = (int, str, Short, Colour, uuid.UUID, AtLeastOne, AtMostNine, list[int], Decimal,
           list[Decimal], Decimal | None)  # fmt: skip
CASES = [
    pytest.param(annotation, i, sent, id=f"{name}-{i}")
    for annotation, requests in INPUTS
    for name in [str(annotation).replace("tests.contract.test_views_and_models.", "")]
    for i, sent in enumerate(requests)
]


def shown(value: t.Any) -> t.Any:
    """Convert a value to JSON that shows its type."""
    if isinstance(value, PIL.Image.Image):
        return ["picture", *value.size]
    if isinstance(value, np.ndarray):
        return [value.dtype.name, value.tolist()]
    if isinstance(value, pd.DataFrame):
        return [list(map(str, value.dtypes)), value.to_dict("records")]
    if isinstance(value, Upload):
        return [value.name, value.media_type, value.read().decode()]
    if isinstance(value, Post):
        return [value.title, *map(shown, (value.photo, *value.papers))]
    if isinstance(value, list):
        return [shown(each) for each in value]
    return repr(value)


def body_of(sent: Sent) -> dict[str, t.Any]:
    """Return the request for `client.post` with new files, because a file is read once."""
    data = sent.data
    if isinstance(data, dict):
        data = {name: _part(value) for name, value in data.items()}
    return {"data": data, "content_type": sent.content_type}


def _part(value: t.Any) -> t.Any:
    if isinstance(value, File):
        return io.BytesIO(value.content), value.name
    return [_part(each) for each in value] if isinstance(value, list) else value


def both(annotation: t.Any, *default: t.Any) -> Carboy:
    """Return an app with a view and a model that have a parameter `x` of one type."""
    app = Carboy("both", static_folder=None)

    def view(x):
        return {"value": shown(x)}

    def model(x):
        return {"value": shown(x)}

    # A scalar of a view comes from the query, unless a marker makes it the body.
    marked = t.Annotated[annotation, Body()] if annotation in SCALARS else annotation
    view.__annotations__ = {"x": marked}
    model.__annotations__ = {"x": annotation}
    view.__defaults__ = model.__defaults__ = default
    app.post("/view")(view)
    app.model("/model")(model)
    return app


def outcome(app: Carboy, url: str, sent: Sent, **more: t.Any) -> tuple[int, t.Any]:
    response = app.test_client().post(url, **body_of(sent), **more)
    return response.status_code, response.get_json(force=True)


@pytest.mark.parametrize(("annotation", "number", "sent"), CASES)
def test_view_and_model_read_a_body_alike(annotation, number, sent):
    app = both(annotation)
    of_view, of_model = outcome(app, "/view", sent), outcome(app, "/model", sent)
    assert (of_view == of_model) is ((annotation, number) not in DIFFERENT), (of_view, of_model)
    assert of_view[0] in (200, 400, 415, 422)


def test_each_type_has_accepted_and_refused_requests():
    for annotation, requests in INPUTS:
        app = both(annotation)
        statuses = {outcome(app, "/model", sent)[0] for sent in requests}
        assert 200 in statuses, annotation
        assert len(statuses) > 1 or annotation in (
            Size,
            list[Upload],
            Upload | int,
            DataFrame | None,
            Grid | None,
            Image | None,
            Point | None,
            Person | None,
            Image | list[float],
        ), annotation


@pytest.mark.parametrize(
    ("annotation", "sent", "value"),
    [
        (Point, as_json({"x": 1}), "Point(x=1, y=0)"),
        (Point, as_json({"x": {"x": 1}}), "Point(x=1, y=0)"),
        (dict[str, int], as_json({"x": 1}), "{'x': 1}"),
        (dict[str, int], as_json({"x": {"a": 1}}), "{'a': 1}"),
        (dict[str, t.Any], as_json({"x": {"a": 1}}), "{'x': {'a': 1}}"),
        (t.Any, as_json({"x": 1}), "{'x': 1}"),
        (Person, as_json({"x": {"name": "a"}}), "Person(name='a', age=1)"),
        (Image, as_json({"x": b64(PNG)}), ["picture", 8, 4]),
        (Grid, as_msgpack(GRID), ["float32", [[1, 2]]]),
        (Post, parts(title="t", photo=File(PNG)), ["t", ["picture", 8, 4]]),
    ],
    ids=str,
)
def test_body_is_read_as_the_value_first_and_then_by_name(annotation, sent, value):
    app = both(annotation)
    for url in ("/view", "/model") if annotation is not t.Any else ("/model",):
        assert outcome(app, url, sent) == (200, {"value": value})


def test_body_that_the_published_schema_allows_is_never_refused():
    app = both(Point)
    schema = app.models["model"].metadata()["input"]
    assert schema["$defs"]["Point"]["required"] == ["x"]
    assert outcome(app, "/model", as_json({"x": 1})) == (200, {"value": "Point(x=1, y=0)"})


class Price(msgspec.Struct):
    amount: Decimal
    name: str = ""


class Offer(pydantic.BaseModel):
    price: float
    least: Decimal = Decimal(0)


class Weight(pydantic.BaseModel):
    kilograms: float


class Parcel(msgspec.Struct):
    weights: list[Weight]


class Basket(msgspec.Struct):
    offer: Offer
    prices: list[Price] = []


NOT_FINITE = [
    (Parcel, lambda number: {"weights": [{"kilograms": number}]}, "$.weights[0].kilograms"),
    (Decimal, lambda number: number, "$"),
    (list[Decimal], lambda number: ["1.5", number], "$[1]"),
    (Decimal | None, lambda number: number, "$"),
    (Price, lambda number: {"amount": number}, "$.amount"),
    (list[Price], lambda number: [{"amount": number}], "$[0].amount"),
    (dict[str, Decimal], lambda number: {"a": number}, "$.a"),
    (Basket, lambda n: {"offer": {"price": 1}, "prices": [{"amount": n}]}, "$.prices[0].amount"),
    (Offer, lambda number: {"price": number}, "$.price"),
    (Offer, lambda number: {"price": 1, "least": number}, "$.least"),
    (Basket, lambda number: {"offer": {"price": number}}, "$.offer.price"),
]


@pytest.mark.parametrize("number", ["NaN", "sNaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize(("annotation", "made", "path"), NOT_FINITE)
@pytest.mark.parametrize("encode", [as_json, as_msgpack])
def test_number_that_is_not_finite_is_refused(annotation, made, path, number, encode):
    app = both(annotation)
    for url in ("/view", "/model"):
        status, answer = outcome(app, url, encode(made(number)))
        assert (status, answer["errors"][0]["path"]) == (422, path), answer
        status, answer = outcome(app, url, encode({"x": made(number)}))
        assert status == 422


def test_constant_that_is_no_json_is_refused_for_a_model_of_pydantic():
    app = both(Offer)
    for url in ("/view", "/model"):
        status, answer = outcome(app, url, Sent(b'{"price": NaN}', "application/json"))
        assert (status, answer["errors"][0]["path"]) == (422, "$.price")


@pytest.mark.parametrize(
    ("annotation", "value"),
    [(Point, {"x": 1}), (Person, {"name": "\u00e4"}), (list[int], [1]), (Grid, [[1, 2]]),
     (dict[str, int], {"a": 1}), (Point, {"x": {"x": 1}}), (DataFrame, [{"a": 1}])],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"]
)
def test_json_in_another_encoding_is_read_as_flask_reads_it(annotation, value, encoding):
    app = both(annotation)
    text = json.dumps(value, ensure_ascii=False)
    for url in ("/view", "/model"):
        sent = Sent(text.encode(encoding), "application/json")
        assert outcome(app, url, sent) == outcome(app, url, as_json(value))
        assert outcome(app, url, sent)[0] == 200


@pytest.mark.parametrize(
    "data", [b"\xff\xfe{", b"\xef\xbb\xbf", b"\xef\xbb\xbf" * 3000, b"\x00{", b"\xff\xfe\x00\xd8"]
)
def test_damaged_json_in_another_encoding_is_refused(data):
    app = both(Point)
    for url in ("/view", "/model"):
        assert outcome(app, url, Sent(data, "application/json"))[0] in (400, 422)


def test_error_of_a_model_inside_a_struct_has_its_path_and_one_sentence():
    app = both(Basket)
    for url in ("/view", "/model"):
        status, answer = outcome(app, url, as_json({"offer": {"price": "x"}}))
        assert (status, answer["errors"][0]["path"]) == (422, "$.offer.price")
        assert answer["detail"].startswith("Expected a valid number")
        assert "http" not in answer["detail"]


@pytest.mark.parametrize("default", [[], {}, [[]], Flower("a")], ids=repr)
@pytest.mark.parametrize(
    "sent", [as_json({}), Sent(b""), form()], ids=["object", "nothing", "form"]
)
def test_default_is_fresh_for_each_request(default, sent):
    app = Carboy("defaults", static_folder=None)

    def change(x: t.Any = None, y: t.Any = default) -> dict[str, t.Any]:
        before = repr(y)
        if isinstance(y, Flower):
            y.tags.append("z")
        elif isinstance(y, dict):
            y["z"] = 1
        else:
            (y[0] if y else y).append("z")
        return {"value": before}

    view = dict[str, t.Any] | None
    annotation = {list: list[t.Any], dict: dict[str, t.Any], Flower: Flower}[type(default)]
    change.__annotations__ = {"y": t.Annotated[annotation, Body()], "x": t.Annotated[view, Body()]}
    app.post("/view")(change)
    app.model("/model")(change)
    for url in ("/view", "/model") * 2:
        if sent.content_type == FORM and url == "/view":
            continue  # Body() excludes forms
        assert outcome(app, url, sent) == (200, {"value": repr(default)})


def test_refused_body_is_freed_without_the_garbage_collector():
    app, url = both(Point), "/view"
    made = []

    class Watched(app.request_class):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            made.append(weakref.ref(self))

    app.request_class = Watched
    _called(app, url).close()  # creates all objects that are created once
    made.clear()
    gc.disable()
    try:
        with contextlib.closing(_called(app, url)) as body:
            assert b"at `$.x`" in b"".join(body)
        del body
        assert [each() for each in made] == [None] * len(made)
        assert made
    finally:
        gc.enable()


def _called(app: Carboy, url: str) -> t.Any:
    """Call the app as a server does. The test client would keep the request alive."""
    data = b'{"x": "a"}'
    environ = {
        "REQUEST_METHOD": "POST", "PATH_INFO": url, "SERVER_NAME": "localhost", "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(data),
        "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(data)), "SCRIPT_NAME": "",
        "QUERY_STRING": "", "wsgi.errors": io.StringIO(),
    }  # fmt: skip
    return app(environ, lambda status, headers, exc_info=None: None)


class Several(t.NamedTuple):
    """Parameters of a view and of a model, and requests for both."""

    annotations: dict[str, t.Any]
    requests: list[Sent]


SEVERAL = [
    Several(
        {"photo": Image, "paper": Upload},
        [
            parts(photo=File(PNG), paper=File(b"p", "p.txt")), parts(photo=File(PNG)),
            as_json({"photo": b64(PNG), "paper": b64(b"p")}), as_json({"photo": b64(PNG)}),
            as_json([1]), Sent(PNG, "image/png"), as_msgpack({"photo": PNG, "paper": b"p"}),
            as_json({"photo": b64(PNG), "paper": b64(b"p"), "more": 1}),
        ],
    ),
    Several(
        {"flower": Flower, "photo": Image},
        [
            parts(name="a", tags="b", photo=File(PNG)),
            parts(flower='{"name": "a"}', photo=File(PNG)),
            as_json({"flower": {"name": "a"}, "photo": b64(PNG)}), parts(photo=File(PNG)),
            parts(name="a", any=File(PNG)),
        ],
    ),
    Several(
        {"a": Grid, "b": Tensor["float32", "h"]},
        [as_json({"a": [[1], [2]], "b": [1, 2]}), as_json({"a": [[1], [2]], "b": [1]}),
         parts(a=File(npy([[1]])), b=File(npy([1]))),
         parts(a=File(npy([[1]])), b=File(npy([1, 2])))],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("annotations", "sent"),
    [
        pytest.param(each.annotations, sent, id=f"{'-'.join(each.annotations)}-{i}")
        for each in SEVERAL
        for i, sent in enumerate(each.requests)
    ],
)
def test_view_and_model_read_several_parameters_alike(annotations, sent):
    app = Carboy("several", static_folder=None)
    first, second = annotations
    names: dict[str, t.Any] = {"shown": shown}
    source = f"def both({first}, {second}):\n    return [shown({first}), shown({second})]"
    exec(source, names)
    view = names["both"]
    view.__annotations__ = dict(annotations)
    app.post("/view")(view)
    app.model("/model")(view)
    assert outcome(app, "/view", sent) == outcome(app, "/model", sent)


# --- answers -------------------------------------------------------------------------------------

ACCEPTS = ("", "application/json", "text/csv", NPY, "image/webp", "text/html", PARQUET)
ANSWERS: list[tuple[t.Any, t.Callable[[], t.Any]]] = [
    (Point, lambda: Point(1)),
    (Size, lambda: Size(1)),
    (Row, lambda: Row(name="a", size=1)),
    (Pot, lambda: Pot(1.5)),
    (Person, lambda: Person(name="a")),
    (list[Person], lambda: [Person(name="a")]),
    (list[Point], lambda: [Point(1)]),
    (dict[str, Point], lambda: {"a": Point(1)}),
    (Cat | Dog, lambda: Dog("Rex")),
    (int, lambda: 3),
    (float, lambda: float("nan")),
    (dt.date, lambda: dt.date(2024, 2, 29)),
    (Colour, lambda: Colour.RED),
    (Image, lambda: PIL.Image.new("RGB", (2, 1), "red")),
    (list[Image], lambda: [PIL.Image.new("L", (2, 1))]),
    (Grid, lambda: np.array([[1, 2]], np.float32)),
    (np.ndarray, lambda: np.array([1, 2])),
    (DataFrame, lambda: pd.DataFrame({"a": [1], "b": ["x"]})),
    (dict[str, Grid], lambda: {"a": np.ones((1, 1), np.float32)}),
    (t.Iterator[Point], lambda: iter([Point(1), Point(2)])),
]

# Return values that Flask supports are sent by Flask.
FLASKS: list[tuple[t.Any, t.Any, str, str]] = [
    (str, "a", "text/html", "application/json"),
    (bytes, b"a", "text/html", "application/octet-stream"),
    (dict, {"a": 1}, "application/json", "application/json"),
]


@pytest.mark.parametrize("accept", ACCEPTS)
@pytest.mark.parametrize(("annotation", "make"), ANSWERS, ids=[str(a) for a, _ in ANSWERS])
def test_view_and_model_answer_alike(annotation, make, accept):
    app = Carboy("answers", static_folder=None)

    def view():
        return make()

    def model(n: int = 1):
        return make()

    view.__annotations__ = {"return": annotation}
    model.__annotations__ = {"n": int, "return": annotation}
    app.post("/view")(view)
    app.model("/model")(model)
    found = []
    for url in ("/view", "/model"):
        answer = app.test_client().post(url, headers={"Accept": accept})
        # JSON of a view has no `nosniff`: browsers never treat JSON as HTML, and the header would
        # take ten times as long as all else that makes the response.
        nosniff = answer.is_json or answer.headers.get("X-Content-Type-Options")
        headers = answer.headers.get("Vary"), nosniff
        found.append((answer.status_code, answer.content_type, answer.data, headers))
    assert found[0] == found[1]
    assert found[0][0] == 200


@pytest.mark.parametrize(("annotation", "value", "of_view", "of_model"), FLASKS, ids=str)
def test_text_bytes_and_dicts_of_a_view_are_sent_by_flask(annotation, value, of_view, of_model):
    app = Carboy("flask", static_folder=None)

    def either(n: t.Annotated[int, Body()] = 1):
        return value

    either.__annotations__["return"] = annotation
    app.post("/view")(either)
    app.model("/model")(either)
    client = app.test_client()
    assert (client.post("/view").mimetype, client.post("/model").mimetype) == (of_view, of_model)


def test_none_is_null_where_it_is_declared():
    app = Carboy("none", static_folder=None)

    def either(n: t.Annotated[int, Body()] = 1) -> Point | None:
        return None

    app.post("/view")(either)
    app.model("/model")(either)
    for rule in ("/view", "/model"):
        assert app.test_client().post(rule).data == b"null"


def test_scalar_comes_from_the_query_for_a_view_and_from_the_body_for_a_model():
    app = Carboy("scalars", static_folder=None)

    def either(n: int) -> int:
        return n

    app.post("/view")(either)
    app.model("/model")(either)
    client = app.test_client()
    assert client.post("/view?n=3", json=4).json == 3
    assert client.post("/model?n=3", json=4).json == 4


def test_two_records_need_a_marker_in_a_view_but_not_in_a_model():
    app = Carboy("records", static_folder=None)

    def either(a: Point, b: Flower) -> int:
        return a.x

    with pytest.raises(SignatureError, match=r"Annotated\[Point, Body\(\)\]"):
        app.post("/view")(either)
    app.model("/model")(either)
    body = {"a": {"x": 1}, "b": {"name": "c"}}
    assert app.test_client().post("/model", json=body).json == 1
