"""Generate example files for a JSON Schema: pictures, tables, tensors, text."""

from __future__ import annotations

import csv
import io
import json
import struct
import typing as t
import zlib

Dict: t.TypeAlias = dict[str, t.Any]

_DTYPES = {  # NumPy's name, and the format of `struct`
    "bool": ("|b1", "?"),
    "int8": ("|i1", "b"),
    "int16": ("<i2", "h"),
    "int32": ("<i4", "i"),
    "int64": ("<i8", "q"),
    "uint8": ("|u1", "B"),
    "uint16": ("<u2", "H"),
    "uint32": ("<u4", "I"),
    "uint64": ("<u8", "Q"),
    "float16": ("<f2", "e"),
    "float32": ("<f4", "f"),
    "float64": ("<f8", "d"),
}


def sample_file(
    name: str, media_type: str, *, value: t.Any = None, dtype: str = "float64"
) -> tuple[str, bytes]:
    """Return the name and content of an example file; the default is a picture.

    Args:
        value: the content, as JSON: nested lists, records.
        dtype: the element type of a tensor.
    """
    kind = media_type.partition("/")[2]
    if kind == "x-npy":
        return f"{name}.npy", _npy(value, dtype)
    if kind == "csv":
        return f"{name}.csv", _csv(value)
    if media_type.startswith("text/"):
        return f"{name}.txt", b"text\n"
    if media_type == "application/json":
        return f"{name}.json", b"{}\n"
    return (f"{name}.png", stroke_png()) if kind in {"png", "*", ""} else (f"{name}.bin", b"bytes")


def sample_csv(records: t.Any) -> str:
    """Write records as CSV; cells that contain records or lists are written as JSON."""
    good = isinstance(records, list) and records and isinstance(records[0], dict) and records[0]
    rows = records if good else [{"column": 1}]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow(
            v if isinstance(v, str) else "" if v is None else json.dumps(v) for v in row.values()
        )
    return file.getvalue()


def stroke_png(side: int = 64) -> bytes:
    """Return a PNG that is not blank: a dark vertical stroke on a light background, 8 bits of
    grey.
    """
    edge, pen = side // 6, range(side * 7 // 16, side * 9 // 16)
    blank = b"\0" + b"\xff" * side  # each row begins with the number of its filter
    inked = b"\0" + bytes(0 if x in pen else 255 for x in range(side))
    rows = blank * edge + inked * (side - 2 * edge) + blank * edge

    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows, 9))
        + chunk(b"IEND", b"")
    )


def _csv(value: t.Any) -> bytes:
    return sample_csv(value).encode()


def _npy(value: t.Any, dtype: str) -> bytes:
    """Write nested lists as a `.npy` file, without NumPy.

    Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
    """
    shape: list[int] = []
    inner = [value]
    while inner and isinstance(inner[0], list):
        shape.append(len(inner[0]))
        inner = [item for one in inner for item in one]
    descr, code = _DTYPES[dtype]
    sides = "".join(f"{side}, " for side in shape)
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sides}), }}"
    length = -(-(10 + len(header) + 1) // 64) * 64 - 10  # the data begin at a multiple of 64
    start = b"\x93NUMPY\x01\x00" + struct.pack("<H", length)
    return (
        start + f"{header:<{length - 1}}\n".encode() + struct.pack(f"<{len(inner)}{code}", *inner)
    )
