"""The digits example: its folder, its trained model, and requests from unknown clients."""

from __future__ import annotations

import importlib.util
import io
import json
import pathlib
import struct
import subprocess
import sys
import typing as t
import zlib

import requests

HOME = pathlib.Path(__file__).resolve().parents[2] / "examples" / "digits"


def train() -> None:
    """Train the model unless it exists and is up to date, as `make run` does."""
    subprocess.run([sys.executable, HOME / "train.py"], check=True, stdout=subprocess.DEVNULL)


def load(name: str) -> t.Any:
    """Import a module of the example under a name that no other example has."""
    known = sys.modules.get(f"digits_{name}")
    if known is not None:
        return known
    spec = importlib.util.spec_from_file_location(f"digits_{name}", HOME / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    # removed below: other tests require that no module `app` can be imported
    sys.path.append(str(HOME))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(HOME))
    return module


def drawn(*strokes: list[tuple[float, float]], side: int = 200, pen: int = 16) -> bytes:
    """Return a PNG of strokes, dark on light; coordinates are from 0 to 1."""
    import PIL.Image
    import PIL.ImageDraw

    image = PIL.Image.new("L", (side, side), 255)
    draw = PIL.ImageDraw.Draw(image)
    for stroke in strokes:
        draw.line([(x * side, y * side) for x, y in stroke], fill=0, width=pen, joint="curve")
    return as_png(image)


def as_png(image: t.Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


SEVEN = [(0.28, 0.2), (0.72, 0.2), (0.45, 0.82)]
# A scan of a zero from the data set, row by row.
ZERO = [
    *(0, 0, 5, 13, 9, 1, 0, 0),
    *(0, 0, 13, 15, 10, 15, 5, 0),
    *(0, 3, 15, 2, 0, 11, 8, 0),
    *(0, 4, 12, 0, 0, 8, 8, 0),
    *(0, 5, 8, 0, 0, 9, 8, 0),
    *(0, 4, 11, 0, 1, 12, 7, 0),
    *(0, 2, 14, 5, 10, 12, 0, 0),
    *(0, 0, 6, 13, 10, 0, 0, 0),
]


def giant(width: int, height: int) -> bytes:
    """Return a valid PNG of this size, one bit per pixel and one colour: a few kilobytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    pack, row = zlib.compressobj(9), bytes(1 + (width + 7) // 8)
    rows = b"".join(pack.compress(row) for _ in range(height)) + pack.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def sent(**arguments: t.Any) -> requests.PreparedRequest:
    """Return a request as `requests` would send it, for any client."""
    return requests.Request("POST", "http://digits.test/digits", **arguments).prepare()


def file(data: bytes, name: str = "digit.png", kind: str = "image/png") -> dict[str, t.Any]:
    return {"files": {"image": (name, data, kind)}}


def text(data: str | bytes, kind: str = "application/json") -> dict[str, t.Any]:
    return {"data": data, "headers": {"Content-Type": kind}}


# The request, the status of its response, and a word that the response must contain.
BAD: dict[str, tuple[dict[str, t.Any], int, str]] = {
    "nothing": ({}, 400, "empty"),
    "no file": ({"files": {"other": (None, "x")}}, 422, "a file (image) named 'image'"),
    "a text file called .png": (file(b"hello"), 415, "got text"),
    "an SVG": (file(b"<svg/>", "x.svg", "image/svg+xml"), 415, "got SVG"),
    "an empty file": (file(b""), 415, "an empty file"),
    "half a picture": (file(drawn(SEVEN)[:200]), 422, "damaged"),
    "900 million pixels": (file(giant(30_000, 30_000)), 413, "pixels"),
    "36 million pixels, raw": (text(giant(6000, 6000), "image/png"), 413, "6000 x 6000"),
    "text as a raw picture": (text("hello", "image/png"), 415, "got text"),
    "nothing on it": (file(drawn()), 422, "no digit on the picture"),
    "63 numbers": (text(json.dumps(ZERO[1:])), 422, "got array of length 63 - at `$`"),
    "65 numbers": (text(json.dumps({"image": [*ZERO, 0]})), 422, "at `$.image`"),
    "NaN": (text(json.dumps([*ZERO[1:], float("nan")])), 422, "got NaN - at `$[63]`"),
    "a word among numbers": (text(json.dumps([*ZERO[1:], "7"])), 422, "at `$[63]`"),
    "17 of 16": (text(json.dumps([*ZERO[1:], 17])), 422, "<= 16"),
    "malformed JSON": (text("[1, 2,"), 400, "not valid JSON"),
    "a wrong key": (text('{"picture": []}'), 422, "without `picture`"),
    "CSV": (text("1,2,3", "text/csv"), 415, "text/csv"),
    "JSON without its type": (text("[1]", "text/plain"), 415, "application/json"),
    "a multipart body without boundary": (text("x", "multipart/form-data"), 400, "boundary"),
    "33 MiB of JSON": (text(b"[" + b" " * (33 << 20) + b"]"), 413, "exceeds"),
}
