"""Annotations into JSON Schema (draft 2020-12), many at once so that names of components agree."""

from __future__ import annotations

import typing as t

import msgspec

from .hints import adapter, is_pydantic, needs_pydantic
from .hooks import describe
from .values.registry import part

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .operation import BodySpec

Schema: t.TypeAlias = dict[str, t.Any]
_STUB: Schema = {"type": "object"}


def json_schemas(
    annotations: cabc.Sequence[t.Any], *, ref_template: str = "#/components/schemas/{name}"
) -> tuple[list[Schema], dict[str, Schema]]:
    """Return the schema of each annotation, and the components that they refer to.

    Each class has a component of its own; classes of one name get longer names.

    Args:
        ref_template: with `{name}`.
    """
    theirs = [each for each in annotations if needs_pydantic(each)]
    ours = [each for each in annotations if not needs_pydantic(each)]
    # Twice: first to hear which models stand in our records, and how our components are called.
    inner: dict[type, Schema] = {}
    _, named = _of_msgspec(ours, ref_template, lambda kind: inner.setdefault(kind, _STUB))
    models, components = _of_pydantic([*theirs, *inner], ref_template, taken=named)
    inner.update(zip(inner, models[len(theirs) :], strict=True))
    schemas, named = _of_msgspec(ours, ref_template, inner.__getitem__)
    rest_of_ours, rest_of_theirs = iter(schemas), iter(models)
    found = [next(rest_of_theirs if needs_pydantic(each) else rest_of_ours) for each in annotations]
    return found, {**components, **named}


def json_schema(annotation: t.Any, *, answered: bool = False) -> Schema:
    """Return the schema of one type, with its components in `$defs`; {} if it has none.

    Args:
        answered: as `ValueKind.schema` has it; of values inside a record it makes no difference.
    """
    if annotation is t.Any:
        return {}
    try:
        either, components = _either(annotation, answered)
    except (NotImplementedError, TypeError):  # a class that only its author knows
        return {}
    schema = either[0] if len(either) == 1 else {"anyOf": either}
    return {**schema, "$defs": components} if components else schema


def _either(annotation: t.Any, answered: bool) -> tuple[list[Schema], dict[str, Schema]]:
    kinds, rest = part(annotation)
    found = [kind.schema(answered=answered) for kind in kinds]
    if rest is None:
        return found, {}
    schemas, components = json_schemas([rest], ref_template="#/$defs/{name}")
    return [*found, *schemas], components


def body_schema(body: BodySpec) -> Schema:
    """Return the schema of a body in JSON: the value of a lone parameter, or an object by name."""
    if body.single is not None:
        return json_schema(body.single.annotation)
    return {
        "type": "object",
        "properties": {each.alias: json_schema(each.annotation) for each in body.parameters},
        "required": [each.alias for each in body.parameters if each.required],
        "additionalProperties": False,
    }


def _of_msgspec(
    annotations: list[t.Any], ref_template: str, model: cabc.Callable[[type], Schema]
) -> tuple[tuple[Schema, ...], dict[str, Schema]]:
    if not annotations:
        return (), {}

    def hook(kind: type) -> Schema:
        return model(kind) if is_pydantic(kind) else describe(kind)

    try:
        return msgspec.json.schema_components(
            annotations, schema_hook=hook, ref_template=ref_template
        )
    except KeyError:
        return _of_namesakes(annotations, ref_template, hook)


def _of_namesakes(
    annotations: list[t.Any], ref_template: str, hook: cabc.Callable[[type], Schema]
) -> tuple[tuple[Schema, ...], dict[str, Schema]]:
    """Return the same for classes of one module and name, for which msgspec raises KeyError.

    A function that makes a record each time it is called, or `Page[Item]` of two `Item`s. Names
    are given by number; only the part of msgspec that chooses them is not used.
    """
    from msgspec import _json_schema as parts

    infos = msgspec.inspect.multi_type_info(annotations)
    kinds = parts._collect_component_types(infos)
    names: dict[t.Any, str] = {}
    for kind in kinds:
        [usual] = parts._build_name_map({kind: kinds[kind]}).values()
        names[kind] = _free(usual, names.values())
    generator = parts._SchemaGenerator(names, hook, ref_template)
    components = {names[kind]: generator.to_schema(info, False) for kind, info in kinds.items()}
    return tuple(generator.to_schema(info) for info in infos), components


def _free(wanted: str, taken: cabc.Collection[str]) -> str:
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    return name


def _of_pydantic(
    annotations: list[t.Any], ref_template: str, *, taken: cabc.Collection[str]
) -> tuple[list[Schema], dict[str, Schema]]:
    """Return pydantic's schemas and their components, under names that are not taken."""
    if not annotations:
        return [], {}
    import pydantic

    mode: t.Final = "validation"
    found, rest = pydantic.TypeAdapter.json_schemas(
        [(i, mode, adapter(annotation)) for i, annotation in enumerate(annotations)],
        ref_template=ref_template.replace("{name}", "{model}"),
    )
    components = rest.get("$defs", {})
    names = {name: name for name in components}
    for name in names:
        if name in taken:
            names[name] = _free(f"{name}Model", {*taken, *names, *names.values()})
    moved = {
        ref_template.format(name=old): ref_template.format(name=new)
        for old, new in names.items()
        if old != new
    }
    return (
        [_moved(found[i, mode], moved) for i in range(len(annotations))],
        {names[name]: _moved(component, moved) for name, component in components.items()},
    )


def _moved(node: t.Any, moved: cabc.Mapping[str, str]) -> t.Any:
    """Replace references: those of `$ref`, and those in the mapping of a discriminator."""
    if isinstance(node, dict):
        return {key: _moved(value, moved) for key, value in node.items()}
    if isinstance(node, list):
        return [_moved(value, moved) for value in node]
    return moved.get(node, node) if isinstance(node, str) else node
