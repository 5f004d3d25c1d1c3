"""Functions that msgspec calls to read, write and describe classes that it does not support."""

from __future__ import annotations

import typing as t

import msgspec

from . import inputerrors
from .hints import is_pydantic
from .pydanticlimits import adapter, needs_pydantic, read_plain
from .records import types_in
from .values import unpacked
from .values.file import Upload
from .values.kind import key_word
from .values.registry import kind_inside_json, kind_of

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .values.kind import ValueKind


def from_json(cls: type, value: t.Any) -> t.Any:
    """Read a value of a class that msgspec does not support, inside a record. This function is
    msgspec's `dec_hook`.
    """
    if is_pydantic(cls):
        return read_plain(cls.__pydantic_validator__, value)  # type: ignore[attr-defined]
    # The value is an uploaded file, or was read from a form field before, so it needs no
    # conversion.
    if isinstance(value, t.get_origin(cls) or cls):
        return value
    kind = kind_of(cls)
    if kind is None:
        raise TypeError(f"the class {cls!r} is not supported")
    return read_by(kind, value)


def json_decoder(annotation: t.Any) -> cabc.Callable[[bytes], t.Any]:
    """Return a function that decodes JSON into a type."""
    if needs_pydantic(annotation):
        return t.cast("cabc.Callable[[bytes], t.Any]", adapter(annotation).validate_json)
    return typed_decoder(annotation)


def typed_decoder(annotation: t.Any) -> cabc.Callable[[bytes], t.Any]:
    """Return a function of msgspec that decodes JSON into a type."""
    decode = msgspec.json.Decoder(annotation, dec_hook=from_json).decode
    return unpacked.attempt(decode) if unpacks(annotation) else decode


def unpacks(annotation: t.Any) -> bool:
    """Return whether a type has images or the like, also in the fields of records."""
    kinds = map(kind_of, types_in(annotation))
    return any(kind is not None and kind.unpacks for kind in kinds)


def read_by(kind: ValueKind, value: t.Any, *, path: str = "$") -> t.Any:
    """Read an image, a table or the like from one of three inputs: decoded JSON, bytes (in
    MessagePack), or an uploaded file.
    """
    if isinstance(value, Upload):
        return kind.read_file(value, path=path)
    if isinstance(value, bytes):
        return kind.read(value, path=path)
    if kind.json_type is not msgspec.Raw:
        try:
            value = msgspec.convert(value, kind.json_type)
        except msgspec.ValidationError as exc:
            raise inputerrors.mismatch(exc, value, root=path) from exc
    return kind.from_json(value, path=path)


def plain(value: t.Any) -> t.Any:
    """Convert a value of a class that msgspec does not support to one that can be written as JSON.
    This function is msgspec's `enc_hook`.
    """
    cls = type(value)
    if is_pydantic(cls):
        # Encode by the value's own class and not by the declared one: the value may be of a
        # subclass, which may have more fields.
        return msgspec.Raw(cls.__pydantic_serializer__.to_json(value, by_alias=True))
    kind = kind_inside_json(cls)
    if kind is not None:
        return kind.plain(value)
    word = key_word(value)
    if word is not None:
        return word
    raise NotImplementedError(
        f"The result contains a {cls.__module__}.{cls.__qualname__}, which has no JSON"
        " form. Return numbers, text, lists, dicts, records, a picture, a DataFrame or an array."
    )


def describe(cls: type) -> dict[str, t.Any]:
    """Return the JSON Schema of a class that msgspec does not support. This function is msgspec's
    `schema_hook`.
    """
    kind = kind_of(cls)
    if kind is not None:
        return kind.schema()
    undeclared = kind_inside_json(cls)
    schema = None if undeclared is None else undeclared.undeclared_schema(cls)
    if schema is None:
        raise NotImplementedError(f"no JSON form is known for {cls!r}")
    return schema
