"""Find the schemas that are directly inside a JSON Schema.

Not every dict inside a schema is a schema: the keys of `properties` are names, and `default` and
`examples` have values. Source: JSON Schema 2020-12; `definitions`, `dependencies` and
`additionalItems` are of earlier drafts.
"""

from __future__ import annotations

import typing as t

Dict: t.TypeAlias = dict[str, t.Any]

# Keywords whose value is a dict of schemas by name.
_BY_NAME = frozenset((
    *("properties", "patternProperties", "dependentSchemas"),
    *("$defs", "definitions", "dependencies"),
))  # fmt: skip
# Keywords whose value is a schema, or a list of schemas.
_SCHEMAS = frozenset((
    *("items", "prefixItems", "additionalItems", "unevaluatedItems", "contains"),
    *("additionalProperties", "unevaluatedProperties", "propertyNames", "contentSchema"),
    *("allOf", "anyOf", "oneOf", "not", "if", "then", "else"),
))  # fmt: skip


def with_subschemas(schema: Dict, change: t.Callable[[t.Any], t.Any]) -> Dict:
    """Return a copy of a schema with the result of `change` for each schema directly inside."""
    new = dict(schema)
    for key, value in schema.items():
        if key in _BY_NAME:
            new[key] = {name: change(each) for name, each in value.items()}
        elif key in _SCHEMAS:
            new[key] = (
                [change(each) for each in value] if isinstance(value, list) else change(value)
            )
    return new


def schemas_of(node: t.Any) -> t.Iterator[Dict]:
    """Yield each schema inside a part of an OpenAPI document, inner ones before outer ones."""
    children = node.items() if isinstance(node, dict) else ()
    for each in node if isinstance(node, list) else ():
        yield from schemas_of(each)
    for key, value in children:
        if key == "schema":
            yield from _nested(value)
        elif key == "schemas":
            for each in value.values() if isinstance(value, dict) else ():
                yield from _nested(each)
        elif key not in {"example", "examples"} and not key.startswith("x-"):
            yield from schemas_of(value)


def _nested(schema: t.Any) -> t.Iterator[Dict]:
    if isinstance(schema, dict):
        inner: list[t.Any] = []
        with_subschemas(schema, inner.append)
        for each in inner:
            yield from _nested(each)
        yield schema
