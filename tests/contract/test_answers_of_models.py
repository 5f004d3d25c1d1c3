from __future__ import annotations

import dataclasses
import enum
import io
import json
import typing as t
from collections import abc as cabc

import msgspec
import numpy as np
import pandas as pd
import PIL.Image
import pyarrow as pa
import pyarrow.ipc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naming import stable_repr

from carboy import Image
from carboy.contract.answers import AnswerWriter, predicted
from carboy.contract.schemas import json_schema
from carboy.contract.values.tables import DataFrame
from carboy.contract.values.tensor import Tensor
from carboy.errors import AnswerError

JSON, NPY, BINARY = "application/json", "application/x-npy", "application/octet-stream"
PICTURES = ("image/png", "image/jpeg", "image/webp", JSON)
PARQUET, ARROW = "application/vnd.apache.parquet", "application/vnd.apache.arrow.stream"
TABLE = (JSON, "text/csv", PARQUET, ARROW)
STREAM = ("application/x-ndjson", "text/event-stream")
NOSNIFF = ("X-Content-Type-Options", "nosniff")
VARY = ("Vary", "Accept")


def writer(returns: t.Any) -> AnswerWriter:
    answer = predicted(returns, yields=False, owner="Model 'm'")
    return AnswerWriter(answer, "Model 'm'")


class Digit(msgspec.Struct):
    digit: int
    seen: t.Any = None


@dataclasses.dataclass
class Size:
    width: int


class Colour(enum.StrEnum):
    RED = "red"


# --- what can be had -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "media_types"),
    [
        (Digit, (JSON,)),
        (Size, (JSON,)),
        (int, (JSON,)),
        (None, (JSON,)),
        (t.Any, (JSON,)),
        (list[Image], (JSON,)),
        (Colour, (JSON,)),
        (Image, PICTURES),
        (Image | None, PICTURES),
        (PIL.Image.Image, PICTURES),
        (Digit | Image, (JSON, *PICTURES[:3])),
        (np.ndarray, (JSON, NPY)),
        (np.ndarray[t.Any, np.dtype[np.float32]], (JSON, NPY)),
        (Tensor["float32", 3], (JSON, NPY)),
        (pd.DataFrame, TABLE),
        (DataFrame, TABLE),
        (DataFrame[Size], TABLE),
        (str, (JSON, "text/plain")),
        (t.Annotated[str, msgspec.Meta(description="words")], (JSON, "text/plain")),
        (bytes, (BINARY, JSON)),
        (cabc.Iterator[str], STREAM),
        (cabc.AsyncIterator[Digit], STREAM),
        (t.Generator[Digit, None, None], STREAM),
    ],
    ids=str,
)
def test_media_types_follow_from_the_return_annotation(annotation, media_types):
    assert writer(annotation).media_types == media_types


# --- one answer ----------------------------------------------------------------------------------


def picture():
    return PIL.Image.new("RGBA", (3, 2), "red")


def table():
    return pd.DataFrame({"a": [1, 2], "b": ["x", "<b>"]})


def array():
    return np.array([[1.5, 2.0]], dtype=np.float32)


@pytest.mark.parametrize(
    ("annotation", "value", "accept", "media_type"),
    [
        (Digit, Digit(3), "", JSON),
        (Digit, Digit(3), "image/png", JSON),
        (Image, picture(), "", "image/png"),
        (Image, picture(), "*/*", "image/png"),
        (Image, picture(), "image/webp;q=0.9, image/jpeg", "image/jpeg"),
        (Image, picture(), JSON, JSON),
        (Image, picture(), "text/html", "image/png"),
        (np.ndarray, array(), "", JSON),
        (np.ndarray, array(), NPY, NPY),
        (DataFrame, table(), "", JSON),
        (DataFrame, table(), "text/csv", "text/csv; charset=utf-8"),
        (DataFrame, table(), PARQUET, PARQUET),
        (t.Any, table(), "application/vnd.apache.arrow.stream", ARROW),
        (str, "a", "", JSON),
        (str, "a", "text/plain", "text/plain; charset=utf-8"),
        (str, "a", "text/html", JSON),
        (bytes, b"a", "", BINARY),
        (bytes, b"a", JSON, JSON),
        (t.Any, "a", "text/plain", "text/plain; charset=utf-8"),
        (t.Any, picture(), "", "image/png"),
        (t.Any, array(), NPY, NPY),
        (t.Any, {"a": 1}, NPY, JSON),
        (t.Any, np.int64(3), NPY, JSON),
        (Image | Digit, Digit(1), "", JSON),
        (Image | Digit, picture(), "", "image/png"),
        (Image | None, None, "", JSON),
        (list[float] | Image, array()[0], NPY, JSON),
        (Colour, Colour.RED, "text/plain", JSON),
    ],
)
def test_accept_header_chooses_the_media_type(annotation, value, accept, media_type):
    assert writer(annotation).encode(value, accept).media_type == media_type


def test_no_response_can_be_taken_for_html():
    for annotation, value in [(Image, picture()), (str, "<script>"), (bytes, b"<svg>")]:
        for accept in ("", "text/html", "image/svg+xml", "text/plain", "*/*", JSON):
            answer = writer(annotation).encode(value, accept)
            assert "html" not in answer.media_type
            assert "xml" not in answer.media_type
            assert NOSNIFF in answer.headers


@pytest.mark.parametrize(
    ("annotation", "value", "headers"),
    [
        (Digit, Digit(1), (NOSNIFF,)),
        (t.Any, [1], (NOSNIFF,)),
        (t.Any, "text", (VARY, NOSNIFF)),
        (str, "text", (VARY, NOSNIFF)),
        (str | None, None, (VARY, NOSNIFF)),
        (Image, picture(), (VARY, NOSNIFF)),
        (bytes, b"", (VARY, NOSNIFF)),
    ],
    ids=stable_repr,
)
def test_response_has_vary_and_nosniff_headers(annotation, value, headers):
    assert writer(annotation).encode(value).headers == headers


@pytest.mark.parametrize("accept", PICTURES[:3])
def test_image_is_encoded_in_the_chosen_format(accept):
    read = PIL.Image.open(io.BytesIO(writer(Image).encode(picture(), accept).body))
    assert (f"image/{read.format.lower()}", read.size) == (accept, (3, 2))


def test_array_is_encoded_as_npy_or_json():
    answers = writer(np.ndarray)
    assert json.loads(answers.encode(array()).body) == [[1.5, 2.0]]
    back = np.load(io.BytesIO(answers.encode(array(), NPY).body))
    assert (back.dtype, back.tolist()) == (np.float32, [[1.5, 2.0]])


def test_table_is_encoded_in_the_chosen_format():
    answers = writer(DataFrame)
    assert json.loads(answers.encode(table()).body) == [{"a": 1, "b": "x"}, {"a": 2, "b": "<b>"}]
    for accept, read in [
        ("text/csv", pd.read_csv),
        (PARQUET, pd.read_parquet),
        (ARROW, lambda file: pa.ipc.open_stream(file).read_pandas()),
    ]:
        back = read(io.BytesIO(answers.encode(table(), accept).body))
        assert back.to_dict("list") == table().to_dict("list")


@given(st.text())
def test_text_is_the_same_as_json_and_as_plain_text(text):
    answers = writer(str)
    assert json.loads(answers.encode(text).body) == text
    assert answers.encode(text, "text/plain").body.decode() == text


@pytest.mark.parametrize("value", [Colour.RED, np.array(["red"])[0], "red"], ids=type)
def test_any_string_can_be_encoded(value):
    answers = writer(str)
    assert answers.encode(value).body == b'"red"'
    assert answers.encode(value, "text/plain").body == b"red"


def test_value_in_a_record_is_json():
    table = pd.DataFrame({"a": [1.5, None], "b": ["x", "y"]})
    seen = {"crop": picture(), "scores": array(), "raw": b"abc", "rows": table, "b": table["b"]}
    found = json.loads(writer(Digit).encode(Digit(3, seen)).body)
    assert found["digit"] == 3
    assert found["seen"]["crop"].startswith("data:image/png;base64,")
    assert found["seen"]["scores"] == [[1.5, 2.0]]
    assert found["seen"]["raw"] == "YWJj"
    assert found["seen"]["rows"] == [{"a": 1.5, "b": "x"}, {"a": None, "b": "y"}]
    assert found["seen"]["b"] == ["x", "y"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.array(["2024-01-01T10", "NaT"], dtype="datetime64[us]"), ["2024-01-01T10:00:00", None]),
        (np.array(["2024-01-01T10", "NaT"], dtype="datetime64[ns]"), ["2024-01-01T10:00:00", None]),
        (np.datetime64("2024-01-01"), "2024-01-01"),
        (np.datetime64("2024-01-01T10:00:00.000000001"), "2024-01-01T10:00:00.000000001"),
        (np.timedelta64(90, "s"), "PT90S"),
        (np.timedelta64(1, "ns"), "PT0.000000001S"),
        (pd.Timestamp("2024-01-01T10:00"), "2024-01-01T10:00:00"),
        (pd.Timestamp("2024-01-01T10:00", tz="UTC"), "2024-01-01T10:00:00+00:00"),
        (pd.Timedelta("1h"), "P0DT1H0M0S"),
        (pd.Period("2024-01"), "2024-01"),
        (pd.NaT, None),
        (pd.NA, None),
        (pd.Index([1, 2]), [1, 2]),
        (pd.DatetimeIndex(["2024-01-01", None]), ["2024-01-01T00:00:00", None]),
        (pd.array([1, None], dtype="Int64"), [1, None]),
        (pd.Categorical(["a", None]), ["a", None]),
        (pd.Series(pd.to_datetime(["2024-01-01", None])), ["2024-01-01T00:00:00", None]),
        ({np.int64(1): np.longdouble(0.5)}, {"1": 0.5}),
    ],
    ids=stable_repr,
)
def test_values_of_numpy_and_pandas_are_numbers_text_and_lists(value, expected):
    assert json.loads(writer(t.Any).encode({"v": [value]}).body) == {"v": [expected]}


def test_value_without_a_form_is_named():
    for annotation in (t.Any, dict, dict[str, t.Any]):
        with pytest.raises(AnswerError, match=r"`object` at `\$\.a\[1\]`, which has no JSON form"):
            writer(annotation).encode({"a": [1, object()]})


def test_cache_of_classes_is_bounded():
    answers = writer(t.Any)
    for number in range(1000):
        answers.encode(type(f"Class{number}", (msgspec.Struct,), {})())
    assert len(answers._by_class) < 100


# --- streams and schemas -------------------------------------------------------------------------


def test_items_of_a_stream_are_lines_of_json():
    answers = writer(cabc.Iterator[Digit])
    assert (answers.streams, answers.item) == (True, Digit)
    assert answers.choose("text/event-stream") == "text/event-stream"
    assert answers.choose("text/html") == "application/x-ndjson"


def test_list_is_not_streamed():
    assert not writer(list[Digit]).streams


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (int, {"type": "integer"}),
        (t.Any, {}),
        (object, {}),
        (cabc.Iterator[str], {"type": "string"}),
        (cabc.Iterator[t.Any], {}),
        (np.ndarray, {"type": "array"}),
        (bytes, {"type": "string", "contentEncoding": "base64"}),
    ],
    ids=str,
)
def test_schema_describes_the_json_or_one_item(annotation, schema):
    assert json_schema(writer(annotation).item, answered=True) == schema


def test_schema_of_an_image():
    assert json_schema(Image)["contentEncoding"] == "base64"


# --- served --------------------------------------------------------------------------------------


def draw(x: int) -> Image:
    return PIL.Image.new("L", (x, 1))


def say(x: int) -> str:
    return "<b>" * x


def pack(x: int) -> bytes:
    return b"\x00" * x


def rank(x: int):
    return np.arange(x, dtype=np.int64)


@pytest.mark.parametrize(
    ("function", "accept", "content_type", "body"),
    [
        (say, None, JSON, b'"<b><b>"'),
        (say, "text/plain", "text/plain; charset=utf-8", b"<b><b>"),
        (say, "text/html", JSON, b'"<b><b>"'),
        (pack, None, BINARY, b"\0\0"),
        (pack, JSON, JSON, b'"AAA="'),
        (rank, None, JSON, b"[0,1]"),
        (rank, NPY, NPY, None),
        (draw, None, "image/png", None),
        (draw, "image/webp", "image/webp", None),
    ],
)
def test_client_chooses_the_media_type_of_a_response(app, function, accept, content_type, body):
    app.model("/m")(function)
    answer = app.test_client().post("/m", json=2, headers={"Accept": accept} if accept else {})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, content_type)
    assert answer.headers["Vary"] == "Accept"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    if body is not None:
        assert answer.data == body


def test_response_with_one_media_type_has_no_vary_header(app):
    @app.model("/m")
    def double(x: float) -> float:
        return 2 * x

    answer = app.test_client().post("/m", json=2, headers={"Accept": "text/html"})
    assert (answer.json, answer.mimetype) == (4.0, JSON)
    assert "Vary" not in answer.headers


def test_metadata_lists_the_media_types(app):
    app.model("/m")(draw)
    about = app.test_client().get("/m").json
    assert (about["answers"], about["streams"]) == ([*PICTURES], False)
