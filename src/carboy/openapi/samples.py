"""Generate sample values for JSON Schemas.

A value that the author gave comes first: `example`, `default`, `const`, `examples`, `enum`.
Otherwise the smallest value that the keywords allow is generated. If a schema has keywords that
this module does not support (`not`, `if`), the sample may not be valid.
"""

from __future__ import annotations

import json
import typing as t

from carboy.contract.values.registry import kind_of_schema

from .patterns import matching
from .subschemas import schemas_of

Dict: t.TypeAlias = dict[str, t.Any]

_FORMATS: dict[str, t.Any] = {
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "partial-time": "12:00:00",
    "duration": "PT1H",
    "uuid": "f47ac10b-58cc-4372-a567-0e02b2c3d479",
    "uuid4": "f47ac10b-58cc-4372-a567-0e02b2c3d479",
    "email": "ada@example.org",
    "uri": "https://example.org/",
    "url": "https://example.org/",
    "hostname": "example.org",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "decimal": "1.5",
    "byte": "aGVsbG8=",
    "binary": "",
}
# The maximum nesting of objects in a sample. Without it, the sample of a recursive type would never
# end.
_MAX_DEPTH = 6


def sample(schema: t.Any, document: Dict, *, depth: int = 0) -> t.Any:
    """Return a sample value that a JSON Schema accepts.

    Args:
        schema: the JSON Schema, with references into `document`.
        document: the OpenAPI document.
        depth: the number of objects and arrays that contain the value.
    """
    if not isinstance(schema, dict):
        return {}
    if "$ref" in schema:
        schema = {**follow(schema["$ref"], document), **_without(schema, "$ref")}
        return sample(schema, document, depth=depth)
    for key in ("example", "default", "const"):
        if key in schema:
            return schema[key]
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    kind = kind_of_schema(schema)
    value = None if kind is None else kind.sample(schema)
    if value is not None:
        return value
    if "allOf" in schema:
        return _of_all(schema, document, depth)
    for key in ("oneOf", "anyOf"):
        if schema.get(key):
            return _of_any(schema[key], document, depth)
    return _of_type(schema, document, depth)


def add_examples(document: Dict) -> None:
    """Add an example to each schema for which Swagger UI would otherwise show an invalid value.

    Swagger UI generates values itself, but ignores some keywords: `prefixItems`, `propertyNames`,
    `uniqueItems`, and `exclusiveMinimum` together with an upper limit. It also cannot generate
    pictures and tables.
    """
    for node in schemas_of(document):
        if not any(key in node for key in _GIVEN) and _is_hard(node):
            value = sample(node, document)
            if len(json.dumps(value)) <= _MAX_EXAMPLE_CHARS:
                node["examples"] = [value]


_GIVEN = ("example", "examples", "default", "const", "enum", "$ref")
_MAX_EXAMPLE_CHARS = 1000


def _is_hard(schema: Dict) -> bool:
    if "prefixItems" in schema or "propertyNames" in schema:
        return True
    if schema.get("uniqueItems") and schema.get("minItems", 0) > 1:
        return True
    if schema.get("type") == "number":
        return "exclusiveMinimum" in schema and (
            "maximum" in schema or "exclusiveMaximum" in schema
        )
    kind = kind_of_schema(schema)
    return kind is not None and not kind.takes_anything and schema.get("format") != "binary"


def parameter_texts(parameter: Dict, value: t.Any) -> list[str]:
    """Return the texts in which a request sends the value of a query, header, path or cookie
    parameter.

    A list in the query is sent as one text per item, unless the parameter has other values of
    `style` and `explode`; a list elsewhere as one text with commas. Source: OpenAPI 3.1.1,
    "Parameter Object"
    """
    if not isinstance(value, list):
        return [as_text(value)]
    texts = [as_text(each) for each in value]
    style = parameter.get("style", "form" if parameter["in"] == "query" else "simple")
    if parameter["in"] == "query" and parameter.get("explode", style == "form"):
        return texts
    return [_SEPARATORS.get(style, ",").join(texts)]


_SEPARATORS = {"spaceDelimited": " ", "pipeDelimited": "|"}


def form_texts(value: t.Any) -> list[str]:
    """Return the texts of the form fields that send a value: one per item of a list.

    A list of objects or lists is sent as one JSON text.
    """
    if isinstance(value, list) and value and not any(isinstance(v, (dict, list)) for v in value):
        return [as_text(each) for each in value]
    return [as_text(value)]


def as_text(value: t.Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def follow(reference: str, document: Dict) -> Dict:
    """Return what a `$ref` inside a document refers to; {} if it does not exist."""
    node: t.Any = document
    for part in reference.removeprefix("#/").split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(node, dict) or key not in node:
            return {}
        node = node[key]
    return node if isinstance(node, dict) else {}


def _without(schema: Dict, key: str) -> Dict:
    return {name: value for name, value in schema.items() if name != key}


def _of_all(schema: Dict, document: Dict, depth: int) -> t.Any:
    merged: t.Any = None
    for part in [*schema["allOf"], _without(schema, "allOf")]:
        value = sample(part, document, depth=depth) if part else None
        if isinstance(value, dict) and isinstance(merged, dict):
            merged = {**merged, **value}
        elif merged is None:
            merged = value
    return merged


def _of_any(choices: list[t.Any], document: Dict, depth: int) -> t.Any:
    """Return a sample for the first of several schemas that is neither null nor a file in
    base64.
    """
    good = [c for c in choices if c.get("type") != "null" and "contentMediaType" not in c]
    if depth >= _MAX_DEPTH and any(c.get("type") == "null" for c in choices):
        return None
    return sample((good or choices)[0], document, depth=depth)


def _of_type(schema: Dict, document: Dict, depth: int) -> t.Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "any"
    if kind == "object":
        return _object(schema, document, depth)
    if kind == "array":
        return _array(schema, document, depth)
    if kind in {"integer", "number"}:
        return _number(schema, whole=kind == "integer")
    if kind == "string":
        return _string(schema)
    return {"boolean": True, "null": None}.get(kind, {})


def _object(schema: Dict, document: Dict, depth: int) -> Dict:
    required = set(schema.get("required", ()))
    value: Dict = {}
    for name, sub in schema.get("properties", {}).items():
        if name in required or depth < _MAX_DEPTH // 2:
            if depth > _MAX_DEPTH:
                continue
            value[name] = sample(sub, document, depth=depth + 1)
    names = {"type": "string", "minLength": 1, **schema.get("propertyNames", {})}
    least = schema.get("minProperties", 1 if "propertyNames" in schema else 0)
    for number in range(len(value), least):
        key = _another(as_text(sample(names, document)), number)
        value[key] = sample(schema.get("additionalProperties", {}), document, depth=depth + 1)
    return value


def _array(schema: Dict, document: Dict, depth: int) -> list[t.Any]:
    first = list(schema.get("prefixItems", ()))
    least = schema.get("minItems", 0)
    if depth >= _MAX_DEPTH and not least:
        return []
    items = schema.get("items")
    count = max(least, 1) if isinstance(items, dict) else 0
    values = [sample(item, document, depth=depth + 1) for item in first]
    while len(values) < count:
        value = sample(items, document, depth=depth + 1)
        values.append(_another(value, len(values)) if schema.get("uniqueItems") else value)
    return values


def _another(value: t.Any, number: int) -> t.Any:
    """Return a variation of a sample value, which differs for each `number`. Used for lists and
    keys that must not repeat a value.
    """
    if not number or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return f"{value}{number}"
    return value + number if isinstance(value, (int, float)) else value


def _number(schema: Dict, *, whole: bool) -> int | float:
    """Return the smallest number that a schema allows; without a lower limit 1, or less if 1 is too
    large.
    """
    over, under = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    lows = [each for each in (schema.get("minimum"), over) if each is not None]
    highs = [each for each in (schema.get("maximum"), under) if each is not None]
    step = schema.get("multipleOf", 1 if whole else 0.5)
    if lows and highs and not whole and "multipleOf" not in schema:
        step = min(step, (min(highs) - max(lows)) / 2)
    least = max(lows) if lows else min([1, *highs])
    if least == over:
        least += step
    if "multipleOf" in schema and least % step:
        least += step - least % step
    if not lows and least == under:
        least -= step
    return int(least) if whole else least


def _string(schema: Dict) -> str:
    known = _FORMATS.get(schema.get("format", ""))
    if known is not None:
        return t.cast("str", known)
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if "pattern" in schema:
        return matching(schema["pattern"], least)
    text = "text".ljust(least, "x")
    return text if most is None else text[:most]
