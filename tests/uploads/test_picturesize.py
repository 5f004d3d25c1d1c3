"""The size of a picture is read from its file, of all frames and without much memory."""

from __future__ import annotations

import io
import struct
import tracemalloc
import typing as t
import zlib

import PIL.features
import PIL.Image
import pytest

from carboy.uploads.picturesize import Size, size_of

SIZE = (37, 21)


def encoded(kind: str, mode: str = "RGB", frames: int = 1, **options: t.Any) -> bytes:
    file = io.BytesIO()
    images = [PIL.Image.effect_noise(SIZE, 50 + n).convert(mode) for n in range(frames)]
    if frames > 1:
        options.update(save_all=True, append_images=images[1:])
    images[0].save(file, kind, **options)
    return file.getvalue()


def size_in(kind: str, data: bytes) -> Size:
    return size_of(kind, io.BytesIO(data), len(data))


VARIANTS: dict[str, tuple[str, dict[str, t.Any]]] = {
    "PNG": ("PNG", {}),
    "PNG, animated": ("PNG", {"frames": 3}),
    "GIF": ("GIF", {}),
    "GIF, animated": ("GIF", {"frames": 3}),
    "WebP": ("WEBP", {}),
    "WebP without loss": ("WEBP", {"lossless": True}),
    "WebP, transparent": ("WEBP", {"mode": "RGBA"}),
    "WebP, animated": ("WEBP", {"frames": 3}),
    "AVIF": ("AVIF", {}),
    "AVIF, transparent": ("AVIF", {"mode": "RGBA"}),
    "AVIF, animated": ("AVIF", {"frames": 3}),
}


@pytest.mark.parametrize(("kind", "options"), VARIANTS.values(), ids=VARIANTS)
def test_size_is_that_which_was_encoded(kind, options):
    if kind == "AVIF" and not PIL.features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    data = encoded(kind, **options)
    assert size_in(kind, data) == Size(*SIZE, options.get("frames", 1))
    with pytest.raises(ValueError, match="the end is missing"):
        size_in(kind, data[:-5])


GIF_HEAD = b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0, 0, 0)


def gif_image(width: int, height: int, left: int = 0) -> bytes:
    return b"," + struct.pack("<HHHHB", left, 0, width, height, 0) + b"\2\2\x4c\1\0"


@pytest.mark.parametrize(
    ("blocks", "size"),
    [
        (gif_image(4, 4) + gif_image(65535, 65535), (65535, 65535)),
        (gif_image(4, 4) + gif_image(4, 4, left=10), (14, 4)),
        (b"!\xfe\5abcde\0" + gif_image(2, 2), (4, 4)),
        (gif_image(4, 4) + b"\0\0;" + gif_image(9, 9), (4, 4)),
    ],
    ids=["larger frame", "frame at the side", "comment", "rest behind the end"],
)
def test_gif_is_as_large_as_what_holds_all_its_frames(blocks, size):
    assert size_in("GIF", GIF_HEAD + blocks)[:2] == size


def test_gif_with_blocks_across_reads_is_read():
    """The blocks of an image are read in pieces, whose ends are anywhere in a block."""
    blocks = b"\xff" + bytes(255)
    image = gif_image(4, 4)[:-1] + blocks * 2000 + b"\0"
    assert size_in("GIF", GIF_HEAD + image + gif_image(7, 7) + b";") == Size(7, 7, 2)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


PNG_HEAD = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0))


def tiff_page(*tags: tuple[int, int, int, int], following: int = 0, order: str = ">") -> bytes:
    entries = b"".join(struct.pack(order + "HHII", *tag) for tag in tags)
    return struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", following)


WIDTH, HEIGHT = (256, 4, 1, 5), (257, 4, 1, 3)
TIFF_HEAD = b"MM\0*\0\0\0\x08"


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("options", [{}, {"big_tiff": True}], ids=["TIFF", "BigTIFF"])
def test_size_of_tiff_is_that_which_was_encoded(frames, options):
    """Where its pixels are is not checked, as in Pillow."""
    data = encoded("TIFF", frames=frames, **options)
    assert size_in("TIFF", data) == Size(*SIZE, frames)
    with pytest.raises(ValueError, match="the end is missing"):
        size_in("TIFF", data[:40])


def test_tiff_is_as_large_as_its_largest_page():
    first = tiff_page(WIDTH, HEIGHT, following=8 + 30)
    assert size_in("TIFF", TIFF_HEAD + first + tiff_page((256, 4, 1, 6), HEIGHT)) == Size(6, 3, 2)


def test_tiff_of_a_size_that_is_given_twice_has_the_larger_one():
    assert size_in("TIFF", TIFF_HEAD + tiff_page(WIDTH, (256, 4, 1, 9), HEIGHT)) == Size(9, 3)


DAMAGED: dict[str, tuple[str, bytes]] = {
    "GIF without an image": ("GIF", GIF_HEAD + b";"),
    "GIF of empty blocks": ("GIF", GIF_HEAD + b"!\xfe\0" * 200_000),
    "GIF of short blocks": ("GIF", GIF_HEAD + b"!\xfe" + b"\1x" * 200_000 + b"\0"),
    "PNG with a wrong checksum": ("PNG", PNG_HEAD[:-1] + b"x" + png_chunk(b"IEND", b"")),
    "PNG without a header": ("PNG", PNG_HEAD[:8] + png_chunk(b"IEND", b"")),
    "PNG of empty chunks": ("PNG", PNG_HEAD + png_chunk(b"teXt", b"") * 200_000),
    "PNG without pixels": (
        "PNG",
        PNG_HEAD[:8] + png_chunk(b"IHDR", bytes(13)) + png_chunk(b"IEND", b""),
    ),
    "WebP without an image": ("WEBP", b"RIFF\x16\0\0\0WEBPJUNK\0\0\0\0" + bytes(10)),
    "AVIF without an image": ("AVIF", b"\0\0\0\x0cftypavif"),
    "AVIF with a box of no length": ("AVIF", b"\0\0\0\4free"),
    "AVIF with a box of no length (64 bits)": ("AVIF", b"\0\0\0\1free" + bytes(8)),
    "TIFF without a page": ("TIFF", b"II*\0\0\0\0\0"),
    "TIFF without a height": ("TIFF", TIFF_HEAD + tiff_page(WIDTH)),
    "TIFF with a width of two numbers": ("TIFF", TIFF_HEAD + tiff_page((256, 3, 2, 0), HEIGHT)),
    "TIFF with a width that is text": ("TIFF", TIFF_HEAD + tiff_page((256, 2, 1, 0), HEIGHT)),
    "TIFF of endlessly many pages": ("TIFF", TIFF_HEAD + tiff_page(WIDTH, HEIGHT, following=8)),
    "TIFF of very many pages without tags": (
        "TIFF",
        b"II*\0\x08\0\0\0"
        + b"".join(struct.pack("<HI", 0, 14 + n * 6) for n in range(149_999))
        + bytes(6),
    ),
    "TIFF of very many tags": (
        "TIFF",
        b"II*\0\x08\0\0\0"
        + b"".join(
            tiff_page(*[(1, 3, 1, 0)] * 50_000, following=8 + n * 600_006, order="<")
            for n in (1, 2, 3)
        ),
    ),
}


@pytest.mark.parametrize(("kind", "data"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_file_is_an_error(kind, data):
    with pytest.raises(ValueError, match=r"^(its?|a box|the checksum)\b"):
        size_in(kind, data)


LONG = 32 * 1024 * 1024


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF"])
def test_long_file_takes_no_memory(kind, tmp_path):
    if kind == "AVIF" and not PIL.features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    path = tmp_path / "long"
    if kind == "PNG":
        path.write_bytes(PNG_HEAD + png_chunk(b"IDAT", bytes(LONG)) + png_chunk(b"IEND", b""))
    elif kind == "WEBP":
        data = encoded(kind)[12:] + b"JUNK" + struct.pack("<I", LONG) + bytes(LONG)
        path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(data)) + b"WEBP" + data)
    else:
        path.write_bytes(encoded(kind) + struct.pack(">I", LONG + 8) + b"free" + bytes(LONG))
    with open(path, "rb") as file:
        tracemalloc.start()
        try:
            size_of(kind, file, path.stat().st_size)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < LONG // 16
