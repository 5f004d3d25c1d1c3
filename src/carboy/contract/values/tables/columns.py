"""Declared columns of a table: their dtypes, and the conversion of plain values.

    field of the record     dtype of the column               with `| None`
    float                   float64                           float64, NaN
    int                     int64                             Int64, NA
    bool                    bool                              boolean, NA
    str, Literal, Enum      str (object before pandas 3)      the same, NaN
    datetime                datetime64[us], in UTC            the same, NaT
    datetime, Meta(tz=True) datetime64[us, UTC]               the same, NaT
    date                    datetime64[us], at midnight       the same, NaT
    timedelta               timedelta64[us]                   the same, NaT
    Decimal, UUID, time     object                            object, None

The dtype depends on the declaration only, never on the values, so tables of several requests can be
concatenated. msgspec validates the values, column by column.

Times with an offset are converted to UTC. Only a column that is declared to have offsets,
`Annotated[datetime, Meta(tz=True)]`, has a time zone in its dtype. In other columns some requests
may send offsets and others none, and pandas cannot compare times with and without a time zone.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import math
import re
import types
import typing as t
import uuid

import msgspec

from ....errors import InputError, SignatureError
from ... import inputerrors
from ...hints import is_pydantic, is_record, is_union, strip

if t.TYPE_CHECKING:
    import collections.abc as cabc

_AT = re.compile(r"\$\[(\d+)\]")
_NUMBER = re.compile(r"[-+]?[0-9.]{1,40}(e[-+]?[0-9]{1,4})?", re.ASCII | re.IGNORECASE)
_SORTS: dict[t.Any, str] = {
    float: "float",
    int: "int",
    bool: "bool",
    str: "text",
    dt.datetime: "moment",
    dt.date: "day",
    dt.timedelta: "span",
    dt.time: "object",
    decimal.Decimal: "object",
    uuid.UUID: "object",
}
_INT64 = range(-(2**63), 2**63)
# pandas stores durations as microseconds in 64 bits.
_LONGEST_SPAN = dt.timedelta(microseconds=2**63 - 1)
#: A float can represent each whole number up to this one exactly.
EXACT_FLOAT: t.Final = 2**53

Where: t.TypeAlias = "cabc.Callable[[int, str], str]"


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """One declared column of a table."""

    name: str
    type: t.Any
    sort: str
    #: Whether None, a missing value, is allowed.
    optional: bool
    #: The default of a column that the table lacks; NODEFAULT if the column is required.
    default: t.Any
    #: The limits ge, gt, le and lt, checked by NumPy; None if only msgspec can check values of the
    #: type.
    bounds: dict[str, float] | None
    aware: bool = False  # whether all times of the column must have a UTC offset

    @property
    def required(self) -> bool:
        return self.default is msgspec.NODEFAULT

    @property
    def dtype(self) -> str:
        """Return the dtype of a column of numbers."""
        if self.sort == "float":
            return "float64"
        return "Int64" if self.optional else "int64"


def read_columns(declared: t.Any) -> tuple[Column, ...]:
    """Return the columns of a record, or of a dict of types by column name.

    Raises:
        SignatureError: `declared` is neither, or a field has a type that a cell cannot have.
    """
    if isinstance(declared, dict):
        found = [
            _column(name, kind, msgspec.NODEFAULT, "columns") for name, kind in declared.items()
        ]
    elif is_record(declared) and not is_pydantic(declared):
        found = list(_fields(declared))
    else:
        raise SignatureError(
            f"DataFrame[{getattr(declared, '__qualname__', repr(declared))}]: expected a Struct, a"
            " dataclass or a TypedDict whose fields are the columns. (Bounds and validators of a"
            " pydantic model cannot be applied to whole columns.)"
        )
    if not found:
        raise SignatureError(
            f"DataFrame[{declared!r}]: it has no fields, and a table needs columns. Give it a field"
            " for each column."
        )
    return tuple(found)


def _fields(record: t.Any) -> cabc.Iterator[Column]:
    where = record.__qualname__
    if hasattr(record, "__post_init__"):
        raise SignatureError(
            f"DataFrame[{where}]: it has a `__post_init__`, which is not called for columns. Do"
            " its checks in `predict`, and raise InputError."
        )
    try:
        fields = msgspec.inspect.type_info(record).fields  # type: ignore[attr-defined]
        hints = t.get_type_hints(record, include_extras=True)
    except (TypeError, NameError) as exc:
        raise SignatureError(f"DataFrame[{where}]: its fields cannot be read: {exc}.") from None
    for field in fields:
        kind = hints[field.name]
        if t.get_origin(kind) in (t.Required, t.NotRequired):
            kind = t.get_args(kind)[0]
        default = field.default
        if default is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        # The field is a key of a TypedDict that is `NotRequired`, so its default is None.
        if default is msgspec.NODEFAULT and not field.required:
            default, kind = None, t.Optional[kind]  # noqa: UP045 - `kind | None` fails on text
        yield _column(field.encode_name, kind, default, where)


def _column(name: str, kind: t.Any, default: t.Any, where: str) -> Column:
    bare, optional, constraints = strip(kind), False, _constraints(kind)
    if is_union(bare):
        members = [each for each in t.get_args(bare) if each is not types.NoneType]
        optional = len(members) < len(t.get_args(bare))
        if len(members) == 1:
            constraints += _constraints(members[0])
            bare = strip(members[0])
    sort = _sort(bare)
    if sort is None:
        raise SignatureError(
            f"{where}: the column {name!r} is {kind!r}. A cell is a float, int, bool, str, Literal,"
            " Enum, date, datetime, timedelta, time, Decimal or UUID, or a union of these and None."
        )
    aware = any(isinstance(each, msgspec.Meta) and each.tz for each in constraints)
    return Column(name, kind, sort, optional, default, _bounds(constraints), aware)


def _sort(kind: t.Any) -> str | None:
    values: list[t.Any]
    if t.get_origin(kind) is t.Literal:
        values = list(t.get_args(kind))
    elif isinstance(kind, type) and issubclass(kind, enum.Enum):
        values = [member.value for member in kind]
    else:
        return _SORTS.get(kind) if isinstance(kind, type) else None
    sorts = {type(value): _SORTS.get(type(value)) for value in values}
    return next(iter(sorts.values())) if len(sorts) == 1 else None


def _constraints(kind: t.Any) -> list[t.Any]:
    return list(kind.__metadata__) if t.get_origin(kind) is t.Annotated else []


def _bounds(constraints: list[t.Any]) -> dict[str, float] | None:
    found: dict[str, float] = {}
    for each in constraints:
        if not isinstance(each, msgspec.Meta):
            continue
        if each.multiple_of is not None:
            return None
        for name in ("ge", "gt", "le", "lt"):
            if getattr(each, name) is not None:
                found[name] = getattr(each, name)
    return found


class DeclaredColumns:
    """The declared columns of one table annotation."""

    def __init__(self, columns: tuple[Column, ...], *, others: str) -> None:
        self.columns = columns
        self.names = tuple(column.name for column in columns)
        self.by_name = {column.name: column for column in columns}
        self.drops = others == "drop"

    def choose(self, names: cabc.Sequence[str], path: str) -> None:
        """Raise InputError if a table lacks a required column, or has a column that is not
        declared.
        """
        missing = [c.name for c in self.columns if c.required and c.name not in names]
        unknown = [] if self.drops else [name for name in names if name not in self.by_name]
        if not missing and not unknown:
            return
        parts = [f"with the column {name!r}" for name in missing[:6]]
        parts += [f"without the unknown column {name!r}" for name in unknown[:6]]
        got = f"columns {', '.join(repr(name) for name in names[:12])}" if names else "no columns"
        raise InputError.at(path, expected=f"a table {' and '.join(parts)}", got=got)

    def frame(self, arrays: cabc.Mapping[str, t.Any], rows: int) -> t.Any:
        """Build a DataFrame with the columns in the order of their declaration; missing columns get
        their default.
        """
        import pandas as pd

        filled = {
            c.name: arrays[c.name]
            if c.name in arrays
            else as_array(c, [_plain(c.default)] * rows, lambda i, name: f"$[{i}].{name}")
            for c in self.columns
        }
        return pd.DataFrame(filled, copy=False)


def check(
    column: Column, values: cabc.Sequence[t.Any], where: Where, *, lax: bool = False
) -> t.Any:
    """Validate plain values of one column against the declared type.

    Args:
        column: the declared column.
        values: one value per row.
        where: returns the path of a cell, for error messages.
        lax: whether the values are texts, as in CSV.

    Raises:
        InputError: 422 for the first value that is not valid.
    """
    try:
        return msgspec.convert(values, list[column.type], strict=not lax)  # type: ignore[name-defined]
    except msgspec.ValidationError as exc:
        at = _AT.search(str(exc))
        i = int(at[1]) if at else 0
        raise _misfit(column, values[i], where(i, column.name), lax=lax) from exc


def _misfit(column: Column, value: t.Any, path: str, *, lax: bool) -> InputError:
    try:
        msgspec.convert(value, column.type, strict=not lax)
    except msgspec.ValidationError as exc:
        refused = inputerrors.mismatch(exc, value, root=path, kind=column.type)
        if lax and isinstance(value, str):
            return InputError.at(path, expected=refused.faults[0].expected, got=_of_cell(value))
        return refused
    # Never reached: if msgspec refuses a value in its column, `msgspec.convert` above refuses the
    # value, too.
    return InputError.at(path, expected="another value")  # pragma: no cover


def _of_cell(text: str) -> str:
    """Shorten the text of a cell, so that an error message can quote it."""
    return text if _NUMBER.fullmatch(text) else repr(text[:40] + "..." * (len(text) > 40))


def invalid_cell(column: Column, value: t.Any, path: str) -> InputError:
    """Return the error for one invalid cell: missing, not finite, or of another type."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return InputError.at(path, expected=f"a value ({column.sort})", got="a missing value")
    if isinstance(value, float) and math.isinf(value):
        return InputError.at(path, expected="a finite number", got=repr(value))
    return _misfit(column, value, path, lax=False)


def as_array(column: Column, values: cabc.Sequence[t.Any], where: Where) -> t.Any:
    """Convert the validated values of a column into the array that pandas stores."""
    import numpy as np
    import pandas as pd

    sort = column.sort
    if sort == "float":
        array = np.array(values, dtype="float64")
        refuse_not_finite(column, array, where, missing=values)
        return array
    if values and isinstance(values[0], enum.Enum):
        values = [_plain(value) for value in values]
    if sort == "int":
        _refuse_large_integers(column, values, where)
        return pd.array(values, dtype="Int64") if column.optional else np.array(values, "int64")
    if sort == "bool":
        return pd.array(values, dtype="boolean") if column.optional else np.array(values, "bool")
    if sort == "text":
        plain = [_plain(value) for value in values] if column.optional else values
        return pd.array(plain, dtype=text_dtype())
    if sort == "day":
        return np.array(values, dtype="datetime64[us]")
    if sort == "span":
        _refuse_long_spans(column, values, where)
        return np.array(values, dtype="timedelta64[us]")
    if sort == "moment":
        return _moments(column, values, where)
    for i, value in enumerate(values):
        if isinstance(value, decimal.Decimal) and not value.is_finite():
            raise InputError.at(where(i, column.name), expected="a finite number", got=str(value))
    return _objects(values)


def refuse_not_finite(column: Column, array: t.Any, where: Where, *, missing: t.Any = None) -> None:
    """Refuse infinity in a column, and NaN unless it stands for a missing value that is allowed.

    Args:
        missing: the values before their conversion to an array, in which a missing value is still
            None.
    """
    import numpy as np

    finite = np.isfinite(array)
    if finite.all():
        return
    for i in np.flatnonzero(~finite).tolist():
        if np.isinf(array[i]) or not (column.optional and (missing is None or missing[i] is None)):
            raise invalid_cell(column, float(array[i]), where(i, column.name))


def _refuse_large_integers(column: Column, values: cabc.Sequence[t.Any], where: Where) -> None:
    try:
        inside = all(value is None or value in _INT64 for value in (min(values), max(values)))
    # `min` fails if one of the values is None, or if there are no values.
    except (TypeError, ValueError):
        inside = False
    for i, value in () if inside else enumerate(values):
        if value is not None and value not in _INT64:
            raise InputError.at(
                where(i, column.name), expected="a whole number of 64 bits", got=str(value)[:40]
            )


def _refuse_long_spans(column: Column, values: cabc.Sequence[t.Any], where: Where) -> None:
    for i, value in enumerate(values):
        if value is not None and abs(value) > _LONGEST_SPAN:
            wanted = f"a duration of at most {_LONGEST_SPAN.days:,} days"
            raise InputError.at(where(i, column.name), expected=wanted, got=f"{value.days:,} days")


def _moments(column: Column, values: cabc.Sequence[t.Any], where: Where) -> t.Any:
    import numpy as np
    import pandas as pd

    aware = {value.tzinfo is not None for value in values if value is not None}
    if len(aware) == 2:
        first = next(v.tzinfo is not None for v in values if v is not None)
        i = next(
            i for i, v in enumerate(values) if v is not None and (v.tzinfo is not None) != first
        )
        wanted = f"a time {'with' if first else 'without'} an offset, as in the rows before"
        raise InputError.at(where(i, column.name), expected=wanted, got=values[i].isoformat())
    if True in aware:
        try:
            values = [v and v.astimezone(dt.UTC).replace(tzinfo=None) for v in values]
        except OverflowError:
            wanted = "times from year 1 to 9999"
            raise InputError.at(where(0, column.name), expected=wanted) from None
    array = np.array(values, dtype="datetime64[us]")
    return pd.DatetimeIndex(array).tz_localize("UTC") if column.aware else array


def _objects(values: cabc.Sequence[t.Any]) -> t.Any:
    import numpy as np

    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def undeclared_array(values: cabc.Sequence[t.Any]) -> t.Any:
    """Prepare the values of a column without a declared type, so that pandas infers a usable dtype.

    A column that has only missing values becomes float64, because models refuse `object`. Large
    whole numbers beside missing values become Int64, because pandas would convert them to floats,
    which have only 53 bits.
    """
    import pandas as pd

    kinds = set(map(type, values))
    if kinds == {types.NoneType}:
        return pd.array([math.nan] * len(values), dtype="float64")
    if kinds == {int, types.NoneType} and any(v and abs(v) > EXACT_FLOAT for v in values):
        inside = all(value is None or value in _INT64 for value in values)
        return pd.array(values, dtype="Int64" if inside else "object")
    return list(values)


def _plain(value: t.Any) -> t.Any:
    return value.value if isinstance(value, enum.Enum) else value


def text_dtype() -> t.Any:
    """Return the dtype for columns of text. Before pandas 3 it is `object`, because the dtype "str"
    would turn None into the text 'None'.
    """
    import pandas as pd

    return "str" if int(pd.__version__.partition(".")[0]) >= 3 else object
