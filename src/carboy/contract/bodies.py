"""Convert the body of a request into the arguments of a view or a model.

    =====================================  =====================================================
    `application/json`, `+json`            the value of a single parameter, or an object whose
                                           keys are the names of the parameters
    `application/msgpack`                  the same as in JSON, encoded as MessagePack
    `multipart/form-data`                  files and fields, which `carboy.contract.forms` reads
    a body that a parameter recognises     one image, `.npy`, CSV, text or bytes; recognised
                                           by its content first, then by its media type
    `application/x-www-form-urlencoded`    fields
    =====================================  =====================================================

The first row that matches decides; other bodies are rejected with 415. If the body is one file, it
is the value of one parameter, so all other parameters need a default.

The body for a function with **a single parameter** is first read as the parameter's value, as the
published schema says. If that fails, and the parameter's name is the only key of a JSON object, the
member of that name is read as the value.

A `BodyReader` is compiled from a `BodySpec` once and keeps no state: it is thread-safe. Servers
pass an `IncomingBody`, so that this module imports neither WSGI nor Werkzeug.
"""

from __future__ import annotations

import json
import re
import typing as t

import msgspec

from ..errors import InputError, MalformedInputError
from . import inputerrors, rereading
from .bodyparameters import Decode, compile_parameter
from .forms import FormReader, convert, finite
from .hints import is_pydantic
from .hooks import typed_decoder, unpacks
from .media import JSON, MSGPACK, MULTIPART, URLENCODED
from .operation import fresh
from .records import types_in
from .valuecounts import (
    UNCHECKED_BYTES,
    UNCHECKED_KEYS_BYTES,
    check_json,
    check_msgpack,
    check_plain_keys,
)
from .values import unpacked

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .bodyparameters import BodyParameter
    from .forms import Arguments, FormData
    from .operation import BodySpec
    from .values.kind import ValueKind

MSGPACK_TYPES: t.Final = frozenset((MSGPACK, "application/x-msgpack", "application/vnd.msgpack"))
# Usual values of the Content-Type header for JSON. They are compared with the header as it is,
# which saves parsing it.
USUAL_JSON: t.Final = frozenset(
    (JSON, f"{JSON}; charset=utf-8", f"{JSON};charset=utf-8", f"{JSON}; charset=UTF-8")
)


class IncomingBody(t.Protocol):
    """The parts of a request that a `BodyReader` needs, to read the request's body.

    Both methods raise the server's own 413 error if the body exceeds its size limit.
    """

    @property
    def media_type(self) -> str:
        """Return the media type in lower case, without parameters; "" if the request has none."""

    @property
    def content_type(self) -> str:
        """Return the Content-Type header with its parameters, as the client sent it."""

    @property
    def encoding(self) -> str:
        """Return the Content-Encoding header in lower case; "" if the request has none."""

    def raw(self) -> bytes:
        """Return the whole body."""

    def form(self) -> FormData:
        """Return the fields and files of a multipart or urlencoded form."""


class BodyReader:
    """Converts request bodies into the arguments of one view or model. Thread-safe.

    Args:
        spec: the parameters and the media types of the body.
        owner: how error messages name the view or the model, such as "Model 'digits'".

    Raises:
        SignatureError: a parameter has a type that cannot be read.
    """

    def __init__(self, spec: BodySpec, owner: str) -> None:
        self.spec = spec
        #: Accepted media types in the order in which error messages list them.
        self.media_types = sorted(spec.media_types, key=_usual_first)
        self.parameters = tuple(compile_parameter(each, owner) for each in spec.parameters)
        self.single = self.parameters[0] if spec.single is not None else None
        self._bare = None if self.single is None else self.single.decode
        self._has_json = JSON in spec.media_types
        self._has_msgpack = MSGPACK in spec.media_types
        self._form_types = {MULTIPART, URLENCODED} & set(spec.media_types)
        self._named_type = _object_type(self.parameters)
        self._names_type = _object_type(self.parameters, any_values=True)
        self._decode_named = finite(typed_decoder(self._named_type), self._named_type)
        self._raw = _raw_readers(spec, self.parameters)
        self._forms = FormReader(self.parameters)
        #: The names in JSON of the parameters that pydantic validates, or a part of them.
        self.validated = frozenset(p.alias for p in self.parameters if _is_validated(p))
        #: Whether pydantic validates a part of the body.
        self.has_pydantic = bool(self.validated)
        #: JSON of at most this length is read without counting its values.
        self.unchecked_bytes = UNCHECKED_KEYS_BYTES if self.has_pydantic else UNCHECKED_BYTES
        self._sided = [p for p in self.parameters if any(kind.has_sides for kind in p.kinds)]
        # Whether the fields that msgspec decodes can be used as arguments, because they need no
        # conversion and contain no arrays whose dimensions must be compared.
        self._plain = len(self._sided) < 2 and not any(map(_is_read_again, self.parameters))
        self._unpacks = any(unpacks(each.annotation) for each in self.parameters)
        # PERF: the methods are wrapped here, so that plain JSON does not pay for the limit.
        for name in ("decode", "decode_json", "from_plain") if self._unpacks else ():
            setattr(self, name, unpacked.limited(getattr(self, name)))

    @property
    def json(self) -> Decode | None:
        """Return a function that decodes a JSON body into the argument of the single parameter;
        None if there are several parameters, or the body must not be JSON.
        """
        if self.single is None or self._bare is None or not self._has_json:
            return None
        decode, read = self._bare, self.single.from_json
        if self.single.converts:
            decode = _composed(read, decode)
        return unpacked.limited(decode) if self._unpacks else decode

    def copies(self, media_type: str) -> bool:
        """Return whether a body of this media type may be a memoryview of memory that is written
        again, because the arguments are copied from it.
        """
        if len(self._raw) != 1:
            return False
        _, kind = self._raw[0]
        return kind.copies and media_type in kind.media_types

    def decode(self, body: IncomingBody) -> Arguments:
        """Read the arguments of one request; parameters with a default may be missing.

        Raises:
            InputError: 400 malformed, 413 too large, 415 unsupported media type, 422 invalid value.
        """
        if body.encoding not in ("", "identity"):
            raise inputerrors.unsupported_encoding(body.encoding)
        media_type = body.media_type
        if self._has_json and (media_type == JSON or media_type.endswith("+json")):
            return self.decode_json(body.raw())
        if self._has_msgpack and media_type in MSGPACK_TYPES:
            return self._decode_msgpack(body.raw())
        if media_type == MULTIPART:
            if MULTIPART not in self._form_types:
                raise inputerrors.unsupported_type(media_type, b"", self.media_types)
            return self._with_checked_sides(self._forms.read(body.form()))
        data = body.raw()
        for parameter, kind in self._raw:
            if kind.recognises(data, media_type):
                value = kind.read(data, media_type=body.content_type, path="$")
                return {**self._defaults(), parameter.name: value}
        if media_type in self._form_types and data[:64].lstrip()[:1] not in (b"{", b"["):
            try:
                return self._with_checked_sides(self._forms.read(body.form()))
            except InputError:
                if not data or inputerrors.may_be_form(data):
                    raise
                raise inputerrors.unsupported_type(media_type, data, self.media_types) from None
        if not data and not media_type and not self.spec.required:
            return self._defaults()
        raise inputerrors.unsupported_type(media_type if data else "", data, self.media_types)

    def decode_json(self, data: bytes, *, may_recode: bool = True) -> Arguments:
        """Read a JSON body. Raises InputError.

        Args:
            data: the body, which RFC 8259 (section 8.1) requires to be in UTF-8.
            may_recode: if reading fails, whether to try again with UTF-16 or UTF-32, or without a
                byte order mark. Flask reads these, and programs on Windows send them.
        """
        if len(data) > self.unchecked_bytes:
            check_json(data, all_values=self.has_pydantic)
        single, bare = self.single, self._bare
        try:
            if single is None or bare is None:
                return self._by_name(data)
            # PERF: the first byte is compared before the call of `_begins_object`: that takes 0.04
            # us, and the call 0.12 us.
            if not single.takes_object and (data[:1] == b"{" or _begins_object(data)):
                return self._by_name(data)
            # PERF: the next lines do the same as `rereading.read`, without the cost of a call.
            try:
                value = bare(data)
            except msgspec.DecodeError as refused:
                value = rereading.reread(bare, data, refused)
            # PERF: a call of `from_json` that would return the value unchanged is left out, which
            # saves 0.1 us of 2 us for 64 numbers.
            return {single.name: single.from_json(value, "$") if single.converts else value}
        except Exception as error:
            unpacked.start_again()
            recoded = _in_utf8(data) if may_recode else None
            if recoded is not None:
                return self.decode_json(recoded, may_recode=False)
            arguments = self._read_otherwise(data)
            if arguments is not None:
                return arguments
            if not inputerrors.is_input_error(error):
                raise
            raise self._refusal(error, data) from error

    def _by_name(self, data: bytes) -> Arguments:
        found = rereading.read(self._decode_named, data)
        if self._plain:
            # PERF: if no field needs a conversion, the decoded fields are the arguments. This saves
            # the loop in `_arguments`, which takes 0.4 us.
            return msgspec.structs.asdict(found)
        return self._arguments(found)

    def _arguments(self, found: t.Any) -> Arguments:
        """Convert decoded fields into arguments. For example, base64 text becomes an image."""
        return self._with_checked_sides(
            {each.name: _converted(each, getattr(found, each.name)) for each in self.parameters}
        )

    def _read_otherwise(self, data: bytes) -> Arguments | None:
        """Read an empty body, or an object whose only key is the name of the single parameter;
        return None for other bodies.
        """
        if not data:
            return None if self.spec.required else self._defaults()
        if self._is_named(data):
            try:
                return self._by_name(data)
            except Exception:  # noqa: BLE001 - `_refusal` reads it once more, to say why
                unpacked.start_again()
        return None

    def _is_named(self, data: bytes) -> bool:
        """Return whether a body is a JSON object whose only key is the name of the single
        parameter.
        """
        if self.single is None or not _begins_object(data):
            return False
        try:
            return _keys(data).keys() == {self.single.alias}
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False

    def _refusal(self, error: Exception, data: bytes) -> InputError:
        """Return the error for a JSON body that could not be read.

        The body may be wrong in two ways, as the parameter's value and as an object with the
        parameter's name as key. The error with the deeper path is returned, because that reading
        got further.
        """
        single = self.single
        if single is None or (not single.takes_object and _begins_object(data)):
            return self._list_parameters(
                inputerrors.input_error(error, data, kind=self._named_type)
            )
        refused = inputerrors.input_error(error, data, kind=single.annotation)
        if not self._is_named(data):
            return refused
        try:
            self._by_name(data)
        except Exception as second:  # noqa: BLE001 - of any class: a user's type may raise it
            if inputerrors.is_input_error(second):
                named = inputerrors.input_error(second, data, kind=self._named_type)
                return min(refused, named, key=_best_error)
        return refused

    def _list_parameters(self, refused: InputError) -> InputError:
        """Return an error that lists all parameters, if the given error says that the body is not
        an object with the parameters' names as keys; return other errors unchanged.
        """
        for fault in refused.faults:
            unknown = inputerrors.unknown_field(fault)
            if fault.path == "$" and (unknown or fault.expected == "`object`"):
                names = [f"`{p.alias}`" + " (optional)" * (not p.required) for p in self.parameters]
                *others, last = names
                listed = f"{', '.join(others)} and {last}" if others else last
                wanted = f"an object with {listed}"
                wanted += f" and without `{unknown}`" if unknown else ""
                wanted += f", or the value of {last} itself" if self.single is not None else ""
                return InputError.at("$", expected=wanted, got=fault.got)
        return refused

    def _decode_msgpack(self, data: bytes) -> Arguments:
        if not data and not self.spec.required:
            return self._defaults()
        check_msgpack(data, all_values=self.has_pydantic)
        try:
            value = msgspec.msgpack.decode(data, ext_hook=_refuse_extension)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise MalformedInputError("The body is not valid MessagePack.") from exc
        if self.has_pydantic:
            check_plain_keys(value, len(data))
        single = self.single
        if single is None or (isinstance(value, dict) and not single.takes_object):
            return self.from_plain(value)
        try:
            return {single.name: single.from_plain(value, "$")}
        except InputError as refused:
            if not (isinstance(value, dict) and value.keys() == {single.alias}):
                raise
            unpacked.start_again()
            try:
                return self.from_plain(value)
            except InputError as second:
                raise min(refused, second, key=_best_error) from None

    def from_plain(self, value: t.Any) -> Arguments:
        """Convert plain values, in a dict by the names of the parameters, into the arguments.

        Args:
            value: untyped decoded JSON or MessagePack; a `Tensor` may be a NumPy array.

        Raises:
            InputError: a parameter is missing or unknown, or its value does not fit its type.
        """
        names = {each.alias: each for each in self.parameters}
        try:
            # Check that the object has all required keys, and no unknown ones.
            convert(value, self._names_type)
        except InputError as refused:
            raise self._list_parameters(refused) from None
        found = {
            names[key].name: names[key].from_plain(each, f"$.{key}")
            for key, each in t.cast("dict[str, t.Any]", value).items()
        }
        return self._with_checked_sides({**self._defaults(), **found})

    def _defaults(self) -> Arguments:
        return {p.name: fresh(p.default) for p in self.parameters if not p.required}

    def _with_checked_sides(self, arguments: Arguments) -> Arguments:
        """Check that each named dimension, such as "n" of `Tensor["float32", "n"]`, has the same
        size in all arguments.
        """
        seen: dict[str, tuple[int, str]] = {}
        for parameter in self._sided if len(self._sided) > 1 else ():
            value = arguments.get(parameter.name)
            # The annotation may be a union, so the argument may be None or an image. Skip arguments
            # that are not arrays.
            if not hasattr(value, "shape"):
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


def _refuse_extension(code: int, data: memoryview) -> t.NoReturn:
    raise MalformedInputError(
        f"The MessagePack has a value of the extension type {code}, which is not known here."
    )


def _composed(read: cabc.Callable[[t.Any, str], t.Any], decode: Decode) -> Decode:
    return lambda data: read(decode(data), "$")


def _is_validated(parameter: BodyParameter) -> bool:
    """Return whether pydantic reads the parameter, or a field of a record in it."""
    return parameter.is_validated or any(map(is_pydantic, types_in(parameter.annotation)))


def _is_read_again(parameter: BodyParameter) -> bool:
    return parameter.converts or parameter.json_type is msgspec.Raw


def _converted(parameter: BodyParameter, value: t.Any) -> t.Any:
    if value is msgspec.UNSET:
        return fresh(parameter.default)
    return (
        parameter.from_json(value, f"$.{parameter.alias}") if _is_read_again(parameter) else value
    )


def _object_type(parameters: cabc.Sequence[BodyParameter], *, any_values: bool = False) -> t.Any:
    """Return a Struct type for a JSON object that has the parameters' names as keys."""
    fields = [_field(each, t.Any if any_values else each.json_type) for each in parameters]
    return msgspec.defstruct("Input", fields, kw_only=True, forbid_unknown_fields=True)


def _field(parameter: BodyParameter, annotation: t.Any) -> tuple[str, t.Any, t.Any]:
    name, copy = parameter.alias, parameter.copy
    if parameter.required:
        return parameter.name, annotation, msgspec.field(name=name)
    if _is_read_again(parameter):
        return parameter.name, annotation, msgspec.field(name=name, default=msgspec.UNSET)
    if copy is not None:
        return parameter.name, annotation, msgspec.field(name=name, default_factory=copy)
    return parameter.name, annotation, msgspec.field(name=name, default=parameter.default)


def _raw_readers(
    spec: BodySpec, parameters: cabc.Sequence[BodyParameter]
) -> list[tuple[BodyParameter, ValueKind]]:
    """Return the parameters that can take the whole body as an image, a table, text, ..., each with
    its reader.

    If the body is one file, it is the value of one parameter, so all other parameters need a
    default. Text and bytes come last, because they accept any body.
    """
    found = [
        (each, kind)
        for each in parameters
        if each.parameter.place != "form"
        and not any(other.required for other in parameters if other is not each)
        for kind in each.kinds
        if set(kind.media_types) & set(spec.media_types)
    ]
    return sorted(found, key=lambda each: each[1].takes_anything)


def _in_utf8(data: bytes) -> bytes | None:
    """Convert JSON to UTF-8 without a byte order mark; None if it already is in this form."""
    encoding = json.detect_encoding(data)
    if encoding == "utf-8":
        return None
    try:
        return data.decode(encoding).encode()
    except UnicodeError:
        return None


_begins_object = re.compile(rb"[ \t\r\n]*\{").match
_keys: t.Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _usual_first(media_type: str) -> int:
    """Return a sort key by which error messages list usual media types before others."""
    usual = (JSON, MULTIPART, URLENCODED)
    if media_type in usual:
        return usual.index(media_type)
    return len(usual) + (media_type == MSGPACK)


def _best_error(refused: InputError) -> tuple[int, int]:
    """Return a sort key by which the more helpful error comes first: lowest status, then deepest
    path.

    For example, a body may be refused as an image that is too large (413) and as an object with a
    wrong key (422). The first error is better, because the body was recognised as an image.
    """
    depths = (len(re.findall(r"[.\[]", fault.path)) for fault in refused.faults)
    return refused.status, -max(depths, default=0)
