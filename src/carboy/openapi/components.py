"""Convert all types in a document to JSON Schema, in one step.

While the document is built, `Of(annotation)` stands where a schema belongs. `resolve` then requests
all schemas together, so that the names of components are unique and stable: each type has one
component, however many operations use it.
"""

from __future__ import annotations

import typing as t

from .subschemas import with_subschemas

REF_TEMPLATE = "#/components/schemas/{name}"


class JSONSchemas(t.Protocol):
    """A function that converts types to JSON Schema, such as
    `carboy.contract.schemas.json_schemas`.
    """

    def __call__(
        self, annotations: list[t.Any], *, ref_template: str
    ) -> tuple[t.Sequence[dict[str, t.Any]], dict[str, dict[str, t.Any]]]:
        """Return the schemas in the order of the annotations, and the components they refer to."""


class Of:
    """A placeholder for the JSON Schema of a type, with keywords such as `description` to add to
    it.

    The keywords may stand next to a `$ref`, which JSON Schema 2020-12 allows.
    """

    __slots__ = ("annotation", "keywords")

    def __init__(self, annotation: t.Any, **keywords: t.Any) -> None:
        self.annotation = annotation
        self.keywords = {key: value for key, value in keywords.items() if value or key == "default"}

    def __repr__(self) -> str:
        return f"Of({self.annotation!r})"


class Own:
    """A placeholder for a reference to one of carboy's own schemas, such as "Problem".

    A placeholder is needed, because the schema is renamed if a user's class has the same name.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"Own({self.name!r})"


def resolve(
    tree: dict[str, t.Any],
    json_schemas: JSONSchemas,
    own: t.Mapping[str, dict[str, t.Any]],
) -> tuple[dict[str, t.Any], dict[str, dict[str, t.Any]], dict[str, dict[str, t.Any]]]:
    """Replace the placeholders in a document: each `Of` by a JSON Schema, each `Own` by a
    reference.

    Returns:
        The document as plain dicts and lists; the component schemas of the types, sorted by name;
        and those schemas of `own` that the document uses, renamed where a type has the same name.
    """
    wanted = _collect(tree, [])
    unique = _unique(each.annotation for each in wanted if isinstance(each, Of))
    schemas, components = (
        json_schemas([annotation for _, annotation in unique], ref_template=REF_TEMPLATE)
        if unique
        else ((), {})
    )
    known = {key: _typed(schema) for (key, _), schema in zip(unique, schemas, strict=True)}
    names: dict[str, str] = {}
    for each in wanted:
        if isinstance(each, Own):
            names[each.name] = _free(each.name, components)
            known[each] = {"$ref": REF_TEMPLATE.format(name=names[each.name])}
    return (
        t.cast("dict[str, t.Any]", _replace(tree, known)),
        {name: _typed(components[name]) for name in sorted(components)},
        {names[name]: own[name] for name in names},
    )


def without_unknown(
    node: t.Any, json_schemas: JSONSchemas, report: t.Callable[[t.Any, Exception], None]
) -> t.Any:
    """Return a copy of `node` without types that have no JSON Schema.

    For each `Of` with such a type, the copy has only the keywords of the `Of`.

    Args:
        node: an operation, or a part of it.
        json_schemas: converts types to JSON Schema.
        report: called for each such type, with the type and the error.
    """
    if isinstance(node, Of):
        try:
            json_schemas([node.annotation], ref_template=REF_TEMPLATE)
        except Exception as exc:  # noqa: BLE001 - each library refuses in its own way
            report(node.annotation, exc)
            return dict(node.keywords)
    elif isinstance(node, dict):
        return {key: without_unknown(each, json_schemas, report) for key, each in node.items()}
    elif isinstance(node, list):
        return [without_unknown(each, json_schemas, report) for each in node]
    return node


def _collect(node: t.Any, found: list[Of | Own]) -> list[Of | Own]:
    if isinstance(node, (Of, Own)):
        found.append(node)
    elif isinstance(node, dict):
        for value in node.values():
            _collect(value, found)
    elif isinstance(node, list):
        for value in node:
            _collect(value, found)
    return found


def _key(annotation: t.Any) -> t.Any:
    """Return a dict key for a type; equal types have equal keys.

    The text of the type is part of the key, because types that compare equal may differ in their
    text and then in their schema.
    """
    try:
        hash(annotation)
    # A type cannot be hashed if the metadata of an `Annotated` contains a list, for example. Use
    # its identity as the key.
    except TypeError:
        return id(annotation)
    return annotation, repr(annotation)


def _unique(annotations: t.Iterable[t.Any]) -> list[tuple[t.Any, t.Any]]:
    return list({_key(annotation): annotation for annotation in annotations}.items())


def _free(name: str, taken: t.Container[str]) -> str:
    return name if name not in taken else _free(f"Carboy{name}", taken)


def _typed(node: t.Any) -> t.Any:
    """Add the keyword `type` to schemas of enumerations, for which msgspec lists only the values.

    Pages show the type, and client generators need it.
    """
    if not isinstance(node, dict):
        return node
    node = with_subschemas(node, _typed)
    values = node.get("enum")
    if isinstance(values, list) and "type" not in node:
        for kind, name in ((str, "string"), (int, "integer")):
            if all(type(value) is kind for value in values):
                node["type"] = name
    return node


def _replace(node: t.Any, schemas: dict[t.Any, dict[str, t.Any]]) -> t.Any:
    if isinstance(node, Own):
        return dict(schemas[node])
    if isinstance(node, Of):
        return {**schemas[_key(node.annotation)], **node.keywords}
    if isinstance(node, dict):
        return {key: _replace(value, schemas) for key, value in node.items()}
    if isinstance(node, list):
        return [_replace(value, schemas) for value in node]
    return node
