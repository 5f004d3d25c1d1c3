"""The names of an object's fields, if its class lists them."""

from __future__ import annotations

import typing as t
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import lru_cache
from inspect import getattr_static
from types import MemberDescriptorType


def field_names(kind: type) -> tuple[str, ...] | None:
    """Return the names of the fields of a msgspec struct, dataclass, named tuple, class of attrs or
    pydantic model; None for any other class.
    """
    return _field_names(kind)


# PERF: 1 us per call without the cache; the values of all log records pass through here.
@lru_cache(256)
def _field_names(kind: type) -> tuple[str, ...] | None:
    # Other libraries have attributes `_fields`, too: reading those of an ODM may ask a database.
    of_tuples = ("_fields",) if issubclass(kind, tuple) else ()
    if is_dataclass(kind):
        return tuple(each.name for each in fields(kind))  # without those that are a `ClassVar`
    for attribute in ("__struct_fields__", "model_fields", *of_tuples):
        names = getattr(kind, attribute, None)
        if isinstance(names, (tuple, dict)):
            return tuple(map(str, names))
    of_attrs: t.Any = getattr(kind, "__attrs_attrs__", None)
    return None if of_attrs is None else tuple(each.name for each in of_attrs)


def field_values(value: object, names: tuple[str, ...]) -> dict[str, t.Any]:
    """Return the fields of an object that are set, as they are stored. No code of its class runs: a
    property may raise an exception, or ask a database.
    """
    if isinstance(value, tuple):
        return dict(zip(names, value, strict=False))
    kind = type(value)
    stored: dict[str, t.Any] = getattr(value, "__dict__", {})
    found = {}
    for name in names:
        if name in stored:
            found[name] = stored[name]
        elif isinstance(getattr_static(kind, name, None), MemberDescriptorType):  # in a slot
            with suppress(AttributeError):  # it is not set
                found[name] = getattr(value, name)
    return found
