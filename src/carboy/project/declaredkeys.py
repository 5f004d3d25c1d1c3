"""Keys that a project declares by the fields of `class Config(Struct)`."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from functools import cache

import msgspec

from ..errors import ProjectError
from . import SECRET_MARKER


@dataclass(frozen=True, slots=True)
class DeclaredKey:
    """A field of the class that declares the keys of a project.

    Attributes:
        name: the name of the field.
        key: the config key, which has another name if the class renames its fields.
        type: the annotation of the field.
        has_default: whether a value may be missing.
        default: a function that returns the default; only for a field that has one.
    """

    name: str
    key: str
    type: t.Any
    has_default: bool
    default: t.Callable[[], t.Any]

    @property
    def is_secret(self) -> bool:
        return _mentions(self.type, SECRET_MARKER)


def is_declaration(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, msgspec.Struct)


@cache
def fields_of(declared: type) -> tuple[DeclaredKey, ...]:
    """Return the keys that a `Struct` declares.

    The result is cached, because the annotations of the class can be resolved only while its module
    is in `sys.modules`. The module of a config file may stay there only while the file runs.

    Raises:
        ProjectError: a field has a type to which msgspec cannot convert values.
    """
    try:
        msgspec.json.Decoder(declared)  # fails for wrong annotations, also of nested classes
    except (TypeError, NameError) as exc:
        reason = str(exc).replace("\n", " ").rstrip(".")
        raise ProjectError(
            f"class {declared.__name__} cannot declare config keys: {reason}. Use types that"
            " msgspec can convert values to."
        ) from None
    return tuple(
        DeclaredKey(
            name=field.name,
            key=field.encode_name,
            type=field.type,
            has_default=not field.required,
            default=_default_of(field),
        )
        for field in msgspec.structs.fields(declared)
    )


def _default_of(field: msgspec.structs.FieldInfo) -> t.Callable[[], t.Any]:
    if field.default_factory is not msgspec.NODEFAULT:
        return t.cast("t.Callable[[], t.Any]", field.default_factory)
    return lambda: field.default


def _mentions(annotation: t.Any, marker: object) -> bool:
    return annotation is marker or any(_mentions(each, marker) for each in t.get_args(annotation))
