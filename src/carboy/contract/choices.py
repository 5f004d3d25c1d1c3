"""Which values a type allows at a place within it, where it is an enumeration.

msgspec says that a value is none of them, and where, but not which there are. Asked only about
input that was refused.
"""

from __future__ import annotations

import re
import typing as t

import msgspec
from msgspec import inspect

# As msgspec writes a path: `$.colours[2]`, and `$.by_name[...]` within an object with any keys.
_STEP = re.compile(r"\.(?P<key>[^.\[]+)|\[(?P<index>\d+)\]|\[\.\.\.\]")
# Enough for a list of countries to be recognised as such.
_SHOWN = 20


def allowed_at(kind: t.Any, path: str, value: t.Any, *, in_keys: bool = False) -> list[str]:
    """The values of the enumeration at a path, as they are written; [] where there is none.

    Args:
        kind: the annotation of the whole.
        path: of the place, without its `$`.
        value: the whole, plain, whose tags say which record of a union is meant; or UNSET.
        in_keys: the keys of the object at that place are meant.
    """
    try:
        place: inspect.Type | None = inspect.type_info(kind)
    except Exception:  # noqa: BLE001 - a type for pydantic, or none at all
        return []
    at = 0
    while place is not None and at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            return []
        at = step.end()
        if step["key"] and at == len(path) and (tags := _tags(place, step["key"])):
            return _written(tags)
        place, value = _descend(place, step, value)
    if in_keys and isinstance(place, inspect.DictType):
        place = place.key_type
    return _written(_values(place))


def _descend(
    place: inspect.Type, step: re.Match[str], value: t.Any
) -> tuple[inspect.Type | None, t.Any]:
    """The type and the value one step further; None where the path does not lead into the type."""
    found = [
        inner
        for each in _meant(place, value)
        if (inner := _inside(each, step["key"], step["index"]))
    ]
    try:
        value = value[step["key"]] if step["key"] else value[int(step["index"])]
    except (KeyError, IndexError, TypeError):
        value = msgspec.UNSET
    return (found[0] if len(found) == 1 else None), value


def _meant(place: inspect.Type, value: t.Any) -> list[inspect.Type]:
    """The parts of a union; of its records the one that the value's tag names."""
    parts = _parts(place)
    if not isinstance(value, dict):
        return parts
    return [
        part
        for part in parts
        if not isinstance(part, inspect.StructType)
        or part.tag_field is None
        or value.get(part.tag_field, part.tag) == part.tag
    ]


def _parts(place: inspect.Type | None) -> list[inspect.Type]:
    while isinstance(place, inspect.Metadata):
        place = place.type
    if isinstance(place, inspect.UnionType):
        return [part for each in place.types for part in _parts(each)]
    return [] if place is None else [place]


def _inside(part: inspect.Type, key: str | None, index: str | None) -> inspect.Type | None:
    if key:
        fields = getattr(part, "fields", ())
        return next((field.type for field in fields if field.encode_name == key), None)
    if index is None:
        return part.value_type if isinstance(part, inspect.DictType) else None
    if isinstance(part, inspect.TupleType):
        return _nth(part.item_types, int(index))
    if isinstance(part, inspect.NamedTupleType):
        return _nth([field.type for field in part.fields], int(index))
    return getattr(part, "item_type", None)


def _nth(types: t.Sequence[inspect.Type], index: int) -> inspect.Type | None:
    return types[index] if index < len(types) else None


def _tags(place: inspect.Type, key: str) -> list[t.Any]:
    """What `key` may say where it tells the records of a union apart."""
    records = [part for part in _parts(place) if isinstance(part, inspect.StructType)]
    return [record.tag for record in records if record.tag_field == key]


def _values(place: inspect.Type | None) -> list[t.Any]:
    """What is allowed, when the type is made of enumerations alone."""
    values: list[t.Any] = []
    for part in _parts(place):
        if isinstance(part, inspect.LiteralType):
            values += [value for value in part.values if value is not None]
        elif isinstance(part, inspect.EnumType):
            values += [member.value for member in part.cls]
        elif not isinstance(part, inspect.NoneType):
            return []
    return values


def _written(values: list[t.Any]) -> list[str]:
    shown = [repr(value) for value in values[:_SHOWN]]
    return shown if len(values) <= _SHOWN else [*shown, f"... ({len(values)} in all)"]
