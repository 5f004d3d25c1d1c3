"""Text and bytes that come as they are: a raw body or a file, beside their JSON.

    str      a body of `text/...` in its charset (UTF-8 if none is named), a text file
    bytes    a body of any media type that nothing else reads, a file; base64 in JSON
    Upload   as bytes; it also has the sender's file name and media type

Bounds (`msgspec.Meta(max_length=...)`) hold on every way.
"""

from __future__ import annotations

import codecs
import io
import re
import typing as t

import msgspec

from ...errors import InputError, MalformedInputError, UnsupportedInputError
from .. import problems
from ..kinds import strip
from ..media import JSON, URLENCODED
from .file import Upload

_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\s\";]+)", re.IGNORECASE)
_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# What a form is written with. Source: https://url.spec.whatwg.org/#urlencoded-serializing
_FORM_BYTES = re.compile(rb"[A-Za-z0-9*._+%&=~!'(),;:@/$-]*")
# Charsets that text is sent in, by Python's names. Python has more codecs: of quadratic time
# (punycode, idna), and some that are no charsets at all (rot13, zlib).
_CHARSETS = re.compile(
    r"utf-(?:8|16|32)(?:-[lb]e)?|ascii|iso8859-\d+|cp(?:125\d|437|850|866|932|949|950)"
    r"|koi8-[ru]|gb(?:2312|k|18030)|big5|shift_jis|euc_(?:jp|kr)|mac-roman"
)


class TextWire:
    """Text that is a whole body, or a file."""

    name: t.Final = "text"
    media_types: t.Final = ("text/plain",)
    answers: t.Final = (JSON, "text/plain")
    packages: t.Final = ()

    def __init__(self, annotation: t.Any = str) -> None:
        self.json_type = annotation

    def recognises(self, data: bytes, media_type: str) -> bool:
        return media_type.startswith("text/")

    def read(self, data: bytes, *, media_type: str = "", path: str = "$") -> str:
        """Decode.

        Args:
            media_type: with its parameters, as it came.

        Raises:
            InputError: 415 unknown charset, 400 not text in it, 422 out of bounds.
        """
        text = decode(data, charset_of(media_type, data), path)
        return t.cast("str", _bounded(text, self.json_type, path))

    def revive(self, value: t.Any, *, path: str = "$") -> t.Any:
        return value

    def write(self, value: str, media_type: str) -> bytes:
        text = str.__str__(value)  # of an Enum, or of one of NumPy's, its text
        return msgspec.json.encode(text) if media_type == JSON else text.encode()

    def schema(self, *, answered: bool = False) -> dict[str, t.Any]:
        return msgspec.json.schema(self.json_type)


class BytesWire:
    """Bytes of whatever kind; base64 in JSON."""

    name: t.Final = "bytes"
    media_types: t.Final = ("application/octet-stream",)
    answers: t.Final = ("application/octet-stream", JSON)
    packages: t.Final = ()

    def __init__(self, annotation: t.Any = bytes) -> None:
        self.json_type = annotation

    def recognises(self, data: bytes, media_type: str) -> bool:
        """Anything that has a media type; so a codec asks last.

        A form is one by its content too: `curl --data-binary @file` calls all that it sends one.
        """
        return bool(media_type) and not (media_type == URLENCODED and _is_form(data))

    def read(self, data: bytes, *, media_type: str = "", path: str = "$") -> t.Any:
        return _bounded(data, self.json_type, path)

    def revive(self, value: t.Any, *, path: str = "$") -> t.Any:
        return value

    def write(self, value: bytes, media_type: str) -> bytes:
        data = bytes(value)
        return msgspec.json.encode(data) if media_type == JSON else data

    def schema(self, *, answered: bool = False) -> dict[str, t.Any]:
        return msgspec.json.schema(self.json_type)


class UploadWire(BytesWire):
    """The same as a file: in memory, whole, at its start.

    `take` is for who has the sender's name of the file at hand.
    """

    def __init__(self, annotation: t.Any = Upload) -> None:
        extras = t.get_args(annotation)[1:] if t.get_origin(annotation) is t.Annotated else ()
        super().__init__(t.Annotated[(bytes, *extras)] if extras else bytes)

    def read(self, data: bytes, *, media_type: str = "", path: str = "$") -> Upload:
        return self.take(
            Upload(io.BytesIO(data), media_type=_essence(media_type), size=len(data)), path=path
        )

    def revive(self, value: t.Any, *, path: str = "$") -> t.Any:
        if isinstance(value, bytes):
            return Upload(io.BytesIO(value), size=len(value))
        return value

    def take(self, file: Upload, *, path: str = "$") -> Upload:
        """A file within its bounds, which are counted without reading it."""
        for bound in _lengths(self.json_type):
            if bound.max_length is not None and file.size > bound.max_length:
                raise _too_long(path, "at most", bound.max_length, file.size)
            if bound.min_length is not None and file.size < bound.min_length:
                raise _too_long(path, "at least", bound.min_length, file.size)
        return file


def wire_of(annotation: t.Any) -> TextWire | BytesWire | None:
    """The wire of `str`, `bytes` or `Upload`, bounds included; None of anything else."""
    bare = strip(annotation)
    if bare is str:
        return TextWire(annotation)
    if bare is bytes:
        return BytesWire(annotation)
    if isinstance(bare, type) and issubclass(bare, Upload):
        return UploadWire(annotation)
    return None


def decode(data: bytes, charset: str = "utf-8", path: str = "$") -> str:
    """Text out of bytes. Raises InputError: 415 unknown charset, 400 not text in it."""
    try:
        name = codecs.lookup(charset).name
    except (LookupError, ValueError):
        name = ""
    if not _CHARSETS.fullmatch(name):
        raise UnsupportedInputError.at(
            path, expected="text in UTF-8 or another usual charset", got=f"charset {charset[:40]!r}"
        )
    try:
        text = data.decode(name)
    except UnicodeDecodeError as exc:
        seen = data[exc.start : exc.start + 1].hex()
        raise MalformedInputError.at(
            path, expected=f"text in {charset}", got=f"the byte 0x{seen} at offset {exc.start}"
        ) from exc
    # Editors on Windows begin files with a mark that is no part of the text.
    return text.removeprefix("\ufeff")


def charset_of(media_type: str, data: bytes = b"") -> str:
    """As it is named, or as editors on Windows mark it."""
    found = _CHARSET.search(media_type)
    return found[1] if found else "utf-16" if data[:2] in _MARKS else "utf-8"


def _is_form(data: bytes) -> bool:
    head = data[:1024]
    return not head or (b"=" in head and _FORM_BYTES.fullmatch(head) is not None)


def _essence(media_type: str) -> str:
    return media_type.partition(";")[0].strip().lower()


def _bounded(value: t.Any, kind: t.Any, path: str) -> t.Any:
    if kind in (str, bytes):
        return value
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as exc:
        # The value itself may be long, and bytes have no form to show.
        raise problems.misfit(exc, msgspec.UNSET, root=path, kind=kind) from exc


def _lengths(annotation: t.Any) -> list[msgspec.Meta]:
    extras = t.get_args(annotation)[1:] if t.get_origin(annotation) is t.Annotated else ()
    return [extra for extra in extras if isinstance(extra, msgspec.Meta)]


def _too_long(path: str, word: str, bound: int, size: int) -> InputError:
    return InputError.at(path, expected=f"{word} {bound:,} bytes", got=f"{size:,}")
