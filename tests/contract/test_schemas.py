"""Annotations as JSON Schema, with one set of components."""

import dataclasses
import typing as t

import msgspec
import pydantic
import pytest

from carboy import Image, Upload
from carboy.contract.schemas import json_schemas


class Size(msgspec.Struct):
    length: t.Annotated[float, msgspec.Meta(gt=0)]


class Model(pydantic.BaseModel):
    n: int
    inner: "Inner | None" = None


class Inner(pydantic.BaseModel):
    x: str


@dataclasses.dataclass
class Flower:
    size: Size
    model: Model


BINARY = {"type": "string", "format": "binary"}


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (int, {"type": "integer"}),
        (Size, {"$ref": "#/components/schemas/Size"}),
        (list[Size], {"type": "array", "items": {"$ref": "#/components/schemas/Size"}}),
        (Model, {"$ref": "#/components/schemas/Model"}),
        (list[Model], {"type": "array", "items": {"$ref": "#/components/schemas/Model"}}),
        (Upload, BINARY),
        (bytes, BINARY),
        (Upload | None, BINARY),
        (list[Upload], {"type": "array", "items": BINARY}),
        (Image, {**BINARY, "contentMediaType": "image/*"}),
    ],
    ids=str,
)
def test_a_schema(annotation, schema):
    [found], _ = json_schemas([annotation])
    assert found == schema


def test_components_are_shared_and_complete():
    schemas, components = json_schemas(
        [Flower, Size, Model, list[Flower]], ref_template="#/x/{name}"
    )
    assert schemas[0] == {"$ref": "#/x/Flower"}
    assert set(components) == {"Flower", "Size", "Model", "Inner"}
    assert components["Flower"]["properties"]["model"] == {"$ref": "#/x/Model"}
    assert components["Size"]["properties"]["length"] == {"type": "number", "exclusiveMinimum": 0}
