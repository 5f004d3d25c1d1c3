from __future__ import annotations

import typing as t

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from carboy.openapi.samples import sample


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
        ({"type": "string", "minLength": 6}, "textxx"),
        ({"type": "string", "maxLength": 2}, "te"),
        ({"type": "string", "format": "date"}, "2026-01-31"),
        ({"type": "string", "contentEncoding": "base64"}, "aGVsbG8="),
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
