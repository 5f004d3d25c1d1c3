"""The body of a request into arguments: one table, for views and models.

    =====================================  =====================================================
    `application/json`, `+json`            the value of a lone parameter, or an object by name
    `application/msgpack`                  the same
    `multipart/form-data`                  files and fields: see `carboy.contract.forms`
    a body that a parameter recognises     that parameter: a picture, `.npy`, CSV, text, bytes;
                                           by its content first, then by its media type
    `application/x-www-form-urlencoded`    fields
    =====================================  =====================================================

The first line that fits decides, and nothing else is tried: 415 names the media types that can be
read. A raw body fills one parameter, so the others need a default.

**A lone parameter** is first read as the value itself, as the published schema says. Only where
that fails, and the parameter's name is the only key of an object, is it read by name.

A `BodyReader` is compiled from a `BodySpec` once, keeps no state and belongs to no thread. A server
hands in a `Body`, so that this module knows neither WSGI nor Werkzeug.
"""

from __future__ import annotations

import re
import types
import typing as t

import msgspec

from ..errors import InputError, MalformedInputError, SignatureError
from . import problems
from .forms import FormReader, convert, converter
from .hints import (
    adapter,
    is_scalar,
    is_union,
    item_of,
    members_of,
    needs_pydantic,
    shown,
    strip,
    union_of,
    without_none,
)
from .hooks import from_json, read_by
from .kinds import Sort, check_decodable, is_file, plain_classes, sort_of, takes_object
from .media import JSON, MSGPACK, MULTIPART, URLENCODED
from .operation import copier, fresh
from .values.registry import kind_of, kinds_in, part, require

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .forms import Arguments, FormData
    from .operation import BodySpec, Parameter
    from .values.file import Upload
    from .values.kind import ValueKind

MSGPACK_TYPES: t.Final = frozenset((MSGPACK, "application/x-msgpack", "application/vnd.msgpack"))
# As clients write it; any other form of the header is parsed.
USUAL_JSON: t.Final = frozenset(
    (JSON, f"{JSON}; charset=utf-8", f"{JSON};charset=utf-8", f"{JSON}; charset=UTF-8")
)
_NULL: t.Final = msgspec.Raw(b"null")
# What `json_type` of a kind that reads JSON by itself gives, and what a field of a form gives.
_ANYTHING = (msgspec.Raw, bytes, str, list, dict)

Decode: t.TypeAlias = "cabc.Callable[[bytes], t.Any]"


class Body(t.Protocol):
    """What a reader may ask of a request. Reading fails with the server's own 413."""

    @property
    def media_type(self) -> str:
        """Lower case, without parameters; empty if the client sent none."""

    @property
    def content_type(self) -> str:
        """Content-Type with its parameters, as the client sent it."""

    @property
    def encoding(self) -> str:
        """Content-Encoding, lower case; empty if there is none."""

    def raw(self) -> bytes:
        """Return the body as it came."""

    def form(self) -> FormData:
        """Return the parts of a multipart or urlencoded body."""


def json_decoder(annotation: t.Any) -> Decode:
    """Return what makes a value of JSON."""
    if needs_pydantic(annotation):
        return t.cast("Decode", adapter(annotation).validate_json)
    return msgspec.json.Decoder(annotation, dec_hook=from_json).decode


class _Reader(t.NamedTuple):
    """A kind of value, and the classes of plain JSON that are its own."""

    kind: ValueKind
    classes: tuple[type, ...]


class BodyParameter:
    """One parameter of a body, compiled.

    Its value may come by `kinds` (a picture, a table, text, ...), and as plain JSON of the type
    `rest`, None where there is none. `json_type` is what msgspec decodes: all of it.
    """

    def __init__(self, parameter: Parameter) -> None:
        """Raises TypeError: a type that cannot be read."""
        annotation = parameter.annotation
        self.parameter = parameter
        self.name, self.alias = parameter.name, parameter.alias
        self.annotation, self.default = annotation, parameter.default
        self.required = parameter.required
        self.kinds, self.rest = part(annotation)
        self._adapter = _adapter_of(annotation if not self.kinds else self.rest)
        self.readers, self.json_type = self._share()
        json_type = self.json_type if self._adapter is None else self.rest
        self.takes_object = any(map(takes_object, members_of(json_type)))
        item = item_of(annotation)
        self._item = kind_of(item) if is_file(item) else None
        self.takes_files = bool(self.kinds) or self._item is not None
        #: Whether more than text comes as a file.
        self.takes_more_than_text = self._item is not None or any(
            kind.name != "text" for kind in self.kinds
        )
        sort = Sort.FILE if self.kinds and self.takes_more_than_text else sort_of(annotation)
        self._is_scalar = sort is Sort.SCALAR
        self._many = sort in (Sort.SCALARS, Sort.FILES)
        # Of `float | None` the None is for a field that was left out: text is text.
        self._convert = (
            converter(annotation) if sort in (Sort.SCALAR, Sort.SCALARS) else self._convert_plain
        )
        self._takes_text = any(each.name == "text" for each in self.kinds) or str in _texts_in(
            annotation
        )

    def _share(self) -> tuple[tuple[_Reader, ...], t.Any]:
        """Decide which kind reads which JSON, and the type of all of it.

        A kind that reads JSON itself (a table) takes all of it but null. Else plain JSON comes
        first, then text and bytes: of `Image | str` any text is the `str`. Of two that take
        base64, the first does.
        """
        kinds, rest = self.kinds, self.rest
        if not kinds:
            return (), msgspec.Raw if self._adapter is not None else self.annotation
        whole = [kind for kind in kinds if kind.json_type is msgspec.Raw]
        if whole:
            if len(whole) > 1 or rest not in (None, types.NoneType):
                names = " and ".join(kind.name for kind in whole)
                raise TypeError(f"{names} and other JSON in one union")
            own = [_Reader(each, _ANYTHING if each is whole[0] else ()) for each in kinds]
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
        readers = tuple(_Reader(kind, found[i]) for i, kind in enumerate(kinds))
        return readers, msgspec.Raw if self._adapter is not None else union_of(parts)

    @property
    def copy(self) -> cabc.Callable[[], t.Any] | None:
        return copier(self.default)

    @property
    def wanted_part(self) -> str:
        """What a form lacks: "a file (image) named 'photo'"."""
        names = [kind.name for kind in self.kinds if kind.packages]
        kind = f"a file ({' or '.join(names)})" if names else "a file"
        return f"{kind if self.takes_more_than_text else 'a field'} named {self.alias!r}"

    # -- JSON and MessagePack --------------------------------------------------------------------

    def decoder(self) -> Decode:
        """Return what makes a value of `json_type` of a body that is the bare value."""
        if self._adapter is not None and not self.kinds:
            return t.cast("Decode", self._adapter.validate_json)
        if self.json_type is msgspec.Raw:
            return lambda data: msgspec.Raw(data.strip(b" \t\r\n"))
        return msgspec.json.Decoder(self.json_type, dec_hook=from_json).decode

    def from_json(self, value: t.Any, path: str) -> t.Any:
        """Make the argument of a value of `json_type`. Raises InputError."""
        if self.rest is types.NoneType and isinstance(value, msgspec.Raw) and value == _NULL:
            return None
        if self._adapter is not None:
            if self.readers:
                return self.from_plain(msgspec.json.decode(value), path)
            return self._validated(self._adapter.validate_json, bytes(value), path)
        for kind, classes in self.readers:
            if isinstance(value, classes):
                return kind.from_json(value, path=path)
        return value

    def from_plain(self, value: t.Any, path: str, *, strict: bool = True) -> t.Any:
        """Make the argument of a value that was decoded without types. Raises InputError.

        Args:
            strict: False where numbers may be texts, as in a form.
        """
        for kind, classes in self.readers:
            if isinstance(value, bytes) and kind.recognises(value, ""):
                return kind.read(value, path=path)
            if kind.json_type is msgspec.Raw and value is not None:
                return kind.from_json(value, path=path)
            if self._adapter is not None and isinstance(value, classes):
                return read_by(kind, value, path=path)
        if self._adapter is not None:
            return self._validated(self._adapter.validate_python, value, path)
        if self.json_type is msgspec.Raw:  # a table that is None
            return None
        value = convert(value, self.json_type, root=path, strict=strict)
        return self.from_json(value, path) if self.readers else value

    def _validated(self, validate: cabc.Callable[[t.Any], t.Any], value: t.Any, path: str) -> t.Any:
        try:
            return validate(value)
        except Exception as error:
            if not problems.is_of_input(error):
                raise
            raise problems.refusal(error, value, root=path) from error

    # -- forms and raw bodies --------------------------------------------------------------------

    def is_blank(self, texts: cabc.Sequence[str]) -> bool:
        """Return whether a browser sent an input that was left empty, and a default fits."""
        return not self.required and not self._takes_text and list(texts) == [""]

    def from_texts(self, texts: cabc.Sequence[str], path: str) -> t.Any:
        """Make the argument of the fields that have its name. Raises InputError."""
        first = texts[0]
        if len(texts) == 1 and not self._is_scalar and first.lstrip()[:1] in ("[", "{"):
            try:
                plain = msgspec.json.decode(first)
            except (msgspec.DecodeError, RecursionError) as exc:
                if not self._takes_text:
                    detail = problems.malformed(first.encode(), exc).detail
                    raise InputError(f"Field {self.alias!r}: {detail}") from exc
            else:
                return self.from_plain(plain, path, strict=False)
        is_list = self._many or (len(texts) > 1 and not self._is_scalar)
        value = list(texts) if is_list else first
        if self._convert is None:
            return value
        try:
            return self._convert(value)
        except Exception as error:
            if not problems.is_of_input(error):
                raise
            raise problems.refusal(error, value, root=path, kind=self.annotation) from error

    def _convert_plain(self, value: t.Any) -> t.Any:
        return self.from_plain(value, f"$.{self.alias}", strict=False)

    def from_files(self, files: cabc.Sequence[Upload], path: str) -> t.Any:
        """Make the argument of files of a form. Raises InputError."""
        if self._item is not None:
            read = self._item.read_file
            found = [read(file, path=f"{path}[{i}]") for i, file in enumerate(files)]
            wanted = t.get_origin(strip(without_none(self.annotation)))
            return found if wanted is list else wanted(found)
        if len(files) > 1:
            raise InputError.at(path, expected="one file", got=f"{len(files)} files")
        return self._kind_of_file(files[0]).read_file(files[0], path=path)

    def _kind_of_file(self, file: Upload) -> ValueKind:
        """Return the kind that recognises a file; if none does, the first refuses it."""
        if len(self.kinds) == 1:
            return self.kinds[0]
        head = file.read(64)
        file.stream.seek(0)
        found = (kind for kind in self.kinds if kind.recognises(head, file.media_type))
        return next(found, self.kinds[0])


class BodyReader:
    """Reads the bodies of one operation into arguments by name.

    Args:
        owner: what error messages call the view or the model, such as "Model 'digits'".

    Raises:
        SignatureError: a parameter has a type that cannot be read.
    """

    def __init__(self, spec: BodySpec, owner: str) -> None:
        self.spec = spec
        #: What a client may send, JSON first and the rarest last.
        self.media_types = sorted(spec.media_types, key=_commonness)
        self.parameters = tuple(_compiled(each, owner) for each in spec.parameters)
        self.single = self.parameters[0] if spec.single is not None else None
        self._bare = None if self.single is None else self.single.decoder()
        self._has_json = JSON in spec.media_types
        self._has_msgpack = MSGPACK in spec.media_types
        self._form_types = {MULTIPART, URLENCODED} & set(spec.media_types)
        self._named_type = _named_type(self.parameters)
        self._named = msgspec.json.Decoder(self._named_type, dec_hook=from_json)
        self._raw = _raw_readers(spec, self.parameters)
        self._forms = FormReader(self.parameters)
        self._sided = [p for p in self.parameters if any(kind.has_sides for kind in p.kinds)]
        # Nothing is to be done to what msgspec has read by name.
        self._plain = len(self._sided) < 2 and not any(map(_is_read_again, self.parameters))

    @property
    def json(self) -> Decode | None:
        """What reads JSON of a lone parameter, for a compiled binding; None of several."""
        if self.single is None or self._bare is None or not self._has_json:
            return None
        if not self.single.readers:
            return self._bare
        bare, read = self._bare, self.single.from_json
        return lambda data: read(bare(data), "$")

    def decode(self, body: Body) -> Arguments:
        """Read one request; parameters with a default may be left out.

        Raises:
            InputError: 400 malformed, 413 too large, 415 of a media type that is not read here,
                422 readable but not of the types.
        """
        if body.encoding not in ("", "identity"):
            raise problems.encoded(body.encoding)
        media_type = body.media_type
        if self._has_json and (media_type == JSON or media_type.endswith("+json")):
            return self.decode_json(body.raw())
        if self._has_msgpack and media_type in MSGPACK_TYPES:
            return self._decode_msgpack(body.raw())
        if media_type == MULTIPART:
            if MULTIPART not in self._form_types:
                raise problems.unreadable(media_type, b"", self.media_types)
            return self._compared(self._forms.read(body.form()))
        data = body.raw()
        for parameter, kind in self._raw:
            if kind.recognises(data, media_type):
                value = kind.read(data, media_type=body.content_type, path="$")
                return {**self._defaults(), parameter.name: value}
        if media_type in self._form_types and data[:64].lstrip()[:1] not in (b"{", b"["):
            return self._compared(self._forms.read(body.form()))
        if not data and not media_type and not self.spec.required:
            return self._defaults()
        raise problems.unreadable(media_type if data else "", data, self.media_types)

    def decode_json(self, data: bytes) -> Arguments:
        """Read a body that is JSON. Raises InputError."""
        single, bare = self.single, self._bare
        try:
            if single is None or bare is None or _is_by_name(single, data):
                return self._by_name(data)
            value = bare(data)
            # PERF: 0.1 us of 2 for 64 numbers.
            return {single.name: single.from_json(value, "$") if single.readers else value}
        except Exception as error:
            arguments = self._read_otherwise(data)
            if arguments is not None:
                return arguments
            if not problems.is_of_input(error):
                raise
            raise self._refusal(error, data) from error

    def _by_name(self, data: bytes) -> Arguments:
        found = self._named.decode(data)
        if self._plain:
            return msgspec.structs.asdict(found)  # PERF: 0.4 us less
        return self._arguments(found)

    def _arguments(self, found: t.Any) -> Arguments:
        """Finish what msgspec has read by name: values of kinds, and models of pydantic."""
        return self._compared(
            {each.name: _finished(each, getattr(found, each.name)) for each in self.parameters}
        )

    def _read_otherwise(self, data: bytes) -> Arguments | None:
        """Read a body that is no bare value: an empty one, or an object by name."""
        if not data:
            return None if self.spec.required else self._defaults()
        if self._is_named(data):
            try:
                return self._by_name(data)
            except Exception:  # noqa: BLE001 - `_refusal` reads it once more, to say why
                return None
        return None

    def _is_named(self, data: bytes) -> bool:
        """Return whether the lone parameter's name is the only key of an object."""
        if self.single is None or data[:64].lstrip()[:1] != b"{":
            return False
        try:
            return _keys(data).keys() == {self.single.alias}
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False

    def _refusal(self, error: Exception, data: bytes) -> InputError:
        """Say why JSON was refused: as the value or by name, whichever came further."""
        single = self.single
        if single is None or _is_by_name(single, data):
            return self._name_all(_told(error, data, self._named_type))
        refused = _told(error, data, single.annotation)
        if not self._is_named(data):
            return refused
        try:
            self._by_name(data)
        except Exception as second:  # noqa: BLE001 - of whatever class, it is told if it can be
            if problems.is_of_input(second):
                return min(refused, _told(second, data, self._named_type), key=_distance)
        return refused

    def _name_all(self, told: InputError) -> InputError:
        """Name the parameters, where a bare value came for several."""
        for fault in told.faults:
            if fault.path == "$" and fault.expected == "`object`" and self.single is None:
                names = [f"`{p.alias}`" + " (optional)" * (not p.required) for p in self.parameters]
                wanted = f"an object with {', '.join(names[:-1])} and {names[-1]}"
                return InputError.at("$", expected=wanted, got=fault.got)
        return told

    def _decode_msgpack(self, data: bytes) -> Arguments:
        if not data and not self.spec.required:
            return self._defaults()
        try:
            value = msgspec.msgpack.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise MalformedInputError("The body is not valid MessagePack.") from exc
        single = self.single
        if single is None or (isinstance(value, dict) and not single.takes_object):
            return self._by_name_of_plain(value)
        try:
            return {single.name: single.from_plain(value, "$")}
        except InputError as refused:
            if not (isinstance(value, dict) and value.keys() == {single.alias}):
                raise
            try:
                return self._by_name_of_plain(value)
            except InputError as second:
                raise min(refused, second, key=_distance) from None

    def _by_name_of_plain(self, value: t.Any) -> Arguments:
        names = {each.alias: each for each in self.parameters}
        checked = convert(value, _loose_type(self.parameters))
        found = {
            names[key].name: names[key].from_plain(each, f"$.{key}")
            for key, each in t.cast("dict[str, t.Any]", value).items()
        }
        del checked  # it had all that is required, and nothing else
        return self._compared({**self._defaults(), **found})

    def _defaults(self) -> Arguments:
        return {p.name: fresh(p.default) for p in self.parameters if not p.required}

    def _compared(self, arguments: Arguments) -> Arguments:
        """Check that the name of a side means one size in the whole input."""
        seen: dict[str, tuple[int, str]] = {}
        for parameter in self._sided if len(self._sided) > 1 else ():
            value = arguments.get(parameter.name)
            if not hasattr(value, "shape"):  # left out, or the other type of a union
                continue
            for kind in parameter.kinds:
                for side, size in kind.sides(value).items():
                    first, where = seen.setdefault(side, (size, parameter.alias))
                    if size != first:
                        raise InputError.at(
                            f"$.{parameter.alias}",
                            expected=f"side {side!r} of size {first}, as in `$.{where}`",
                            got=str(size),
                        )
        return arguments


def _compiled(parameter: Parameter, owner: str) -> BodyParameter:
    name, annotation = parameter.name, parameter.annotation
    try:
        compiled = BodyParameter(parameter)
        check_decodable(compiled.json_type)
    except SignatureError as exc:
        raise SignatureError(f"{owner}: the parameter {name!r}: {exc}") from None
    except Exception as exc:  # noqa: BLE001 - msgspec's and pydantic's own, of many classes
        raise SignatureError(
            f"{owner}: the parameter {name!r} has the type {shown(annotation)}, which cannot be"
            f" read from a request: {exc}. Use scalars, lists, dicts, a Struct, dataclass or"
            ' TypedDict, Image, or Tensor["float32", 3, "h", "w"].'
        ) from None
    for kind in kinds_in(annotation):
        require(kind, owner)
    return compiled


def _adapter_of(annotation: t.Any) -> t.Any:
    needed = annotation is not None and needs_pydantic(annotation)
    return adapter(annotation) if needed else None


def _texts_in(annotation: t.Any) -> set[t.Any]:
    """Return the members of a union, and the items of a list, that one text may be."""
    found: set[t.Any] = set()
    for each in members_of(without_none(annotation)):
        bare = strip(each)
        found |= {bare} if is_scalar(bare) or bare is t.Any else set()
        if item_of(bare) is not None and not is_union(bare):
            found.add(strip(item_of(bare)))
    return {str if each is t.Any else each for each in found if isinstance(each, t.Hashable)}


def _is_read_again(parameter: BodyParameter) -> bool:
    return bool(parameter.readers) or parameter.json_type is msgspec.Raw


def _finished(parameter: BodyParameter, value: t.Any) -> t.Any:
    if value is parameter.default or not _is_read_again(parameter):
        return value
    if parameter.json_type is msgspec.Raw and not isinstance(value, msgspec.Raw):
        return value  # a copy of the default
    return parameter.from_json(value, f"$.{parameter.alias}")


def _named_type(parameters: cabc.Sequence[BodyParameter]) -> t.Any:
    fields = [_field(each, each.json_type) for each in parameters]
    return msgspec.defstruct("Input", fields, kw_only=True, forbid_unknown_fields=True)


def _loose_type(parameters: cabc.Sequence[BodyParameter]) -> t.Any:
    """Return the type of an object that has the right names, and any values."""
    fields = [_field(each, t.Any) for each in parameters]
    return msgspec.defstruct("Input", fields, kw_only=True, forbid_unknown_fields=True)


def _field(parameter: BodyParameter, annotation: t.Any) -> tuple[str, t.Any, t.Any]:
    name, copy = parameter.alias, parameter.copy
    if parameter.required:
        return parameter.name, annotation, msgspec.field(name=name)
    if copy is not None:
        return parameter.name, annotation, msgspec.field(name=name, default_factory=copy)
    return parameter.name, annotation, msgspec.field(name=name, default=parameter.default)


def _raw_readers(
    spec: BodySpec, parameters: cabc.Sequence[BodyParameter]
) -> list[tuple[BodyParameter, ValueKind]]:
    """Return who is asked about a raw body: it fills one parameter, the others need a default."""
    found = [
        (each, kind)
        for each in parameters
        if each.parameter.place != "form"
        and not any(other.required for other in parameters if other is not each)
        for kind in each.kinds
        if set(kind.media_types) & set(spec.media_types)
    ]
    return sorted(found, key=lambda each: each[1].takes_anything)


def _is_by_name(single: BodyParameter, data: bytes) -> bool:
    """Return whether JSON is an object that can only be one by name."""
    if single.takes_object:
        return False
    return data[:1] == b"{" or data[:64].lstrip()[:1] == b"{"


_keys: t.Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _commonness(media_type: str) -> int:
    usual = (JSON, MULTIPART, URLENCODED)
    if media_type in usual:
        return usual.index(media_type)
    return len(usual) + (media_type == MSGPACK)


def _told(error: Exception, data: bytes, kind: t.Any) -> InputError:
    return problems.refusal(error, data, kind=kind)


def _distance(refused: InputError) -> tuple[int, int]:
    """Order refusals of two readings: a picture that is too large was recognised as a picture."""
    depths = (len(re.findall(r"[.\[]", fault.path)) for fault in refused.faults)
    return refused.status, -max(depths, default=0)
