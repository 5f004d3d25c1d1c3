"""Make JSON Schema list values in the order of their declaration, and give the format of times.

msgspec sorts the values of a `Literal` and an `Enum` and the keys of a `TypedDict`, and gives no
format to a datetime or time that may lack a time zone. With such a schema, a page would offer the
sizes "large, medium, small", and a generated client would send any text as a time. msgspec has no
option for either, so this module derives from msgspec's private classes; no other module uses them.
"""

from __future__ import annotations

import math
import typing as t

from msgspec import NODEFAULT, _json_schema, inspect, to_builtins
from msgspec._utils import get_class_annotations  # type: ignore[attr-defined]

if t.TYPE_CHECKING:
    import collections.abc as cabc

Components: t.TypeAlias = dict[t.Any, inspect.Type]

#: msgspec's function that names the classes which become components of the OpenAPI document.
name_map: cabc.Callable[[Components], dict[t.Any, str]] = _json_schema._build_name_map


def translate(annotations: cabc.Iterable[t.Any]) -> tuple[tuple[inspect.Type, ...], Components]:
    """Return msgspec's description of each type, and of each class that becomes a component of the
    OpenAPI document.
    """
    infos: tuple[inspect.Type, ...] = _Translator(annotations).run()  # type: ignore[no-untyped-call]
    components = _json_schema._collect_component_types(infos)
    for component in components.values():
        for field in getattr(component, "fields", ()):
            if not _is_writable(field.default):
                field.default = NODEFAULT
    return infos, components


def _is_writable(default: t.Any) -> bool:
    """Return whether JSON can express a default value. A schema leaves out other defaults."""
    if default is NODEFAULT:
        return True
    try:
        plain = to_builtins(default, str_keys=True)
    except (TypeError, ValueError):
        return False
    return not isinstance(plain, float) or math.isfinite(plain)


_QUALIFIERS = ("Required", "NotRequired", "ReadOnly", "Final")


def field_annotations(record: t.Any) -> dict[str, t.Any]:
    """Return the annotations of a record's fields; for `Page[Item]`, type variables are replaced by
    `Item`.
    """
    return {name: _without_qualifiers(each) for name, each in get_class_annotations(record).items()}


def _without_qualifiers(annotation: t.Any) -> t.Any:
    """Remove qualifiers such as `NotRequired[int]`, which say nothing about the values of a
    field.
    """
    # Qualifiers are recognised by name, because `typing_extensions` has its own `ReadOnly`, the
    # only one on Python 3.11 and 3.12.
    while getattr(t.get_origin(annotation), "_name", "") in _QUALIFIERS:
        [annotation] = t.get_args(annotation)
    return annotation


class _Translator(inspect._Translator):
    def _translate_inner(  # type: ignore[override]
        self, kind: t.Any, args: t.Any, **limits: t.Any
    ) -> t.Any:
        if kind is t.Literal:
            return inspect.LiteralType(args)
        info = super()._translate_inner(kind, args, **limits)  # type: ignore[no-untyped-call]
        if isinstance(info, inspect.TypedDictType):
            order = list(t.get_type_hints(kind))
            info.fields = tuple(sorted(info.fields, key=lambda field: order.index(field.name)))
        return info


class SchemaGenerator(_json_schema._SchemaGenerator):
    """Converts msgspec's descriptions of types into JSON Schema."""

    def to_schema(self, info: inspect.Type, check_ref: bool = True) -> dict[str, t.Any]:
        schema = super().to_schema(info, check_ref)
        if "$ref" in schema:
            return schema
        while isinstance(info, inspect.Metadata):
            info = info.type
        if isinstance(info, inspect.LiteralType):
            schema["enum"] = list(info.values)
        elif isinstance(info, inspect.EnumType):
            schema["enum"] = [member.value for member in info.cls]
        else:
            for keyword, value in _left_out(info).items():
                schema.setdefault(keyword, value)
        return schema


def _left_out(info: inspect.Type) -> dict[str, t.Any]:
    """Return the keywords of JSON Schema, such as `format` or `examples`, that msgspec does not
    write for a type.

    The example is for pages and generated clients that do not know the format.
    """
    if isinstance(info, inspect.DateTimeType):
        if info.tz is False:
            return {"examples": ["2026-01-31T12:00:00"]}
        return {"format": "date-time"}
    if isinstance(info, inspect.TimeType):
        return {"examples": ["12:00:00"]} if info.tz is False else {"format": "time"}
    if isinstance(info, inspect.DictType):
        return _key_words(info.key_type)
    return {"examples": ["1.5"]} if isinstance(info, inspect.DecimalType) else {}


def _key_words(key: inspect.Type) -> dict[str, t.Any]:
    """Return the keyword `propertyNames`, which says which keys an object may have, if they are
    numbers or members of an enumeration; {} for other keys.
    """
    while isinstance(key, inspect.Metadata):
        key = key.type
    if isinstance(key, inspect.IntType):
        return {"propertyNames": {"pattern": "^-?[0-9]+$"}}
    if isinstance(key, inspect.EnumType):
        return {"propertyNames": {"enum": [str(member.value) for member in key.cls]}}
    if isinstance(key, inspect.LiteralType):
        return {"propertyNames": {"enum": [str(value) for value in key.values]}}
    return {}
