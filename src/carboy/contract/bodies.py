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

from ..errors import InputError, MalformedInputError, SignatureError, together
from . import problems
from .hints import shown
from .hooks import revive
from .kinds import adapter, file_type, needs_pydantic, strip, without_none
from .media import JSON, MULTIPART, URLENCODED
from .operation import UNSET, Parameter, RequestBody, fresh
from .records import RecordReader
from .texts import converter
from .values.file import Upload
from .values.image import open_image

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from werkzeug.datastructures import FileStorage

    from carboy.wrappers import Request

MSGPACK_TYPES: t.Final = frozenset(
    ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")
)
# As clients write it; any other spelling is parsed.
USUAL_JSON: t.Final = frozenset(
    (JSON, f"{JSON}; charset=utf-8", f"{JSON};charset=utf-8", f"{JSON}; charset=UTF-8")
)
Decode: t.TypeAlias = "cabc.Callable[[bytes], t.Any]"
Arguments: t.TypeAlias = dict[str, t.Any]


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
        self._record: RecordReader | None = None
        self._parts = tuple(_Part(part) for part in body.parts)
        self._kind = annotation = _embedding(body) if body.embedded else body.annotation
        try:
            if JSON in self.media_types:
                self.json = json_decoder(annotation)
                self._msgpack = _msgpack_decoder(annotation)
            if body.name is not None and self.media_types & {URLENCODED, MULTIPART}:
                self._record = RecordReader(body.annotation)
        except Exception as error:  # msgspec's and pydantic's own, of many classes
            raise SignatureError(
                f"{owner}: the body cannot be read as {shown(annotation)}: {error}"
            ) from error

    def read(self, request: Request) -> Arguments:
        """The arguments that the body gives; a part with a default may be left out.

        Raises:
            InputError: 400, 415 or 422, as `carboy.contract.refusing` tells it.
            HTTPException: Werkzeug's, while it read the body (413).
        """
        encoding = request.environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
        if encoding not in ("", "identity"):
            raise problems.encoded(encoding)
        kind = request.mimetype
        if kind in (URLENCODED, MULTIPART):
            if kind in self.media_types:
                return self._from_form(request)
            data = request.get_data() if kind == URLENCODED else b""
            raise problems.unreadable(kind, data, self.body.media_types)
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
        raise problems.unreadable(kind, data, self.body.media_types)

    def _by(self, decode: Decode, data: bytes, *, is_json: bool = True) -> Arguments:
        if not data and not self.body.required:
            return self._defaults()
        try:
            value = decode(data)
        except Exception as error:
            plain = data if is_json else _unpacked(data)
            refused = problems.refusal(error, plain, kind=self._kind)
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
            return {name: fresh(default) for name, _, default in body.embedded}
        found = {part.name: fresh(part.default) for part in body.parts}
        if body.name is not None:
            found[body.name] = fresh(body.default)
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
                record = self._record.collect(
                    form.to_dict(flat=False), files.to_dict(flat=False), without=taken
                )
                if record or self.body.default is UNSET:
                    found[t.cast("str", self.body.name)] = self._record.convert(record)
                else:
                    found[t.cast("str", self.body.name)] = fresh(self.body.default)
            except InputError as error:
                errors.append(error)
        if errors:
            raise together(errors)
        return found


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
            refused = problems.refusal(
                error, value, root=f"$.{self.alias}", kind=self._parameter.annotation
            )
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
            return fresh(self._parameter.default)
        raise problems.missing(f"$.{self.alias}", f"{kind} named {self.alias!r}", [*form, *files])


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


def _unpacked(data: bytes) -> t.Any:
    try:
        return msgspec.msgpack.decode(data)
    except Exception:  # noqa: BLE001 - only to show what came
        return msgspec.UNSET
