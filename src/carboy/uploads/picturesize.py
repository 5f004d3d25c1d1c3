"""Read the size of a PNG, GIF, WebP, AVIF or TIFF picture without reading the whole file into
memory.

For the other formats, JPEG and BMP, Pillow is used, which reads little of such a file. But Pillow
reads a WebP or AVIF file into memory before it tells the size, and each chunk of a PNG file to
verify it. Of a GIF, Pillow tells the size of the first frame only, although later frames may be
larger. For a damaged TIFF file, it writes warnings to stderr. So this module reads the few bytes of
these formats that tell the size, and skips the others (of PNG it reads all, in small pieces, to
verify the checksums).
"""

from __future__ import annotations

import struct
import typing as t
import zlib

if t.TYPE_CHECKING:
    import collections.abc as cabc

_PIECE_BYTES = 64 * 1024
# How many parts (frames, blocks, chunks, boxes) a picture file may have: this number, and one more
# for each `_BYTES_PER_PART` of its size. The smallest parts of usual files are the blocks of GIF,
# which encoders fill up to their limit of 256 bytes. Without a limit on the number of parts, a file
# of millions of empty parts would take seconds.
_FREE_PARTS = 100_000
_BYTES_PER_PART = 128


class Size(t.NamedTuple):
    """The size of a picture.

    Attributes:
        width, height: in pixels. For an animation, they are large enough for all its frames; for a
            file of several pages, they are those of the page with most pixels.
        frames: how many frames or pages there are.
    """

    width: int
    height: int
    frames: int = 1

    @property
    def pixels(self) -> int:
        """The number of pixels of one frame."""
        return self.width * self.height


def reads(kind: str) -> bool:
    """Return whether `size_of` can read pictures of the format `kind`, such as "PNG" (Pillow's name
    of the format).
    """
    return kind in _READERS


def size_of(kind: str, stream: t.IO[bytes], length: int) -> Size:
    """Return the size of a picture.

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
    frames = 0
    while (kind := _png_chunk(file)[1]) != b"IEND":
        frames += kind == b"fcTL"
    return Size(width, height, max(frames, 1))


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
    return Size(width, height, frames)


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
        is_animation = head[0] & 0x02
        frames = _frames_of_webp(file, end=file.at) if is_animation else 1
        return Size(_uint24(head[4:7]) + 1, _uint24(head[7:10]) + 1, frames)
    if kind == b"VP8L" and head[0] == 0x2F:
        bits = int.from_bytes(head[1:5], "little")
        return Size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 " and head[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", head[6:10])
        return Size(width & 0x3FFF, height & 0x3FFF)
    raise ValueError("it does not begin with an image")


def _frames_of_webp(file: _Cursor, end: int) -> int:
    frames = 0
    file.at = 12
    while file.at + 8 <= end:
        file.count()
        kind, length = struct.unpack("<4sI", file.take(8))
        file.skip(length)
        file.at += length & 1  # chunks begin at even positions
        frames += kind == b"ANMF"
    return max(frames, 1)


def _uint24(data: bytes) -> int:
    return int.from_bytes(data, "little")


# --- AVIF: boxes, some of which hold others. Sources: ISO/IEC 14496-12, 23008-12

# The kinds of AVIF boxes in which boxes with the size of an image may lie, and how many bytes each
# such box has between its head and the first box in it.
_HOLDERS = {b"meta": 4} | dict.fromkeys(
    (b"iprp", b"ipco", b"moov", b"trak", b"mdia", b"minf", b"stbl"), 0
)


def _size_of_avif(file: _Cursor) -> Size:
    sizes: list[Size] = []
    frames = 1
    while file.at < file.length:
        kind, length = _box(file)
        if kind in _HOLDERS:
            file.skip(_HOLDERS[kind])
        elif kind == b"ispe":
            file.skip(length)
            sizes.append(Size(*_uint32_pair(file.at - length + 4, file)))
        elif kind == b"tkhd":
            # The size of an animation, as fixed-point numbers with 16 bits after the point.
            file.skip(length)
            width, height = _uint32_pair(file.at - 8, file)
            sizes.append(Size(width >> 16, height >> 16))
        elif kind in (b"stsz", b"stz2"):
            # How many samples a track has. The samples of a picture are its frames.
            file.skip(length)
            frames = max(frames, _uint32_pair(file.at - length + 4, file)[1])
        else:
            file.skip(length)
    if not sizes:
        raise ValueError("it holds no image")
    return max(sizes, key=lambda size: size.pixels)._replace(frames=frames)


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


def _uint32_pair(at: int, file: _Cursor) -> tuple[int, int]:
    """Return the two numbers at a position of the file, and leave the cursor where it is."""
    end, file.at = file.at, at
    first, second = struct.unpack(">II", file.take(8))
    file.at = end
    return first, second


# --- TIFF: a linked list of pages, each of which is a list of tags.
# Sources: TIFF 6.0, https://libtiff.gitlab.io/libtiff/specification/bigtiff.html

_WIDTH, _HEIGHT = 256, 257
# The formats of whole numbers (of 8, 16, 32 and 64 bits), by the number of their type.
_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}


class _TIFFLayout(t.NamedTuple):
    """The formats of the parts of a TIFF file, for `struct`. BigTIFF has other ones than TIFF."""

    order: str
    offset: str
    length: str
    entry: str


def _size_of_tiff(file: _Cursor) -> Size:
    order = "<" if file.take(2) == b"II" else ">"
    (version,) = struct.unpack(order + "H", file.take(2))
    if version == 43:
        layout = _TIFFLayout(order, "Q", "Q", "HHQ8s")
        file.skip(4)
    else:
        layout = _TIFFLayout(order, "I", "H", "HHI4s")
    pages: dict[int, Size] = {}
    while at := _tiff_value(file, layout, layout.offset):
        if at in pages:
            raise ValueError("its pages are in a circle")
        file.count()
        file.at = at
        pages[at] = _tiff_page(file, layout)
    if not all(page.pixels for page in pages.values()):
        raise ValueError("it has no pixels")
    largest = max(pages.values(), key=lambda page: page.pixels, default=Size(0, 0))
    return largest._replace(frames=len(pages))


def _tiff_page(file: _Cursor, layout: _TIFFLayout) -> Size:
    """Read the tags of a page of a TIFF file, and return the size of the page."""
    found = {_WIDTH: 0, _HEIGHT: 0}
    for _ in range(_tiff_value(file, layout, layout.length)):
        file.count()
        entry = file.take(struct.calcsize(layout.order + layout.entry))
        tag, kind, length, value = struct.unpack(layout.order + layout.entry, entry)
        if tag in found:
            if kind not in _NUMBERS or length != 1:
                raise ValueError("it has a size that is no number")
            (number,) = struct.unpack_from(layout.order + _NUMBERS[kind], value)
            found[tag] = max(found[tag], number)
    return Size(found[_WIDTH], found[_HEIGHT])


def _tiff_value(file: _Cursor, layout: _TIFFLayout, format: str) -> int:
    data = file.take(struct.calcsize(layout.order + format))
    return t.cast("int", struct.unpack(layout.order + format, data)[0])


_READERS: dict[str, cabc.Callable[[_Cursor], Size]] = {
    "PNG": _size_of_png,
    "GIF": _size_of_gif,
    "WEBP": _size_of_webp,
    "AVIF": _size_of_avif,
    "TIFF": _size_of_tiff,
}
