"""Read `.npy` files of untrusted clients; the header is checked before any data is read.

This module never unpickles: an array of Python objects is refused by its header, and only bytes of
plain numbers are passed to NumPy. Source:
https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import math
import re
import struct
import typing as t

from ...errors import InputError, UnsupportedInputError

Buffer: t.TypeAlias = bytes | memoryview

MAGIC: t.Final = b"\x93NUMPY"
MEDIA_TYPES: t.Final = ("application/x-npy", "application/npy", "application/vnd.numpy")
# Longest header that is accepted. NumPy pads headers to 128 bytes; a shape of 64 sizes with 20
# digits fits into this limit.
_MAX_HEADER_BYTES = 4096
#: NumPy 1 supports at most 32 dimensions.
MAX_SIDES: t.Final = 32
# The number of bytes of the field that holds the header's length, by format version.
_WIDTHS: dict[int, int] = {1: 2, 2: 4, 3: 4}
_ITEM = re.compile(
    r"""\s*['"](descr|fortran_order|shape)['"]\s*:\s*"""
    r"""('[^']*'|"[^"]*"|True|False|\([\d\s,]*\)|\[.*\])\s*(?:,|$)"""
)
#: The dtypes that carboy reads and writes, and their format characters in module `struct`.
FORMATS: t.Final = {
    "bool": "?",
    **dict(zip(("int8", "int16", "int32", "int64"), "bhiq", strict=True)),
    **dict(zip(("uint8", "uint16", "uint32", "uint64"), "BHIQ", strict=True)),
    **dict(zip(("float16", "float32", "float64"), "efd", strict=True)),
}
_DTYPE = re.compile(r"([<>=|]?)([biuf])(\d{1,2})")
_NAMES = {
    "b1": "bool",
    **{f"i{size}": f"int{8 * size}" for size in (1, 2, 4, 8)},
    **{f"u{size}": f"uint{8 * size}" for size in (1, 2, 4, 8)},
    **{f"f{size}": f"float{8 * size}" for size in (2, 4, 8)},
}

_CODES = {name: code for code, name in _NAMES.items()}


class NpyHeader(t.NamedTuple):
    """The parsed header of a `.npy` file. Its shape and dtype were checked against the length of
    the data.
    """

    descr: str
    dtype: str  # NumPy's name of the dtype, without byte order
    shape: tuple[int, ...]
    fortran: bool
    offset: int


def read_header(data: Buffer, *, path: str = "$") -> NpyHeader:
    """Read and check the header of a `.npy` file.

    Raises:
        InputError: 415 not a `.npy` file of numbers, 422 damaged.
    """
    if data[:6] != MAGIC:
        raise UnsupportedInputError.at(path, expected="a .npy file", got=_other(data))
    width = _WIDTHS.get(data[6] if len(data) > 6 else 0)
    if width is None:
        raise _damaged(path, "an unknown version")
    offset = 8 + width
    length = int.from_bytes(data[8:offset], "little")
    if length > _MAX_HEADER_BYTES:
        raise _damaged(path, f"a header of {length:,} bytes")
    if len(data) < offset + length:
        raise _damaged(path, f"a file that ends in its header, after {len(data)} bytes")
    try:
        found = _parse(str(data[offset : offset + length], "utf-8"))
    except ValueError:  # also raised by `decode`, if the header is not valid UTF-8
        raise _damaged(path, "an invalid header") from None
    header = _check_header(found, path)._replace(offset=offset + length)
    _, _, size = t.cast("re.Match[str]", _DTYPE.fullmatch(header.descr)).groups()
    needed, there = math.prod(header.shape) * int(size), len(data) - header.offset
    if needed != there:
        raise _damaged(path, f"{there:,} bytes of data where {needed:,} belong")
    return header


def read_data(data: Buffer, header: NpyHeader, dtype: str) -> t.Any:
    """Return the data as a writable array in C order, converted to `dtype`, which must be able to
    hold all numbers of the file.
    """
    import numpy as np

    flat = np.frombuffer(data, dtype=header.descr, offset=header.offset)
    array = flat.reshape(header.shape, order="F" if header.fortran else "C")
    return array.astype(dtype, order="C", copy=True)


def write(value: t.Any, dtype: str) -> bytes:
    """Write nested lists as a `.npy` file without NumPy, for samples on servers that lack it."""
    shape: list[int] = []
    inner = [value]
    while inner and isinstance(inner[0], list):
        shape.append(len(inner[0]))
        inner = [item for one in inner for item in one]
    sides = "".join(f"{side}, " for side in shape)
    order = "|" if dtype == "bool" or dtype.endswith("int8") else "<"
    header = f"{{'descr': '{order}{_CODES[dtype]}', 'fortran_order': False, 'shape': ({sides}), }}"
    # Pad the header, because the data must begin at a multiple of 64 bytes.
    length = -(-(10 + len(header) + 1) // 64) * 64 - 10
    start = MAGIC + b"\x01\x00" + struct.pack("<H", length)
    packed = struct.pack(f"<{len(inner)}{FORMATS[dtype]}", *inner)
    return start + f"{header:<{length - 1}}\n".encode() + packed


def _parse(text: str) -> dict[str, str]:
    """Parse the dict in a `.npy` header, without evaluating it: dtype, order and shape, as
    texts.
    """
    text = text.strip()
    if text[:1] != "{" or text[-1:] != "}":
        raise ValueError(text)
    body, at, found = text[1:-1].strip(), 0, {}
    while at < len(body):
        item = _ITEM.match(body, at)
        if item is None or item[1] in found:
            raise ValueError(body)
        found[item[1]] = item[2]
        at = item.end()
    if len(found) != 3:
        raise ValueError(body)
    return found


def _check_header(found: dict[str, str], path: str) -> NpyHeader:
    descr = found["descr"][1:-1]
    match = _DTYPE.fullmatch(descr) if found["descr"][0] in "'\"" else None
    dtype = _NAMES.get(match[2] + match[3]) if match is not None else None
    if dtype is None:
        what = "Python objects (a pickle, which is never read)" if "O" in descr else repr(descr)
        raise UnsupportedInputError.at(path, expected="a .npy file of numbers", got=what)
    sides = [side.strip() for side in found["shape"][1:-1].split(",")]
    if sides[-1] == "":
        del sides[-1]
    if found["shape"][0] != "(" or not all(side.isdecimal() and len(side) < 19 for side in sides):
        raise _damaged(path, f"the shape {found['shape'][:40]}")
    if len(sides) > MAX_SIDES:
        raise _damaged(path, f"a shape of {len(sides)} sides")
    if found["fortran_order"] not in ("True", "False"):
        raise _damaged(path, "an invalid header")
    shape = tuple(int(side) for side in sides)
    return NpyHeader(descr, dtype, shape, found["fortran_order"] == "True", 0)


def _other(data: Buffer) -> str:
    if not data:
        return "an empty file"
    return "a .npz archive" if data[:4] == b"PK\x03\x04" else "something else"


def _damaged(path: str, got: str) -> InputError:
    return InputError.at(path, expected="a whole .npy file", got=got)
