"""Limits of pydantic and annotated_types, and the types that pydantic validates.

msgspec obeys `msgspec.Meta` and ignores all other metadata; pydantic obeys its own and that of
annotated_types, and ignores `msgspec.Meta`. This module decides which of the two libraries
validates a type, and translates the limits in an annotation for that library. It does not translate
the annotations of a class's fields, which the library reads itself;
`carboy.contract.annotationchecks` refuses limits on fields that the library would ignore.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
import typing as t

import msgspec

from ..errors import SignatureError
from .hints import (
    annotated,
    is_pydantic,
    is_record,
    is_recursive,
    is_typed_dict,
    is_union,
    peel,
    shown,
    union_of,
)
from .records import fields_of, is_named_tuple

if t.TYPE_CHECKING:
    import collections.abc as cabc

_META = ("gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length")
_TEXTS = ("title", "description", "examples")
# Attributes of pydantic's `Field` that only document a value and do not restrict it.
_DOCUMENTS = {"annotation", *_TEXTS, "json_schema_extra", "deprecated"}


def is_foreign(extra: t.Any) -> bool:
    """Return whether an object in an `Annotated` belongs to pydantic or annotated_types."""
    cls = extra if isinstance(extra, type) else type(extra)
    return cls.__module__.partition(".")[0] in ("annotated_types", "pydantic")


def is_foreign_limit(extra: t.Any) -> bool:
    """Return whether an object in an `Annotated` is a limit or conversion of pydantic or
    annotated_types.
    """
    if not is_foreign(extra) or type(extra).__name__ in ("Unit", "DocInfo"):
        return False
    # `_attributes_set` exists only on the object that pydantic's `Field(...)` returns.
    given = getattr(extra, "_attributes_set", None)
    return given is None or bool(extra.metadata) or not given.keys() <= _DOCUMENTS


def is_limit(extra: t.Any) -> bool:
    """Return whether an object in an `Annotated` is a `msgspec.Meta` that restricts values."""
    return isinstance(extra, msgspec.Meta) and any(
        getattr(extra, name) is not None for name in (*_META, "tz")
    )


def translated(extras: cabc.Iterable[t.Any]) -> tuple[t.Any, ...]:
    """Replace limits of pydantic and annotated_types by the same limits as a `msgspec.Meta`.

    Limits that msgspec does not support stay as they are.

    Args:
        extras: the metadata of an `Annotated`.
    """
    found: list[t.Any] = []
    for extra in extras:
        said = dict(_said(extra)) if is_foreign(extra) else {}
        known = said and said.keys() <= {*_META, *_TEXTS}
        found.append(msgspec.Meta(**said) if known else extra)
    return tuple(found)


def _said(extra: t.Any) -> cabc.Iterator[tuple[str, t.Any]]:
    """Yield the limits and other settings of an object of pydantic or annotated_types, by
    pydantic's names: `("ge", 1)` for `Field(ge=1)`.
    """
    # `_attributes_set` exists only on the object that pydantic's `Field(...)` returns.
    given = getattr(extra, "_attributes_set", None)
    if given is not None:
        yield from given.items()
    parts = extra.metadata if given is not None else extra
    # An object such as `Interval`, `Len` or `StringConstraints` is a group of several limits.
    if hasattr(parts, "__iter__"):
        for part in parts:
            yield from _said(part)
    elif dataclasses.is_dataclass(parts):
        for field in dataclasses.fields(parts):
            yield field.name, getattr(parts, field.name)
    else:
        yield from vars(parts).items()


def needs_pydantic(annotation: t.Any) -> bool:
    """Return whether pydantic and not msgspec must validate a type.

    True for pydantic models, also as items or members of lists, dicts and unions; for limits of
    pydantic in the annotation (`Annotated[int, Field(ge=1)]`) or on the fields of a dataclass, a
    TypedDict or a NamedTuple; and for `type` aliases that refer to themselves.
    """
    if is_recursive(annotation):
        return True
    bare, extras = peel(annotation)
    if is_pydantic(bare) or any(map(is_foreign, extras)):
        return True
    origin = t.get_origin(bare)
    # For a Struct `Page[Pet]` with a pydantic model `Pet`, msgspec reads the Struct, and calls a
    # hook to read the model.
    if is_record(origin):
        return is_pydantic(origin) or _has_limited_fields(bare, ())
    return any(map(needs_pydantic, t.get_args(bare))) or _has_limited_fields(bare, ())


def _has_limited_fields(annotation: t.Any, within: tuple[t.Any, ...]) -> bool:
    """Return whether the fields of a record have limits that only pydantic can check."""
    bare, extras = peel(annotation)
    if within and any(map(is_foreign_limit, extras)):
        return True
    if bare in within:
        return False
    inner = [*t.get_args(bare)] if t.get_origin(bare) is not t.Literal else []
    if _may_be_read_by_pydantic(t.get_origin(bare) or bare):
        with contextlib.suppress(NameError):  # an undefined name is reported by `check_annotation`
            inner += [field.annotation for field in fields_of(bare)]
    elif not within:
        # This type has no fields. `needs_pydantic`, which calls this function with an empty
        # `within`, examines the arguments of a type such as `list[...]` itself.
        return False
    return any(_has_limited_fields(each, (*within, bare)) for each in inner)


def _may_be_read_by_pydantic(cls: t.Any) -> bool:
    return (
        (dataclasses.is_dataclass(cls) and isinstance(cls, type) and not is_pydantic(cls))
        or is_typed_dict(cls)
        or is_named_tuple(cls)
    )


def adapter(annotation: t.Any) -> t.Any:
    """Return pydantic's `TypeAdapter` for a type.

    Raises:
        SignatureError: pydantic is not installed.
    """
    try:
        import pydantic
    except ImportError:
        raise SignatureError(
            f"{shown(annotation)} can be read by pydantic only, which is not installed: pip install"
            " pydantic. Limits of `msgspec.Meta` need no pydantic."
        ) from None
    return pydantic.TypeAdapter(_for_pydantic(annotation))


def read_plain(validator: t.Any, value: t.Any) -> t.Any:
    """Validate decoded JSON or MessagePack.

    If pydantic refuses the values as Python objects, they are validated as JSON: a strict model
    reads a date from JSON, where it is a text, but not from a `str`.

    Args:
        validator: pydantic's `TypeAdapter`, or the `__pydantic_validator__` of a model.
        value: the decoded values.

    Raises:
        pydantic.ValidationError: the value is not valid.
    """
    try:
        return validator.validate_python(value)
    except ValueError as error:
        try:
            return validator.validate_json(_as_json(value))
        # A value that cannot be written as JSON is a ValueError too.
        except ValueError as again:
            if _count(again) < _count(error):
                raise
        raise


def read_texts(validator: t.Any, value: t.Any) -> t.Any:
    """Validate the texts of a form or a query, which are the only way to send numbers there: a
    strict model reads an int from the text of a field.

    Args:
        validator: as for `read_plain`.
        value: a text, a list of texts, or a dict of them, which may also have uploaded files, and
            decoded JSON that was sent as the text of one field.

    Raises:
        pydantic.ValidationError: the value is not valid.
    """
    # `validate_strings` reads no lists and no files.
    return validator.validate_python(value, strict=False)


def _count(error: ValueError) -> float:
    """Return how many values an error of pydantic lists; infinity for other errors."""
    count = getattr(error, "error_count", None)
    return math.inf if count is None else count()


def _as_json(value: t.Any) -> bytes:
    from pydantic_core import to_json

    encoded: bytes = to_json(value, inf_nan_mode="constants")
    return encoded


def _for_pydantic(annotation: t.Any) -> t.Any:
    """Replace the parts of a type that pydantic does not accept, such as `msgspec.Meta`."""
    if is_recursive(annotation):
        return annotation
    bare, extras = peel(annotation)
    arguments = t.get_args(bare)
    origin = t.get_origin(bare)
    if is_union(bare):
        bare = union_of(map(_for_pydantic, arguments))
    elif origin in (list, dict, set, frozenset, tuple):
        bare = origin[tuple(map(_for_pydantic, arguments))]
    elif t.is_typeddict(bare) and sys.version_info < (3, 12):
        bare = _typed_dict(bare)
    return annotated(bare, [_as_field(e) if isinstance(e, msgspec.Meta) else e for e in extras])


def _as_field(meta: msgspec.Meta) -> t.Any:
    import annotated_types
    import pydantic

    said = {name: getattr(meta, name) for name in (*_META, *_TEXTS)}
    given = {name: value for name, value in said.items() if value is not None}
    field = pydantic.Field(**given, json_schema_extra=meta.extra_json_schema)
    if meta.tz is not None:
        field.metadata.append(annotated_types.Timezone(... if meta.tz else None))
    return field


def _typed_dict(cls: t.Any) -> t.Any:
    """Return a TypedDict of typing_extensions with the same keys, as pydantic requires before
    Python 3.12.
    """
    import typing_extensions as te

    keys = {
        field.name: kind if field.required else te.NotRequired[kind]
        for field in fields_of(cls)
        for kind in [_for_pydantic(field.annotation)]
    }
    make: t.Any = te.TypedDict  # untyped, because mypy accepts only literal keys
    made = make(cls.__name__, keys)
    made.__module__, made.__doc__ = cls.__module__, cls.__doc__
    return made
