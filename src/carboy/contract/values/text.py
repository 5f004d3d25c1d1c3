"""Text, bytes and uploads: the types of parameters that take a body or a file undecoded.

    str      a body of `text/...` in its charset (UTF-8 if none is named), or a text file
    bytes    a body of any media type that no other parameter reads, or a file; base64 in JSON
    Upload   the same inputs as bytes, with the client's file name and media type

Limits (`msgspec.Meta(max_length=...)`) apply to all of these.
"""

from __future__ import annotations

import codecs
import io
import re
import typing as t

import msgspec

from ...errors import InputError, MalformedInputError, UnsupportedInputError
from .. import inputerrors
from ..hints import metadata_of
from ..media import JSON, URLENCODED
from .file import Upload
from .kind import Packed, ValueKind, to_base64

_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\s\";]+)", re.IGNORECASE)
_BASE64 = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# The bytes that an urlencoded form may have.
# Source: https://url.spec.whatwg.org/#urlencoded-serializing
_FORM_BYTES = re.compile(rb"[A-Za-z0-9*._+%&=~!'(),;:@/$-]*")
# Charsets that are accepted, by their names in Python. Other codecs of Python take quadratic time
# (punycode, idna) or are no charsets (rot13, zlib).
_CHARSETS = re.compile(
    r"utf-(?:8|16|32)(?:-[lb]e)?|ascii|iso8859-\d+|cp(?:125\d|437|850|866|932|949|950)"
    r"|koi8-[ru]|gb(?:2312|k|18030)|big5|shift_jis|euc_(?:jp|kr)|mac-roman"
)


class TextKind(ValueKind):
    """Reads text from a whole body or a file, and writes text as `text/plain`."""

    name = "text"
    classes = (("builtins", "str"),)
    is_file = False
    takes_anything = True
    is_light = True
    media_types = ("text/plain",)

    def __init__(self, annotation: t.Any = str, extras: tuple[t.Any, ...] = ()) -> None:
        self.json_type = t.Annotated[(annotation, *extras)] if extras else annotation

    @classmethod
    def of(cls, annotation: t.Any, extras: tuple[t.Any, ...]) -> t.Self | None:
        return cls(annotation, extras) if annotation is str else None

    def recognises(self, data: bytes, media_type: str) -> bool:
        return media_type.startswith("text/") or (not media_type and bool(data))

    def read(self, data: bytes, *, media_type: str = "", path: str = "$") -> str:
        """Decode the text of a body or file.

        Raises:
            InputError: 415 unknown charset, 400 invalid bytes, 422 length or pattern not allowed.
        """
        text = decode(data, charset_of(media_type, data), path)
        return t.cast("str", _bounded(text, self.json_type, path))

    def from_json(self, value: t.Any, *, path: str = "$") -> t.Any:
        return value

    @classmethod
    def answers(cls) -> tuple[str, ...]:
        return (JSON, "text/plain")

    @classmethod
    def write(cls, value: str, media_type: str) -> bytes:
        # `str.__str__` returns the text of an instance of any subclass. `str(value)` would return
        # the name of a member of an Enum.
        return str.__str__(value).encode()

    @classmethod
    def plain(cls, value: t.Any) -> str:
        return str.__str__(value)

    def schema(self, *, answered: bool = False) -> dict[str, t.Any]:
        return msgspec.json.schema(self.json_type)

    @classmethod
    def describes(cls, schema: dict[str, t.Any]) -> bool:
        # A schema of text, `{"type": "string"}`, cannot be distinguished from that of a string in
        # plain JSON. So no schema counts as one of this class, and the sample is made as for plain
        # JSON.
        return False

    @classmethod
    def sample_file(cls, media_type: str, value: t.Any, schema: dict[str, t.Any]) -> bytes:
        return (value if isinstance(value, str) else "text\n").encode()

    @classmethod
    def suffix(cls, media_type: str) -> str:
        return "txt"


class BytesKind(ValueKind):
    """Reads and writes bytes of any media type; in JSON they are base64."""

    name = "bytes"
    classes: t.ClassVar[tuple[tuple[str, str], ...]] = (
        ("builtins", "bytes"),
        ("builtins", "bytearray"),
    )
    takes_anything = True
    is_light = True
    media_types = ("application/octet-stream",)

    def __init__(self, annotation: t.Any = bytes, extras: tuple[t.Any, ...] = ()) -> None:
        self.json_type = t.Annotated[(bytes, *extras)] if extras else bytes

    @classmethod
    def of(cls, annotation: t.Any, extras: tuple[t.Any, ...]) -> t.Self | None:
        return cls(annotation, extras) if annotation is bytes else None

    def recognises(self, data: bytes, media_type: str) -> bool:
        """Return True for any body except a form, and except an empty body without a media type.

        A form is recognised by its content, because `curl --data-binary @file` sends the media type
        of a form with any file.
        """
        if media_type == URLENCODED:
            return not _is_form(data)
        return bool(media_type or data)

    def read(self, data: bytes, *, media_type: str = "", path: str = "$") -> t.Any:
        return _bounded(data, self.json_type, path)

    def from_json(self, value: t.Any, *, path: str = "$") -> t.Any:
        return value

    @classmethod
    def answers(cls) -> tuple[str, ...]:
        return ("application/octet-stream", JSON)

    @classmethod
    def write(cls, value: bytes, media_type: str) -> bytes:
        return bytes(value)

    def schema(self, *, answered: bool = False) -> dict[str, t.Any]:
        return msgspec.json.schema(self.json_type)

    def brief_schema(self, *, answered: bool = False) -> dict[str, t.Any]:
        """Return the schema of bytes in JSON. For inputs, it has a pattern that describes base64,
        because validators ignore `contentEncoding`.
        """
        schema = self.schema(answered=answered)
        return schema if answered else {**schema, "pattern": _BASE64}

    @classmethod
    def describes(cls, schema: dict[str, t.Any]) -> bool:
        return schema.get("contentEncoding") == "base64" and "contentMediaType" not in schema

    @classmethod
    def sample(cls, schema: dict[str, t.Any]) -> str:
        least, most = schema.get("minLength", 0), schema.get("maxLength", 8)
        # The limits of the schema count characters of base64. Four characters encode three bytes.
        data = b"hello".ljust(least // 4 * 3, b".")
        return to_base64(data[: max(least, most) // 4 * 3])

    @classmethod
    def suffix(cls, media_type: str) -> str:
        return "bin"


class UploadKind(BytesKind):
    """Passes files on to the view unread, with the client's file name and media type."""

    classes = (("carboy", "Upload"),)

    @classmethod
    def of(cls, annotation: t.Any, extras: tuple[t.Any, ...]) -> t.Self | None:
        is_upload = isinstance(annotation, type) and issubclass(annotation, Upload)
        return cls(annotation, extras) if is_upload else None

    def read(self, data: bytes, *, media_type: str = "", path: str = "$") -> Upload:
        file = Upload(io.BytesIO(data), media_type=_essence(media_type), size=len(data))
        return self.read_file(file, path=path)

    def read_file(self, file: Upload, *, path: str = "$") -> Upload:
        """Check the length of an uploaded file, and return the file itself."""
        for bound in _lengths(self.json_type):
            if bound.max_length is not None and file.size > bound.max_length:
                raise _too_long(path, "at most", bound.max_length, file.size)
            if bound.min_length is not None and file.size < bound.min_length:
                raise _too_long(path, "at least", bound.min_length, file.size)
        return file

    def from_json(self, value: t.Any, *, path: str = "$") -> t.Any:
        if isinstance(value, bytes):
            return Upload(io.BytesIO(value), size=len(value))
        return value

    @classmethod
    def write(cls, value: t.Any, media_type: str) -> bytes:
        return t.cast("bytes", value.read())

    @classmethod
    def plain(cls, value: t.Any) -> bytes:
        return t.cast("bytes", value.read())

    @classmethod
    def file_of(cls, value: t.Any) -> tuple[bytes, str]:
        return value.read(), value.media_type or "application/octet-stream"

    @classmethod
    def pack(cls, value: t.Any) -> Packed:
        place = value.stream.tell()
        data = value.read()
        value.stream.seek(place)
        return Packed([value.name, value.sent_name, value.media_type], [data])

    @classmethod
    def unpack(cls, head: t.Any, buffers: t.Sequence[memoryview]) -> Upload:
        name, sent_name, media_type = head
        data = bytes(buffers[0])
        upload = Upload(io.BytesIO(data), name=name, media_type=media_type, size=len(data))
        upload.sent_name = sent_name
        return upload


def decode(data: bytes, charset: str = "utf-8", path: str = "$") -> str:
    """Decode bytes to text in a given charset.

    Raises:
        InputError: 415 unknown charset, 400 invalid bytes.
    """
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
    # Remove a byte-order mark, which editors on Windows put at the beginning of a file.
    return text.removeprefix("\ufeff")


def charset_of(media_type: str, data: bytes = b"") -> str:
    """Return the charset of a media type. Without one, it is UTF-16 if the data has its byte-order
    mark, else UTF-8.
    """
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
        # The error message does not quote the value: a text may be long, and bytes cannot be shown.
        raise inputerrors.mismatch(exc, msgspec.UNSET, root=path, kind=kind) from exc


def _lengths(annotation: t.Any) -> list[msgspec.Meta]:
    return [extra for extra in metadata_of(annotation) if isinstance(extra, msgspec.Meta)]


def _too_long(path: str, word: str, bound: int, size: int) -> InputError:
    return InputError.at(path, expected=f"{word} {bound:,} bytes", got=f"{size:,}")
