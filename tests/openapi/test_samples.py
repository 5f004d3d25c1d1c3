from __future__ import annotations

import re
import typing as t

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from carboy.openapi.patterns import matching
from carboy.openapi.samples import form_texts, parameter_texts, sample


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"example": 1, "type": "string"}, 1),
        ({"examples": ["a", "b"], "default": "c"}, "c"),
        ({"examples": ["a", "b"]}, "a"),
        ({"const": 3}, 3),
        ({"enum": ["x"]}, "x"),
        ({"type": "integer"}, 1),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "integer", "exclusiveMinimum": 3}, 4),
        ({"type": "integer", "maximum": -2}, -2),
        ({"type": "number", "exclusiveMaximum": 0}, -0.5),
        ({"type": "integer", "minimum": 4, "multipleOf": 3}, 6),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 0.25}, 0.125),
        ({"type": "number", "exclusiveMinimum": 3, "exclusiveMaximum": 4}, 3.5),
        ({"type": "number", "minimum": 2.5, "maximum": 2.5}, 2.5),
        ({"type": "integer", "exclusiveMinimum": 3, "multipleOf": 3}, 6),
        ({"type": "string", "minLength": 6}, "textxx"),
        ({"type": "string", "maxLength": 2}, "te"),
        ({"type": "string", "format": "date"}, "2026-01-31"),
        ({"type": "string", "format": "time"}, "12:00:00Z"),
        ({"type": "string", "pattern": "^[A-Z]{2}-[0-9]+$", "minLength": 6}, "AA-000"),
        ({"type": "string", "contentEncoding": "base64"}, "aGVsbG8="),
        ({"type": "string", "contentEncoding": "base64", "maxLength": 4}, "aGVs"),
        ({"type": "string", "contentEncoding": "base64", "minLength": 12}, "aGVsbG8uLi4u"),
        (
            {"type": "array", "items": {"type": "integer"}, "minItems": 2, "uniqueItems": True},
            [1, 2],
        ),
        (
            {"type": "object", "minProperties": 2, "additionalProperties": {"const": 3}},
            {"text": 3, "text1": 3},
        ),
        ({"type": ["null", "boolean"]}, True),
        ({"type": "null"}, None),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [1, 1]),
        ({"type": "array", "prefixItems": [{"type": "integer"}, {"const": "a"}]}, [1, "a"]),
        ({"properties": {"a": {"type": "integer"}}}, {"a": 1}),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, 1),
        (
            {"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]},
            {"a": 1, "b": 2},
        ),
        ({}, {}),
        (True, {}),
    ],
)
def test_sample_is_the_authors_or_the_smallest_value(schema, value):
    assert sample(schema, {}) == value


def test_recursion_over_an_optional_record_ends_with_null():
    node = {
        "type": "object",
        "properties": {
            "next": {"anyOf": [{"$ref": "#/components/schemas/Node"}, {"type": "null"}]}
        },
        "required": ["next"],
    }
    value = sample(node, {"components": {"schemas": {"Node": node}}})
    while value["next"] is not None:
        value = value["next"]
    assert value == {"next": None}


@given(
    st.sampled_from(
        [
            *(r"^[a-z]+$", r"^\d{3}-\d{4}$", r"^(red|green)$", r"[^a-z]x?", r"^[A-Z]{2}[0-9]{2,}$"),
            *(r"\S+@\S+\.\w+", r"^(?:[^/]{4,})$", r"^.*$", r"^[\w.-]+?$", r"^[^\s\d]\W$"),
            *(r"^[^\x00-\x7f]+$", r"^[^\x00-\xff]+$"),
        ]
    ),
    st.integers(0, 2),
)
def test_text_matches_its_pattern(pattern, least):
    assert re.search(pattern, matching(pattern, least))


@pytest.mark.parametrize("pattern", ["(?=a)b", "(", r"\p{L}", r"[^\w\W]"])
def test_text_of_a_pattern_that_cannot_be_made_is_any(pattern):
    assert matching(pattern, 5) == "textx"


def test_references_are_followed_and_recursion_ends():
    document = {
        "components": {
            "schemas": {
                "Node": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string"},
                        "next": {"$ref": "#/components/schemas/Node"},
                    },
                    "required": ["name", "next"],
                }
            }
        }
    }
    value = sample({"$ref": "#/components/schemas/Node"}, document)
    assert value["next"]["next"]["name"] == "text"


@given(
    st.sampled_from([int, float, str, bool, bytes, list[int], dict[str, int]])
    | st.builds(
        lambda low, span: t.Annotated[int, msgspec.Meta(ge=low, le=low + span)],
        st.integers(-1000, 1000),
        st.integers(0, 5),
    )
    | st.builds(
        lambda low, span: t.Annotated[str, msgspec.Meta(min_length=low, max_length=low + span)],
        st.integers(0, 10),
        st.integers(0, 5),
    )
)
def test_sample_of_a_types_schema_can_be_decoded(kind):
    msgspec.convert(sample(msgspec.json.schema(kind), {}), kind)


@pytest.mark.parametrize(
    ("dtype", "shape", "value"),
    [
        ("float32", [2, "n"], [[1.0], [1.0]]),
        ("int8", ["...", 2], [[1, 1]]),
        ("bool", [1], [True]),
        ("float64", [], 1.0),
        ("uint8", [0], []),
    ],
)
def test_a_tensor_is_ones(dtype, shape, value):
    assert sample({"type": "array", "x-tensor": {"dtype": dtype, "shape": shape}}, {}) == value


@pytest.mark.parametrize(
    ("parameter", "texts"),
    [
        ({"in": "query"}, ["1", "a b"]),
        ({"in": "query", "explode": False}, ["1,a b"]),
        ({"in": "query", "style": "pipeDelimited"}, ["1|a b"]),
        ({"in": "query", "style": "spaceDelimited", "explode": False}, ["1 a b"]),
        ({"in": "header"}, ["1,a b"]),
        ({"in": "path"}, ["1,a b"]),
        ({"in": "cookie"}, ["1,a b"]),
    ],
    ids=str,
)
def test_list_is_sent_as_its_parameter_says(parameter, texts):
    assert parameter_texts(parameter, [1, "a b"]) == texts


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ("a", ["a"]),
        (True, ["true"]),
        ([1, 2], ["1", "2"]),
        ([], ["[]"]),
        ({"a": 1}, ['{"a": 1}']),
        ([{"a": 1}], ['[{"a": 1}]']),
    ],
    ids=str,
)
def test_form_field_is_repeated_for_a_list_of_scalars(value, texts):
    assert form_texts(value) == texts
