"""`ValueKind`: the interface for types of values that JSON cannot express, such as images and
tables.

Each such type is one subclass in one module, and one call of `registry.register`. Decoders,
encoders, documents, samples and test clients find the subclasses through the registry and never
name one. An instance reads the values of one annotation; it is created at registration, does not
change afterwards and is thread-safe. Writing does not depend on an annotation, so the methods that
write are class methods.

A subclass names Python's classes as strings, and imports their package when a value is read or
written, so that importing an app imports no large package such as pandas.
"""

from __future__ import annotations

import binascii
import typing as t

from carboy.core.percentescapes import unquote

from ...errors import InputError, SignatureError
from ..hints import is_record
from ..media import JSON

if t.TYPE_CHECKING:
    from .file import Upload

Schema: t.TypeAlias = dict[str, t.Any]


class Packed(t.NamedTuple):
    """A value in a form that another process can read.

    Attributes:
        head: what describes the value: numbers, text, bytes, None, lists and dicts by text.
        buffers: contiguous bytes, such as the numbers of an array. They are not copied until they
            are sent.
    """

    head: t.Any
    buffers: t.Sequence[bytes | bytearray | memoryview]


class ValueKind:
    """How values of one type (image, table, ...) are read, written and documented.

    Subclasses must define `name`, `classes`, `media_types`, `read` and `write`. By default a value
    is base64 or a data URL in JSON, and a file everywhere else.
    """

    #: What error messages and pages call the values: "image", "table".
    name: t.ClassVar[str]
    #: Classes of the values, as pairs of top-level package and qualified name. They must not be
    #: dataclasses or the like, which msgspec reads and writes itself.
    classes: t.ClassVar[tuple[tuple[str, str], ...]] = ()
    #: Further classes that `plain` converts inside JSON, such as NumPy's numbers and pandas'
    #: Series.
    parts: t.ClassVar[tuple[tuple[str, str], ...]] = ()
    #: Required packages: the import name, and the name for `pip install` if it differs ("PIL
    #: Pillow").
    packages: t.ClassVar[tuple[str, ...]] = ()
    #: Whether any body can be read as a value of this type. Text and bytes are such types; they are
    #: tried after all others.
    takes_anything: t.ClassVar[bool] = False
    #: Whether values are always sent as files, unless the body is JSON or MessagePack. False for
    #: text, which may also be a form field.
    is_file: t.ClassVar[bool] = True
    #: Whether a value can be encoded in less time than passing it to another thread takes.
    is_light: t.ClassVar[bool] = False
    #: Whether a value keeps nothing of the bytes that `read` gets, which may then be a memoryview.
    copies: t.ClassVar[bool] = False
    #: Whether a small file may become a large value, whose size the class passes to `unpacked.add`.
    unpacks: t.ClassVar[bool] = False
    #: Whether values are arrays with named dimensions, whose sizes `sides` returns.
    has_sides: t.ClassVar[bool] = False
    #: Media types of bodies and files that contain a value of this type, the most suitable first.
    media_types: tuple[str, ...] = ()
    #: The type that msgspec decodes inside JSON and passes to `from_json`; `msgspec.Raw` if
    #: `from_json` decodes the JSON itself.
    json_type: t.Any = str

    def __init__(self, annotation: t.Any = None, extras: tuple[t.Any, ...] = ()) -> None:
        """Create the reader for one annotation.

        Args:
            annotation: the type, without `Annotated`.
            extras: the metadata of the `Annotated`.
        """

    @classmethod
    def of(cls, annotation: t.Any, extras: tuple[t.Any, ...]) -> t.Self | None:
        """Return a reader for an annotation; None if this class does not read its values.

        Raises:
            SignatureError: this class reads such values, but the annotation's options are invalid.
        """
        named = getattr(annotation, "__module__", ""), getattr(annotation, "__qualname__", "")
        full = [(package, name) for package, name in cls.classes if name == named[1]]
        if not any(named[0].partition(".")[0] == package for package, _ in full):
            return None
        if is_record(annotation):
            raise SignatureError(
                f"{annotation!r} belongs to the kind {cls.name!r}, but it is a dataclass, Struct or"
                " attrs class, which msgspec reads and writes by itself inside lists and records."
                " Make it a plain class."
            )
        return cls(annotation, extras)

    # -- reading ---------------------------------------------------------------------------------

    def recognises(self, data: bytes, media_type: str) -> bool:
        """Return whether a body contains a value of this type (an image, a table, ...), by its
        content or media type.
        """
        return media_type in self.media_types

    def read(self, data: bytes, *, media_type: str = "", path: str = "$") -> t.Any:
        """Read a whole body or the content of a file.

        Args:
            data: the bytes.
            media_type: the client's media type with its parameters; "" if unknown.
            path: where the value is in the request, for error messages.

        Raises:
            InputError: the bytes are not a value of this type, for example no image.
        """
        raise NotImplementedError

    def read_file(self, file: Upload, *, path: str = "$") -> t.Any:
        """Read an uploaded file of a form. Raises InputError if it is not a value of this type."""
        return self.read(file.read(), media_type=file.media_type, path=path)

    def from_json(self, value: t.Any, *, path: str = "$") -> t.Any:
        """Read a value from decoded JSON of the type `json_type`, or from a form field. Raises
        InputError.
        """
        return self.read(
            from_base64(value, f"{self.name} in base64 or as a data URL", path), path=path
        )

    def from_array(self, array: t.Any, *, path: str = "$") -> t.Any:
        """Convert a NumPy array of any dtype and shape into a value. Only called if `has_sides`.

        Raises:
            InputError: the array does not fit the annotation.
        """
        raise NotImplementedError

    def sides(self, value: t.Any) -> dict[str, int]:
        """Return the sizes of an array's named dimensions, which must agree in all arguments of a
        request.
        """
        return {}

    # -- writing ---------------------------------------------------------------------------------

    def misfit(self, value: t.Any) -> str:
        """Compare a value that a view or a model has returned with the annotation.

        Returns:
            What was expected and got, such as "3 sides, got 2"; "" if the value fits.
        """
        return ""

    @classmethod
    def answers(cls) -> tuple[str, ...]:
        """Return the media types in which values can be sent, the default first."""
        return (*cls.media_types[:1], JSON)

    @classmethod
    def write(cls, value: t.Any, media_type: str) -> bytes:
        """Encode a value in a media type of `answers` (those in which it can be sent).

        Not called for JSON, for which `plain` returns a value that the JSON encoder accepts.
        """
        raise NotImplementedError

    @classmethod
    def plain(cls, value: t.Any) -> t.Any:
        """Convert a value to something that the JSON encoder supports, and that `from_json` can
        read.
        """
        return to_base64(cls.write(value, cls.media_types[0]))

    @classmethod
    def file_of(cls, value: t.Any) -> tuple[bytes, str]:
        """Return a value as the content of a file, and its media type, for test clients to send."""
        media_type = next(each for each in cls.media_types if each in cls.answers())
        return cls.write(value, media_type), media_type

    # -- to another process ----------------------------------------------------------------------

    @classmethod
    def pack(cls, value: t.Any) -> Packed:
        """Convert a value for another process of this machine, in which `unpack` restores it.

        By default the value is written as a file. Override both methods if a file takes long to
        write, loses something, or can only be read with an annotation.
        """
        data, media_type = cls.file_of(value)
        return Packed(media_type, [data])

    @classmethod
    def unpack(cls, head: t.Any, buffers: t.Sequence[memoryview]) -> t.Any:
        """Restore a value from what `pack` has returned.

        Args:
            head: the `head` of the `Packed`.
            buffers: its `buffers`. The value may refer to their memory, and may change it.
        """
        return cls().read(bytes(buffers[0]), media_type=head)

    # -- describing ------------------------------------------------------------------------------

    def schema(self, *, answered: bool = False) -> Schema:
        """Return the JSON Schema of the value inside JSON.

        Args:
            answered: whether a view or model returns the value; limits of inputs do not apply then.
        """
        return {
            "type": "string",
            "contentEncoding": "base64",
            "contentMediaType": self.media_types[0],
        }

    def brief_schema(self, *, answered: bool = False) -> Schema:
        """Return a short schema for OpenAPI documents, from which Swagger UI generates an
        example.
        """
        return self.schema(answered=answered)

    @classmethod
    def undeclared_schema(cls, annotation: t.Any) -> Schema | None:
        """Return the JSON Schema of a class, such as `numpy.ndarray`, that an annotation names
        without options; None if no schema is known.
        """
        return None

    @classmethod
    def describes(cls, schema: Schema) -> bool:
        """Return whether a JSON Schema was made by the method `schema` of this class."""
        return schema.get("contentMediaType") in cls.media_types and "contentEncoding" in schema

    @classmethod
    def sample(cls, schema: Schema) -> t.Any:
        """Return an example, as JSON, for a schema that the method `schema` made; None if none is
        needed.
        """
        return to_base64(cls.sample_file(cls.media_types[0], None, schema))

    @classmethod
    def sample_file(cls, media_type: str, value: t.Any, schema: Schema) -> bytes:
        """Return an example as a file.

        Args:
            media_type: the media type of the file.
            value: the example as JSON, to which the file should be equal; None if there is none.
            schema: the JSON Schema of the value; {} if unknown.
        """
        if isinstance(value, str):
            return from_base64(value, cls.name, "$")
        return b"bytes"

    @classmethod
    def suffix(cls, media_type: str) -> str:
        """Return the suffix for a file name: "png" for "image/png", "wav" for "audio/x-wav"."""
        return media_type.rpartition("/")[2].removeprefix("x-").removeprefix("vnd.")


def key_word(value: t.Any) -> str | None:
    """Return how JSON writes True, False and None as keys of an object; None for other values.

    msgspec passes these three values to an `enc_hook` only if they are keys. `json.dumps` writes
    the same keys.
    """
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else None


def from_base64(text: object, expected: str, path: str) -> bytes:
    """Decode base64, or a data URL that contains base64.

    Raises:
        InputError: `text` is not base64; the message contains `expected` and `path`.
    """
    if not isinstance(text, str):
        raise InputError.at(path, expected=expected, got=f"`{type(text).__name__}`")
    # Scheme and parameters of a URL are case-insensitive (RFC 2397).
    if text[:5].lower() == "data:":
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise InputError.at(path, expected=expected, got="a data URL without base64")
        # Any character of a URL may be percent-encoded, such as + as %2B.
        text = unquote(text)
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        pass
    # Accept line breaks (as `base64` and Android write), the alphabet for URLs of RFC 4648, section
    # 5 (browsers, tokens), and missing padding (JavaScript).
    text = "".join(text.split()).translate(_URL_SAFE)
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError:
        raise InputError.at(path, expected=expected, got="other text") from None


_URL_SAFE = str.maketrans("-_", "+/")


def to_base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")
