"""Convert nested lists, decoded from JSON, into a NumPy array.

The fast path assumes that the lists are valid, and packs the numbers with `struct`. If that fails,
a slower pass finds the first wrong place.
"""

from __future__ import annotations

import math
import struct
import typing as t
from itertools import chain

from ...errors import InputError
from .. import inputerrors
from .npy import FORMATS

if t.TYPE_CHECKING:
    import collections.abc as cabc

Side: t.TypeAlias = "int | str"  # the size of a dimension, or a name that stands for any size
DTYPES: t.Final = tuple(FORMATS)
# Rows (innermost lists) of at least this length are packed one by one, which is faster than packing
# all numbers at once. For short rows it is slower: it takes twice as long for 50,000 rows of 3
# numbers.
_LONG_ROW = 8
# Arrays of fewer numbers are packed at once, because an array that is packed row by row must be
# searched for infinity.
_MANY = 512
# The largest number of each float type. float64 is missing, because the JSON parser
# refuses larger numbers.
_LARGEST = {"float16": 65504.0, "float32": 3.4028234663852886e38}


def item_type(dtype: str, *, finite: bool = True) -> t.Any:
    """Return the type as which msgspec reads one number of an array from JSON. If `finite` is
    false, null is accepted and means NaN.
    """
    if dtype == "bool":
        return bool
    if not dtype.startswith("float"):
        return int
    return float if finite else float | None


def bounds(dtype: str) -> tuple[int, int] | None:
    """Return the smallest and the largest value of an integer dtype; None for other dtypes."""
    if "int" not in dtype:
        return None
    bits = int(dtype.rpartition("t")[2])
    return (0, 2**bits - 1) if dtype[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def gather(value: t.Any, depth: int) -> tuple[t.Sequence[t.Any], tuple[int, ...]] | None:
    """Return the innermost lists and the shape; None if lists of one level differ in length.

    Args:
        value: lists that are nested `depth` deep. If `depth` is 0, a number, which is treated as a
            list.
        depth: the number of dimensions.
    """
    if depth == 0:
        return [[value]], ()
    if depth == 1:
        return [value], (len(value),)
    rows, shape = [value], [len(value)]
    for _ in range(depth - 1):
        rows = list(chain.from_iterable(rows))
        lengths = set(map(len, rows))
        if len(lengths) > 1:
            return None
        shape.append(lengths.pop() if lengths else 0)
    return rows, tuple(shape)


def to_array(rows: t.Sequence[t.Any], shape: tuple[int, ...], dtype: str) -> t.Any:
    """Convert rows (the innermost of nested lists) into an array of a given shape; None if a number
    is out of the dtype's range.
    """
    import numpy as np

    width = shape[-1] if shape else 1
    try:
        packed = _pack(rows, width, dtype)
    except OverflowError:
        return None
    except (TypeError, struct.error):  # `struct` cannot pack null, which means NaN
        filled = [[math.nan if each is None else each for each in row] for row in rows]
        if filled == rows:
            return None
        return to_array(filled, shape, dtype)
    array = np.frombuffer(packed, dtype)
    # If the numbers were packed row by row, a float that is too large for float32 has become
    # infinity instead of raising an error. Treat it like any other number that is out of range.
    if dtype == "float32" and len(array) >= _MANY and np.isinf(array).any():
        return None
    return array.reshape(shape) if len(shape) != 1 else array


def _pack(rows: t.Sequence[t.Sequence[t.Any]], width: int, dtype: str) -> bytearray:
    """Pack the numbers of all rows into one block of bytes.

    PERF: `np.array(rows, dtype)` takes 2 to 2.5 times as long (bench/tensors.py). For long rows,
    `struct` packs floats twice as fast in its native format as in its standard format ("="). But
    only the standard format raises OverflowError for a float that is too large.
    """
    if width >= _LONG_ROW and len(rows) * width >= _MANY:
        pack = struct.Struct(f"{width}{FORMATS[dtype]}").pack
        return bytearray().join([pack(*row) for row in rows])
    flat = struct.Struct(f"={len(rows) * width}{FORMATS[dtype]}")
    packed = bytearray(flat.size)
    flat.pack_into(packed, 0, *chain.from_iterable(rows))
    return packed


def find_fault(
    value: t.Any, dtype: str, sides: t.Sequence[Side], *, path: str
) -> InputError | None:
    """Return the error for the first place where nested lists do not match the declared array.

    Args:
        value: nested lists of numbers.
        dtype: the dtype of the array.
        sides: the expected dimensions, the outermost first; dimensions of one name must be equal.
        path: where the value is in the request, for error messages.
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
            path, expected=f"array of length {size}{name}", got=inputerrors.describe(item)
        )
    if not inner:
        return numbers.find(item, lambda i: f"{path}[{i}]")
    for i, each in enumerate(item):
        fault = _walk(each, inner, sizes, numbers, f"{path}[{i}]")
        if fault is not None:
            return fault
    return None


class _Numbers:
    """Checks that numbers are in the range of a dtype. Null passes: msgspec has already refused it
    if it is not allowed.
    """

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
                return InputError.at(
                    where(i), expected=self._wanted, got=inputerrors.describe(each)
                )
        return None
