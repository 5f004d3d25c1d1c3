"""JSON Schema of annotations, with shared components."""

import dataclasses
import datetime as dt
import decimal
import enum
import math
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


BASE64 = {"type": "string", "contentEncoding": "base64"}


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (int, {"type": "integer"}),
        (Size, {"$ref": "#/components/schemas/Size"}),
        (list[Size], {"type": "array", "items": {"$ref": "#/components/schemas/Size"}}),
        (Model, {"$ref": "#/components/schemas/Model"}),
        (list[Model], {"type": "array", "items": {"$ref": "#/components/schemas/Model"}}),
        (Upload, BASE64),
        (bytes, BASE64),
        (Upload | None, {"anyOf": [BASE64, {"type": "null"}]}),
        (list[Upload], {"type": "array", "items": BASE64}),
        (Image, {**BASE64, "contentMediaType": "image/*"}),
    ],
    ids=str,
)
def test_type_is_described_by_a_schema(annotation, schema):
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


def test_a_model_named_like_a_struct_gets_another_name():
    class Size(pydantic.BaseModel):
        n: int

    class Box(msgspec.Struct):
        size: Size

    ours = globals()["Size"]
    schemas, components = json_schemas([ours, Size, list[Size], Box])
    assert [schemas[0], schemas[1]] == [
        {"$ref": "#/components/schemas/Size"},
        {"$ref": "#/components/schemas/SizeModel"},
    ]
    assert "length" in components["Size"]["properties"]
    assert "n" in components["SizeModel"]["properties"]
    assert components["Box"]["properties"]["size"] == {"$ref": "#/components/schemas/SizeModel"}


def struct(module, field):
    return msgspec.defstruct("Item", [(field, int)], module=module)


def data(module, field):
    return dataclasses.make_dataclass("Item", [(field, int)], namespace={"__module__": module})


def model(module, field):
    return pydantic.create_model("Item", __module__=module, **{field: (int, ...)})


@pytest.mark.parametrize("second", [struct, data, model])
@pytest.mark.parametrize("first", [struct, data, model])
@pytest.mark.parametrize("modules", [("a", "b"), ("a", "a")], ids=["two modules", "one module"])
def test_classes_of_one_name_have_separate_components(first, second, modules):
    one, two = first(modules[0], "x"), second(modules[1], "y")
    box = msgspec.defstruct("Box", [("one", one), ("two", list[two])])
    schemas, components = json_schemas([one, list[two], box, box | None])
    refs = [schemas[0]["$ref"], schemas[1]["items"]["$ref"]]
    assert len(components) == 3
    assert [[*_component(components, ref)["properties"]] for ref in refs] == [["x"], ["y"]]
    fields = components["Box"]["properties"]
    assert [fields["one"]["$ref"], fields["two"]["items"]["$ref"]] == refs
    assert json_schemas([one, list[two], box, box | None]) == (schemas, components)


def _component(components, ref):
    return components[ref.rpartition("/")[2]]


Anything = t.TypeVar("Anything")


class Page(msgspec.Struct, t.Generic[Anything]):
    items: list[Anything]


def test_generic_of_classes_of_one_name_has_separate_components():
    schemas, components = json_schemas([Page[struct("a", "x")], Page[struct("b", "y")]])
    pages = [_component(components, schema["$ref"]) for schema in schemas]
    inner = [page["properties"]["items"]["items"]["$ref"] for page in pages]
    assert [[*_component(components, ref)["properties"]] for ref in inner] == [["x"], ["y"]]


def test_generated_name_of_a_model_may_be_taken():
    ours = [struct("a", "x"), msgspec.defstruct("ItemModel", ["y"])]
    [*_, theirs], components = json_schemas([*ours, model("c", "z")])
    assert theirs == {"$ref": "#/components/schemas/ItemModel_2"}
    assert len(components) == 3


def test_discriminator_refers_to_renamed_components():
    class Item(pydantic.BaseModel):
        kind: t.Literal["item"]

    class Other(pydantic.BaseModel):
        kind: t.Literal["other"]

    either = t.Annotated[Item | Other, pydantic.Field(discriminator="kind")]
    [_, schema], components = json_schemas([struct("a", "x"), either])
    assert schema["discriminator"]["mapping"] == {
        "item": "#/components/schemas/ItemModel",
        "other": "#/components/schemas/Other",
    }
    assert {*components} == {"Item", "ItemModel", "Other"}


def test_recursive_model_has_a_component():
    schemas, components = json_schemas([Tree])
    assert schemas == [{"$ref": "#/components/schemas/Tree"}]
    assert components["Tree"]["properties"]["children"]["items"] == schemas[0]


class Tree(pydantic.BaseModel):
    children: "list[Tree]" = []


def test_type_without_a_schema_is_named_in_the_error():
    class Odd:
        pass

    with pytest.raises(TypeError, match=r"Odd.*is not supported"):
        json_schemas([Odd])


def test_kinds_of_value_inside_records_have_schemas():
    np = pytest.importorskip("numpy")

    class Frame:
        pass

    Frame.__module__, Frame.__qualname__ = "pandas.core.frame", "DataFrame"

    class Answer(msgspec.Struct):
        scores: np.ndarray
        best: np.float32
        table: Frame
        picture: Image
        file: Upload

    _, components = json_schemas([Answer])
    fields = components["Answer"]["properties"]
    assert fields["scores"] == {"type": "array"}
    assert fields["best"] == {"type": "number"}
    assert fields["table"]["items"]["type"] == "object"
    assert fields["picture"]["contentEncoding"] == "base64"
    assert fields["file"] == BASE64


class Cup(enum.Enum):
    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


class Order(t.TypedDict):
    cup: Cup
    at: dt.datetime
    amount: int


def test_values_and_keys_are_listed_in_the_order_of_their_declaration():
    schemas, components = json_schemas([t.Literal["small", "medium", 3, "large"], Order])
    assert schemas[0] == {"enum": ["small", "medium", 3, "large"]}
    assert components["Cup"]["enum"] == ["small", "medium", "large"]
    assert list(components["Order"]["properties"]) == ["cup", "at", "amount"]


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (dt.datetime, {"format": "date-time"}),
        (t.Annotated[dt.datetime, msgspec.Meta(tz=True)], {"format": "date-time"}),
        (t.Annotated[dt.datetime, msgspec.Meta(tz=False)], {"examples": ["2026-01-31T12:00:00"]}),
        (dt.date, {"format": "date"}),
        (dt.time, {"format": "time"}),
        (
            t.Annotated[dt.time, msgspec.Meta(tz=False)],
            {"format": "partial-time", "examples": ["12:00:00"]},
        ),
        (dt.timedelta, {"format": "duration"}),
        (decimal.Decimal, {"format": "decimal", "examples": ["1.5"]}),
        (
            t.Annotated[dt.time, msgspec.Meta(extra_json_schema={"format": "hour"})],
            {"format": "hour"},
        ),
    ],
    ids=str,
)
def test_times_and_decimals_have_a_format_or_an_example(annotation, schema):
    [found], _ = json_schemas([annotation])
    assert found == {"type": "string", **schema}


class Limits(msgspec.Struct):
    limit: float = math.inf
    count: int = 3


def test_default_that_json_cannot_express_is_left_out():
    _, components = json_schemas([list[Limits]])
    assert components["Limits"]["properties"] == {
        "limit": {"type": "number"},
        "count": {"type": "integer", "default": 3},
    }
    assert components["Limits"]["required"] == []
