"""Valid and invalid pictures, as fixtures."""

from __future__ import annotations

import io
import struct
import typing as t
import zlib

import pytest

if t.TYPE_CHECKING:
    import collections.abc as cabc


@pytest.fixture(scope="session")
def picture() -> cabc.Callable[..., bytes]:
    """Return a function that writes a small picture: `picture("JPEG", size=(8, 4))`."""
    import PIL.Image

    def write(kind: str = "PNG", size: tuple[int, int] = (8, 4), **options: t.Any) -> bytes:
        file = io.BytesIO()
        image = PIL.Image.effect_noise(size, 80)
        image.save(file, kind, **options)
        return file.getvalue()

    return write


@pytest.fixture(scope="session")
def claimed_png() -> cabc.Callable[[int, int], bytes]:
    """Return a tiny file whose header claims any number of pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    def write(width: int, height: int) -> bytes:
        header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
        body = zlib.compress(bytes(1000))
        return (
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", header)
            + chunk(b"IDAT", body)
            + chunk(b"IEND", b"")
        )

    return write
