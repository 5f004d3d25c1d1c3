"""Annotations into JSON Schema (draft 2020-12), many at once so that names of components agree."""

from __future__ import annotations

import typing as t

import msgspec

from .images import is_picture
from .kinds import file_type, is_pydantic, is_union, needs_pydantic, strip

if t.TYPE_CHECKING:
    import collections.abc as cabc

Schema: t.TypeAlias = dict[str, t.Any]


def json_schemas(
    annotations: cabc.Sequence[t.Any], *, ref_template: str = "#/components/schemas/{name}"
) -> tuple[list[Schema], dict[str, Schema]]:
    """The schema of each annotation, and the components that they refer to.

    Args:
        ref_template: with `{name}`.
    """
    components: dict[str, Schema] = {}
    found: dict[int, Schema] = {}
    ours: list[tuple[int, t.Any]] = []
    for i, annotation in enumerate(annotations):
        file = _file_schema(annotation)
        if file is not None:
            found[i] = file
        elif needs_pydantic(annotation):
            found[i] = _of_pydantic(annotation, ref_template, components)
        else:
            ours.append((i, annotation))

    def hook(kind: type) -> Schema:
        if is_pydantic(kind):
            return _of_pydantic(kind, ref_template, components)
        return _unknown(kind)

    if ours:
        schemas, named = msgspec.json.schema_components(
            [annotation for _, annotation in ours], schema_hook=hook, ref_template=ref_template
        )
        found.update({i: schema for (i, _), schema in zip(ours, schemas, strict=True)})
        components.update(named)
    return [found[i] for i in range(len(annotations))], components


def _of_pydantic(annotation: t.Any, ref_template: str, components: dict[str, Schema]) -> Schema:
    import pydantic

    template = ref_template.replace("{name}", "{model}")
    schema = pydantic.TypeAdapter(annotation).json_schema(ref_template=template)
    components.update(schema.pop("$defs", {}))
    if is_pydantic(annotation) and schema.get("type") == "object":
        components[annotation.__name__] = schema
        return {"$ref": ref_template.format(name=annotation.__name__)}
    return schema


def _file_schema(annotation: t.Any) -> Schema | None:
    """Files of a form. Source: OpenAPI 3.1, "Considerations for File Uploads"."""
    bare = strip(annotation)
    kind = file_type(bare)
    if kind == "image":
        return {"type": "string", "format": "binary", "contentMediaType": "image/*"}
    if kind is not None:
        return {"type": "string", "format": "binary"}
    if t.get_args(bare) and not is_union(bare) and file_type(strip(t.get_args(bare)[0])):
        return {"type": "array", "items": _file_schema(t.get_args(bare)[0])}
    return None


def _unknown(kind: type) -> Schema:
    """Hook of msgspec for types that it does not know."""
    if is_picture(kind):
        return {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/*"}
    if file_type(kind) == "upload":
        return {"type": "string", "format": "binary"}
    if kind.__module__.partition(".")[0] == "numpy":
        return {"type": "array"} if kind.__name__ == "ndarray" else {"type": "number"}
    if (kind.__module__.partition(".")[0], kind.__qualname__) == ("pandas", "DataFrame"):
        return {"type": "array", "items": {"type": "object"}}
    raise NotImplementedError(f"no JSON form is known for {kind!r}")
