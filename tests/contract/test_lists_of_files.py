"""A list of values that are sent as files: each is read with the options in its annotation."""

from __future__ import annotations

import base64
import io
import typing as t

import msgspec
import PIL.Image
import pydantic
import pytest

from carboy import Body, Carboy, File, Image, Upload
from carboy.errors import SignatureError
from carboy.models import DataFrame, ImageOptions, TableOptions

Small = t.Annotated[Image, ImageOptions(max_pixels=9, mode="L")]


def png(side: int) -> bytes:
    stream = io.BytesIO()
    PIL.Image.new("RGB", (side, side)).save(stream, "PNG")
    return stream.getvalue()


class Asked:
    """A view or a model with one parameter `x`, and what the last request gave it."""

    def __init__(self, kind: str, annotation: t.Any, *default: t.Any) -> None:
        app = Carboy("lists", static_folder=None)

        def receive(x):
            self.seen = x
            return {}

        receive.__annotations__ = {"x": annotation, "return": dict}
        receive.__defaults__ = default
        (app.post if kind == "view" else app.model)("/")(receive)
        self._client = app.test_client()
        self.document = app.openapi()

    def post(self, **options: t.Any) -> int:
        return self._client.post("/", **options).status_code

    def ways(self, *values: bytes) -> dict[str, int]:
        """Send values in each way; return the status of each."""
        texts = [base64.b64encode(value).decode() for value in values]
        files = {"x": [(io.BytesIO(value), "a.bin") for value in values]}
        packed = {"content_type": "application/msgpack"}
        return {
            "form": self.post(data=files),
            "JSON": self.post(json=texts),
            "JSON by name": self.post(json={"x": texts}),
            "JSON in a form": self.post(data={"x": str(texts).replace("'", '"')}),
            "MessagePack": self.post(data=msgspec.msgpack.encode(list(values)), **packed),
            "MessagePack by name": self.post(data=msgspec.msgpack.encode({"x": values}), **packed),
        }


BOTH = pytest.mark.parametrize("kind", ["view", "model"])
COLLECTIONS = [
    (list[Small], list),
    (list[Small] | None, list),
    (tuple[Small, ...], tuple),
    (t.Annotated[list[Small], msgspec.Meta(max_length=2)], list),
    (t.Annotated[list[Small], pydantic.Field(max_length=2)], list),
]


@BOTH
@pytest.mark.parametrize(("annotation", "collection"), COLLECTIONS)
def test_options_of_the_items_have_an_effect(kind, annotation, collection):
    asked = Asked(kind, annotation)
    assert set(asked.ways(png(4)).values()) == {413}
    assert set(asked.ways(png(3), png(2)).values()) == {200}
    assert type(asked.seen) is collection
    assert [(each.size, each.mode) for each in asked.seen] == [((3, 3), "L"), ((2, 2), "L")]


@BOTH
@pytest.mark.parametrize(("annotation", "collection"), COLLECTIONS[3:])
def test_limit_of_the_list_is_checked_however_it_is_sent(kind, annotation, collection):
    assert set(Asked(kind, annotation).ways(png(1), png(2), png(3)).values()) == {422}


def test_marked_list_takes_files_only():
    asked = Asked("view", t.Annotated[list[Small], File()])
    ways = asked.ways(png(3))
    assert ways.pop("form") == 200
    assert set(ways.values()) <= {415, 422}
    assert [each.mode for each in asked.seen] == ["L"]


def test_limit_of_uploads_in_a_list_is_checked():
    asked = Asked("view", list[t.Annotated[Upload, msgspec.Meta(max_length=3)]])
    assert set(asked.ways(b"abc", b"").values()) == {200}
    assert set(asked.ways(b"abcd").values()) == {422}


def test_options_of_tables_in_a_list_have_an_effect():
    columns = TableOptions(columns={"b": float, "a": str})
    asked = Asked("model", list[t.Annotated[DataFrame, columns]])
    assert asked.post(json=[[{"a": "1", "b": 2}]]) == 200
    assert list(asked.seen[0].columns) == ["b", "a"]
    assert asked.post(json=[[{"a": "1", "b": "x"}]]) == 422
    assert asked.post(data={"x": [(io.BytesIO(b"a,b\n1,2\n"), "t.csv")]}) == 200
    assert list(asked.seen[0].columns) == ["b", "a"]


@pytest.mark.parametrize("annotation", [list[Small], list[DataFrame]])
def test_null_is_an_item_only_where_it_is_declared(annotation):
    assert Asked("model", annotation).post(json=[None]) == 422
    item = t.get_args(annotation)[0]
    asked = Asked("model", list[item | None])
    assert asked.post(json=[None]) == 200
    assert asked.seen == [None]


def test_default_is_used_and_is_fresh_for_each_request():
    asked = Asked("view", list[Small], [PIL.Image.new("L", (1, 1))])
    assert asked.post() == 200
    first = asked.seen
    assert asked.post() == 200
    assert [each.size for each in asked.seen] == [(1, 1)]
    assert asked.seen is not first


def test_list_is_documented_as_files_and_as_base64():
    document = str(Asked("view", list[Small]).document["paths"]["/"]["post"]["requestBody"])
    assert "multipart/form-data" in document


@pytest.mark.parametrize("inner", [dict[str, Small], list[list[Small]]])
@pytest.mark.parametrize("marked", [False, True])
def test_options_inside_anything_else_are_refused(inner, marked):
    annotation = t.Annotated[inner, Body()] if marked else inner
    with pytest.raises(SignatureError, match="no effect inside a record, a dict or a nested list"):
        Asked("view", annotation)


def test_limit_that_cannot_be_checked_is_refused():
    annotation = t.Annotated[list[bytes], pydantic.AfterValidator(len)]
    with pytest.raises(SignatureError, match=r"AfterValidator.* has no effect on a collection"):
        Asked("model", annotation)
