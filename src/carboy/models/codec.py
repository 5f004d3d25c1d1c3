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

import msgspec

from carboy.contract import problems
from carboy.contract.hooks import revive
from carboy.contract.media import JSON, MULTIPART, URLENCODED
from carboy.errors import InputError

from .forms import Form as Form
from .forms import FormReader, parse_form

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from carboy.contract.values.registry import Wire

    from .forms import Arguments
    from .schema import Interface, Parameter


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


class Codec:
    """Decode bodies into the arguments of one `predict`."""

    def __init__(self, interface: Interface) -> None:
        self._parameters = interface.parameters
        self._single = interface.single
        self._bare = _decoder(self._single) if self._single else None
        self._named_type = msgspec.defstruct(
            "Input",
            [_field(parameter) for parameter in interface.parameters],
            forbid_unknown_fields=True,
        )
        self._named = msgspec.json.Decoder(self._named_type, dec_hook=revive)
        self._raw = _raw_readers(interface)
        self._forms = FormReader(interface)
        self._sided = _sided(interface)
        # Nothing is to be done to what msgspec has read.
        self._plain = not self._sided and not any(p.readers for p in interface.parameters)

    @property
    def media_types(self) -> list[str]:
        """What a client may send, the richest first."""
        raw = [each for _, wire in self._raw for each in wire.media_types]
        return list(dict.fromkeys([JSON, MULTIPART, URLENCODED, *raw]))

    def decode(self, body: Body) -> Arguments:
        """Read one request.

        Raises:
            InputError: 400 malformed, 413 too large, 415 not readable as any input of this model,
                422 readable but not what the types say.
        """
        if body.encoding not in ("", "identity"):
            raise problems.encoded(body.encoding)
        media_type = body.media_type
        if media_type == JSON or media_type.endswith("+json"):
            return self.decode_json(body.raw())
        if media_type == MULTIPART:
            return self._from_form(body.form())
        data = body.raw()
        for parameter, wire in self._raw:
            if wire.recognises(data, media_type):
                return {parameter.name: wire.read(data, media_type=body.content_type, path="$")}
        if media_type == URLENCODED and data[:1] not in (b"{", b"["):
            return self._from_form(parse_form(data))
        raise problems.unreadable(media_type if data else "", data, self.media_types)

    def decode_json(self, data: bytes) -> Arguments:
        """The same for a body that is JSON."""
        single, kind = self._single, self._named_type
        try:
            if single is None or self._bare is None:
                return self._by_name(data)
            is_object = data[:1] == b"{" or data[:64].lstrip()[:1] == b"{"
            if is_object and not (single.takes_object and not _is_wrapped(data, single.name)):
                return self._by_name(data)
            kind = single.json_type
            value = self._bare(data)
            # PERF: 0.1 us of 2 for 64 numbers.
            return {single.name: single.revive(value, "$") if single.readers else value}
        except msgspec.ValidationError as exc:
            told = problems.misfit_of_json(exc, data, kind=kind)
            raise (told if single is not None else self._name_all(told)) from exc
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise problems.malformed(data, exc) from exc

    def _by_name(self, data: bytes) -> Arguments:
        found = self._named.decode(data)
        if self._plain:
            return msgspec.structs.asdict(found)  # PERF: 0.4 us less
        return self._compared(
            {
                p.name: p.revive(value, f"$.{p.name}") if p.readers else value
                for p in self._parameters
                for value in (getattr(found, p.name),)
            }
        )

    def _name_all(self, told: InputError) -> InputError:
        """Of a bare value for several parameters: which those are."""
        for fault in told.faults:
            if fault.path == "$" and fault.expected == "`object`":
                names = [f"`{p.name}`" + " (optional)" * (not p.required) for p in self._parameters]
                wanted = f"an object with {', '.join(names[:-1])} and {names[-1]}"
                return InputError.at("$", expected=wanted, got=fault.got)
        return told

    def _from_form(self, form: Form) -> Arguments:
        return self._compared(self._forms.read(form))

    def _compared(self, arguments: Arguments) -> Arguments:
        """A name of a side means one size in the whole input."""
        if not self._sided:
            return arguments
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
        return arguments


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


def _sided(interface: Interface) -> list[tuple[str, cabc.Callable[[t.Any], dict[str, int]]]]:
    """Parameters whose values have named sides, when there are several."""
    found = [
        (parameter.name, wire.sides)
        for parameter in interface.wired
        for wire in parameter.wires
        if hasattr(wire, "sides")
    ]
    return found if len(found) > 1 else []


def _is_wrapped(data: bytes, name: str) -> bool:
    """Whether an object is `{name: value}` rather than the value, for a value that is an object."""
    raw = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    return len(raw) == 1 and name in raw
