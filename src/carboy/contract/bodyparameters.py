"""Compile one parameter of a body: read its argument from JSON, MessagePack, a form or a file.

An annotation may combine types that are sent as files or text (image, table, text, ...) and types
of plain JSON. At registration this module decides which of them reads which input.
"""

from __future__ import annotations

import types
import typing as t
from functools import partial

import msgspec

from ..errors import InputError, SignatureError
from . import inputerrors, rereading
from .fieldtexts import TextField
from .forms import convert, converter, field_error, finite, may_be_infinite
from .hints import (
    annotated,
    is_union,
    item_of,
    members_of,
    peel,
    shown,
    strip,
    union_of,
)
from .hooks import read_by, typed_decoder
from .kinds import Sort, check_decodable, is_file, plain_classes, sort_of, takes_object
from .operation import copier
from .pydanticlimits import (
    adapter,
    is_foreign_limit,
    needs_pydantic,
    read_plain,
    read_texts,
    translated,
)
from .typeadvice import advice
from .valuecounts import check_keys
from .values.registry import kind_of, kinds_in, part, require

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .operation import Parameter
    from .values.file import Upload
    from .values.kind import ValueKind

Decode: t.TypeAlias = "cabc.Callable[[bytes], t.Any]"

_NULL: t.Final = msgspec.Raw(b"null")
# The classes of all input that is passed to a table, which decodes JSON itself: undecoded JSON,
# form fields, and decoded lists and objects.
_ANYTHING = (msgspec.Raw, bytes, str, list, dict)


class KindReader(t.NamedTuple):
    """The reader of one type of values (image, table, ...), and the Python classes of the decoded
    JSON that this reader accepts.
    """

    kind: ValueKind
    classes: tuple[type, ...]


class BodyParameter:
    """One parameter of a request body, with the functions that read it.

    Attributes:
        kinds: readers of the members of the annotation that JSON cannot express (image, table,
            text, ...).
        rest: the members of the annotation that are plain JSON; None if there are none.
        json_type: the type into which msgspec decodes JSON, from which `from_json` makes the
            argument. It is for all members of the annotation, those in `kinds` and those in `rest`.
        decode: decodes JSON into a value of `json_type`.
        converts: whether a value of `json_type` must be passed to `from_json`; otherwise the value
            is the argument.
    """

    def __init__(self, parameter: Parameter) -> None:
        """Create the functions that read one parameter, from its annotation.

        Raises:
            TypeError: values of the annotation cannot be read.
        """
        annotation = parameter.annotation
        self.parameter = parameter
        self.name, self.alias = parameter.name, parameter.alias
        self.annotation, self.default = annotation, parameter.default
        self.required = parameter.required
        self.kinds, self.rest = part(annotation)
        # Whether `null` stands for None, where only a kind of value could read it otherwise.
        self._takes_null = self.rest is types.NoneType
        self._files = _Files(annotation) if is_file(item_of(annotation)) else None
        validated = annotation if not self.kinds else self.rest
        self._adapter = None if self._files is not None else _adapter_of(validated)
        self.readers, self.json_type = self._assign_json()
        self.converts = bool(self.readers) or self._files is not None
        json_type = self.json_type if self._adapter is None else self.rest
        self.takes_object = any(map(takes_object, members_of(json_type)))
        self.takes_files = bool(self.kinds) or self._files is not None
        #: Whether the parameter takes files other than text, such as images or tables.
        self.takes_more_than_text = self._files is not None or any(
            kind.is_file for kind in self.kinds
        )
        # Whether bytes can only be one file, whose reader then says what is wrong with them.
        self._takes_files_only = (
            len(self.kinds) == 1 and self.kinds[0].is_file and self.rest in (None, types.NoneType)
        )
        sort = Sort.FILE if self.kinds and self.takes_more_than_text else sort_of(annotation)
        self._texts = TextField(annotation, sort)
        # A scalar is converted from its text at once, so that "null" becomes None for `float |
        # None`. Other types are converted like decoded JSON.
        self._convert = (
            converter(annotation) if sort in (Sort.SCALAR, Sort.SCALARS) else self._convert_plain
        )
        self.decode = self._decoder()
        self._takes_text = self._texts.takes_text or any(not each.is_file for each in self.kinds)
        self._may_be_infinite = self._adapter is not None and may_be_infinite(annotation)

    def _assign_json(self) -> tuple[tuple[KindReader, ...], t.Any]:
        """Decide which member of a union (image, table, plain JSON, ...) reads which JSON, and
        build the type that msgspec decodes.

        A table decodes JSON itself and gets everything but null. Otherwise plain JSON comes first,
        then text and bytes, then images and the like: for `Image | str` each JSON string is a
        `str`. Of two members that read base64, the first one gets it.
        """
        kinds, rest = self.kinds, self.rest
        if self._files is not None:
            return (), self._files.json_type
        if not kinds:
            return (), msgspec.Raw if self._adapter is not None else self.annotation
        whole = [kind for kind in kinds if kind.json_type is msgspec.Raw]
        if whole:
            if len(whole) > 1 or rest not in (None, types.NoneType):
                names = " and ".join(kind.name for kind in whole)
                raise TypeError(f"{names} and other JSON in one union")
            own = [KindReader(each, _ANYTHING if each is whole[0] else ()) for each in kinds]
            return tuple(own), msgspec.Raw
        parts: list[t.Any] = [] if rest is None else [rest]
        taken = set() if rest is None or self._adapter is not None else plain_classes(rest)
        found: dict[int, tuple[type, ...]] = {}
        for i, kind in sorted(enumerate(kinds), key=lambda each: not each[1].takes_anything):
            mine: set[type] = set()
            for member in members_of(kind.json_type):
                classes = plain_classes(member)
                if not classes & taken:
                    mine |= classes
                    parts.append(member)
            taken |= mine
            found[i] = tuple(mine)
        readers = tuple(KindReader(kind, found[i]) for i, kind in enumerate(kinds))
        return readers, msgspec.Raw if self._adapter is not None else union_of(parts)

    @property
    def is_validated(self) -> bool:
        """Whether pydantic reads the parameter."""
        return self._adapter is not None

    @property
    def copy(self) -> cabc.Callable[[], t.Any] | None:
        return copier(self.default)

    @property
    def wanted_part(self) -> str:
        """Return the words by which an error names this parameter when it is missing in a form: "a
        file (image) named 'photo'".
        """
        names = [kind.name for kind in self.kinds if kind.packages]
        kind = f"a file ({' or '.join(names)})" if names else "a file"
        return f"{kind if self.takes_more_than_text else 'a field'} named {self.alias!r}"

    @property
    def takes_several(self) -> bool:
        """Whether several texts of a form are one value: a list."""
        return self._texts.takes_several

    # -- JSON and MessagePack --------------------------------------------------------------------

    def _decoder(self) -> Decode:
        if self._adapter is not None and not self.kinds:
            return finite(self._adapter.validate_json, self.annotation)
        if self.json_type is msgspec.Raw:
            return lambda data: msgspec.Raw(data.strip(b" \t\r\n"))
        return finite(typed_decoder(self.json_type), self.rest)

    def from_json(self, value: t.Any, path: str) -> t.Any:
        """Convert a value that was decoded as `json_type` into the argument. Raises InputError."""
        if self._takes_null and isinstance(value, msgspec.Raw) and value == _NULL:
            return None
        if self._adapter is not None:
            if self.readers:
                return self.from_plain(msgspec.json.decode(value), path)
            return self._validated(self._adapter.validate_json, bytes(value), path)
        if self._files is not None:
            return self._files.from_json(value, path)
        for kind, classes in self.readers:
            if isinstance(value, classes):
                return kind.from_json(value, path=path)
        return value

    def from_plain(self, value: t.Any, path: str, *, strict: bool = True) -> t.Any:
        """Convert untyped decoded data into the argument. Raises InputError.

        Args:
            value: the result of decoding JSON, MessagePack or a form field without a type; or a
                NumPy array for a `Tensor`.
            path: where the value is, for error messages.
            strict: False accepts numbers that are written as strings, which forms contain.
        """
        for kind, classes in self.readers:
            if kind.has_sides and hasattr(value, "dtype"):
                return kind.from_array(value, path=path)
            if isinstance(value, bytes) and (kind.recognises(value, "") or self._takes_files_only):
                return kind.read(value, path=path)
            if kind.json_type is msgspec.Raw and not (value is None and self._takes_null):
                return kind.from_json(value, path=path)
            if self._adapter is not None and isinstance(value, classes):
                return read_by(kind, value, path=path)
        if self._adapter is not None:
            read = read_plain if strict else read_texts
            return self._validated(partial(read, self._adapter), value, path)
        # Here `value` can only be None, for an optional table: the loop above has passed all other
        # values to the reader of the table.
        if self.json_type is msgspec.Raw:
            return None
        if self._files is not None:
            return self._files.from_plain(value, path)
        value = convert(value, self.json_type, root=path, strict=strict)
        return self.from_json(value, path) if self.readers else value

    def _validated(self, validate: cabc.Callable[[t.Any], t.Any], value: t.Any, path: str) -> t.Any:
        try:
            found = validate(value)
        except Exception as error:
            if not inputerrors.is_input_error(error):
                raise
            raise inputerrors.input_error(error, value, root=path) from error
        problem = inputerrors.not_finite(found, path) if self._may_be_infinite else None
        if problem is not None:
            raise problem
        return found

    # -- forms and raw bodies --------------------------------------------------------------------

    def is_empty_input(self, texts: cabc.Sequence[str]) -> bool:
        """Return whether a browser has sent an empty input field for an optional parameter."""
        return not self.required and not self._takes_text and list(texts) == [""]

    def from_texts(self, texts: cabc.Sequence[str], path: str) -> t.Any:
        """Convert the form fields of this parameter into the argument. Raises InputError."""
        data = self._texts.json(texts)
        try:
            if data is not None:
                if self._adapter is not None:
                    check_keys(data)
                value = rereading.read(self.decode, data)
                return self.from_json(value, path) if self.converts else value
            value = self._texts.plain(texts)
            return value if self._convert is None else self._convert(value)
        except Exception as error:
            if not inputerrors.is_input_error(error):
                raise
            sent = data or self._texts.sent(texts)
            raise field_error(error, sent, path, self.annotation) from error

    def _convert_plain(self, value: t.Any) -> t.Any:
        return self.from_plain(value, f"$.{self.alias}", strict=False)

    def from_files(self, files: cabc.Sequence[Upload], path: str) -> t.Any:
        """Convert uploaded files into the argument. Raises InputError."""
        if self._files is not None:
            return self._files.from_plain(list(files), path)
        if len(files) > 1:
            raise InputError.at(path, expected="one file", got=f"{len(files)} files")
        return self._kind_of_file(files[0]).read_file(files[0], path=path)

    def _kind_of_file(self, file: Upload) -> ValueKind:
        """Return the reader (image, table, ...) that recognises a file. If none does, return the
        first reader, whose error the client gets.
        """
        if len(self.kinds) == 1:
            return self.kinds[0]
        head = file.read(64)
        file.stream.seek(0)
        found = (kind for kind in self.kinds if kind.recognises(head, file.media_type))
        return next(found, self.kinds[0])


class _Files:
    """Reads a parameter that is a collection of files: `list[Image]`, `set[bytes] | None`.

    Attributes:
        json_type: the type into which msgspec decodes JSON for the whole collection.
    """

    def __init__(self, annotation: t.Any) -> None:
        """Create the functions that read a collection, from its annotation. Raises SignatureError
        for a limit that cannot be checked.
        """
        self._kind = t.cast("ValueKind", kind_of(item_of(annotation)))
        bare = next(each for each in map(strip, members_of(annotation)) if item_of(each))
        self._collection = t.get_origin(bare)
        self._has_gaps = _is_optional(t.get_args(bare)[0])
        self.json_type = _list_of(self._kind.json_type, annotation)
        self._plain_type = _list_of(t.Any, annotation)

    def from_json(self, values: t.Any, path: str) -> t.Any:
        """Convert a collection that msgspec has decoded as `json_type` into the argument. Raises
        InputError.
        """
        return self._collected(values, self._kind.from_json, path)

    def from_plain(self, values: t.Any, path: str) -> t.Any:
        """Convert a list from MessagePack, or a list of uploaded files, into the argument. Raises
        InputError.
        """
        values = convert(values, self._plain_type, root=path)
        return self._collected(values, partial(read_by, self._kind), path)

    def _collected(self, values: t.Any, read: cabc.Callable[..., t.Any], path: str) -> t.Any:
        if values is None:
            return None
        found = [
            None if self._has_gaps and each in (None, _NULL) else read(each, path=f"{path}[{i}]")
            for i, each in enumerate(values)
        ]
        return found if self._collection is list else self._collection(found)


def _is_optional(annotation: t.Any) -> bool:
    return types.NoneType in members_of(annotation)


def _list_of(item: t.Any, annotation: t.Any) -> t.Any:
    """Return a list type with items of the type `item`, and with the limits of a collection's
    annotation.
    """
    bare, extras = peel(annotation)
    if is_union(bare):
        members = (
            each if each is types.NoneType else _list_of(item, each) for each in t.get_args(bare)
        )
        return annotated(union_of(members), translated(extras))
    limits = translated(extras)
    for extra in filter(is_foreign_limit, limits):
        raise SignatureError(
            f"{extra!r} has no effect on a collection of files. Check it in the function."
        )
    if _is_optional(t.get_args(bare)[0]) and item is not msgspec.Raw:
        item = union_of((item, None))
    return annotated(list[item], limits)


def _adapter_of(annotation: t.Any) -> t.Any:
    needed = annotation is not None and needs_pydantic(annotation)
    return adapter(annotation) if needed else None


_USABLE = (
    "Use scalars, lists, dicts, a Struct, dataclass or TypedDict, Image, or"
    ' Tensor["float32", 3, "h", "w"].'
)


def compile_parameter(parameter: Parameter, owner: str) -> BodyParameter:
    name, annotation = parameter.name, parameter.annotation
    try:
        compiled = BodyParameter(parameter)
        check_decodable(compiled.json_type)
    except SignatureError as exc:
        raise SignatureError(f"{owner}: the parameter {name!r}: {exc}") from None
    except Exception as exc:  # noqa: BLE001 - msgspec's and pydantic's own, of many classes
        instead = advice(annotation)
        why = f". {instead}" if instead else f": {exc}. {_USABLE}"
        raise SignatureError(
            f"{owner}: the parameter {name!r} has the type {shown(annotation)}, which cannot be"
            f" read from a request{why}"
        ) from None
    for kind in kinds_in(annotation):
        require(kind, owner)
    return compiled
