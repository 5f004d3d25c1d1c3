from __future__ import annotations

import base64
import contextlib
import dataclasses
import gc
import io
import json
import typing as t
import weakref
from urllib.parse import urlencode

import msgspec
import numpy as np
import PIL.Image
import pytest
from bodies import FakeBody
from hypothesis import given
from hypothesis import strategies as st

from carboy.contract.answers import encode
from carboy.contract.bodies import BodyReader
from carboy.contract.forms import FormData
from carboy.contract.media import MULTIPART, URLENCODED
from carboy.contract.signature import read_predict
from carboy.contract.values.file import Upload
from carboy.errors import InputError
from carboy.models import DataFrame, Image, Tensor

Four = t.Annotated[
    list[t.Annotated[float, msgspec.Meta(ge=0, le=16)]], msgspec.Meta(min_length=4, max_length=4)
]


class Flower(msgspec.Struct):
    length: float
    tags: list[str] = []


class Album(msgspec.Struct):
    name: str
    pages: list[Image]


def numbers(x: Four): ...
def digit(image: Image | Four): ...
def flower(flower: Flower): ...
def album(album: Album): ...
def captioned(image: Image, caption: str, size: int = 3): ...
def two(left: Image, right: Image): ...
def text(x: str): ...
def anything(x: t.Any): ...
def counts(x: dict[str, int]): ...


def codec(function: t.Any) -> BodyReader:
    return BodyReader(read_predict(function, owner="Model 'm'").body, "Model 'm'")


def plain(arguments: dict[str, t.Any]) -> dict[str, t.Any]:
    """Replace images by their sizes, to compare arguments."""
    return {k: v.size if isinstance(v, PIL.Image.Image) else v for k, v in arguments.items()}


# --- what can be sent --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "sent", "arrives"),
    [
        (numbers, [1, 2.5, 3, 4], {"x": [1, 2.5, 3, 4]}),
        (numbers, {"x": [1, 2, 3, 4]}, {"x": [1, 2, 3, 4]}),
        (digit, [1, 2, 3, 4], {"image": [1, 2, 3, 4]}),
        (flower, {"length": 2}, {"flower": Flower(2)}),
        (flower, {"flower": {"length": 2}}, {"flower": Flower(2)}),
        (counts, {"a": 1, "b": 2}, {"x": {"a": 1, "b": 2}}),
        (counts, {"x": {"a": 1}}, {"x": {"a": 1}}),
        (text, "hello", {"x": "hello"}),
        (text, {"x": "hello"}, {"x": "hello"}),
        (anything, None, {"x": None}),
    ],
)
def test_json_is_the_value_or_an_object_by_name(body, function, sent, arrives):
    assert codec(function).decode(body(json.dumps(sent).encode())) == arrives


def test_media_type_with_json_suffix_is_json(body):
    assert codec(text).decode(body(b'"x"', "application/vnd.api+json")) == {"x": "x"}


def test_a_picture_in_json_is_base64(body, picture):
    encoded = base64.b64encode(picture()).decode()
    for sent in (encoded, {"image": encoded}, {"image": f"data:image/png;base64,{encoded}"}):
        arrives = codec(digit).decode(body(json.dumps(sent).encode()))
        assert plain(arrives) == {"image": (8, 4)}


def test_pictures_inside_a_record_are_opened(body, picture):
    encoded = base64.b64encode(picture()).decode()
    sent = json.dumps({"name": "x", "pages": [encoded, encoded]}).encode()
    assert [page.size for page in codec(album).decode(body(sent))["album"].pages] == [(8, 4)] * 2


@pytest.mark.parametrize(
    "media_type",
    ["image/png", "image/x-odd", "application/octet-stream", "", URLENCODED, "text/plain"],
)
def test_raw_image_is_recognised_by_its_content(body, picture, media_type):
    assert plain(codec(digit).decode(body(picture("JPEG"), media_type))) == {"image": (8, 4)}


@pytest.mark.parametrize("name", ["image", "file", "upload"])
def test_single_image_may_have_any_name_in_a_form(body, picture, name):
    sent = body(media_type=MULTIPART, files={name: [picture()]})
    assert plain(codec(digit).decode(sent)) == {"image": (8, 4)}


def test_files_and_fields_fill_parameters_by_name(body, picture):
    sent = body(
        media_type=MULTIPART, files={"image": [picture()]}, fields={"caption": ["x"], "size": ["7"]}
    )
    assert plain(codec(captioned).decode(sent)) == {"image": (8, 4), "caption": "x", "size": 7}


def test_two_pictures_are_distinguished_by_name(body, picture):
    files = {"right": [picture(size=(1, 2))], "left": [picture(size=(3, 4))]}
    arrives = codec(two).decode(body(media_type=MULTIPART, files=files))
    assert plain(arrives) == {"left": (3, 4), "right": (1, 2)}


@pytest.mark.parametrize(
    ("function", "fields", "arrives"),
    [
        (numbers, [("x", "[1, 2, 3, 4]")], {"x": [1, 2, 3, 4]}),
        (numbers, [("x", "1"), ("x", "2"), ("x", "3"), ("x", "4")], {"x": [1, 2, 3, 4]}),
        (flower, [("length", "2.5"), ("tags", "red")], {"flower": Flower(2.5, ["red"])}),
        (flower, [("flower", '{"length": 2}')], {"flower": Flower(2)}),
        (text, [("x", "nan")], {"x": "nan"}),
        (text, [("x", "Grün & blau")], {"x": "Grün & blau"}),
    ],
)
def test_form_without_files_is_read_by_type(body, function, fields, arrives):
    assert codec(function).decode(body(urlencode(fields).encode(), URLENCODED)) == arrives


def test_missing_parameter_gets_its_default(body, picture):
    encoded = base64.b64encode(picture()).decode()
    sent = json.dumps({"image": encoded, "caption": "x"}).encode()
    assert codec(captioned).decode(body(sent))["size"] == 3


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "status", "path", "says"),
    [
        (b"[1, 2, 3]", 422, "$", "length >= 4, got array of length 3"),
        (b'{"image": [1, 2, 3]}', 422, "$.image", "length >= 4"),
        (b"[1, 2, 3, 4, 5]", 422, "$", "length <= 4, got array of length 5"),
        (b'[1, 2, 3, "4"]', 422, "$[3]", "Expected `float`, got `str` '4'"),
        (b"[1, 2, 3, 17]", 422, "$[3]", "<= 16"),
        (b"[1, 2, 3, null]", 422, "$[3]", "got `null`"),
        (b"[1, 2, 3, NaN]", 422, "$[3]", "finite number, got NaN"),
        (b'{"image": [1, -Infinity, 3, NaN]}', 422, "$.image[1]", "got -Infinity"),
        (b"[1, 2, 3, 1e999]", 422, "$[3]", "Number out of range"),
        (b"{}", 422, "$", "missing required field `image`, got empty object"),
        (b'{"imge": [1]}', 422, "$", "an object with `image` and without `imge`"),
        (b"null", 422, "$", "got `null`"),
        (b'"hello"', 422, "$", "base64"),
        (b"", 400, None, "empty"),
        (b" \n", 400, None, "empty"),
        (b"[1, 2,", 400, None, "not valid JSON"),
        (b"[1, 2, 3, 4] 5", 400, None, "not valid JSON"),
        (b'"NaN', 400, None, "not valid JSON"),
        (b'"\xff"', 400, None, "not valid JSON"),
        (b"[" * 100_000, 422, "$[0]", "Expected `float`"),
        (b'{"image":' * 100_000, 422, "$.image", "Expected `str | array`, got `object`"),
        (b"NaN" + b"[" * 100_000, 400, None, "not valid JSON"),
    ],
)
def test_invalid_json_is_refused_with_path_and_reason(body, sent, status, path, says):
    with pytest.raises(InputError) as refused:
        codec(digit).decode(body(sent))
    assert (refused.value.status, says in refused.value.detail) == (status, True), refused.value
    assert [fault.path for fault in refused.value.faults] == ([path] if path else [])


def test_bare_value_for_several_parameters_is_refused_with_their_names(body):
    with pytest.raises(InputError) as refused:
        codec(captioned).decode(body(b'"a cat"'))
    wanted = "an object with `image`, `caption` and `size` (optional)"
    assert refused.value.detail == f"Expected {wanted}, got `str` 'a cat' - at `$`."
    assert [(fault.path, fault.expected) for fault in refused.value.faults] == [("$", wanted)]


def test_invalid_object_among_several_parameters_keeps_its_error(body):
    def both(flower: Flower, size: int): ...

    with pytest.raises(InputError, match=r"Expected `object`, got `int` 1 - at `\$\.flower`"):
        codec(both).decode(body(b'{"flower": 1, "size": 1}'))


def test_deeply_nested_json_is_refused(body):
    with pytest.raises(InputError, match="nested too deeply") as refused:
        codec(anything).decode(body(b"[" * 100_000))
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("media_type", "data", "status", "says"),
    [
        ("text/csv", b"1,2,3,4", 415, "text/csv. Send application/json"),
        ("", b"1,2,3,4", 415, "no Content-Type"),
        ("", b"", 400, "empty"),
        ("image/png", b"", 415, "an empty file"),
        ("image/png", b"hello", 415, "got text"),
        ("image/svg+xml", b"<svg/>", 415, "got SVG"),
        (URLENCODED, b"[1, 2, 3, 4]", 415, "send `Content-Type: application/json`"),
        ("text/plain", b"{}", 415, "send `Content-Type: application/json`"),
        (URLENCODED, b"image=%ff", 400, "malformed"),
        (URLENCODED, b"&".join(b"a=1" for _ in range(2000)), 400, "malformed"),
        (URLENCODED, b"image=nan&image=1&image=1&image=1", 422, "$.image[0]"),
        (URLENCODED, b"image=[1,NaN,1,1]", 422, "a finite number, got NaN - at `$.image[1]`"),
        (URLENCODED, b"image=[1,,1,1]", 422, "Field 'image'"),
        (URLENCODED, b"other=1", 422, "only 'other'"),
    ],
)
def test_other_media_types_are_refused_by_name(body, media_type, data, status, says):
    with pytest.raises(InputError) as refused:
        codec(digit).decode(body(data, media_type))
    assert (refused.value.status, says in refused.value.detail) == (status, True), refused.value


def test_infinity_in_a_form_is_refused(body):
    with pytest.raises(InputError, match=r"finite number, got Infinity - at `\$.length`"):
        codec(flower).decode(body(b"length=inf", URLENCODED))


@pytest.mark.parametrize(
    ("files", "status", "says"),
    [
        ({}, 422, "a file (image) named 'image'"),
        ({"image": [b"hello"]}, 415, "got text - at `$.image`"),
        ({"image": [b""]}, 415, "got an empty file"),
        ({"a": [b"x"], "b": [b"y"]}, 422, "one file, got 2 files"),
    ],
    ids=["none", "text", "empty", "two"],
)
def test_form_without_exactly_one_valid_image_is_refused(body, files, status, says):
    with pytest.raises(InputError) as refused:
        codec(digit).decode(body(media_type=MULTIPART, files=files))
    assert (refused.value.status, says in refused.value.detail) == (status, True), refused.value


def test_all_faults_of_a_form_are_reported_at_once(body):
    with pytest.raises(InputError) as refused:
        codec(captioned).decode(body(media_type=MULTIPART, fields={"size": ["many"]}))
    assert [fault.path for fault in refused.value.faults] == ["$.image", "$.caption", "$.size"]


def test_error_of_an_image_inside_json_keeps_path_and_status(body):
    page = base64.b64encode(b"hello").decode()
    with pytest.raises(InputError, match=r"at `\$.pages\[0\]`") as refused:
        codec(album).decode(body(json.dumps({"name": "x", "pages": [page]}).encode()))
    assert refused.value.status == 415


def test_a_compressed_body_is_refused(body):
    with pytest.raises(InputError, match="'gzip' is not understood") as refused:
        codec(text).decode(body(b'"x"', encoding="gzip"))
    assert refused.value.status == 415


@pytest.mark.parametrize("sent", [b'{"length": "a"}', b'{"flower": {"length": "a"}}', b"{"])
def test_refused_input_is_freed_without_the_garbage_collector(body, sent):
    reader, refused = codec(flower), body(sent)
    seen = weakref.ref(refused)
    gc.disable()
    try:
        with contextlib.suppress(InputError):
            reader.decode(refused)
        del refused
        assert seen() is None
    finally:
        gc.enable()


def test_long_text_is_cut_in_the_error_message(body):
    with pytest.raises(InputError) as refused:
        codec(numbers).decode(body(json.dumps(["x" * 10_000]).encode()))
    assert len(refused.value.detail) < 200


# --- properties --------------------------------------------------------------------------------

_digit = codec(digit)
_json_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(_json_value, st.sampled_from(["{}", '{{"image": {}}}']))
def test_any_json_is_read_or_refused(value, form):
    with contextlib.suppress(InputError):  # other exceptions fail the test
        arrives = _digit.decode(FakeBody(form.format(json.dumps(value)).encode()))["image"]
        assert len(arrives) == 4
        assert all(0 <= number <= 16 for number in arrives)


@given(st.binary(max_size=200), st.sampled_from(["application/json", URLENCODED, "image/png", ""]))
def test_any_bytes_are_read_or_refused(data, media_type):
    with contextlib.suppress(InputError):  # other exceptions fail the test
        _digit.decode(FakeBody(data, media_type))


class Order(msgspec.Struct):
    name: str
    count: int = 1
    gift: bool = False


def test_browser_form_is_read_as_by_a_view():
    def predict(self, order: Order) -> int: ...

    sent = urlencode({"name": "", "count": "", "gift": "on"}).encode()
    assert codec(predict).decode(FakeBody(sent, URLENCODED)) == {"order": Order("", 1, True)}


def test_unreadable_file_decides_the_status():
    def predict(self, image: Image, count: int) -> int: ...

    with pytest.raises(InputError) as refused:
        codec(predict).decode(
            FakeBody(media_type=MULTIPART, fields={"count": ["x"]}, files={"image": [b"hello"]})
        )
    assert refused.value.status == 415
    assert len(refused.value.faults) == 2


# --- tensors, tables, text and bytes beside pictures --------------------------------------------

Grid = Tensor["float32", "h", "w"]


def grid(x: Grid): ...
def grid_or_nothing(x: Grid | None = None): ...
def either(x: Image | Tensor["uint8", "h", "w", 3]): ...
def grids(x: Grid, y: Tensor["int8", "h"], scale: int = 1): ...
def masked(image: Image, mask: Grid): ...
def noted(x: Grid, note: str = ""): ...
def table(x: DataFrame | None = None): ...
def rows(x: DataFrame): ...
def table_or_picture(x: Image | DataFrame): ...
def strict(x: str): ...
def raw(x: bytes): ...
def file(x: Upload): ...


def npy(value: t.Any, dtype: str = "float32") -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(value, dtype))
    return stream.getvalue()


def seen(arguments: dict[str, t.Any]) -> dict[str, t.Any]:
    """Replace arrays, images and files by values that can be compared."""
    shown: dict[str, t.Any] = {}
    for name, value in plain(arguments).items():
        shown[name] = value.tolist() if isinstance(value, np.ndarray) else value
        if isinstance(value, Upload):
            shown[name] = value.read()
        if hasattr(value, "to_dict"):
            shown[name] = value.to_dict("records")
    return shown


_GRID = npy([[1, 2]])
_BASE64 = base64.b64encode(_GRID).decode()


@pytest.mark.parametrize(
    ("function", "sent", "arrives"),
    [
        (grid, b"[[1, 2]]", {"x": [[1, 2]]}),
        (grid, b'{"x": [[1, 2]]}', {"x": [[1, 2]]}),
        (grid, f'"{_BASE64}"'.encode(), {"x": [[1, 2]]}),
        (grid, f'{{"x": "{_BASE64}"}}'.encode(), {"x": [[1, 2]]}),
        (grid_or_nothing, b"null", {"x": None}),
        (grid_or_nothing, b"{}", {"x": None}),
        (grid_or_nothing, b"[[1]]", {"x": [[1]]}),
        (either, b"[[[1, 2, 3]]]", {"x": [[[1, 2, 3]]]}),
        (grids, b'{"x": [[1, 2]], "y": [3]}', {"x": [[1, 2]], "y": [3], "scale": 1}),
        (table, b'[{"a": 1}]', {"x": [{"a": 1}]}),
        (table, b'{"x": [{"a": 1}]}', {"x": [{"a": 1}]}),
        (table, b" null\n", {"x": None}),
        (table, b'{"x": null}', {"x": None}),
        (table_or_picture, b'[{"a": 1}]', {"x": [{"a": 1}]}),
        (strict, b'"a"', {"x": "a"}),
        (raw, b'"YQ=="', {"x": b"a"}),
        (file, b'"YQ=="', {"x": b"a"}),
    ],
)
def test_each_kind_of_value_is_read_inside_json(body, function, sent, arrives):
    assert seen(codec(function).decode(body(sent))) == arrives


@pytest.mark.parametrize("named", [False, True], ids=["alone", "by name"])
@pytest.mark.parametrize("encode", [msgspec.json.encode, msgspec.msgpack.encode])
@pytest.mark.parametrize("function", [digit, grid, rows, table_or_picture, strict, raw, file])
def test_null_is_refused_where_a_value_is_required(body, function, encode, named):
    reader = codec(function)
    name = reader.parameters[0].alias
    kind = "application/json" if encode is msgspec.json.encode else "application/msgpack"
    with pytest.raises(InputError, match="got `null`"):
        reader.decode(body(encode({name: None} if named else None), kind))


@pytest.mark.parametrize("encode", [msgspec.json.encode, msgspec.msgpack.encode])
@pytest.mark.parametrize("function", [grid_or_nothing, table])
def test_null_is_none_for_an_optional_value(body, function, encode):
    kind = "application/json" if encode is msgspec.json.encode else "application/msgpack"
    assert codec(function).decode(body(encode(None), kind)) == {"x": None}


@pytest.mark.parametrize(
    ("function", "media_type", "sent", "arrives"),
    [
        (grid, "application/x-npy", _GRID, {"x": [[1, 2]]}),
        (grid, "", _GRID, {"x": [[1, 2]]}),
        (grid, URLENCODED, _GRID, {"x": [[1, 2]]}),
        (either, "application/octet-stream", npy([[[1, 2, 3]]], "uint8"), {"x": [[[1, 2, 3]]]}),
        (noted, "application/x-npy", _GRID, {"x": [[1, 2]], "note": ""}),
        (strict, "text/plain", "é".encode(), {"x": "é"}),
        (strict, "text/csv", b"a,b", {"x": "a,b"}),
        (raw, "application/pdf", b"%PDF", {"x": b"%PDF"}),
        (raw, "application/x-npy", _GRID, {"x": _GRID}),
        (file, "application/pdf", b"%PDF", {"x": b"%PDF"}),
    ],
)
def test_raw_body_is_read_by_the_kind_that_recognises_it(body, function, media_type, sent, arrives):
    assert seen(codec(function).decode(body(sent, media_type))) == arrives


def test_union_of_kinds_takes_either_file(body, picture):
    decode = codec(either).decode
    array = npy([[[1, 2, 3]]], "uint8")
    assert seen(decode(body(picture(), ""))) == {"x": (8, 4)}
    assert seen(codec(table_or_picture).decode(body(picture(), ""))) == {"x": (8, 4)}
    for sent, arrives in ((picture(), (8, 4)), (array, [[[1, 2, 3]]])):
        assert seen(decode(body(media_type=MULTIPART, files={"x": [sent]}))) == {"x": arrives}


@pytest.mark.parametrize(
    ("function", "fields", "files", "arrives"),
    [
        (grid, {}, {"x": [_GRID]}, {"x": [[1, 2]]}),
        (grid, {}, {"any": [_GRID]}, {"x": [[1, 2]]}),
        (grid, {"x": ["[[1, 2]]"]}, {}, {"x": [[1, 2]]}),
        (grid, {"x": [_BASE64]}, {}, {"x": [[1, 2]]}),
        (noted, {"note": ["hi"]}, {"any": [_GRID]}, {"x": [[1, 2]], "note": "hi"}),
        (noted, {}, {"x": [_GRID], "note": [b"hi"]}, {"x": [[1, 2]], "note": "hi"}),
        (grids, {"y": ["[3]"]}, {"x": [_GRID]}, {"x": [[1, 2]], "y": [3], "scale": 1}),
        (strict, {}, {"any": [b"hi"]}, {"x": "hi"}),
        (strict, {"x": ["[1"]}, {}, {"x": "[1"}),
        (file, {}, {"any": [b"hi"]}, {"x": b"hi"}),
    ],
)
def test_files_and_fields_of_a_form_are_read_by_kinds(body, function, fields, files, arrives):
    sent = body(media_type=MULTIPART, fields=fields, files=files)
    assert seen(codec(function).decode(sent)) == arrives


@pytest.mark.parametrize(
    ("function", "media_type", "sent", "status", "says"),
    [
        (grid, "application/json", b"[[1, 2], [3]]", 422, "length 2 (side 'w'), got array of"),
        (grid, "application/json", b'[["1"]]', 422, "Expected `float`, got `str` '1' - at `$[0]"),
        (grid, "application/json", b"[[NaN]]", 422, "finite number, got NaN - at `$[0][0]`"),
        (grid, "application/json", b"[[1e999]]", 422, "Number out of range - at `$[0][0]`"),
        (grid, "application/json", b"[[1]", 400, "not valid JSON"),
        (grid, "application/json", b"", 400, "The body is empty"),
        (grid, "application/json", b"[]", 422, "got an empty one"),
        (grid, "application/json", b'{"y": [[1]]}', 422, "an object with `x` and without `y`"),
        (grid, "application/json", b"{}", 422, "missing required field `x`"),
        (grid, "application/json", b'{"x": [[1], [2, 3]]}', 422, "at `$.x[1]`"),
        (grid, "application/json", b"[" * 100_000, 422, "Expected `float`, got"),
        (grid, "application/x-npy", b"", 415, "a .npy file, got an empty file"),
        (grid, "application/x-npy", b"x", 415, "a .npy file, got something else"),
        (grid, "", _GRID[:-1], 422, "7 bytes of data where 8 belong"),
        (grid, "", npy([1]), 422, "shape (h, w), got shape (1,)"),
        (grid, "", npy([[1]], "float64"), 422, "got float64"),
        (grid, "text/csv", b"1,2", 415, "text/csv. Send application/json, multipart/form-data, "),
        (grids, "", _GRID, 415, "x-www-form-urlencoded or application/msgpack"),
        (grids, "application/json", b'{"x": [[1]], "y": [1, 2]}', 422, "side 'h' of size 1, as in"),
        (strict, "text/plain", b"\xff", 400, "byte 0xff"),
        (raw, "application/json", b'"?"', 422, "text in base64"),
    ],
)
def test_invalid_value_of_a_kind_is_refused_with_path_and_reason(
    body, function, media_type, sent, status, says
):
    with pytest.raises(InputError) as refused:
        codec(function).decode(body(sent, media_type))
    assert (refused.value.status, says in refused.value.detail) == (status, True), refused.value


def test_named_dimension_has_one_size_in_all_arguments(body):
    with pytest.raises(InputError) as refused:
        codec(grids).decode(body(b'{"x": [[1], [2]], "y": [1]}'))
    assert refused.value.detail == ("Expected side 'h' of size 2, as in `$.x`, got 1 - at `$.y`.")


def test_missing_file_is_named_by_its_kind(body, picture):
    sent = body(media_type=MULTIPART, files={"image": [picture()]})
    with pytest.raises(InputError, match=r"a file \(tensor\) named 'mask', got only 'image'"):
        codec(masked).decode(sent)


def test_media_types_of_bodies_are_listed():
    assert codec(either).media_types[3:] == [
        *("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp"),
        *("application/x-npy", "application/msgpack"),
    ]
    others = [MULTIPART, URLENCODED, "application/msgpack"]
    assert codec(masked).media_types == ["application/json", *others]


def test_a_file_keeps_its_name():
    sent = Upload(io.BytesIO(b"hello"), name="a.txt", media_type="text/plain")

    class Body(FakeBody):
        def form(self) -> FormData:
            return FormData({}, {"x": [sent]})

    arrives = codec(file).decode(Body(media_type=MULTIPART))["x"]
    assert (arrives.name, arrives.media_type, arrives.read()) == ("a.txt", "text/plain", b"hello")


_grid = codec(grid)


@given(_json_value, st.sampled_from(["{}", '{{"x": {}}}', "[{}, {}]", "[[1, 2], {}]"]))
def test_any_json_is_a_tensor_or_refused(value, form):
    text = json.dumps(value)
    with contextlib.suppress(InputError):  # other exceptions fail the test
        arrives = _grid.decode(FakeBody(form.format(text, text).encode()))["x"]
        assert (arrives.dtype, arrives.ndim) == (np.float32, 2)
        assert np.isfinite(arrives).all()


# --- answers -----------------------------------------------------------------------------------


@dataclasses.dataclass
class Point:
    x: float


@pytest.mark.parametrize(
    ("result", "sent"),
    [
        (Flower(1.5, ["red"]), b'{"length":1.5,"tags":["red"]}'),
        (Point(2.0), b'{"x":2.0}'),
        ({"a": [1, None, True]}, b'{"a":[1,null,true]}'),
        (np.float32(1.5), b"1.5"),
        (np.int64(3), b"3"),
        (np.bool_(True), b"true"),
        (np.array([[1, 2], [3, 4]]), b"[[1,2],[3,4]]"),
        ({"p": np.array([0.5])}, b'{"p":[0.5]}'),
        ([np.str_("x"), float("nan")], b'["x",null]'),
    ],
)
def test_results_become_json(result, sent):
    assert encode(result) == sent


def test_a_result_without_a_json_form_says_what_to_return():
    with pytest.raises(NotImplementedError, match=r"builtins\.object, which has no JSON form"):
        encode(object())
