"""Responses of typed views: the meaning of return annotations, and the encoding of values."""

import dataclasses
import datetime as dt
import enum
import functools
import io
import typing as t
from http import HTTPStatus

import attrs
import msgspec
import PIL.Image
import pydantic
import pytest
from naming import stable_repr
from werkzeug.datastructures import Headers

import carboy
from carboy import Image, Response, jsonify, redirect
from carboy.contract.answers import read_answer
from carboy.contract.values.image import ImageKind, ImageOptions
from carboy.contract.values.tables import DataFrame
from carboy.contract.values.tables.writing import answer_types
from carboy.contract.values.tensor import Tensor
from carboy.errors import AnswerError, SignatureError


class Item(msgspec.Struct):
    name: str
    day: dt.date | None = None


class Special(Item):
    extra: int = 1


@dataclasses.dataclass
class ItemData:
    name: str
    day: dt.date | None = None


@attrs.define
class ItemAttrs:
    name: str
    day: dt.date | None = None


class ItemModel(pydantic.BaseModel):
    name: str
    day: dt.date | None = None


class ItemDict(t.TypedDict):
    name: str
    day: dt.date | None


T = t.TypeVar("T")


class Box(msgspec.Struct, t.Generic[T]):
    x: T


@dataclasses.dataclass
class Crate(t.Generic[T]):
    x: T


class Colour(enum.Enum):
    RED = "red"


class Oops(msgspec.Struct):
    why: str


DAY = dt.date(2024, 1, 2)
RECORD = {"name": "a", "day": "2024-01-02"}
TYPED = [
    (Item, Item("a", DAY), RECORD),
    (Item, Special("a", DAY), {**RECORD, "extra": 1}),
    (ItemData, ItemData("a", DAY), RECORD),
    (ItemAttrs, ItemAttrs("a", DAY), RECORD),
    (ItemModel, ItemModel(name="a", day=DAY), RECORD),
    (ItemDict, {"name": "a", "day": DAY}, RECORD),
    (list[Item], [Item("a", DAY)], [RECORD]),
    (list[ItemModel], [ItemModel(name="a", day=DAY)], [RECORD]),
    (dict[str, ItemData], {"x": ItemData("a", DAY)}, {"x": RECORD}),
    (t.Sequence[Item], [Item("a", DAY)], [RECORD]),
    (set[int] | Item, Item("a", DAY), RECORD),
    (Box[dt.date], Box(DAY), {"x": "2024-01-02"}),
    (list[Box[dt.date]], [Box(DAY)], [{"x": "2024-01-02"}]),
    (list[Crate[dt.date]], [Crate(DAY)], [{"x": "2024-01-02"}]),
    (Box[dt.date] | None, Box(DAY), {"x": "2024-01-02"}),
    # Flask has no form for these, or one that is not that of the document.
    (set[int], {1}, [1]),
    (list[Colour], [Colour.RED], ["red"]),
    (dict[Colour, int], {Colour.RED: 1}, {"red": 1}),
    (list[dt.date], [DAY], ["2024-01-02"]),
    (dict[str, dt.datetime], {"a": dt.datetime(2024, 1, 2)}, {"a": "2024-01-02T00:00:00"}),  # noqa: DTZ001
    (list[dt.timedelta] | None, [dt.timedelta(seconds=1)], ["PT1S"]),
    (Item | None, Item("a", DAY), RECORD),
    (Item | Oops, Oops("x"), {"why": "x"}),
    (t.Annotated[Item, "doc"], Item("a", DAY), RECORD),
    (int, 3, 3),
    (float, float("nan"), None),
    (bool, True, True),
    (dt.date, DAY, "2024-01-02"),
]


def answering(app, annotation, value):
    def view():
        return value

    view.__annotations__ = {"return": annotation}
    app.add_url_rule("/", view_func=view)


@pytest.mark.parametrize(("annotation", "value", "expected"), TYPED, ids=str)
def test_return_value_is_encoded_by_its_annotation(app, client, annotation, value, expected):
    answering(app, annotation, value)
    answer = client.get("/")
    assert answer.content_type == "application/json"
    assert answer.headers["Content-Length"] == str(len(answer.data))
    assert answer.json == expected


@pytest.mark.parametrize(
    ("value", "status", "headers"),
    [
        ((Item("a"), 201), 201, {}),
        ((Item("a"), {"X-A": "1"}), 200, {"X-A": "1"}),
        ((Item("a"), "202 Later", {"X-A": "1"}), 202, {"X-A": "1"}),
    ],
    ids=["status", "headers", "both"],
)
@pytest.mark.parametrize(
    "annotation",
    [
        Item,
        tuple[Item, int],
        tuple[Item, t.Literal[201]],
        Item | tuple[Item, int, dict[str, str]],
        None,
    ],
    ids=str,
)
def test_tuple_sets_status_and_headers_as_in_flask(app, client, annotation, value, status, headers):
    answering(app, annotation, value)
    answer = client.get("/")
    assert (answer.status_code, answer.json["name"]) == (status, "a")
    assert headers.items() <= dict(answer.headers).items()


@pytest.mark.parametrize("annotation", [Item, list[Item], ItemModel, t.Iterator[Item]], ids=str)
@pytest.mark.parametrize(
    ("make", "status", "text"),
    [
        (lambda: redirect("/x"), 302, None),
        (lambda: Response("mine", 203), 203, "mine"),
        (lambda: ("text", 202), 202, "text"),
        (lambda: "text", 200, "text"),
        (lambda: jsonify(a=1), 200, '{"a":1}\n'),
    ],
    ids=["redirect", "response", "tuple", "str", "jsonify"],
)
def test_value_of_another_type_keeps_flasks_meaning(app, client, annotation, make, status, text):
    def view():
        return make()

    view.__annotations__ = {"return": annotation}
    app.add_url_rule("/", view_func=view)
    answer = client.get("/")
    assert answer.status_code == status
    assert text is None or answer.text == text


@pytest.mark.parametrize("status", [204, 205, 304])
@pytest.mark.parametrize("headers", [(), ({"ETag": '"1"'},)], ids=["alone", "with headers"])
@pytest.mark.parametrize(
    "others",
    [(), (Item,), (tuple[Item, t.Literal[201]], Response), (str,)],
    ids=["nothing else", "a record", "a record with a status", "a text"],
)
def test_none_with_a_declared_empty_status_has_no_body(app, client, status, headers, others):
    empty = tuple[None, t.Literal[status], dict] if headers else tuple[None, t.Literal[status]]
    answering(app, t.Union[(empty, *others)], (None, status, *headers))
    answer = client.get("/")
    assert (answer.status_code, answer.data) == (status, b"")
    assert "Content-Type" not in answer.headers
    assert answer.headers.get("ETag") == ('"1"' if headers else None)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (None, (None, 204)),
        (type(None), None),
        (tuple[None, int], (None, 204)),
        (tuple[None, t.Literal[200]], (None, 200)),
        (tuple[None, t.Literal[204]], None),
        (tuple[None, t.Literal[204]], (None, 205)),
    ],
    ids=str,
)
def test_none_without_a_declared_empty_status_is_an_error(app, client, annotation, value):
    answering(app, annotation, value)
    with pytest.raises(TypeError, match="did not return a valid response"):
        client.get("/")


def test_other_values_of_a_view_with_an_empty_status_are_encoded(app, client):
    @app.get("/<int:n>")
    def view(n: int) -> Item | tuple[None, t.Literal[204]] | tuple[str, int]:
        return [Item("a"), (None, 204), ("text", 202)][n]

    assert client.get("/0").json["name"] == "a"
    assert client.get("/1").status_code == 204
    assert client.get("/2").text == "text"
    assert client.call(view, n=0) == Item("a")
    assert client.call(view, n=1) is None


def test_pydantic_models_inside_records_are_encoded(app, client):
    class Box(msgspec.Struct):
        item: ItemModel

    answering(app, Box, Box(ItemModel(name="a", day=DAY)))
    assert client.get("/").json == {"item": RECORD}


def test_text_returned_for_an_array_is_sent_as_flask_does(app, client):
    np = pytest.importorskip("numpy")
    answering(app, np.ndarray[t.Any, np.dtype[np.float64]], "none today")
    assert client.get("/").text == "none today"


@pytest.mark.parametrize(
    "annotation",
    [
        Item | None,
        int | None,
        list[Item] | None,
        list[int] | None,
        dict | None,
        t.Optional[set],  # noqa: UP045
        t.Literal["a", "b"] | None,
    ],
    ids=str,
)
@pytest.mark.parametrize(("body", "status"), [(None, 200), ((None, 203), 203)], ids=["", "status"])
def test_none_is_null_where_it_is_declared(app, client, annotation, body, status):
    answering(app, annotation, body)
    answer = client.get("/")
    assert (answer.status_code, answer.data) == (status, b"null")
    assert app.view_functions["view"].contract.operation("GET").answer.annotation == annotation


def test_list_or_dict_beside_none_is_written_by_flask(app, client):
    answering(app, dict | None, {"b": DAY, "a": 1})
    assert client.get("/").data == b'{"a":1,"b":"Tue, 02 Jan 2024 00:00:00 GMT"}\n'


def test_value_without_a_json_form_is_named(app, client):
    class Odd:
        pass

    answering(app, dict[str, Item], {"x": Odd()})
    with pytest.raises(AnswerError, match=r"Odd` at `\$\.x`, which has no JSON form"):
        client.get("/")


FLASKS = [
    *(None, str, bytes, dict, list, Response, t.Any, list[int], list[str], str | Response),
    *(tuple[str, int], tuple[dict, int], dict[str, t.Any], dict[str, int], str | None),
    *(t.Iterator[str], t.Generator[bytes, None, None], carboy.typing.ResponseReturnValue),
]


@pytest.mark.parametrize("annotation", FLASKS, ids=str)
def test_annotations_of_flask_views_keep_their_meaning(app, annotation):
    assert read_answer(annotation).kind == "flask"
    answering(app, annotation, "x")
    assert not hasattr(app.view_functions["view"], "contract")


@pytest.mark.parametrize(
    "annotation", [list[dt.date], list[ItemData], dict[str, ItemDict], dict | None], ids=str
)
def test_annotations_that_flask_handles_keep_their_meaning_under_its_name(annotation):
    assert read_answer(annotation, as_flask=True).kind == "flask"


def test_union_of_types_with_statuses_is_read_as_a_whole(app, client):
    @app.get("/<int:n>")
    def view(n: int) -> tuple[Item, t.Literal[201]] | tuple[Oops, t.Literal[404]]:
        return (Item("a"), 201) if n else (Oops("x"), 404)

    assert (client.get("/1").status_code, client.get("/1").json["name"]) == (201, "a")
    assert (client.get("/0").status_code, client.get("/0").json) == (404, {"why": "x"})


def test_kind_of_value_beside_a_record_has_its_own_media_type(app, client):
    image = pytest.importorskip("PIL.Image")

    @app.get("/<int:n>")
    def view(n: int) -> carboy.Image | Item:
        return image.new("L", (1, 1)) if n else Item("a")

    assert client.get("/1").mimetype == "image/png"
    assert client.get("/0").json["name"] == "a"


@pytest.mark.parametrize(
    ("annotation", "kind", "status"),
    [
        (tuple[Item, t.Literal[201]], "json", 201),
        (tuple[list[Item], t.Literal[202], dict[str, str]], "json", 202),
        (tuple[Item, t.Literal[201]] | Response, "json", 201),
        (tuple[Item, t.Literal[201]] | tuple[Oops, t.Literal[404]], "json", 201),
        (Item | tuple[Oops, t.Literal[404]], "json", 200),
        (t.Iterator[Item], "stream", 200),
        (t.Generator[Item, None, None], "stream", 200),
        (t.AsyncIterator[Item], "stream", 200),
        (t.Iterator[dict[str, int]], "stream", 200),
    ],
    ids=str,
)
def test_annotation_becomes_an_answer(annotation, kind, status):
    answer = read_answer(annotation)
    assert (answer.kind, answer.status) == (kind, status)


@pytest.mark.parametrize(
    "value",
    [Item("a", DAY), ItemData("a", DAY), ItemModel(name="a", day=DAY), ItemAttrs("a", DAY)],
    ids=lambda value: type(value).__name__,
)
def test_records_without_a_return_annotation_become_json(app, client, value):
    @app.get("/")
    def view():
        return value

    assert client.get("/").json == RECORD


def test_array_is_sent_as_json_or_npy(app, client):
    np = pytest.importorskip("numpy")

    @app.get("/")
    def view():
        return np.array([[1, 2], [3, 4]])

    @app.get("/typed")
    def typed() -> np.ndarray:
        return np.array([1.5, float("nan")])

    assert client.get("/").json == [[1, 2], [3, 4]]
    assert client.get("/typed").json == [1.5, None]
    binary = client.get("/", headers={"Accept": "application/x-npy"})
    assert np.load(io.BytesIO(binary.data)).tolist() == [[1, 2], [3, 4]]


def test_arrays_inside_records_are_nested_lists(app, client):
    np = pytest.importorskip("numpy")

    class Scores(msgspec.Struct):
        values: t.Any

    @app.get("/")
    def view() -> Scores:
        return Scores({"a": np.arange(3), "b": np.float32(1.5)})

    assert client.get("/").json == {"values": {"a": [0, 1, 2], "b": 1.5}}


@pytest.mark.parametrize("typed", [False, True])
def test_image_is_sent_in_the_accepted_format(app, client, typed):
    image = pytest.importorskip("PIL.Image")

    def view():
        return image.new("RGBA", (3, 2), "red")

    view.__annotations__ = {"return": carboy.Image} if typed else {}
    app.add_url_rule("/", view_func=view)
    for accept, form in (
        ("*/*", "PNG"),
        ("image/jpeg", "JPEG"),
        ("image/webp", "WEBP"),
        ("text/x", "PNG"),
    ):
        answer = client.get("/", headers={"Accept": accept})
        picture = image.open(io.BytesIO(answer.data))
        assert (picture.format, picture.size) == (form, (3, 2))
        assert answer.mimetype == f"image/{form.lower()}"


def test_table_is_sent_in_the_accepted_format(app, client):
    pandas = pytest.importorskip("pandas")

    @app.get("/")
    def view():
        return pandas.DataFrame({"a": [1.5, None]})

    @app.get("/typed")
    def typed() -> pandas.DataFrame:
        return pandas.DataFrame({"a": [1], "b": ["x"]}), 203

    assert client.get("/").json == [{"a": 1.5}, {"a": None}]
    answer = client.get("/typed", headers={"Accept": "text/csv"})
    assert (answer.status_code, answer.mimetype, answer.text.split()) == (
        203,
        "text/csv",
        ["a,b", "1,x"],
    )
    assert answer.headers["Vary"] == "Accept"
    assert app.view_functions["typed"].contract.operation("GET").answer.kind == "value"


@pytest.mark.parametrize(
    ("annotation", "media_types"),
    [
        (carboy.Image, ImageKind.answers()),
        (t.Annotated[carboy.Image, ImageOptions()], ImageKind.answers()),
        (Tensor["float32", 3, "h"], ("application/json", "application/x-npy")),
        (DataFrame, answer_types()),
        (DataFrame[Item], answer_types()),
    ],
    ids=stable_repr,
)
def test_media_types_of_a_class(annotation, media_types):
    answer = read_answer(annotation)
    assert (answer.kind, answer.media_types) == ("value", media_types)


@pytest.mark.parametrize(
    "annotation",
    [
        tuple[float, float],
        tuple[Item, ...],
        tuple[int, ...],
        tuple[Item, Item],
        tuple[float, float] | None,
        tuple[Item, bool],
        tuple[str],
        tuple[Item, int, float],
        tuple[Item, int, dict, int],
    ],
    ids=str,
)
def test_tuple_without_status_or_headers_is_refused_at_registration(app, annotation):
    with pytest.raises(SignatureError, match=r"a body with a status, headers.*Write a record"):
        answering(app, annotation, None)


@pytest.mark.parametrize(
    "annotation",
    [
        tuple[str, int],
        tuple[str, str],
        tuple[Item, HTTPStatus],
        tuple[Item, t.Any],
        tuple[Item, dict[str, str]],
        tuple[Item, list[tuple[str, str]]],
        tuple[Item, Headers],
        tuple[Item, int | str, Headers],
        tuple[Item, t.Literal[201] | None, t.Mapping[str, str]],
        tuple,
    ],
    ids=str,
)
def test_tuple_with_status_or_headers_is_accepted(app, annotation):
    answering(app, annotation, None)


def test_decorator_may_take_a_tuple_of_values(app, client):
    def joined(view):
        @functools.wraps(view)
        def wrapper():
            return "-".join(map(str, view()))

        return wrapper

    @app.get("/")
    @joined
    def view() -> tuple[float, float]:
        return 1.5, 2.5

    assert client.get("/").text == "1.5-2.5"


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_tuple_of_records_is_a_list_of_records(app, client, count):
    answering(app, list[Item], tuple(Item(str(i)) for i in range(count)))
    assert [each["name"] for each in client.get("/").json] == [str(i) for i in range(count)]


@pytest.mark.parametrize("annotation", [Image, list[Image]], ids=str)
def test_error_says_why_a_picture_cannot_be_written(app, annotation):
    picture = PIL.Image.new("F", (1, 1))
    answering(app, annotation, picture if annotation is Image else [picture])
    app.testing = True
    with pytest.raises(AnswerError, match=r"cannot be written: A picture of mode 'F'.*Scale it"):
        app.test_client().get("/")
