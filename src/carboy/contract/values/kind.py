"""`ValueKind`: the interface of a kind of value, which is a type that JSON cannot express.

A kind of value (such as images or tables) is one class in one module, and one call of
`registry.register`. Decoders, encoders, documents, samples and test clients find these classes
through the registry and never name one. An instance reads the values of one annotation; it is
created at registration, does not change afterwards and is thread-safe. Writing does not depend on
an annotation, so the methods that write are class methods.

A kind of value names Python's classes as strings, and imports their package when a value is read or
written, so that importing an app imports no large package such as pandas.
"""

from __future__ import annotations

import binascii
import typing as t
import urllib.parse

from ...errors import InputError, SignatureError
from ..hints import is_record
from ..media import JSON

if t.TYPE_CHECKING:
    from .file import Upload

Schema: t.TypeAlias = dict[str, t.Any]


class ValueKind:
    """One kind of value. Subclasses must define `name`, `classes`, `media_types`, `read`, `write`.

    By default a value is base64 or a data URL in JSON, and a file everywhere else.
    """

    #: The name of the kind of value in error messages and on pages: "image", "table".
    name: t.ClassVar[str]
    #: Classes of the values, as pairs of top-level package and qualified name. They must be plain
    #: classes, because msgspec reads and writes dataclasses itself.
    classes: t.ClassVar[tuple[tuple[str, str], ...]] = ()
    #: Further classes, such as NumPy's numbers and pandas' Series, that `plain` converts inside
    #: JSON.
    parts: t.ClassVar[tuple[tuple[str, str], ...]] = ()
    #: Required packages: the import name, and the name for `pip install` if it differs ("PIL
    #: Pillow").
    packages: t.ClassVar[tuple[str, ...]] = ()
    #: Whether this kind of value accepts any body (text, bytes); it is then tried last.
    takes_anything: t.ClassVar[bool] = False
    #: Whether values are sent as files outside JSON. Text may also be a form field.
    is_file: t.ClassVar[bool] = True
    #: Whether encoding is faster than handing it to another thread.
    is_light: t.ClassVar[bool] = False
    #: Whether values are arrays with named dimensions, whose sizes `sides` returns.
    has_sides: t.ClassVar[bool] = False
    #: Media types of bodies and files that contain such a value, the most suitable first.
    media_types: tuple[str, ...] = ()
    #: The type that msgspec decodes inside JSON and passes to `from_json`; `msgspec.Raw` if
    #: `from_json` decodes JSON itself.
    json_type: t.Any = str

    def __init__(self, annotation: t.Any = None, extras: tuple[t.Any, ...] = ()) -> None:
        """Create the reader of one annotation.

        Args:
            annotation: the type, without `Annotated`.
            extras: the metadata of `Annotated`.
        """

    @classmethod
    def of(cls, annotation: t.Any, extras: tuple[t.Any, ...]) -> t.Self | None:
        """Return the reader of an annotation; None if the annotation names another kind of value.

        Raises:
            SignatureError: the annotation names this kind of value, but its options are invalid.
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
        """Return whether a body contains such a value, by its content or its media type."""
        return media_type in self.media_types

    def read(self, data: bytes, *, media_type: str = "", path: str = "$") -> t.Any:
        """Read a whole body or the content of a file.

        Args:
            data: the bytes.
            media_type: the client's media type with its parameters; "" if unknown.
            path: where the value is in the request, for error messages.

        Raises:
            InputError: the bytes are not such a value, for example no image.
        """
        raise NotImplementedError

    def read_file(self, file: Upload, *, path: str = "$") -> t.Any:
        """Read an uploaded file of a form. Raises InputError."""
        return self.read(file.read(), media_type=file.media_type, path=path)

    def from_json(self, value: t.Any, *, path: str = "$") -> t.Any:
        """Read a value of `json_type`, or the text of a form field. Raises InputError."""
        return self.read(
            from_base64(value, f"{self.name} in base64 or as a data URL", path), path=path
        )

    def sides(self, value: t.Any) -> dict[str, int]:
        """Return the sizes of named dimensions, which must agree in all arguments of a request."""
        return {}

    # -- writing ---------------------------------------------------------------------------------

    def misfit(self, value: t.Any) -> str:
        """Compare a value that a view or a model returned with the annotation.

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
        """Encode a value in a media type of `answers` other than JSON, which `plain` serves."""
        raise NotImplementedError

    @classmethod
    def plain(cls, value: t.Any) -> t.Any:
        """Convert a value for JSON; `from_json` reads the result."""
        return to_base64(cls.write(value, cls.media_types[0]))

    @classmethod
    def file_of(cls, value: t.Any) -> tuple[bytes, str]:
        """Return a value as a file and its media type, for test clients to send."""
        media_type = next(each for each in cls.media_types if each in cls.answers())
        return cls.write(value, media_type), media_type

    # -- describing ------------------------------------------------------------------------------

    def schema(self, *, answered: bool = False) -> Schema:
        """Return the JSON Schema of the value inside JSON.

        Args:
            answered: whether the value is returned; limits of inputs do not apply then.
        """
        return {
            "type": "string",
            "contentEncoding": "base64",
            "contentMediaType": self.media_types[0],
        }

    def brief_schema(self, *, answered: bool = False) -> Schema:
        """Return the schema for OpenAPI documents, from which Swagger UI generates an example."""
        return self.schema(answered=answered)

    @classmethod
    def undeclared_schema(cls, annotation: t.Any) -> Schema | None:
        """Return the JSON Schema of a class in `classes` or `parts` for which `of` returns None."""
        return None

    @classmethod
    def describes(cls, schema: Schema) -> bool:
        """Return whether a JSON Schema was made by the method `schema` of this class."""
        return schema.get("contentMediaType") in cls.media_types and "contentEncoding" in schema

    @classmethod
    def sample(cls, schema: Schema) -> t.Any:
        """Return a JSON example for a schema that `schema` made; None if no example is needed."""
        return to_base64(cls.sample_file(cls.media_types[0], None, schema))

    @classmethod
    def sample_file(cls, media_type: str, value: t.Any, schema: Schema) -> bytes:
        """Return an example as a file.

        Args:
            media_type: the media type of the file.
            value: the example inside JSON that the file should be equal to; None if there is none.
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
    """Return the key of a JSON object for True, False and None; None for other values.

    msgspec passes these three to an `enc_hook` only where they are keys. The result is that of
    `json.dumps`.
    """
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else None


def from_base64(text: object, expected: str, path: str) -> bytes:
    """Decode base64, or a data URL with base64.

    Raises:
        InputError: `text` is not base64; the message contains `expected` and `path`.
    """
    if not isinstance(text, str):
        raise InputError.at(path, expected=expected, got=f"`{type(text).__name__}`")
    if text[:5].lower() == "data:":  # schemes and parameters are case-insensitive (RFC 2397)
        head, comma, text = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise InputError.at(path, expected=expected, got="a data URL without base64")
        text = urllib.parse.unquote(text)  # URLs may have any character as %2B
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        pass
    # `base64` and Android write lines, browsers' URLs and tokens the alphabet of RFC 4648 (5), and
    # JavaScript often no padding.
    text = "".join(text.split()).translate(_URL_SAFE)
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError:
        raise InputError.at(path, expected=expected, got="other text") from None


_URL_SAFE = str.maketrans("-_", "+/")


def to_base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")
