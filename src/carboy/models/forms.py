"""Forms: fields and files into the arguments of `predict`.

    a file     to the parameter of its name, where that has a wire; with one place for a file, of
               whatever name
    a field    to the parameter of its name: JSON where it looks like a list or an object, else
               the text itself
    fields     of a lone record: its fields

What no parameter has is passed over: forms of browsers have buttons and tokens in them.
"""

from __future__ import annotations

import typing as t
from urllib.parse import parse_qsl

import msgspec

from carboy.contract import problems
from carboy.contract.records import RecordReader, convert
from carboy.errors import InputError, MalformedInputError, together

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from carboy.contract.values.file import Upload
    from carboy.contract.values.registry import Wire

    from .schema import Interface, Parameter

# Fields of a form; a model with more parameters than this has its input in JSON.
_MAX_FIELDS = 1000
_NO_FIELD: t.Final = msgspec.UNSET

Arguments: t.TypeAlias = dict[str, t.Any]


class Form(t.NamedTuple):
    """Fields and files by name, in the order they came; a file that was not chosen is left out."""

    fields: cabc.Mapping[str, cabc.Sequence[str]]
    files: cabc.Mapping[str, cabc.Sequence[Upload]]


class FormReader:
    """Reads the forms of one model."""

    def __init__(self, interface: Interface) -> None:
        self._parameters = interface.parameters
        self._lone_file = _lone_file(interface)
        single = interface.single
        #: A lone record may be all the fields of a form.
        self._record = (
            RecordReader(single.json_type)
            if single is not None and single.takes_object and not single.readers
            else None
        )

    def read(self, form: Form) -> Arguments:
        """One argument after the other; all that are wrong are told at once.

        Raises:
            InputError: of the kinds that wires and types refuse with.
        """
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


def parse_form(data: bytes) -> Form:
    """An urlencoded body. Raises MalformedInputError."""
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


def _lone_file(interface: Interface) -> Parameter | None:
    """The one place for a file. Text counts only where there is nothing else: it has fields."""
    found = [p for p in interface.wired if any(w.json_type is not p.annotation for w in p.wires)]
    found = found or list(interface.wired)
    return found[0] if len(found) == 1 else None


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
            problem = problems.malformed(text.encode(), exc)
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
    return problems.missing(f"$.{parameter.name}", f"{wanted} {parameter.name!r}", names)
