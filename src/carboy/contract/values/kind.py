"""The protocol of a kind of value: everything that carboy must know of values that JSON lacks.

A kind is one class in one module, and one call of `registry.register`. Readers, writers, documents,
samples and clients ask the registry; no other module names a kind. An instance stands for one
annotation, is made at registration, keeps no state afterwards and belongs to no thread. What a
value needs to be written does not depend on an annotation, so those methods are class methods.

A kind is recognised by the name of a class, and its package is imported when a value is read or
written, so that importing an app loads no heavy package.
"""

from __future__ import annotations

import binascii
import typing as t

from ...errors import InputError, SignatureError
from ..hints import is_record
from ..media import JSON

if t.TYPE_CHECKING:
    from .file import Upload

Schema: t.TypeAlias = dict[str, t.Any]


class ValueKind:
    """One kind of value. A subclass needs `name`, `classes`, `media_types`, `read` and `write`.

    By default such a value is base64 or a data URL in JSON, and a file everywhere else.
    """

    #: The word for people, in messages and on pages: "image", "table".
    name: t.ClassVar[str]
    #: Classes whose instances are such values, by package and qualified name: plain classes, since
    #: msgspec reads and writes dataclasses by itself.
    classes: t.ClassVar[tuple[tuple[str, str], ...]] = ()
    #: Classes that only `plain` writes, inside JSON: NumPy's numbers, a column of a table.
    parts: t.ClassVar[tuple[tuple[str, str], ...]] = ()
    #: Packages that must be installed, as `import` and as `pip install` name them: "PIL Pillow".
    packages: t.ClassVar[tuple[str, ...]] = ()
    #: Text and bytes: kinds that read any body are asked after all others.
    takes_anything: t.ClassVar[bool] = False
    #: Whether values travel as files outside JSON; text is a field of a form as well.
    is_file: t.ClassVar[bool] = True
    #: Whether writing a value takes no time to speak of.
    is_light: t.ClassVar[bool] = False
    #: Whether `sides` returns anything.
    has_sides: t.ClassVar[bool] = False
    #: Media types of raw bodies and files that hold such a value, the most fitting first.
    media_types: tuple[str, ...] = ()
    #: The type that msgspec decodes inside JSON; `from_json` gets its values. `msgspec.Raw` where
    #: the kind reads JSON by itself.
    json_type: t.Any = str

    def __init__(self, annotation: t.Any = None, extras: tuple[t.Any, ...] = ()) -> None:
        """Make the reader of one annotation; `extras` stood beside it in `Annotated`."""

    @classmethod
    def of(cls, annotation: t.Any, extras: tuple[t.Any, ...]) -> t.Self | None:
        """Return the reader of an annotation; None of an annotation of another kind.

        Raises:
            SignatureError: the annotation is of this kind, and wrong.
        """
        named = getattr(annotation, "__module__", ""), getattr(annotation, "__qualname__", "")
        full = [(package, name) for package, name in cls.classes if name == named[1]]
        if not any(named[0].partition(".")[0] == package for package, _ in full):
            return None
        if is_record(annotation):
            raise SignatureError(
                f"{annotation!r} is a value of the kind {cls.name!r}, and a dataclass, Struct or"
                " attrs class, which msgspec reads and writes by itself inside lists and records."
                " Make it a plain class."
            )
        return cls(annotation, extras)

    # -- reading ---------------------------------------------------------------------------------

    def recognises(self, data: bytes, media_type: str) -> bool:
        """Return whether a raw body is such a value, by its content or its media type."""
        return media_type in self.media_types

    def read(self, data: bytes, *, media_type: str = "", path: str = "$") -> t.Any:
        """Read a raw body or the content of a file.

        Args:
            media_type: with its parameters, as the client sent it.

        Raises:
            InputError: the bytes are no such value.
        """
        raise NotImplementedError

    def read_file(self, file: Upload, *, path: str = "$") -> t.Any:
        """Read a file of a form. Raises InputError."""
        return self.read(file.read(), media_type=file.media_type, path=path)

    def from_json(self, value: t.Any, *, path: str = "$") -> t.Any:
        """Read a value of `json_type`, or the text of a form's field. Raises InputError."""
        return self.read(
            from_base64(value, f"{self.name} in base64 or as a data URL", path), path=path
        )

    def sides(self, value: t.Any) -> dict[str, int]:
        """Return the sizes of named sides, which must be equal within one input."""
        return {}

    # -- writing ---------------------------------------------------------------------------------

    @classmethod
    def answers(cls) -> tuple[str, ...]:
        """Return the media types that `write` writes, the default first."""
        return (*cls.media_types[:1], JSON)

    @classmethod
    def write(cls, value: t.Any, media_type: str) -> bytes:
        """Write a value as one of `answers` that is not JSON, which `plain` is for."""
        raise NotImplementedError

    @classmethod
    def plain(cls, value: t.Any) -> t.Any:
        """Return the form of a value inside JSON; `from_json` reads it again."""
        return to_base64(cls.write(value, cls.media_types[0]))

    @classmethod
    def file_of(cls, value: t.Any) -> tuple[bytes, str]:
        """Return a value as a file to send, and its media type: how a test client sends it."""
        media_type = next(each for each in cls.media_types if each in cls.answers())
        return cls.write(value, media_type), media_type

    # -- describing ------------------------------------------------------------------------------

    def schema(self, *, answered: bool = False) -> Schema:
        """Return JSON Schema of the value inside JSON.

        Args:
            answered: of a value that is returned, for which limits of inputs do not hold.
        """
        return {
            "type": "string",
            "contentEncoding": "base64",
            "contentMediaType": self.media_types[0],
        }

    def brief_schema(self, *, answered: bool = False) -> Schema:
        """Return the schema for documents, whose pages make an example of it."""
        return self.schema(answered=answered)

    @classmethod
    def undeclared_schema(cls, annotation: t.Any) -> Schema | None:
        """Return JSON Schema of a class in `classes` or `parts` that `of` does not read."""
        return None

    @classmethod
    def describes(cls, schema: Schema) -> bool:
        """Return whether a JSON Schema is one that `schema` of this kind returned."""
        return schema.get("contentMediaType") in cls.media_types and "contentEncoding" in schema

    @classmethod
    def sample(cls, schema: Schema) -> t.Any:
        """Return an example inside JSON, for a schema that `describes` knows; None: as any JSON."""
        return to_base64(cls.sample_file(cls.media_types[0], None, schema))

    @classmethod
    def sample_file(cls, media_type: str, value: t.Any, schema: Schema) -> bytes:
        """Return an example as a file.

        Args:
            value: the example inside JSON that the file should equal; None if there is none.
            schema: of the value inside JSON; {} if there is none.
        """
        if isinstance(value, str):
            return from_base64(value, cls.name, "$")
        return b"bytes"

    @classmethod
    def suffix(cls, media_type: str) -> str:
        """Return the suffix of a file's name: "png" of "image/png", "wav" of "audio/x-wav"."""
        return media_type.rpartition("/")[2].removeprefix("x-").removeprefix("vnd.")


def from_base64(text: object, expected: str, path: str) -> bytes:
    """Decode base64, or a data URL of it. Raises InputError."""
    if not isinstance(text, str):
        raise InputError.at(path, expected=expected, got=f"`{type(text).__name__}`")
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise InputError.at(path, expected=expected, got="a data URL without base64")
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise InputError.at(path, expected=expected, got="other text") from None


def to_base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")
