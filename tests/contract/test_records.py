"""Fields of each kind of record, and the values inside records."""

import dataclasses
import typing as t
from decimal import Decimal

import attrs
import msgspec
import pydantic
import pytest
import typing_extensions as te

from carboy.contract.records import NO_DEFAULT, RecordField, fields_of, types_in, values_in

Item = t.TypeVar("Item")


class AsStruct(msgspec.Struct, rename="camel"):
    first_name: str
    age: int = 1
    tags: list[str] = []


class Page(msgspec.Struct, t.Generic[Item]):
    items: list[Item]


@dataclasses.dataclass
class AsDataclass:
    name: str
    age: int = 1
    tags: list[str] = dataclasses.field(default_factory=list)
    made: str = dataclasses.field(init=False, default="here")


@attrs.define
class AsAttrs:
    name: str
    age: int = 1
    tags: list[str] = attrs.field(factory=list)


class AsDict(t.TypedDict):
    name: str
    age: t.NotRequired[int]


class AsOtherDict(te.TypedDict, total=False):
    name: te.Required[te.ReadOnly[str]]
    age: int


class PostponedDict(t.TypedDict):
    name: str
    age: "t.NotRequired[int]"


class AsTuple(t.NamedTuple):
    name: str
    age: int = 1


class AsModel(pydantic.BaseModel):
    name: str = pydantic.Field(alias="called")
    age: int = pydantic.Field(1, validation_alias=pydantic.AliasChoices("age", "years"))


class ByName(pydantic.BaseModel, populate_by_name=True):
    name: str = pydantic.Field(alias="called")


class Nested(msgspec.Struct):
    pages: Page[Decimal] | None = None
    inner: "Nested | None" = None


NAME = RecordField("name", ("name",), str, True)
AGE = RecordField("age", ("age",), int, False, 1)
TAGS = RecordField("tags", ("tags",), list[str], False)
NO_AGE = RecordField("age", ("age",), int, False)


@pytest.mark.parametrize(
    ("record", "fields"),
    [
        (AsStruct, [RecordField("first_name", ("firstName",), str, True), AGE, TAGS]),
        (AsDataclass, [NAME, AGE, TAGS]),
        (AsAttrs, [NAME, AGE, TAGS]),
        (AsDict, [NAME, NO_AGE]),
        (AsOtherDict, [NAME, NO_AGE]),
        (PostponedDict, [NAME, NO_AGE]),
        (AsTuple, [NAME, AGE]),
        (Page[int], [RecordField("items", ("items",), list[int], True)]),
        (AsModel, [
            RecordField("name", ("called",), str, True),
            RecordField("age", ("age", "years"), int, False),
        ]),
        (ByName, [RecordField("name", ("called", "name"), str, True)]),
        (t.Annotated[AsTuple, "note"], [NAME, AGE]),
        (int, []),
        (list[AsStruct], []),
        (tuple, []),
    ],
    ids=str,
)  # fmt: skip
def test_fields_of_a_record(record, fields):
    assert sorted(fields_of(record)) == sorted(fields)
    assert all(each.default is NO_DEFAULT for each in fields if each.required)


def test_types_inside_a_type_are_found_once():
    found = list(types_in(dict[str, Nested]))
    assert {str, Nested, Page[Decimal], Decimal} < set(found)
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("value", "inside"),
    [
        (AsStruct("a"), {".firstName": "a", ".age": 1, ".tags": []}),
        (AsDataclass("a"), {".name": "a", ".age": 1, ".tags": []}),
        (AsAttrs("a"), {".name": "a", ".age": 1, ".tags": []}),
        (ByName(name="a"), {".name": "a"}),
        (AsTuple("a"), {"[0]": "a", "[1]": 1}),
        ({"a": 1}, {".a": 1}),
        ([1], {"[0]": 1}),
        ("text", {}),
        (object(), {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_inside_a_value_have_steps_of_a_path(value, inside):
    assert dict(values_in(value)) == inside
