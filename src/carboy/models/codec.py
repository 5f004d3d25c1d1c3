"""The ways to write the input of a model: one table, for all of them.

    =====================================  =======================================================
    `application/json`, `+json`            the bare value, or an object by parameter name
    `multipart/form-data`                  files to the parameters that have a wire, fields to all
    a body that a wire recognises          that value: a picture, `.npy`, CSV, Parquet, Arrow, text,
                                           bytes; by content first, then by media type
    `application/x-www-form-urlencoded`    fields
    =====================================  =======================================================

The first line that fits decides, and nothing else is tried: 415 names what could have been sent. A
field is JSON where it looks like a list or an object, else text. A raw body fills one parameter, so
the others need a default.

What a picture or a tensor is, wires know (`contract.wires`). `Codec` is compiled from an
`Interface` once; it has no state and belongs to no thread. A server hands in a `Body`, so that this
module knows neither WSGI nor Werkzeug.
"""

from __future__ import annotations

import typing as t
from urllib.parse import parse_qsl

import msgspec

from carboy.contract import explain
from carboy.contract.faults import InputError, MalformedInputError, together
from carboy.contract.hooks import plain, revive
from carboy.contract.records import RecordReader, convert

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from carboy.contract.uploads import Upload
    from carboy.contract.wires import Wire

    from .schema import Interface, Parameter

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
# Fields of a form; a model with more parameters than this has its input in JSON.
_MAX_FIELDS = 1000
_NO_FIELD: t.Final = msgspec.UNSET


class Body(t.Protocol):
    """What a codec may ask of a request. Reading fails with the server's own 413."""

    @property
    def media_type(self) -> str:
        """Lower case, without parameters; empty if the sender gave none."""

    @property
    def content_type(self) -> str:
        """The same as it came, with its parameters."""

    @property
    def encoding(self) -> str:
        """Content-Encoding, lower case; empty if there is none."""

    def raw(self) -> bytes:
        """The body as it came."""

    def form(self) -> Form:
        """The parts of a multipart body."""


class Form(t.NamedTuple):
    """Fields and files by name, in the order they came; a file that was not chosen is left out."""

    fields: cabc.Mapping[str, cabc.Sequence[str]]
    files: cabc.Mapping[str, cabc.Sequence[Upload]]


Arguments: t.TypeAlias = dict[str, t.Any]


class Codec:
    """Decode bodies into the arguments of one `predict`, and encode what it returns."""

    def __init__(self, interface: Interface) -> None:
        self._parameters = interface.parameters
        self._single = interface.single
        self._bare = _decoder(self._single) if self._single else None
        #: A lone record may be all the fields of a form.
        self._record = (
            RecordReader(self._single.json_type)
            if self._single is not None and self._single.takes_object and not self._single.readers
            else None
        )
        self._named_type = msgspec.defstruct(
            "Input",
            [_field(parameter) for parameter in interface.parameters],
            forbid_unknown_fields=True,
        )
        self._named = msgspec.json.Decoder(self._named_type, dec_hook=revive)
        self._encoder = msgspec.json.Encoder(enc_hook=plain)
        self._raw = _raw_readers(interface)
        self._lone_file = _lone_file(interface)
        self._sided = _sided(interface)

    @property
    def media_types(self) -> list[str]:
        """What a client may send, the richest first."""
        raw = [each for _, wire in self._raw for each in wire.media_types]
        return list(dict.fromkeys(["application/json", MULTIPART, FORM, *raw]))

    def decode(self, body: Body) -> Arguments:
        """Read one request.

        Raises:
            InputError: 400 malformed, 413 too large, 415 not readable as any input of this model,
                422 readable but not what the types say.
        """
        arguments = self._decode(body)
        if self._sided:
            self._compare_sides(arguments)
        return arguments

    def encode(self, result: t.Any) -> bytes:
        """JSON of what `predict` returned; NaN and infinity, words JSON lacks, become null."""
        return self._encoder.encode(result)

    def _decode(self, body: Body) -> Arguments:
        if body.encoding not in ("", "identity"):
            raise explain.encoded(body.encoding)
        media_type = body.media_type
        if media_type == "application/json" or media_type.endswith("+json"):
            return self._from_json(body.raw())
        if media_type == MULTIPART:
            return self._from_form(body.form())
        data = body.raw()
        for parameter, wire in self._raw:
            if wire.recognises(data, media_type):
                return {parameter.name: wire.read(data, media_type=body.content_type, path="$")}
        if media_type == FORM and data[:1] not in (b"{", b"["):
            return self._from_form(_parse_form(data))
        raise explain.unreadable(media_type if data else "", data, self.media_types)

    # --- JSON ----------------------------------------------------------------------------------

    def _from_json(self, data: bytes) -> Arguments:
        single, kind = self._single, self._named_type
        try:
            if single is None or self._bare is None:
                return self._by_name(data)
            is_object = data[:64].lstrip()[:1] == b"{"
            if is_object and not (single.takes_object and not _is_wrapped(data, single.name)):
                return self._by_name(data)
            kind = single.json_type
            return {single.name: single.revive(self._bare(data), "$")}
        except msgspec.ValidationError as exc:
            raise explain.misfit_of_json(exc, data, kind=kind) from exc
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise explain.malformed(data, exc) from exc

    def _by_name(self, data: bytes) -> Arguments:
        found = self._named.decode(data)
        return {p.name: p.revive(getattr(found, p.name), f"$.{p.name}") for p in self._parameters}

    # --- forms ---------------------------------------------------------------------------------

    def _from_form(self, form: Form) -> Arguments:
        arguments: Arguments = {}
        faults: list[InputError] = []
        for parameter in self._parameters:
            try:
                value = self._from_part(parameter, form)
            except InputError as exc:
                faults.append(exc)
                continue
            if value is not _NO_FIELD:
                arguments[parameter.name] = value
            elif parameter.required:
                faults.append(_missing(parameter, form))
        if faults:
            raise together(faults)
        return arguments

    def _from_part(self, parameter: Parameter, form: Form) -> t.Any:
        """One argument from a file, a field of its name, or (a lone record) all the fields."""
        path = f"$.{parameter.name}"
        if parameter.readers:
            files = self._files_for(parameter, form)
            if len(files) > 1:
                raise InputError.at(path, expected="one file", got=f"{len(files)} files")
            if files:
                return _read_file(files[0], parameter.wires, path)
        values = form.fields.get(parameter.name)
        if values is not None:
            return _from_texts(values, parameter, path)
        if self._record is not None and form.fields:
            return self._record.convert(self._record.collect(form.fields))
        return _NO_FIELD

    def _files_for(self, parameter: Parameter, form: Form) -> cabc.Sequence[Upload]:
        """Files sent under the parameter's name; with one place for a file, under any name."""
        if parameter.name in form.files or parameter is not self._lone_file:
            return form.files.get(parameter.name, ())
        return [file for files in form.files.values() for file in files]

    # --- together ------------------------------------------------------------------------------

    def _compare_sides(self, arguments: Arguments) -> None:
        """A name of a side means one size in the whole input."""
        seen: dict[str, tuple[int, str]] = {}
        for name, sides in self._sided:
            value = arguments.get(name)
            if not hasattr(value, "shape"):  # left out, or the other type of a union
                continue
            for side, size in sides(value).items():
                first, where = seen.setdefault(side, (size, name))
                if size != first:
                    raise InputError.at(
                        f"$.{name}",
                        expected=f"side {side!r} of size {first}, as in `$.{where}`",
                        got=str(size),
                    )


def _decoder(parameter: Parameter) -> cabc.Callable[[bytes], t.Any]:
    """Reads a body that is the bare value; what a wire reads itself is handed on untouched."""
    if parameter.json_type is msgspec.Raw:
        return lambda data: msgspec.Raw(data.strip(b" \t\r\n"))
    return msgspec.json.Decoder(parameter.json_type, dec_hook=revive).decode


def _field(parameter: Parameter) -> tuple[str, t.Any] | tuple[str, t.Any, t.Any]:
    if parameter.required:
        return parameter.name, parameter.json_type
    default = parameter.default
    if isinstance(default, (list, dict, set, bytearray)):
        return parameter.name, parameter.json_type, msgspec.field(default_factory=lambda: default)
    return parameter.name, parameter.json_type, default


def _raw_readers(interface: Interface) -> list[tuple[Parameter, Wire]]:
    """Who is asked about a raw body: it fills one parameter, and the others need a default."""
    alone = [
        p
        for p in interface.wired
        if not any(o.required for o in interface.parameters if o is not p)
    ]
    found = [(parameter, wire) for parameter in alone for wire in parameter.wires]
    # Those that recognise a content before those that take any text or bytes.
    return sorted(found, key=lambda each: not each[1].packages)


def _lone_file(interface: Interface) -> Parameter | None:
    """The one place for a file. Text counts only where there is nothing else: it has fields."""
    found = [p for p in interface.wired if any(w.json_type is not p.annotation for w in p.wires)]
    found = found or list(interface.wired)
    return found[0] if len(found) == 1 else None


def _sided(interface: Interface) -> list[tuple[str, cabc.Callable[[t.Any], dict[str, int]]]]:
    """Parameters whose values have named sides, when there are several."""
    found = [
        (parameter.name, wire.sides)
        for parameter in interface.wired
        for wire in parameter.wires
        if hasattr(wire, "sides")
    ]
    return found if len(found) > 1 else []


def _read_file(file: Upload, wires: tuple[Wire, ...], path: str) -> t.Any:
    """By the wire that knows it; when none does, the first says what it wanted."""
    wire = wires[0]
    if len(wires) > 1:
        head = file.read(64)
        file.stream.seek(0)
        wire = next((each for each in wires if each.recognises(head, file.media_type)), wire)
    if hasattr(wire, "take"):  # the file itself, with its name
        return wire.take(file, path=path)
    return wire.read(file.read(), media_type=file.media_type, path=path)


def _is_wrapped(data: bytes, name: str) -> bool:
    """Whether an object is `{name: value}` rather than the value, for a value that is an object."""
    raw = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    return len(raw) == 1 and name in raw


def _parse_form(data: bytes) -> Form:
    fields: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(
            data.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(data),
            errors="strict",
            max_num_fields=_MAX_FIELDS,
        )
    except ValueError as exc:
        raise MalformedInputError(f"The form is malformed: {exc}.") from exc
    for key, value in pairs:
        fields.setdefault(key, []).append(value)
    return Form(fields, {})


def _from_texts(texts: cabc.Sequence[str], parameter: Parameter, path: str) -> t.Any:
    """A field's text: JSON where it looks like a list or an object, else the text itself."""
    if len(texts) > 1:
        return _convert(list(texts), parameter, path)
    text = texts[0]
    if parameter.json_type is not str and text.lstrip()[:1] in ("[", "{"):
        try:
            return _convert(msgspec.json.decode(text), parameter, path)
        except (msgspec.DecodeError, RecursionError) as exc:
            if isinstance(exc, msgspec.ValidationError):
                raise
            problem = explain.malformed(text.encode(), exc)
            raise InputError(f"Field {parameter.name!r}: {problem.detail}") from exc
    return _convert(text, parameter, path)


def _convert(value: t.Any, parameter: Parameter, path: str) -> t.Any:
    for wire, _ in parameter.readers:
        if wire.json_type is msgspec.Raw:
            return wire.revive(value, path=path)
    return parameter.revive(convert(value, parameter.json_type, root=path), path)


def _missing(parameter: Parameter, form: Form) -> InputError:
    kinds = " or ".join(wire.name for wire in parameter.wires if wire.packages)
    wanted = f"a file ({kinds}) named" if kinds else "a field named"
    names = [*form.fields, *form.files]
    return explain.missing(f"$.{parameter.name}", f"{wanted} {parameter.name!r}", names)
