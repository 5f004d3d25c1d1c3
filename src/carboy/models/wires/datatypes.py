"""The datatypes of the Open Inference Protocol, and how tensors of them are written.

    datatype    BOOL, UINT8 ... UINT64, INT8 ... INT64, FP16, FP32, FP64, BYTES
    JSON        a list of all elements in row-major order, or lists nested like the shape; the
                content of a file in base64
    binary      the elements one after the other in row-major order, little-endian; each element of
                BYTES after its length in 4 bytes

A tensor is a NumPy array here. The elements of BYTES are `bytes`, or `str` if they came in JSON.
Source: https://github.com/kserve/open-inference-protocol and, for binary data,
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import base64
import math
import struct
import typing as t
from functools import lru_cache

import msgspec

from carboy.contract import inputerrors
from carboy.contract.values.nested import find_fault, gather, item_type, to_array
from carboy.errors import InputError
from carboy.json.arrays import to_plain

if t.TYPE_CHECKING:
    from collections import abc as cabc

    Shape: t.TypeAlias = tuple[int, ...]

BYTES: t.Final = "BYTES"
#: The datatypes of numbers by NumPy's names.
DATATYPES: t.Final = {
    "bool": "BOOL",
    **{f"int{bits}": f"INT{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"UINT{bits}" for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"FP{bits}" for bits in (16, 32, 64)},
}
#: NumPy's names of the datatypes of numbers.
DTYPES: t.Final = {datatype: dtype for dtype, datatype in DATATYPES.items()}
# NumPy has at most 64 dimensions; no model needs as many.
_MAX_SIDES = 32
# The largest product of all sides other than 0. NumPy cannot create much larger arrays, even if
# they are empty because another side is 0.
_MAX_ELEMENTS = 2**48
_LENGTH = struct.Struct("<I")


def check_shape(shape: list[int], path: str) -> Shape:
    """Check the shape of a tensor that a client sends, before anything of that size is created."""
    if len(shape) > _MAX_SIDES:
        raise InputError.at(path, expected=f"at most {_MAX_SIDES} sides", got=str(len(shape)))
    for side in shape:
        if side < 0:
            raise InputError.at(path, expected="sides of 0 or more", got=str(side))
    if math.prod(side or 1 for side in shape) > _MAX_ELEMENTS:
        raise InputError.at(path, expected="fewer elements", got=f"shape {shape}")
    return tuple(shape)


def dtype_of(datatype: str, path: str) -> str:
    """Return NumPy's name of a datatype other than BYTES."""
    if datatype not in DTYPES:
        known = ", ".join((*DTYPES, BYTES))
        raise InputError.at(path, expected=f"one of the datatypes {known}", got=datatype)
    return DTYPES[datatype]


# --- binary --------------------------------------------------------------------------------------


def from_binary(data: memoryview, datatype: str, shape: Shape, path: str) -> t.Any:
    """Read a tensor from its bytes, of which there must be exactly as many as its shape needs."""
    import numpy as np

    if datatype == BYTES:
        return _object_array(list(_elements(data, math.prod(shape), path)), shape)
    dtype = np.dtype(dtype_of(datatype, path)).newbyteorder("<")
    needed = math.prod(shape) * dtype.itemsize
    if needed != len(data):
        raise InputError.at(
            path, expected=f"{needed:,} bytes, for {datatype} of shape {list(shape)}",
            got=f"{len(data):,}",
        )  # fmt: skip
    if datatype == "BOOL":
        return (np.frombuffer(data, "uint8") != 0).reshape(shape)
    return np.frombuffer(data, dtype).reshape(shape)


def _elements(data: memoryview, number: int, path: str) -> cabc.Iterator[bytes]:
    at = 0
    for i in range(number):
        start = at + _LENGTH.size
        length = _LENGTH.unpack_from(data, at)[0] if start <= len(data) else 0
        at = start + length
        if at > len(data):
            raise InputError.at(
                path,
                expected=f"{number} elements, each after its length in 4 bytes",
                got=f"{len(data):,} bytes, which end in element {i}",
            )
        yield bytes(data[start:at])
    if at != len(data):
        raise InputError.at(
            path, expected=f"{at:,} bytes of {number} elements", got=f"{len(data):,}"
        )


def to_binary(array: t.Any) -> bytes:
    """Write a tensor as bytes."""
    if array.dtype == object:
        return b"".join(_LENGTH.pack(len(each)) + each for each in array.reshape(-1))
    return t.cast("bytes", array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())


# --- JSON ----------------------------------------------------------------------------------------


def from_json(data: bytes, datatype: str, shape: Shape, path: str) -> t.Any:
    """Read a tensor from JSON."""
    dtype = None if datatype == BYTES else dtype_of(datatype, path)
    is_nested = len(shape) > 1 and data[1:64].lstrip()[:1] == b"["
    found = _decode(data, dtype, len(shape) if is_nested else 1, path)
    gathered = gather(found, len(shape) if is_nested else 1)
    got = "lists of different lengths" if gathered is None else f"lists of shape {gathered[1]}"
    if gathered is None or gathered[1] != (shape if is_nested else (math.prod(shape),)):
        raise InputError.at(path, expected=f"data of shape {list(shape)}", got=got)
    rows, read_shape = gathered
    if dtype is None:
        return _object_array([each for row in rows for each in row], shape)
    array = to_array(rows, read_shape, dtype)
    if array is None:
        fault = find_fault(found, dtype, read_shape, path=path)
        raise fault or InputError.at(path, expected=f"numbers of {datatype}")
    return array.reshape(shape)


def _decode(data: bytes, dtype: str | None, depth: int, path: str) -> t.Any:
    kind = _nested_type(dtype, depth)
    try:
        return _decoder(dtype, depth)(data)
    except msgspec.ValidationError as exc:
        raise inputerrors.mismatch_in_json(exc, data, root=path, kind=kind) from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise inputerrors.malformed(data, exc, root=path) from exc


@lru_cache(maxsize=256)
def _decoder(dtype: str | None, depth: int) -> cabc.Callable[[bytes], t.Any]:
    return msgspec.json.Decoder(_nested_type(dtype, depth)).decode


def _nested_type(dtype: str | None, depth: int) -> t.Any:
    # NaN is written as null. Whether a model accepts NaN is checked when its argument is made.
    kind: t.Any = str if dtype is None else item_type(dtype, finite=False)
    for _ in range(depth):
        kind = list[kind]
    return kind


def to_json(array: t.Any, *, in_base64: bool) -> list[t.Any]:
    """Return all elements of a tensor as values that the JSON encoder supports.

    Args:
        in_base64: whether the elements are the contents of files, and not text in UTF-8.
    """
    flat = array.reshape(-1)
    if array.dtype != object:
        return t.cast("list[t.Any]", to_plain(flat))
    return [(base64.b64encode(each) if in_base64 else each).decode() for each in flat]


def _object_array(elements: list[t.Any], shape: Shape) -> t.Any:
    """Return an array of Python objects."""
    import numpy as np

    # Assign the elements to an empty array: `np.array(elements)` would convert them to fixed-length
    # text, which loses zero bytes at the end.
    array = np.empty(len(elements), object)
    array[:] = elements
    return array.reshape(shape)
