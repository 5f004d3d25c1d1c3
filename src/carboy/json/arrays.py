"""Convert values of NumPy and pandas for JSON encoders, without importing either package.

    bool_, int64, float32, str_, ...          bool, int, float, str
    datetime64, timedelta64                   date, datetime, timedelta; None for NaT
    ndarray                                   nested lists of values as above
    Series, Index, Categorical, ...           a list
    DataFrame                                 a list of records
    NA, NaT                                   None
    Period, Interval                          text

A time that Python's `datetime` cannot hold (nanoseconds, the year 20000) becomes text in ISO 8601.
pandas' `Timestamp` is a `datetime`, which encoders write in their own form.
"""

from __future__ import annotations

import typing as t
from functools import lru_cache

#: What `to_plain` returns for a value that is neither from NumPy nor from pandas.
UNKNOWN: t.Final = object()


def to_plain(value: t.Any) -> t.Any:
    """Convert a value of NumPy or pandas to plain Python; return `UNKNOWN` for other values.

    If the result is a list, its items may still be values of NumPy or pandas, for example if an
    array contains objects.
    """
    convert = _converter(type(value))  # type: ignore[arg-type]  # classes are hashable
    return UNKNOWN if convert is None else convert(value)


@lru_cache(maxsize=256)
def _converter(cls: t.Any) -> t.Callable[[t.Any], t.Any] | None:
    names = ((each.__module__.partition(".")[0], each.__qualname__) for each in cls.__mro__)
    return next((_BY_CLASS[name] for name in names if name in _BY_CLASS), None)


def _nothing(value: t.Any) -> None:
    return None


def _scalar(value: t.Any) -> t.Any:
    kind = value.dtype.kind
    if kind in "mM":
        return _times(value)
    # `float` is needed for a longdouble, whose `item()` returns another longdouble.
    return float(value) if kind == "f" else value.item()


def _array(value: t.Any) -> t.Any:
    kind = value.dtype.kind
    if kind in "mM":
        return _times(value)
    if kind == "f" and value.dtype.itemsize > 8:
        value = value.astype("float64")
    return value.tolist()


def _times(value: t.Any) -> t.Any:
    """Convert times and durations to Python's types, or to text if these cannot hold them. NumPy's
    `tolist` alone would return integers for nanoseconds.
    """
    import numpy as np

    plain = value.tolist()
    if not _has_numbers(plain):
        return plain
    kind = "datetime64[us]" if value.dtype.kind == "M" else "timedelta64[us]"
    # A `datetime` can hold the times, with its microseconds, if rounding to microseconds changes
    # none of them. NaT is unequal to itself, so it is checked separately.
    rounded = value.astype(kind)
    if bool(np.all((rounded == value) | np.isnat(value))):
        plain = rounded.tolist()
        if not _has_numbers(plain):
            return plain
    if value.dtype.kind == "M":
        texts = np.datetime_as_string(value)
    else:
        seconds = value / np.timedelta64(1, "s")
        texts = np.vectorize("PT{:.9f}S".format, otypes=[object])(seconds)
    found = np.array(texts, dtype=object)
    found[np.isnat(value)] = None
    return found.tolist()


def _has_numbers(plain: t.Any) -> bool:
    if isinstance(plain, list):
        return any(map(_has_numbers, plain))
    return isinstance(plain, int)


def _listed(value: t.Any) -> list[t.Any]:
    return t.cast("list[t.Any]", value.tolist())


def _records(value: t.Any) -> list[t.Any]:
    return t.cast("list[t.Any]", value.to_dict("records"))


_BY_CLASS: dict[tuple[str, str], t.Callable[[t.Any], t.Any]] = {
    ("numpy", "generic"): _scalar,
    ("numpy", "ndarray"): _array,
    ("pandas", "NAType"): _nothing,
    ("pandas", "NaTType"): _nothing,
    ("pandas", "Series"): _listed,
    ("pandas", "Index"): _listed,
    ("pandas", "ExtensionArray"): _listed,
    ("pandas", "DataFrame"): _records,
    ("pandas", "Period"): str,
    ("pandas", "Interval"): str,
}
