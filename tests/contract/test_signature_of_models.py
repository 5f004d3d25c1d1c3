from __future__ import annotations

import dataclasses
import traceback
import typing as t

import msgspec
import numpy as np
import PIL.Image
import pytest

from carboy.contract.bodies import BodyReader
from carboy.contract.schemas import body_schema
from carboy.contract.signature import predict_at, read_predict
from carboy.errors import SignatureError
from carboy.models import DataFrame, Image, ImageOptions, Tensor


class Flower(msgspec.Struct):
    length: float
    tags: list[str] = []


@dataclasses.dataclass
class Point:
    x: float


class Row(t.TypedDict):
    x: float


Pixels = t.Annotated[list[float], msgspec.Meta(min_length=4, max_length=4)]


def compiled(function: t.Any) -> t.Any:
    operation = read_predict(function, owner="Model 'm'")
    return BodyReader(operation.body, f"Model 'm', {predict_at(function)}")


def test_parameters_come_in_order_without_self():
    class Model:
        def predict(self, a: int, b: str = "x") -> float: ...

    interface = compiled(Model.predict)
    assert [(p.name, p.annotation, p.required) for p in interface.parameters] == [
        ("a", int, True),
        ("b", str, False),
    ]
    operation = read_predict(Model.predict, owner="Model 'm'")
    assert operation.answer.annotation is float


@pytest.mark.parametrize(
    "annotation",
    [int, float, str, bool, list[float], dict[str, list[int]], Flower, Point, Row, Pixels],
    ids=str,
)
def test_types_of_plain_json_are_unchanged(annotation):
    def predict(x): ...

    predict.__annotations__ = {"x": annotation}
    parameter = compiled(predict).single
    assert parameter.json_type == annotation
    assert [each.name for each in parameter.kinds] == (["text"] if annotation is str else [])


@pytest.mark.parametrize("annotation", [Image, PIL.Image.Image], ids=["marker", "Pillow's class"])
def test_image_is_a_string_in_json(annotation):
    def predict(x): ...

    predict.__annotations__ = {"x": annotation}
    parameter = compiled(predict).single
    assert parameter.json_type is str
    assert [each.name for each in parameter.kinds] == ["image"]


def test_parameter_may_be_an_image_or_numbers():
    def predict(image: Image | Pixels) -> int: ...

    schema = body_schema(compiled(predict).spec)
    assert schema["anyOf"][0]["contentEncoding"] == "base64"
    assert schema["anyOf"][1]["minItems"] == 4


def test_string_in_a_union_with_an_image_is_text():
    def predict(x: Image | str) -> int: ...

    assert compiled(predict).single.from_json("hello", "$") == "hello"


def test_options_of_a_picture_are_found():
    def predict(x: t.Annotated[Image, ImageOptions(max_pixels=9)] | None = None) -> int: ...

    assert compiled(predict).single.kinds[0].options.max_pixels == 9


def test_local_types_of_a_factory_are_found():
    class Local(msgspec.Struct):
        x: int

    def predict(x: Local) -> Local: ...

    assert compiled(predict).single.annotation is Local


def test_several_parameters_make_an_object():
    def predict(a: int, image: Image, b: str = "x") -> int: ...

    schema = body_schema(compiled(predict).spec)
    assert schema["required"] == ["a", "image"]
    assert schema["properties"]["b"] == {"type": "string"}


def bare(x): ...
def nothing(): ...
def starred(*x: int): ...
def keywords(**x: int): ...
def array(x: np.ndarray): ...
def any_tensor(x: Tensor): ...
def two_lists(x: list[int] | tuple[int, ...]): ...
def two_kinds_of_json(x: DataFrame | list[float]): ...
def no_dtype(x: Tensor["float", 3]): ...
def unknown(x: Missing): ...


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (bare, "parameter 'x' of `bare` .* has no type. Write one"),
        (nothing, "takes no input"),
        (starred, r"takes `\*x"),
        (keywords, r"takes `\*\*x"),
        (array, r"has the type numpy.ndarray, .* any sides are `Tensor\[\"float32\", \.\.\.\]`"),
        (any_tensor, r"has the type Tensor, .* any sides are `Tensor\[\"float32\", \.\.\.\]`"),
        (two_lists, "more than one array-like"),
        (two_kinds_of_json, "parameter 'x' .* table and other JSON in one union"),
        (no_dtype, "parameter 'x' .*'float' is not one of the dtypes bool"),
        (unknown, "'x' has the type 'Missing', which cannot be found"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_unusable_signature_is_refused_with_advice(function, says):
    with pytest.raises(SignatureError, match=says) as refused:
        compiled(function)
    assert str(refused.value).startswith("Model 'm'")
    assert "test_signature_of_models.py:" in str(refused.value)
    assert "".join(traceback.format_exception(refused.value)).count("Traceback") == 1
