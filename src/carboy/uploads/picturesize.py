"""Read the size of a PNG, GIF, WebP or AVIF picture without reading the whole file into memory.

For the other formats, JPEG, BMP and TIFF, Pillow is used, which reads little of such a file. But
Pillow reads a WebP or AVIF file into memory before it tells the size, and each chunk of a PNG file
to verify it. Of a GIF, Pillow tells the size of the first frame only, although later frames may be
larger. So this module reads the few bytes of these formats that tell the size, and skips the others
(of PNG it reads all, in small pieces, to verify the checksums).
"""

from __future__ import annotations

import struct
import typing as t
import zlib

if t.TYPE_CHECKING:
    import collections.abc as cabc

    Size: t.TypeAlias = tuple[int, int]

_PIECE_BYTES = 64 * 1024
# How many parts (frames, blocks, chunks, boxes) a picture file may have: this number, and one more
# for each `_BYTES_PER_PART` of its size. The smallest parts of usual files are the blocks of GIF,
# which encoders fill up to their limit of 256 bytes. Without a limit on the number of parts, a file
# of millions of empty parts would take seconds.
_FREE_PARTS = 100_000
_BYTES_PER_PART = 128


def reads(kind: str) -> bool:
    """Return whether `size_of` can read pictures of the format `kind`, such as "PNG" (Pillow's name
    of the format).
    """
    return kind in _READERS


def size_of(kind: str, stream: t.IO[bytes], length: int) -> Size:
    """Return width and height of a picture. For an animation, they are large enough for all its
    frames.

    Args:
        kind: the format of the picture; `reads(kind)` must be true.
        stream: the open file of the picture.
        length: the number of bytes in the file.

    Raises:
        ValueError: the file is damaged, incomplete, or consists of too many parts.
    """
    size = _READERS[kind](_Cursor(stream, length))
    if 0 in size:
        raise ValueError("it has no pixels")
    return size


class _Cursor:
    """A position in a picture file, with methods that read or skip the bytes from there on, and a
    limit on the number of parts (chunks, blocks, boxes) that are read.
    """

    def __init__(self, stream: t.IO[bytes], length: int) -> None:
        self.at = 0
        self.length = length
        self._stream = stream
        self._parts_left = _FREE_PARTS + length // _BYTES_PER_PART

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes of the file, and move the position behind them.

        Raises ValueError if the file has fewer bytes left.
        """
        self.skip(size)
        self._stream.seek(self.at - size)
        return self._stream.read(size)

    def skip(self, size: int) -> None:
        """Move the position forward by `size` bytes.

        Raises ValueError if the file has fewer bytes left.
        """
        if self.at + size > self.length:
            raise ValueError("the end is missing")
        self.at += size

    def count(self, parts: int = 1) -> None:
        """Count the parts (chunks, blocks, boxes) of the file that were read.

        Raises ValueError if the file has too many parts.
        """
        self._parts_left -= parts
        if self._parts_left < 0:
            raise ValueError("it consists of too many parts")

    def pieces(self, size: int) -> cabc.Iterator[bytes]:
        """Yield the next `size` bytes of the file, in pieces of at most `_PIECE_BYTES`."""
        while size:
            piece = self.take(min(size, _PIECE_BYTES))
            size -= len(piece)
            yield piece


# --- PNG: chunks with checksums. Source: https://www.w3.org/TR/png-3/#5Chunk-layout


def _size_of_png(file: _Cursor) -> Size:
    file.skip(8)
    length, kind = _png_chunk(file)
    if (length, kind) != (13, b"IHDR"):
        raise ValueError("it does not begin with IHDR")
    file.at -= length + 4
    width, height = struct.unpack(">II", file.take(8))
    file.skip(9)
    while _png_chunk(file)[1] != b"IEND":
        pass
    return width, height


def _png_chunk(file: _Cursor) -> tuple[int, bytes]:
    """Read the next chunk of a PNG file, verify its checksum, and return its length and type."""
    file.count()
    length, kind = struct.unpack(">I4s", file.take(8))
    checksum = zlib.crc32(kind)
    for piece in file.pieces(length):
        checksum = zlib.crc32(piece, checksum)
    if file.take(4) != struct.pack(">I", checksum):
        raise ValueError("the checksum of a chunk is wrong")
    return length, kind


# --- GIF: blocks and images. Source: https://www.w3.org/Graphics/GIF/spec-gif89a.txt

_TRAILER, _EXTENSION, _IMAGE = b";", b"!", b","


def _size_of_gif(file: _Cursor) -> Size:
    file.skip(6)
    width, height, flags = struct.unpack("<HHBxx", file.take(7))
    _skip_palette(file, flags)
    frames = 0
    # The loop also ends at the end of the file, because many GIF files lack the trailer byte. Bytes
    # that begin neither an extension nor an image are skipped, as Pillow does it.
    while file.at < file.length and (kind := file.take(1)) != _TRAILER:
        file.count()
        if kind == _EXTENSION:
            file.skip(1)
            _skip_blocks(file)
        elif kind == _IMAGE:
            left, top, columns, rows, flags = struct.unpack("<HHHHB", file.take(9))
            _skip_palette(file, flags)
            file.skip(1)
            _skip_blocks(file)
            width, height = max(width, left + columns), max(height, top + rows)
            frames += 1
    if not frames:
        raise ValueError("it holds no image")
    return width, height


def _skip_palette(file: _Cursor, flags: int) -> None:
    if flags & 0x80:
        file.skip(3 << (flags & 7) + 1)


def _skip_blocks(file: _Cursor) -> None:
    """Skip a sequence of GIF data blocks. The first byte of each block is its length; a block of
    length 0 ends the sequence.
    """
    # PERF: many blocks are read at once, which takes 60 ns per block; one call of `take` for each
    # block would take ten times as long.
    while True:
        start = file.at
        piece = file.take(min(_PIECE_BYTES, max(1, file.length - start)))
        at = parts = 0
        length = 1
        while length and at < len(piece):
            length = piece[at]
            at += length + 1
            parts += 1
        file.count(parts)
        file.at = start
        file.skip(at)
        if not length:
            return


# --- WebP: the first chunk has the size of the canvas, in which all frames must fit.
# Source: https://developers.google.com/speed/webp/docs/riff_container


def _size_of_webp(file: _Cursor) -> Size:
    length, kind = struct.unpack("<4xI4x4s4x", file.take(20))
    head = file.take(10)
    file.at = 8
    file.skip(length)
    if kind == b"VP8X":
        return _uint24(head[4:7]) + 1, _uint24(head[7:10]) + 1
    if kind == b"VP8L" and head[0] == 0x2F:
        bits = int.from_bytes(head[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and head[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", head[6:10])
        return width & 0x3FFF, height & 0x3FFF
    raise ValueError("it does not begin with an image")


def _uint24(data: bytes) -> int:
    return int.from_bytes(data, "little")


# --- AVIF: boxes, some of which hold others. Sources: ISO/IEC 14496-12, 23008-12

# The kinds of AVIF boxes in which boxes with the size of an image may lie, and how many bytes each
# such box has between its head and the first box in it.
_HOLDERS = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"moov": 0, b"trak": 0}


def _size_of_avif(file: _Cursor) -> Size:
    sizes: list[Size] = []
    while file.at < file.length:
        kind, length = _box(file)
        if kind in _HOLDERS:
            file.skip(_HOLDERS[kind])
        elif kind == b"ispe":
            file.skip(length)
            sizes.append(_size_at(file.at - length + 4, file))
        elif kind == b"tkhd":
            # The size of an animation, as fixed-point numbers with 16 bits after the point.
            file.skip(length)
            width, height = _size_at(file.at - 8, file)
            sizes.append((width >> 16, height >> 16))
        else:
            file.skip(length)
    if not sizes:
        raise ValueError("it holds no image")
    return max(sizes, key=lambda size: size[0] * size[1])


def _box(file: _Cursor) -> tuple[bytes, int]:
    """Read the head of the next AVIF box. Return the kind of the box, and the number of its bytes
    after the head.
    """
    file.count()
    start = file.at
    length, kind = struct.unpack(">I4s", file.take(8))
    if length == 1:
        (length,) = struct.unpack(">Q", file.take(8))
    elif not length:  # length 0 marks the last box, which extends to the end of the file
        length = file.length - start
    if start + length < file.at:
        raise ValueError("a box is shorter than its head")
    return kind, start + length - file.at


def _size_at(at: int, file: _Cursor) -> Size:
    end, file.at = file.at, at
    width, height = struct.unpack(">II", file.take(8))
    file.at = end
    return width, height


_READERS: dict[str, cabc.Callable[[_Cursor], Size]] = {
    "PNG": _size_of_png,
    "GIF": _size_of_gif,
    "WEBP": _size_of_webp,
    "AVIF": _size_of_avif,
}
