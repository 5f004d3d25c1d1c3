"""Nested lists of JSON into an array.

The quick way assumes that all is well, and packs the numbers by `struct`. When it is not, the slow
way walks to the first place that does not fit.
"""

from __future__ import annotations

import math
import struct
import typing as t
from itertools import chain

from . import explain
from .faults import InputError

if t.TYPE_CHECKING:
    import collections.abc as cabc

Side: t.TypeAlias = "int | str"  # a size, or the name of a free one
_CODES = {
    "bool": "?",
    **dict(zip(("int8", "int16", "int32", "int64"), "bhiq", strict=True)),
    **dict(zip(("uint8", "uint16", "uint32", "uint64"), "BHIQ", strict=True)),
    **dict(zip(("float16", "float32", "float64"), "efd", strict=True)),
}
DTYPES: t.Final = tuple(_CODES)
# Above it packing row by row is quicker than all in one; 50,000 rows of 3 take twice as long.
_LONG_ROW = 8
# The largest number of each type of floats; a float64 is bounded by JSON itself.
_LARGEST = {"float16": 65504.0, "float32": 3.4028234663852886e38}


def item_type(dtype: str, *, finite: bool = True) -> t.Any:
    """What one number is in JSON, where null may stand for NaN."""
    if dtype == "bool":
        return bool
    if not dtype.startswith("float"):
        return int
    return float if finite else float | None


def bounds(dtype: str) -> tuple[int, int] | None:
    """The smallest and the largest number of a type of integers; None of others."""
    if "int" not in dtype:
        return None
    bits = int(dtype.rpartition("t")[2])
    return (0, 2**bits - 1) if dtype[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def to_array(value: t.Any, dtype: str, depth: int) -> t.Any:
    """An array of lists that msgspec has read as so deep and of such numbers.

    Raises:
        ValueError: the lists are ragged, or a number is out of range: see `find_fault`.
    """
    import numpy as np

    rows, shape = _rows(value, depth)
    try:
        packed = _pack(rows, shape[-1], _CODES[dtype])
    except OverflowError as exc:
        raise ValueError(dtype) from exc
    except (TypeError, struct.error):  # null, for NaN, is not packed
        filled = [[math.nan if each is None else each for each in row] for row in rows]
        if filled == rows:
            raise ValueError(dtype) from None
        packed = _pack(filled, shape[-1], _CODES[dtype])
    array = np.frombuffer(packed, dtype=dtype).reshape(shape[: depth or -1])
    # JSON has no word for infinity: here it is a number that was too large (`struct` does not say).
    if dtype == "float32" and np.isinf(array).any():
        raise ValueError(dtype)
    return array


def _pack(rows: t.Sequence[t.Sequence[t.Any]], width: int, code: str) -> bytearray:
    """The numbers one after the other.

    PERF: `np.array(rows, dtype)` takes 2 to 2.5 times as long (bench/tensors.py).
    """
    if width >= _LONG_ROW:
        pack = struct.Struct(f"{width}{code}").pack
        return bytearray().join([pack(*row) for row in rows])
    flat = struct.Struct(f"{len(rows) * width}{code}")
    packed = bytearray(flat.size)
    flat.pack_into(packed, 0, *chain.from_iterable(rows))
    return packed


def _rows(value: t.Any, depth: int) -> tuple[t.Sequence[t.Any], list[int]]:
    """The innermost lists, and the shape; a lone number is a row of its own."""
    if depth == 0:
        return [[value]], [1]
    rows, shape = [value], [len(value)]
    for _ in range(depth - 1):
        rows = list(chain.from_iterable(rows))
        lengths = set(map(len, rows))
        if len(lengths) > 1:
            raise ValueError(lengths)
        shape.append(lengths.pop() if lengths else 0)
    return rows, shape


def find_fault(
    value: t.Any, dtype: str, sides: t.Sequence[Side], *, path: str
) -> InputError | None:
    """The first place where nested lists are no such array.

    Args:
        value: as for `to_array`.
        sides: of the outermost list first; a name stands for the first size that it has.
    """
    return _walk(value, sides, {}, _Numbers(dtype), path)


def _walk(
    item: t.Any, sides: t.Sequence[Side], sizes: dict[str, int], numbers: _Numbers, path: str
) -> InputError | None:
    if not sides:
        return numbers.find([item], lambda _: path)
    side, inner = sides[0], sides[1:]
    size = sizes.setdefault(side, len(item)) if isinstance(side, str) else side
    if len(item) != size:
        name = f" (side {side!r})" if isinstance(side, str) and side[0] != "#" else ""
        return InputError.at(
            path, expected=f"array of length {size}{name}", got=explain.describe(item)
        )
    if not inner:
        return numbers.find(item, lambda i: f"{path}[{i}]")
    for i, each in enumerate(item):
        fault = _walk(each, inner, sizes, numbers, f"{path}[{i}]")
        if fault is not None:
            return fault
    return None


class _Numbers:
    """What one number may be; null stands for NaN, where the type has let it pass."""

    def __init__(self, dtype: str) -> None:
        whole = bounds(dtype)
        largest = _LARGEST.get(dtype, math.inf)
        self._low: float
        self._high: float
        self._low, self._high = whole or (-largest, largest)
        self._wanted = (
            f"{dtype}, a number from {self._low} to {self._high}"
            if whole
            else f"a number that {dtype} can hold, up to {self._high:g}"
        )

    def find(self, row: t.Sequence[t.Any], where: cabc.Callable[[int], str]) -> InputError | None:
        for i, each in enumerate(row):
            if each is not None and not self._low <= each <= self._high:
                return InputError.at(where(i), expected=self._wanted, got=explain.describe(each))
        return None
