"""What msgspec asks about types that it does not know: how to read, write and describe them."""

from __future__ import annotations

import sys
import typing as t

import msgspec

from ..errors import InputError
from . import problems
from .kinds import file_type, is_pydantic
from .media import JSON
from .values.drawing import data_url
from .values.file import Upload
from .values.image import Image
from .values.registry import Wire, wire_of


def revive(kind: type, value: t.Any) -> t.Any:
    """To read: a type inside a record."""
    if is_pydantic(kind):
        return kind.model_validate(value)  # type: ignore[attr-defined]
    if isinstance(value, Upload) and issubclass(kind, Upload):
        return value
    wire = wire_of(kind)
    if wire is not None and wire.packages:
        return read_by(wire, value)
    raise InputError.at("$", expected="a file of a form", got=problems.describe(value))


def plain(value: t.Any) -> t.Any:
    """To write: pictures, tables, NumPy's values, and pydantic's models."""
    if is_pydantic(type(value)):
        return value.model_dump(mode="json") if hasattr(value, "model_dump") else vars(value)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
        return value.tolist()
    if isinstance(value, Image):
        return data_url(value)
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, (pandas.DataFrame, pandas.Series)):
        from .values.tables.writing import column_values, write

        if isinstance(value, pandas.Series):
            return column_values(value)
        return msgspec.Raw(write(value, JSON))
    raise NotImplementedError(
        f"An answer holds a {type(value).__module__}.{type(value).__qualname__}, which has no JSON"
        " form. Return numbers, text, lists, dicts, records, a picture, a DataFrame or an array."
    )


def read_by(wire: Wire, value: t.Any) -> t.Any:
    """A value that was decoded without types; an upload is a file."""
    if isinstance(value, Upload):
        return wire.read(value.read(), media_type=value.media_type)
    if wire.json_type is not msgspec.Raw:
        try:
            value = msgspec.convert(value, wire.json_type)
        except msgspec.ValidationError as exc:
            raise problems.misfit(exc, value) from exc
    return wire.revive(value)


def describe(kind: type) -> dict[str, t.Any]:
    """To describe: JSON Schema."""
    wire = wire_of(kind)
    if wire is not None and wire.packages:
        return wire.schema()
    if file_type(kind) == "upload":
        return {"type": "string", "format": "binary"}
    if kind.__module__.partition(".")[0] == "numpy":
        return {"type": "array"} if kind.__name__ == "ndarray" else {"type": "number"}
    if (kind.__module__.partition(".")[0], kind.__qualname__) == ("pandas", "DataFrame"):
        return {"type": "array", "items": {"type": "object"}}
    raise NotImplementedError(f"no JSON form is known for {kind!r}")
