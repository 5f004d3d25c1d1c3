"""A request's body into the arguments of a view, by what the body is.

    ===================================  ====================================================
    `application/json`, `+json`          the value (or an object by parameter name)
    `application/msgpack`                the same
    `application/x-www-form-urlencoded`  the fields of a record, or parts
    `multipart/form-data`                the same, and files
    anything else                        a lone file, where the view takes one
    ===================================  ====================================================

A `BodyReader` is compiled from a `RequestBody` once; it has no state and belongs to no thread.
"""

from __future__ import annotations

import io
import typing as t

import msgspec

from . import explain
from .faults import Fault, InputError, MalformedInputError, SignatureError, UnsupportedInputError
from .images import is_picture, open_image, open_text
from .kinds import (
    adapter,
    file_type,
    is_pydantic,
    list_fields,
    needs_pydantic,
    record_types,
    strip,
    without_none,
)
from .refusing import misfit
from .shape import UNSET, Parameter, RequestBody
from .texts import converter
from .uploads import Upload

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from werkzeug.datastructures import FileStorage

    from carboy.wrappers import Request

JSON: t.Final = "application/json"
URLENCODED: t.Final = "application/x-www-form-urlencoded"
MULTIPART: t.Final = "multipart/form-data"
MSGPACK_TYPES: t.Final = frozenset(
    ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")
)
# As clients write it; any other spelling is parsed.
USUAL_JSON: t.Final = frozenset(
    (JSON, f"{JSON}; charset=utf-8", f"{JSON};charset=utf-8", f"{JSON}; charset=UTF-8")
)
Decode: t.TypeAlias = "cabc.Callable[[bytes], t.Any]"
Arguments: t.TypeAlias = dict[str, t.Any]


def revive(kind: type, value: t.Any) -> t.Any:
    """Hook of msgspec for types inside a record that it does not know."""
    if is_pydantic(kind):
        return kind.model_validate(value)  # type: ignore[attr-defined]
    if is_picture(kind):
        return open_image(value.read()) if isinstance(value, Upload) else open_text(value)
    if isinstance(value, Upload) and issubclass(kind, Upload):
        return value
    raise InputError.at("$", expected="a file of a form", got=explain.describe(value))


def json_decoder(annotation: t.Any) -> Decode:
    """What makes a value of a JSON body."""
    if needs_pydantic(annotation):
        return t.cast("Decode", adapter(annotation).validate_json)
    return msgspec.json.Decoder(annotation, dec_hook=revive).decode


def _msgpack_decoder(annotation: t.Any) -> Decode:
    if needs_pydantic(annotation):
        validate = adapter(annotation).validate_python
        return lambda data: validate(msgspec.msgpack.decode(data))
    return msgspec.msgpack.Decoder(annotation, dec_hook=revive).decode


class BodyReader:
    """Read the bodies that one view takes."""

    def __init__(self, body: RequestBody, owner: str) -> None:
        self.body = body
        self.media_types = frozenset(body.media_types)
        self.json: Decode | None = None
        self._msgpack: Decode | None = None
        self._record: _Record | None = None
        self._parts = tuple(_Part(part) for part in body.parts)
        self._default = UNSET if body.embedded else body.default
        annotation = _embedding(body) if body.embedded else body.annotation
        try:
            if JSON in self.media_types:
                self.json = json_decoder(annotation)
                self._msgpack = _msgpack_decoder(annotation)
            if body.name is not None and self.media_types & {URLENCODED, MULTIPART}:
                self._record = _Record(body.annotation)
        except Exception as error:  # msgspec's and pydantic's own, of many classes
            raise SignatureError(
                f"{owner}: the body cannot be read as {annotation!r}: {error}"
            ) from error

    def read(self, request: Request) -> Arguments:
        """The arguments that the body gives; a part with a default may be left out.

        Raises:
            InputError: 400, 415 or 422, as `carboy.contract.refusing` tells it.
            HTTPException: Werkzeug's, while it read the body (413).
        """
        encoding = request.environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
        if encoding not in ("", "identity"):
            raise UnsupportedInputError(
                f"Content-Encoding {encoding!r} is not understood. Send the body as it is."
            )
        kind = request.mimetype
        if kind in (URLENCODED, MULTIPART):
            if kind in self.media_types:
                return self._from_form(request)
            raise self._unsupported(kind, request.get_data() if kind == URLENCODED else b"")
        data = request.get_data()
        if self.json is not None and (kind == JSON or kind.endswith("+json")):
            return self._by(self.json, data)
        if self._msgpack is not None and kind in MSGPACK_TYPES:
            return self._by(self._msgpack, data, is_json=False)
        raw = self._raw(kind, data)
        if raw is not None:
            return raw
        if not data and not kind and not self.body.required:
            return self._defaults()
        raise self._unsupported(kind, data)

    def _by(self, decode: Decode, data: bytes, *, is_json: bool = True) -> Arguments:
        if not data and not self.body.required:
            return self._defaults()
        try:
            value = decode(data)
        except Exception as error:
            plain = data if is_json else _unpacked(data)
            refused = misfit(error, plain)
            if refused is None:
                raise
            if not is_json and isinstance(refused, MalformedInputError):
                refused = MalformedInputError("The body is not valid MessagePack.")
            raise refused from error
        return self._named(value)

    def _named(self, value: t.Any) -> Arguments:
        body = self.body
        if body.embedded:
            return {name: getattr(value, name) for name, _, _ in body.embedded}
        return {t.cast("str", body.name): value}

    def _defaults(self) -> Arguments:
        body = self.body
        if body.embedded:
            return {name: default for name, _, default in body.embedded}
        found = {part.name: part.default for part in body.parts}
        if body.name is not None:
            found[body.name] = body.default
        return found

    def _raw(self, kind: str, data: bytes) -> Arguments | None:
        """A body that is nothing but one file, or text."""
        body = self.body
        single = body.parts[0] if body.parts and body.name is None else None
        files = [part for part in body.parts if part.place == "file"]
        name, annotation = body.name, body.annotation
        if single is not None and files:
            name, annotation = files[0].name, files[0].annotation
        if name is None or not (data or kind):  # a file of a named kind may be empty
            return None
        fixed = self._defaults() if body.parts else {}
        if "text/plain" in self.media_types and kind in ("text/plain", ""):
            try:
                return {name: data.decode()}
            except UnicodeDecodeError as error:
                raise MalformedInputError(f"The body is not valid UTF-8: {error}.") from error
        if "application/octet-stream" in self.media_types and not kind.startswith("text/html"):
            return {**fixed, name: _as_file(annotation, data, kind, "$")}
        if self.media_types & {"image/png", "image/jpeg"}:
            return {**fixed, name: open_image(data)}
        return None

    def _from_form(self, request: Request) -> Arguments:
        if request.mimetype == MULTIPART and "boundary" not in request.mimetype_params:
            raise MalformedInputError("The multipart body names no boundary in its Content-Type.")
        form, files = request.form, request.files
        found: Arguments = {}
        errors: list[InputError] = []
        for part in self._parts:
            try:
                found[part.name] = part.read(form, files)
            except InputError as error:
                errors.append(error)
        if self._record is not None:
            taken = {part.alias for part in self._parts}
            try:
                record = self._record.collect(form, files, without=taken)
                if record or self.body.default is UNSET:
                    found[t.cast("str", self.body.name)] = self._record.convert(record)
                else:
                    found[t.cast("str", self.body.name)] = self.body.default
            except InputError as error:
                errors.append(error)
        if errors:
            raise together(errors)
        return found

    def _unsupported(self, kind: str, data: bytes) -> InputError:
        expected = _ways(self.body.media_types)
        if not data and not kind:
            return MalformedInputError(f"The body is empty. Send {expected}.")
        is_json = self.json is not None and data[:64].lstrip()[:1] in (b"{", b"[")
        hint = " The body looks like JSON: send `Content-Type: application/json`." * is_json
        got = kind or "no Content-Type"
        return UnsupportedInputError(
            f"Cannot read a body of this kind: {got}. Send {expected}.{hint}",
            faults=[Fault("$", expected, got)],
        )


class _Part:
    """A field or file of a form that fills one parameter."""

    def __init__(self, parameter: Parameter) -> None:
        self.name, self.alias = parameter.name, parameter.alias
        self._parameter = parameter
        self._is_file = parameter.place == "file"
        self._type = strip(parameter.annotation)
        self._convert = None if self._is_file else converter(parameter.annotation)
        self._blank_is_none = not self._is_file and str not in _texts(parameter.annotation)
        if self._is_file and parameter.many:
            self._type = strip(t.get_args(strip(without_none(self._type)))[0])

    def read(self, form: t.Any, files: t.Any) -> t.Any:
        if self._is_file:
            sent = [each for each in files.getlist(self.alias) if each.filename]
            return self._read_files(sent) if sent else self._missing("a file", form, files)
        texts = form.getlist(self.alias)
        if texts == [""] and self._blank_is_none and not self._parameter.required:
            texts = []  # how a browser sends an input that was left empty
        if not texts:
            return self._missing("a field", form, files)
        value = texts if self._parameter.many else texts[0]
        if self._convert is None:
            return value
        try:
            return self._convert(value)
        except Exception as error:
            refused = misfit(error, value, root=f"$.{self.alias}")
            if refused is None:
                raise
            raise refused from error

    def _read_files(self, sent: list[FileStorage]) -> t.Any:
        path = f"$.{self.alias}"
        if self._parameter.many:
            opened = [_open(each, self._type, f"{path}[{i}]") for i, each in enumerate(sent)]
            wanted = t.get_origin(strip(without_none(self._parameter.annotation)))
            return opened if wanted is list else wanted(opened)
        if len(sent) > 1:
            raise InputError.at(path, expected="one file", got=f"{len(sent)} files")
        return _open(sent[0], self._type, path)

    def _missing(self, kind: str, form: t.Any, files: t.Any) -> t.Any:
        if not self._parameter.required:
            return self._parameter.default
        names = ", ".join(repr(name) for name in [*form, *files][:6])
        raise InputError.at(
            f"$.{self.alias}",
            expected=f"{kind} named {self.alias!r}",
            got=f"only {names}" if names else "an empty form",
        )


class _Record:
    """A record whose fields are those of a form or a query."""

    def __init__(self, annotation: t.Any) -> None:
        self._lists = list_fields(annotation)
        self._blank = frozenset(_blank_fields(annotation))
        self._flags = frozenset(_bool_fields(annotation))
        self._nullable = frozenset(_nullable_fields(annotation))
        if needs_pydantic(annotation):
            self._convert = adapter(annotation).validate_python
            self._check_finite = False
        else:
            self._convert = lambda record: msgspec.convert(
                record, annotation, strict=False, dec_hook=revive
            )
            self._check_finite = True

    def collect(
        self, fields: t.Any, files: t.Any = None, *, without: t.Any = (), null: bool = True
    ) -> Arguments:
        """The texts and files by field.

        Args:
            null: whether the text "null" may stand for None, as scripts write it into forms.
        """
        record: Arguments = {}
        for key in fields:
            texts = fields.getlist(key)
            if key in without or (key in self._blank and texts == [""]):
                continue
            if key in self._nullable and not null:
                _refuse_null(key, texts)
            if key in self._flags:
                texts = ["true" if text.lower() in ("on", "yes") else text for text in texts]
            record[key] = texts if key in self._lists or len(texts) > 1 else texts[0]
        for key in files or ():
            sent = [Upload.of(each) for each in files.getlist(key) if each.filename]
            if sent and key not in without:
                record[key] = sent if key in self._lists or len(sent) > 1 else sent[0]
        return record

    def convert(self, record: Arguments, *, root: str = "$") -> t.Any:
        try:
            value = self._convert(record)
        except Exception as error:
            refused = misfit(error, record, root=root)
            if refused is None:
                raise
            raise refused from error
        if self._check_finite:
            problem = explain.not_finite(msgspec.to_builtins(value, enc_hook=repr), root)
            if problem is not None:
                raise problem
        return value


def together(errors: list[InputError]) -> InputError:
    """Several refusals of one body as one."""
    if len(errors) == 1:
        return errors[0]
    worst = min(errors, key=lambda error: error.status)
    return type(worst)(
        " ".join(error.detail for error in errors),
        faults=[fault for error in errors for fault in error.faults],
    )


def _open(file: FileStorage, kind: t.Any, path: str) -> t.Any:
    named = file_type(kind)
    file.stream.seek(0)  # what is wrong with a request is found by reading it a second time
    if named == "upload":
        return Upload.of(file)
    data = t.cast("t.BinaryIO", file.stream).read()
    return data if named == "bytes" else open_image(data, path=path)


def _as_file(annotation: t.Any, data: bytes, kind: str, path: str) -> t.Any:
    if file_type(strip(annotation)) == "bytes":
        return data
    return Upload(io.BytesIO(data), media_type=kind, size=len(data))


def _embedding(body: RequestBody) -> t.Any:
    fields: list[t.Any] = []
    for name, annotation, default in body.embedded:
        if default is UNSET:
            fields.append((name, annotation))
        elif isinstance(default, (list, dict, set)):
            fields.append((name, annotation, msgspec.field(default_factory=default.copy)))
        else:
            fields.append((name, annotation, default))
    return msgspec.defstruct("Body", fields, kw_only=True)


def _texts(annotation: t.Any) -> set[t.Any]:
    bare = strip(annotation)
    return {bare, *(strip(each) for each in t.get_args(bare))}


def _blank_fields(annotation: t.Any) -> cabc.Iterator[str]:
    """Optional fields that no text fits: left empty in a form, they are as if not sent."""
    for record in record_types(annotation):
        for field in record.fields:
            members = getattr(field.type, "types", (field.type,))
            if not field.required and not any(isinstance(each, _TEXT) for each in members):
                yield field.encode_name


def _bool_fields(annotation: t.Any) -> cabc.Iterator[str]:
    for record in record_types(annotation):
        for field in record.fields:
            members = getattr(field.type, "types", (field.type,))
            if any(isinstance(each, msgspec.inspect.BoolType) for each in members):
                yield field.encode_name


def _nullable_fields(annotation: t.Any) -> cabc.Iterator[str]:
    """Fields for which msgspec would take the text "null" as None."""
    for record in record_types(annotation):
        for field in record.fields:
            members = getattr(field.type, "types", ())
            is_nullable = any(isinstance(each, msgspec.inspect.NoneType) for each in members)
            if is_nullable and not any(isinstance(each, _TEXT) for each in members):
                yield field.encode_name


def _refuse_null(key: str, texts: cabc.Sequence[str]) -> None:
    """A text is there or it is not: None is the field that nobody sent."""
    for text in texts:
        if text.lower() == "null":
            raise InputError.at(f"$.{key}", expected="a value, or no field of that name", got=text)


_TEXT = (msgspec.inspect.StrType, msgspec.inspect.AnyType, msgspec.inspect.RawType)


def _unpacked(data: bytes) -> t.Any:
    try:
        return msgspec.msgpack.decode(data)
    except Exception:  # noqa: BLE001 - only to show what came
        return msgspec.UNSET


def _ways(media_types: cabc.Sequence[str]) -> str:
    if len(media_types) == 1:
        return media_types[0]
    return f"{', '.join(media_types[:-1])} or {media_types[-1]}"
