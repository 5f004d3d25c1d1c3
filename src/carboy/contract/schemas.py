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
    files = [_file_schema(annotation) for annotation in annotations]
    theirs = [needs_pydantic(annotation) for annotation in annotations]
    ours = [
        annotation
        for annotation, file, is_theirs in zip(annotations, files, theirs, strict=True)
        if file is None and not is_theirs
    ]
    # Twice: the names of our components decide what those of pydantic may be called.
    _, named = _of_msgspec(
        ours, ref_template, lambda kind: {"type": "object"} if is_pydantic(kind) else None
    )
    models = _Models(ref_template, taken=frozenset(named))
    schemas, named = _of_msgspec(
        ours, ref_template, lambda kind: models.add(kind) if is_pydantic(kind) else None
    )
    rest = iter(schemas)
    found = [
        file if file is not None else models.add(annotation) if is_theirs else next(rest)
        for annotation, file, is_theirs in zip(annotations, files, theirs, strict=True)
    ]
    return found, {**models.components, **named}


def _of_msgspec(
    annotations: list[t.Any],
    ref_template: str,
    foreign: cabc.Callable[[type], Schema | None],
) -> tuple[tuple[Schema, ...], dict[str, Schema]]:
    if not annotations:
        return (), {}

    def hook(kind: type) -> Schema:
        schema = foreign(kind)
        return _unknown(kind) if schema is None else schema

    return msgspec.json.schema_components(annotations, schema_hook=hook, ref_template=ref_template)


class _Models:
    """Schemas that pydantic makes, and their components."""

    def __init__(self, ref_template: str, *, taken: frozenset[str]) -> None:
        self.components: dict[str, Schema] = {}
        self._ref_template = ref_template
        self._taken = taken

    def add(self, annotation: t.Any) -> Schema:
        import pydantic

        adapter = pydantic.TypeAdapter(annotation)
        own = annotation.__name__ if is_pydantic(annotation) else ""
        names = {own, *adapter.json_schema().get("$defs", {})}
        suffix = "Model" if names & self._taken else ""
        template = self._ref_template.replace("{name}", f"{{model}}{suffix}")
        schema = adapter.json_schema(ref_template=template)
        for name, component in schema.pop("$defs", {}).items():
            self.components[name + suffix] = component
        if not own or schema.get("type") != "object":
            return schema  # one that refers to itself is a component already
        self.components[own + suffix] = schema
        return {"$ref": self._ref_template.format(name=own + suffix)}


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
