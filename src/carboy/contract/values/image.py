"""Read images from untrusted clients, and write images.

The content decides the format of a file, never the file name or the client's media type. An image
with too many pixels is rejected by its header, before any pixel is decoded. Accepted images are
decoded completely here, so a damaged file is found before `predict` runs.

The EXIF orientation of a photograph is applied, so that a model gets the image as people see it.
Its pixels are RGB unless `ImageOptions(mode=...)` declares another mode, because the pixels of a
PNG with a palette, for example, would be numbers of colors. 16 bits per channel are scaled to 8,
never clipped.

SVG is rejected: it is XML that may contain scripts, and carboy does not render it.
"""

from __future__ import annotations

import io
import re
import struct
import sys
import typing as t
import zlib

from ...errors import InputError, InputTooLargeError, UnsupportedInputError
from ..media import JSON
from . import unpacked
from .jpegscans import has_more_scans
from .kind import Packed, ValueKind, from_base64, to_base64

# Pillow uses 4 bytes for a pixel of an RGB image, and less for other modes.
_BYTES_PER_PIXEL = 4
# The default limit on the size of an image, in pixels. Cameras of phones usually produce 12 to 24
# million. One image takes at most 134 MB. Pillow itself warns
# above 89 million pixels and raises above 179 million.
DEFAULT_MAX_PIXELS = 2**25
# Above this number of pixels (2 * PIL.Image.MAX_IMAGE_PIXELS) Pillow itself raises an error.
PILLOW_MAX_PIXELS = 178_956_970
# Encoders write at most a few dozen scans. Each takes up to 10 ms for an image of the default
# maximum size.
_MAX_SCANS = 100
DEFAULT_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")

if t.TYPE_CHECKING:
    from PIL.Image import Image as Image
else:

    class _PictureType(type):
        """Makes Pillow's images count as instances of `Image`, for msgspec and for `isinstance`."""

        def __instancecheck__(cls, value: object) -> bool:
            pillow = sys.modules.get("PIL.Image")
            return pillow is not None and isinstance(value, pillow.Image)

    class Image(metaclass=_PictureType):
        """The type of an image in a signature; the argument is a `PIL.Image.Image`.

        Type checkers see Pillow's class instead. This class has the same name at run time, so that
        importing an app does not import Pillow.
        """


class ImageOptions:
    """Mode and limits of one image: `Annotated[Image, ImageOptions(mode="L")]`.

    Args:
        mode: "RGB", "RGBA" or "L" (grey), to which Pillow's `convert` converts the image: RGB drops
            the transparency. "as-sent" is whatever mode Pillow reads from the file, such as "P"
            (numbers of colors in a palette), "CMYK", or "I;16" (grey of 16 bits).
        max_pixels: width times height of the largest image that is accepted.
        formats: names of Pillow's formats that are accepted, such as "PNG".
    """

    __slots__ = ("formats", "max_pixels", "mode")

    def __init__(
        self,
        *,
        mode: t.Literal["RGB", "RGBA", "L", "as-sent"] = "RGB",
        max_pixels: int = DEFAULT_MAX_PIXELS,
        formats: t.Sequence[str] = DEFAULT_FORMATS,
    ) -> None:
        if mode not in _DECLARED_MODES:
            raise ValueError(
                f"ImageOptions(mode={mode!r}): expected one of"
                f" {', '.join(map(repr, _DECLARED_MODES))}."
            )
        if not 0 < max_pixels <= PILLOW_MAX_PIXELS:
            raise ValueError(
                f"max_pixels={max_pixels!r}: expected 1 to {PILLOW_MAX_PIXELS}; above it Pillow"
                " refuses a picture by itself (PIL.Image.MAX_IMAGE_PIXELS)."
            )
        unknown = sorted(set(formats) - set(_MEDIA_TYPES))
        if unknown:
            raise ValueError(
                f"formats={tuple(formats)!r}: {', '.join(unknown)} cannot be recognised by content."
                f" Choose from {', '.join(_MEDIA_TYPES)}."
            )
        self.mode = mode
        self.max_pixels = max_pixels
        self.formats = tuple(formats)

    @property
    def media_types(self) -> list[str]:
        return [_MEDIA_TYPES[name] for name in self.formats]


_DECLARED_MODES = ("RGB", "RGBA", "L", "as-sent")
_MEDIA_TYPES = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
}
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
)
DEFAULTS = ImageOptions()
# How many bytes of a file may come before the name of its first element.
_MARKUP_BYTES = 4096
# What may come before the first element of XML or HTML: processing instructions (PHP's are none of
# XML), comments, and the document type, whose part in brackets declares entities.
_PROLOG = re.compile(
    rb"(?:\s|<\?(?!php|=).*?\?>|<!--.*?-->|<!doctype[^\[>]*(?:\[.*?\]\s*)?>)*", re.DOTALL
)
# The first element, or a document type of which the first bytes of a file do not have all.
_ROOT = re.compile(rb"<(?:!doctype\s+|\w+:)?(svg|html)\b")


def sniff(data: bytes) -> str | None:
    """Return Pillow's name of an image's format, by the first bytes of the file; None for other
    files.

    Source: the table of image signatures in
    https://mimesniff.spec.whatwg.org/#image-type-pattern-matching-algorithm
    """
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    # A file that begins with "BM" is a bitmap only if bytes 6 to 9, which are reserved, are zero.
    # Otherwise it may be a text.
    if data[:2] == b"BM" and data[6:10] == b"\0\0\0\0":
        return "BMP"
    return None


class HeaderReader:
    """A stream for Pillow that refuses to be read in many small pieces.

    Pillow reads the header of a JPEG or PNG file segment by segment, each with some calls of
    `read`, and keeps what it has read. A file of 30 MB may consist of seven million empty segments,
    which would take a gigabyte of memory and half a minute. Segments of usual files are longer.

    Args:
        stream: the file.
        size: its number of bytes.
        max_bytes: how much may be read of it. None: any.
    """

    _BYTES_PER_CALL = 256
    _FREE_CALLS = 1000

    def __init__(self, stream: t.IO[bytes], size: int, *, max_bytes: int | None = None) -> None:
        self._stream, self._size, self._bytes_left = stream, size, max_bytes
        self._calls_left = self._FREE_CALLS + size // self._BYTES_PER_CALL

    def read(self, size: int = -1) -> bytes:
        self._calls_left -= 1
        if self._calls_left < 0:
            raise ValueError("it consists of too many parts")
        if self._bytes_left is not None:
            if not 0 <= size <= self._bytes_left:
                raise ValueError("its header is too long")
            self._bytes_left -= size
        return self._stream.read(size)

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._stream, name)

    def __repr__(self) -> str:
        # Pillow's message is "cannot identify image file" and this.
        return f"of {self._size} bytes"


def open_image(data: bytes, *, options: ImageOptions = DEFAULTS, path: str = "$") -> Image:
    """Decode an image, if it is within the limits that `options` sets.

    Args:
        data: the content of the image file.
        options: the limits.
        path: where the image is in the request, for error messages.

    Raises:
        InputError: 415 format not accepted, 413 too many pixels, 422 damaged.
    """
    name = sniff(data)
    wanted = f"a picture ({', '.join(options.formats)})"
    if name not in options.formats:
        raise UnsupportedInputError.at(path, expected=wanted, got=name or describe(data))
    import PIL.Image
    import PIL.ImageOps

    try:
        picture: Image = PIL.Image.open(
            t.cast("t.IO[bytes]", HeaderReader(io.BytesIO(data), len(data))), formats=[name]
        )
        _refuse_too_many_pixels(picture.size, options, path)
        if name == "JPEG" and has_more_scans(data, _MAX_SCANS):
            raise ValueError(f"it has more than {_MAX_SCANS} scans")  # noqa: TRY301 - as Pillow
        size = _BYTES_PER_PIXEL * picture.width * picture.height
        unpacked.add(size, path, limit=_BYTES_PER_PIXEL * options.max_pixels)
        picture.load()
        # PERF: otherwise the pixels are copied even if they are not turned, which takes 0.14 ms of
        # the 0.33 ms for a JPEG of 224 x 224 pixels.
        PIL.ImageOps.exif_transpose(picture, in_place=True)
    except (MemoryError, InputError):
        raise
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning):
        # The image has more pixels than Pillow allows, which is more than carboy allows. Pillow has
        # raised this error before `_refuse_too_many_pixels` could run.
        raise _too_large(path, options, f"more than {PIL.Image.MAX_IMAGE_PIXELS:,}") from None
    except Exception as exc:
        # NOTE: for damaged files Pillow raises OSError, SyntaxError, ValueError, struct.error,
        # IndexError and others; it documents none of them.
        raise InputError.at(
            path, expected="a whole picture", got=f"a damaged {name} ({exc})"
        ) from exc
    if options.mode in ("as-sent", picture.mode):
        return picture
    try:
        return with_8_bits(picture).convert(options.mode)
    except ValueError as exc:  # Pillow also raises ValueError for a mode that it cannot convert
        raise InputError.at(
            path,
            expected="a picture of 8 or 16 bits per channel",
            got=f"one of mode {picture.mode}",
        ) from exc


def with_8_bits(picture: Image) -> Image:
    """Scale 16 bits per channel to 8, because Pillow's `convert` would make all values above 255
    white.

    Raises:
        ValueError: the pixels are floats or larger integers, whose range is unknown.
    """
    if picture.mode[:1] not in ("I", "F"):
        return picture
    import PIL.Image

    little_endian = _with_16_bits(picture).tobytes()
    return PIL.Image.frombytes("L", picture.size, little_endian[1::2])


def _with_16_bits(picture: t.Any) -> t.Any:
    """Convert a grey image to 16 bits per pixel, if its pixels have 16 bits or fit into them.
    Raises ValueError for others.
    """
    if picture.mode == "I":
        low, high = picture.getextrema()
        fits = 0 <= low <= high < 2**16
    else:
        fits = picture.mode != "F"
    if not fits:
        raise ValueError(
            f"A picture of mode {picture.mode!r} has numbers of any size. Scale it to 8 or 16 bits:"
            " Image.fromarray(array.astype('uint8'))."
        )
    # Convert in two steps: if Pillow converts mode I;16B directly to mode I;16, all pixels become
    # zero.
    return picture if picture.mode == "I;16" else picture.convert("I").convert("I;16")


def describe(data: bytes) -> str:
    """Return a word for a file that is not an image, for an error message: "SVG", "PDF", "text"."""
    head = data[:_MARKUP_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not data:
        return "an empty file"
    root = _ROOT.match(_PROLOG.sub(b"", head, count=1))
    if root is not None and root[1] == b"svg":
        return "SVG"
    if root is not None or head.startswith((b"<?xml", b"<!doctype")):
        return "XML or HTML"
    if head.startswith(b"%pdf"):
        return "PDF"
    if data[4:8] == b"ftyp":
        return "HEIC, AVIF or a video"
    try:
        data[:512].decode("utf-8")
    except UnicodeDecodeError as exc:
        # An incomplete character at the end is no error: only the first 512 bytes are decoded.
        return "text" if exc.start > 500 else "an unknown kind of data"
    return "an unknown kind of data" if b"\0" in data[:512] else "text"


def _refuse_too_many_pixels(size: tuple[int, int], options: ImageOptions, path: str) -> None:
    width, height = size
    if width * height > options.max_pixels:
        raise _too_large(path, options, f"{width} x {height}")


def _too_large(path: str, options: ImageOptions, got: str) -> InputTooLargeError:
    return InputTooLargeError.at(
        path,
        expected=f"a picture of at most {options.max_pixels:,} pixels",
        got=got,
        hint="Scale it down before sending it.",
    )


# -- reading and writing images -------------------------------------------------------------------


class ImageKind(ValueKind):
    """Reads and writes PIL images: as a file in requests, as PNG in responses by default, as a data
    URL in JSON.
    """

    name = "image"
    classes = (("PIL", "Image"),)
    packages = ("PIL Pillow",)
    unpacks = True
    media_types = tuple(DEFAULTS.media_types)

    def __init__(self, annotation: t.Any = Image, extras: tuple[t.Any, ...] = ()) -> None:
        options = (each for each in extras if isinstance(each, ImageOptions))
        self.options = next(options, DEFAULTS)
        self.media_types = tuple(self.options.media_types)

    @classmethod
    def of(cls, annotation: t.Any, extras: tuple[t.Any, ...]) -> t.Self | None:
        named = getattr(annotation, "__module__", ""), getattr(annotation, "__qualname__", "")
        is_ours = annotation is Image or named == ("PIL.Image", "Image")
        return cls(annotation, extras) if is_ours else None

    def recognises(self, data: bytes, media_type: str) -> bool:
        return sniff(data) is not None or media_type.startswith("image/")

    def read(self, data: bytes, *, media_type: str = "", path: str = "$") -> t.Any:
        return open_image(data, options=self.options, path=path)

    def from_json(self, value: t.Any, *, path: str = "$") -> t.Any:
        data = from_base64(value, "a picture in base64 or as a data URL", path)
        return open_image(data, options=self.options, path=path)

    @classmethod
    def answers(cls) -> tuple[str, ...]:
        return ("image/png", "image/jpeg", "image/webp", JSON)

    @classmethod
    def write(cls, value: t.Any, media_type: str) -> bytes:
        """Encode an image. If the format cannot store the image's pixel mode, the mode is
        converted.
        """
        name = media_type.rpartition("/")[2].upper()
        value = _fit(value, _MODES[name])
        file = io.BytesIO()
        # PERF: compression level 1 takes a quarter of the time of Pillow's default level 6, and the
        # file of a noisy image is not larger (1600 x 1200: 2.37 MB instead of 2.38).
        options = {"compress_level": 1} if name == "PNG" else {}
        value.save(file, name, **options)
        return file.getvalue()

    @classmethod
    def plain(cls, value: t.Any) -> str:
        return f"data:image/png;base64,{to_base64(cls.write(value, 'image/png'))}"

    @classmethod
    def pack(cls, value: t.Any) -> Packed:
        """Pack the pixels as they are, the palette, and the `info` that is plain data."""
        info = {key: each for key, each in value.info.items() if isinstance(each, _PLAIN_INFO)}
        palette = None
        if value.palette is not None:
            palette = [value.palette.mode, value.palette.tobytes()]
        return Packed([value.mode, value.size, info, palette, value.format], [value.tobytes()])

    @classmethod
    def unpack(cls, head: t.Any, buffers: t.Sequence[memoryview]) -> t.Any:
        import PIL.Image

        mode, size, info, palette, name = head
        picture = PIL.Image.frombytes(mode, tuple(size), buffers[0])
        if palette is not None:
            picture.putpalette(palette[1], palette[0])
        picture.info.update(info)
        picture.format = name
        return picture

    def schema(self, *, answered: bool = False) -> dict[str, t.Any]:
        return {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/*"}

    @classmethod
    def describes(cls, schema: dict[str, t.Any]) -> bool:
        return str(schema.get("contentMediaType", "")).startswith("image/")

    @classmethod
    def sample_file(cls, media_type: str, value: t.Any, schema: dict[str, t.Any]) -> bytes:
        return from_base64(value, "a picture", "$") if value else stroke_png()


_PLAIN_INFO = (str, int, float, bytes)
# Pixel modes that each format can store.
_MODES = {
    "PNG": ("1", "L", "LA", "I;16", "P", "RGB", "RGBA"),
    "JPEG": ("1", "L", "RGB", "CMYK", "YCbCr"),
    "WEBP": ("RGB", "RGBA"),
}
_NEAREST = {"La": "LA", "RGBa": "RGBA"}


def _fit(picture: t.Any, modes: tuple[str, ...]) -> t.Any:
    """Convert an image to a pixel mode that a format can store.

    Raises:
        ValueError: the pixels may have values that the format cannot store.
    """
    if picture.mode in _NEAREST:
        picture = picture.convert(_NEAREST[picture.mode])
    if picture.mode[:1] in ("I", "F"):
        return _with_16_bits(picture) if "I;16" in modes else with_8_bits(picture)
    if picture.mode in modes:
        return picture
    return picture.convert("RGBA" if "RGBA" in modes and picture.has_transparency_data else "RGB")


def stroke_png() -> bytes:
    """Return the PNG that API documentation shows as a sample: a black stroke on white."""
    side = 64
    edge, pen = side // 6, range(side * 7 // 16, side * 9 // 16)
    # Each row of pixels in a PNG begins with the number of its filter: 0 for none.
    blank = b"\0" + b"\xff" * side
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
