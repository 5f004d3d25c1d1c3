"""The ways to write the input of a model, and the one way its answer is written.

The table, by what the body is:

    ===================================  =========================================================
    `application/json`, `+json`          the bare value, or an object by parameter name;
                                         a picture as base64 or a data URL
    `multipart/form-data`                a picture as a file; other parameters as fields
    `application/x-www-form-urlencoded`  fields
    anything whose content is a picture  the picture, whatever media type it claims
    ===================================  =========================================================

The first match wins, and nothing else is read: 415 names what could have been sent. `Codec` is
compiled from an `Interface` once; it has no state and belongs to no thread. A server hands in a
`Body`, so that this module knows neither WSGI nor Werkzeug.
"""

from __future__ import annotations

import typing as t
from urllib.parse import parse_qsl

import msgspec

from carboy.contract import explain
from carboy.contract.faults import InputError, MalformedInputError, together
from carboy.contract.hooks import plain, revive
from carboy.contract.images import Image, open_image, open_text, sniff
from carboy.contract.records import RecordReader, convert

if t.TYPE_CHECKING:
    from collections import abc as cabc

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
    def encoding(self) -> str:
        """Content-Encoding, lower case; empty if there is none."""

    def raw(self) -> bytes:
        """The body as it came."""

    def form(self) -> Form:
        """The parts of a multipart body."""


class Form(t.NamedTuple):
    """Fields and files by name, in the order they came; a file that was not chosen is left out."""

    fields: cabc.Mapping[str, cabc.Sequence[str]]
    files: cabc.Mapping[str, cabc.Sequence[t.BinaryIO]]


Arguments: t.TypeAlias = dict[str, t.Any]


class Codec:
    """Decode bodies into the arguments of one `predict`, and encode what it returns."""

    def __init__(self, interface: Interface) -> None:
        self._parameters = interface.parameters
        self._single = interface.single
        self._pictures = interface.pictures
        self._bare = (
            msgspec.json.Decoder(self._single.json_type, dec_hook=revive) if self._single else None
        )
        #: A lone record may be all the fields of a form.
        self._record = (
            RecordReader(self._single.json_type)
            if self._single is not None and self._single.takes_object
            else None
        )
        self._named_type = msgspec.defstruct(
            "Input",
            [_field(parameter) for parameter in interface.parameters],
            forbid_unknown_fields=True,
        )
        self._named = msgspec.json.Decoder(self._named_type, dec_hook=revive)
        self._encoder = msgspec.json.Encoder(enc_hook=plain)

    @property
    def media_types(self) -> list[str]:
        """What a client may send, the richest first."""
        pictures = (
            self._pictures[0].picture.media_types
            if len(self._pictures) == 1 and (self._pictures[0].picture) and self._takes_raw_picture
            else []
        )
        return ["application/json", MULTIPART, FORM, *pictures]

    def decode(self, body: Body) -> Arguments:
        """Read one request.

        Raises:
            InputError: 400 malformed, 413 too large, 415 not readable as any input of this model,
                422 readable but not what the types say.
        """
        if body.encoding not in ("", "identity"):
            raise explain.encoded(body.encoding)
        media_type = body.media_type
        if media_type == "application/json" or media_type.endswith("+json"):
            return self._from_json(body.raw())
        if media_type == MULTIPART:
            return self._from_form(body.form())
        data = body.raw()
        if self._takes_raw_picture and (sniff(data) or media_type.startswith("image/")):
            parameter = self._pictures[0]
            return {parameter.name: _picture(data, parameter, "$")}
        if media_type == FORM and data[:1] not in (b"{", b"["):
            return self._from_form(_parse_form(data))
        raise explain.unreadable(media_type if data else "", data, self.media_types)

    def encode(self, result: t.Any) -> bytes:
        """JSON of what `predict` returned; NaN and infinity, words JSON lacks, become null."""
        return self._encoder.encode(result)

    # --- JSON ----------------------------------------------------------------------------------

    def _from_json(self, data: bytes) -> Arguments:
        single, kind = self._single, self._named_type
        try:
            if single is None or self._bare is None:
                return self._by_name(data)
            if data[:64].lstrip()[:1] != b"{" or (
                single.takes_object and not _is_wrapped(data, single.name)
            ):
                kind = single.json_type
                return {single.name: _finish(self._bare.decode(data), single, "$")}
            return self._by_name(data)
        except msgspec.ValidationError as exc:
            raise explain.misfit_of_json(exc, data, kind=kind) from exc
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise explain.malformed(data, exc) from exc

    def _by_name(self, data: bytes) -> Arguments:
        found = self._named.decode(data)
        return {p.name: _finish(getattr(found, p.name), p, f"$.{p.name}") for p in self._parameters}

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
        if parameter.picture is not None:
            files = self._files_for(parameter, form)
            if len(files) > 1:
                raise InputError.at(path, expected="one file", got=f"{len(files)} files")
            if files:
                return _picture(files[0].read(), parameter, path)
        values = form.fields.get(parameter.name)
        if values is not None:
            return _from_texts(values, parameter, path)
        if self._record is not None and form.fields:
            return self._record.convert(self._record.collect(form.fields))
        return _NO_FIELD

    def _files_for(self, parameter: Parameter, form: Form) -> cabc.Sequence[t.BinaryIO]:
        """Files sent under the parameter's name; with one picture to fill, under any name."""
        if parameter.name in form.files or len(self._pictures) > 1:
            return form.files.get(parameter.name, ())
        return [file for files in form.files.values() for file in files]

    # --- pictures and the rest -----------------------------------------------------------------

    @property
    def _takes_raw_picture(self) -> bool:
        """A body that is nothing but a picture fills one parameter; the others need a default."""
        return len(self._pictures) == 1 and not any(
            p.required for p in self._parameters if p is not self._pictures[0]
        )


def _field(parameter: Parameter) -> tuple[str, t.Any] | tuple[str, t.Any, t.Any]:
    if parameter.required:
        return parameter.name, parameter.json_type
    default = parameter.default
    if isinstance(default, (list, dict, set, bytearray)):
        return parameter.name, parameter.json_type, msgspec.field(default_factory=lambda: default)
    return parameter.name, parameter.json_type, default


def _finish(value: t.Any, parameter: Parameter, path: str) -> t.Any:
    """Open a picture that came as text; leave any other value alone."""
    if parameter.text_is_picture and isinstance(value, str) and parameter.picture is not None:
        return open_text(value, options=parameter.picture, path=path)
    return value


def _picture(data: bytes, parameter: Parameter, path: str) -> Image:
    assert parameter.picture is not None  # the callers' table says so
    return open_image(data, options=parameter.picture, path=path)


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
    if text.lstrip()[:1] in ("[", "{"):
        try:
            return _convert(msgspec.json.decode(text), parameter, path)
        except (msgspec.DecodeError, RecursionError) as exc:
            if isinstance(exc, msgspec.ValidationError):
                raise
            problem = explain.malformed(text.encode(), exc)
            raise InputError(f"Field {parameter.name!r}: {problem.detail}") from exc
    return _convert(text, parameter, path)


def _convert(value: t.Any, parameter: Parameter, path: str) -> t.Any:
    return _finish(convert(value, parameter.json_type, root=path), parameter, path)


def _missing(parameter: Parameter, form: Form) -> InputError:
    kind = "a file with a picture" if parameter.picture else "a field"
    wanted = f"{kind} named {parameter.name!r}"
    return explain.missing(f"$.{parameter.name}", wanted, [*form.fields, *form.files])
