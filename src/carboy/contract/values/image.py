"""Pictures that come from strangers.

The content decides what a file is, never its name or the sender's media type. A picture is refused
by its header when it has too many pixels, before a single one of them is decoded; what is accepted
is decoded here and in full, so that no program meets a half-read file.

A photograph's EXIF orientation is applied: a model must see what people see.
SVG is not a picture here. It is a program in XML, and nothing in carboy draws it.
"""

from __future__ import annotations

import binascii
import io
import sys
import typing as t

from ...errors import InputError, InputTooLargeError, UnsupportedInputError

# Pixels of the largest picture that is decoded. Phones write 12 to 24 million as a rule; one pixel
# takes 4 bytes in Pillow, so this bounds a picture to 134 MB. Pillow's own limit only warns at 89
# million and refuses at 179 million.
DEFAULT_MAX_PIXELS = 2**25
# Above this Pillow raises by itself, whatever we allow (2 * PIL.Image.MAX_IMAGE_PIXELS).
PILLOW_MAX_PIXELS = 178_956_970
DEFAULT_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")

if t.TYPE_CHECKING:
    from PIL.Image import Image as Image
else:

    class _PictureType(type):
        """Pillow's images count as instances, for msgspec and for `isinstance` in a `predict`."""

        def __instancecheck__(cls, value: object) -> bool:
            pillow = sys.modules.get("PIL.Image")
            return pillow is not None and isinstance(value, pillow.Image)

    class Image(metaclass=_PictureType):
        """A picture in a signature; what arrives is a `PIL.Image.Image`, opened safely.

        To a type checker this name *is* Pillow's class. At run time it stands for it, so that
        importing an app does not import Pillow.
        """


class ImageOptions:
    """Limits of one picture: `Annotated[Image, ImageOptions(max_pixels=4_000_000)]`."""

    __slots__ = ("formats", "max_pixels")

    def __init__(
        self,
        *,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        formats: t.Sequence[str] = DEFAULT_FORMATS,
    ) -> None:
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
        self.max_pixels = max_pixels
        self.formats = tuple(formats)

    @property
    def media_types(self) -> list[str]:
        return [_MEDIA_TYPES[name] for name in self.formats]


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


def sniff(data: bytes) -> str | None:
    """The format of a picture by its first bytes, in Pillow's name; None for anything else.

    Source: the table of image signatures in https://mimesniff.spec.whatwg.org/#image-type-pattern-matching-algorithm
    """
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    # "BM" alone begins many a text; bytes 6 to 9 of a bitmap are reserved and zero.
    if data[:2] == b"BM" and data[6:10] == b"\0\0\0\0":
        return "BMP"
    return None


def is_picture(annotation: t.Any) -> bool:
    """Our own name or Pillow's, without importing Pillow."""
    if annotation is Image:
        return True
    named = (getattr(annotation, "__module__", ""), getattr(annotation, "__qualname__", ""))
    return named == ("PIL.Image", "Image")


def open_image(data: bytes, *, options: ImageOptions = DEFAULTS, path: str = "$") -> Image:
    """Decode a picture within its limits.

    Raises:
        InputError: 415 not a picture of an accepted format, 413 too many pixels, 422 damaged.
    """
    name = sniff(data)
    wanted = f"a picture ({', '.join(options.formats)})"
    if name not in options.formats:
        raise UnsupportedInputError.at(path, expected=wanted, got=name or describe(data))
    import PIL.Image
    import PIL.ImageOps

    try:
        picture = PIL.Image.open(io.BytesIO(data), formats=[name])
        _refuse_giants(picture.size, options, path)
        picture.load()
        return PIL.ImageOps.exif_transpose(picture)
    except (MemoryError, InputError):
        raise
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning):
        # Pillow was quicker: it refuses by itself far above our limit.
        raise _too_large(path, options, f"more than {PIL.Image.MAX_IMAGE_PIXELS:,}") from None
    except Exception as exc:
        # NOTE: Pillow's readers answer damaged files with OSError, SyntaxError, ValueError,
        # struct.error, IndexError and more; which one is no promise of theirs.
        raise InputError.at(
            path, expected="a whole picture", got=f"a damaged {name} ({exc})"
        ) from exc


def open_text(text: object, *, options: ImageOptions = DEFAULTS, path: str = "$") -> Image:
    """Decode a picture that travels inside JSON: a data URL, or plain base64."""
    expected = "a picture in base64 or as a data URL"
    if not isinstance(text, str):
        raise InputError.at(path, expected=expected, got=f"`{type(text).__name__}`")
    if text.startswith("data:"):
        head, comma, encoded = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise InputError.at(path, expected=expected, got="a data URL without base64")
    else:
        encoded = text
    try:
        data = binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError:
        raise InputError.at(path, expected=expected, got="other text") from None
    return open_image(data, options=options, path=path)


def describe(data: bytes) -> str:
    """Say what a file that is no picture seems to be."""
    head = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not data:
        return "an empty file"
    if head.startswith((b"<svg", b"<?xml", b"<!doctype", b"<html")):
        return "SVG" if b"<svg" in head else "XML or HTML"
    if head.startswith(b"%pdf"):
        return "PDF"
    if data[4:8] == b"ftyp":
        return "HEIC, AVIF or a video"
    try:
        data[:512].decode("utf-8")
    except UnicodeDecodeError as exc:
        # A character cut in two by the 512 bytes is still text.
        return "text" if exc.start > 500 else "an unknown kind of data"
    return "an unknown kind of data" if b"\0" in data[:512] else "text"


def _refuse_giants(size: tuple[int, int], options: ImageOptions, path: str) -> None:
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
