"""Convert annotations into JSON Schema (draft 2020-12).

All annotations of one OpenAPI document are converted together, so that the names of components are
unique.
"""

from __future__ import annotations

import typing as t

from .declared import Components, SchemaGenerator, name_map, translate
from .hints import is_pydantic, is_union, strip
from .hooks import describe
from .pydanticlimits import adapter, needs_pydantic
from .values.registry import part

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .operation import BodySpec

Schema: t.TypeAlias = dict[str, t.Any]
_STUB: Schema = {"type": "object"}


class _Read(t.NamedTuple):
    """Marks a type whose values are read from requests. Its schema may differ from that of the same
    type in responses, which `Answered` marks.
    """

    annotation: t.Any


class Answered(t.NamedTuple):
    """Marks a type whose values are sent in responses.

    A pydantic model may have other fields in a response than in a request: computed fields and
    other aliases are added, excluded fields are missing. Records of msgspec have the same fields in
    both.
    """

    annotation: t.Any


def json_schemas(
    annotations: cabc.Sequence[t.Any], *, ref_template: str = "#/components/schemas/{name}"
) -> tuple[list[Schema], dict[str, Schema]]:
    """Return the schema of each annotation, and the components to which the schemas refer.

    Each class becomes one component; classes of the same name get longer names. A pydantic model
    that is both read and sent becomes two components if the two schemas differ.

    Args:
        annotations: types that msgspec or pydantic can describe; wrapped in `Answered` if values
            are sent.
        ref_template: the form of a reference, with `{name}` in the place of the component's name.
    """
    directed = [each if isinstance(each, Answered) else _Read(each) for each in annotations]
    members = [_members(each) for each in directed]
    found, components = _schemas([one for each in members for one in each], ref_template)
    rest = iter(found)
    return [_any_of([next(rest) for _ in each]) for each in members], components


def _schemas(
    directed: list[_Read | Answered], ref_template: str
) -> tuple[list[Schema], dict[str, Schema]]:
    theirs = [each for each in directed if needs_pydantic(each.annotation)]
    ours = [each for each in directed if not needs_pydantic(each.annotation)]
    # Schemas are generated twice: the first pass finds the pydantic models inside records and the
    # names of the components, which the second pass needs.
    inner: dict[type, Schema] = {}

    def found_in(model: type) -> Schema:
        return inner.setdefault(model, _STUB)

    _of_msgspec(
        [each.annotation for each in ours if isinstance(each, _Read)], ref_template, found_in
    )
    read = set(inner)
    _, named = _of_msgspec([each.annotation for each in ours], ref_template, found_in)
    inside = [_Read(each) if each in read else Answered(each) for each in inner]
    models, components = _of_pydantic([*theirs, *inside], ref_template, taken=named)
    inner.update(zip(inner, models[len(theirs) :], strict=True))
    schemas, named = _of_msgspec(
        [each.annotation for each in ours], ref_template, inner.__getitem__
    )
    rest_of_ours, rest_of_theirs = iter(schemas), iter(models)
    found = [
        next(rest_of_theirs if needs_pydantic(each.annotation) else rest_of_ours)
        for each in directed
    ]
    return found, {**components, **named}


def _members(directed: _Read | Answered) -> list[_Read | Answered]:
    """Return the members of a union if pydantic cannot describe the union as a whole, as for `Pet |
    Point` with a pydantic model `Pet` and a Struct `Point`; otherwise the type itself.
    """
    union = strip(directed.annotation)
    if not is_union(union) or not needs_pydantic(union):
        return [directed]
    try:
        adapter(directed.annotation)
    except Exception:  # noqa: BLE001 - pydantic refuses in many ways
        return [type(directed)(each) for each in t.get_args(union)]
    return [directed]


def _any_of(schemas: list[Schema]) -> Schema:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def json_schema(annotation: t.Any, *, answered: bool = False) -> Schema:
    """Return the schema of one type, with its components in `$defs`; {} if it has no schema.

    Args:
        answered: whether a view or a model returns the value; limits of inputs then do not apply.
            Values inside records have the same schema in requests and responses.
    """
    if annotation is t.Any:
        return {}
    try:
        either, components = _either(annotation, answered)
    # The type contains a class that neither msgspec nor carboy can describe, so it has no schema.
    except (NotImplementedError, TypeError):
        return {}
    schema = either[0] if len(either) == 1 else {"anyOf": either}
    return {**schema, "$defs": components} if components else schema


def _either(annotation: t.Any, answered: bool) -> tuple[list[Schema], dict[str, Schema]]:
    kinds, rest = part(annotation)
    found = [kind.schema(answered=answered) for kind in kinds]
    if rest is None:
        return found, {}
    schemas, components = json_schemas(
        [Answered(rest) if answered else rest], ref_template="#/$defs/{name}"
    )
    return [*found, *schemas], components


def body_schema(body: BodySpec) -> Schema:
    """Return the schema of a JSON body.

    The schema is that of a single parameter, or of an object with the parameters' names as keys.
    """
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
    """Return the schemas that msgspec generates for the types, and the components to which they
    refer.
    """
    if not annotations:
        return (), {}

    def hook(kind: type) -> Schema:
        return model(kind) if is_pydantic(kind) else describe(kind)

    infos, kinds = translate(annotations)
    names = _component_names(kinds)
    generator = SchemaGenerator(names, hook, ref_template)
    components = {names[kind]: generator.to_schema(info, False) for kind, info in kinds.items()}
    return tuple(generator.to_schema(info) for info in infos), components


def _component_names(kinds: Components) -> dict[t.Any, str]:
    """Return the name of each component: msgspec's own, or numbered names for classes that msgspec
    confuses.

    msgspec gives the same name to two classes with equal module and name. Examples are a function
    that defines a record on each call, and `Page[Item]` for two classes `Item`.
    """
    names = name_map(kinds)
    if len(names) == len(kinds):
        return names
    names = {}
    for kind, info in kinds.items():
        [usual] = name_map({kind: info}).values()
        names[kind] = _free(usual, names.values())
    return names


def _free(wanted: str, taken: cabc.Collection[str]) -> str:
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    return name


def _of_pydantic(
    annotations: list[_Read | Answered], ref_template: str, *, taken: cabc.Collection[str]
) -> tuple[list[Schema], dict[str, Schema]]:
    """Return the schemas that pydantic generates for the types, and the components to which they
    refer. A component gets another name if its own is in `taken`.
    """
    if not annotations:
        return [], {}
    import pydantic

    modes: list[t.Literal["serialization", "validation"]] = [
        "serialization" if isinstance(each, Answered) else "validation" for each in annotations
    ]
    found, rest = pydantic.TypeAdapter.json_schemas(
        [(i, modes[i], adapter(each.annotation)) for i, each in enumerate(annotations)],
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
        [_with_new_references(found[i, mode], moved) for i, mode in enumerate(modes)],
        {
            names[name]: _with_new_references(component, moved)
            for name, component in components.items()
        },
    )


def _with_new_references(node: t.Any, moved: cabc.Mapping[str, str]) -> t.Any:
    """Replace references to renamed components: in `$ref`, and in the mapping of a
    discriminator.
    """
    if isinstance(node, dict):
        return {key: _with_new_references(value, moved) for key, value in node.items()}
    if isinstance(node, list):
        return [_with_new_references(value, moved) for value in node]
    return moved.get(node, node) if isinstance(node, str) else node
