"""Build requests and read responses for a typed view, for `client.call` in tests.

A request is built from the same `Operation` (description of the view's types) that the app reads it
with, so a test writes `client.call(add, flower=Flower(...))` and gets a `Flower`.
"""

from __future__ import annotations

import io
import typing as t

import msgspec

from .answers import encode
from .hints import members_of, pydantic_fields
from .hooks import json_decoder
from .kinds import Sort, is_decodable, sort_of, takes_object
from .media import JSON, JSON_LINES, MULTIPART, URLENCODED
from .pydanticlimits import adapter, needs_pydantic
from .records import fields_of, values_in
from .values.file import Upload
from .values.registry import kind_of_class, kinds_in, part

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .operation import BodySpec, Operation, Parameter

Arguments: t.TypeAlias = "cabc.Mapping[str, t.Any]"


class Outgoing(t.NamedTuple):
    """A request to send; the fields are named like the arguments of
    `werkzeug.test.EnvironBuilder`.
    """

    query: list[tuple[str, str]]
    headers: list[tuple[str, str]]
    cookies: list[tuple[str, str]]
    data: t.Any
    content_type: str | None


class OutgoingFile(t.NamedTuple):
    """A value that is sent as a file: either the whole body, or one file of a form."""

    data: bytes
    media_type: str
    name: str


def compose(operation: Operation, arguments: Arguments, *, by_name: bool = False) -> Outgoing:
    """Return the request for a call with these arguments; parameters with a default may be missing.

    Args:
        by_name: send a single JSON value inside an object, under the parameter's name, unless the
            value is an object itself.

    Raises:
        TypeError: a required argument is missing.
    """
    out = Outgoing([], [], [], None, None)
    body = operation.body
    for parameter in (*operation.parameters, *(() if body is None else body.parameters)):
        if parameter.required and parameter.name not in arguments:
            view = operation.function.__qualname__
            name = parameter.name
            raise TypeError(
                f"call({view}): the argument {name!r} is required and was not given. Pass"
                f" {name}=..."
            )
    for parameter in operation.parameters:
        value = arguments.get(parameter.name)
        if parameter.name in arguments and not (value is None and not parameter.required):
            _add(out, parameter, value)
    if body is None:
        return out
    data, content_type = _body(body, arguments, by_name=by_name)
    return out._replace(data=data, content_type=content_type)


def value_of(operation: Operation, media_type: str, data: bytes) -> t.Any:
    """Decode the body of a response into the return type of a view or model; a stream into a list.

    Returns None for a response without content. If the return type is unknown, JSON becomes plain
    values, text a `str`, and other bodies `bytes`.
    """
    answer = operation.answer
    if answer.empty and not data:
        return None
    annotation = t.Any if answer.kind == "flask" else answer.annotation
    if answer.streams and media_type == JSON_LINES:
        # `bytes.split` splits at line feeds only; `splitlines` would also split at carriage
        # returns, which JSON allows between two values.
        lines = data.split(b"\n")
        return [_of_json(line, annotation) for line in lines if line.strip()]
    if media_type == JSON or media_type.endswith("+json"):
        return _of_json(data, annotation)
    for kind in part(annotation).kinds:
        if media_type in kind.media_types:
            return kind.read(data, media_type=media_type)
    return data.decode() if media_type.startswith("text/") else data


def _of_json(data: bytes, annotation: t.Any) -> t.Any:
    kinds, rest = part(annotation)
    if len(kinds) == 1 and rest is None:
        return kinds[0].from_json(msgspec.json.decode(data, type=kinds[0].json_type))
    typed = not kinds and is_decodable(annotation)
    return (json_decoder(annotation) if typed else msgspec.json.decode)(data)


# -- query, headers, cookies ----------------------------------------------------------------------


def _add(out: Outgoing, parameter: Parameter, value: t.Any) -> None:
    if parameter.spread:
        out.query.extend(_pairs(value))
        return
    texts = [_text(each) for each in value] if parameter.many else [_text(value)]
    if parameter.place == "header":
        out.headers.append((parameter.alias, ", ".join(texts)))
    else:
        pairs = out.query if parameter.place == "query" else out.cookies
        pairs.extend((parameter.alias, text) for text in texts)


def _text(value: t.Any) -> str:
    plain = msgspec.to_builtins(value)
    if isinstance(plain, bool):
        return "true" if plain else "false"
    if isinstance(plain, (dict, list)):
        return msgspec.json.encode(plain).decode()
    return plain if isinstance(plain, str) else str(plain)


def _pairs(record: t.Any) -> cabc.Iterator[tuple[str, str]]:
    """Return the fields of a record as pairs of name and text, as a query or a form contains
    them.
    """
    if hasattr(record, "model_dump"):
        names = _names_of_model(type(record))
        dumped = record.model_dump(mode="json", by_alias=True, round_trip=True)
        record = {names.get(key, key): value for key, value in dumped.items()}
    # None stands for the files, which `_form` sends.
    for key, value in msgspec.to_builtins(record, enc_hook=lambda _: None).items():
        repeated = isinstance(value, list) and not any(isinstance(v, (list, dict)) for v in value)
        for each in value if repeated else [value]:
            if each is not None:
                yield key, _text(each)


def _names_of_model(model: t.Any) -> dict[str, str]:
    """Return the names by which a request sends the fields of a model, by the names under which
    they are answered.
    """
    infos = pydantic_fields(model)
    return {infos[f.name].serialization_alias or f.name: f.keys[0] for f in fields_of(model)}


# -- body -----------------------------------------------------------------------------------------


def _body(body: BodySpec, arguments: Arguments, *, by_name: bool) -> tuple[t.Any, str | None]:
    """Return the body of a request and its Content-Type.

    A single value is sent as a file or as JSON; several values are sent as a JSON object, or as a
    form if one of them is a file.
    """
    given = [each for each in body.parameters if each.name in arguments]
    if not given:
        return None, None
    files = [each for each in given if _is_file(each, arguments[each.name])]
    if len(given) == 1 and files and not files[0].many:
        file = _file(given[0].name, arguments[given[0].name])
        if _is_raw(file.media_type, body):
            return file.data, file.media_type
    if JSON in body.media_types and not (files and MULTIPART in body.media_types):
        single = body.single
        if single is not None and not (by_name and _is_sent_by_name(single)):
            return _dump(arguments[single.name], single.annotation), JSON
        return encode({each.alias: arguments[each.name] for each in given}), JSON
    if "text/plain" in body.media_types and body.single is not None:
        return str(arguments[body.single.name]).encode(), "text/plain"
    return _form(body, given, arguments)


def _is_sent_by_name(single: Parameter) -> bool:
    """Return whether the value of the single parameter may be sent as `{name: value}`.

    It may not if it can be a JSON object, because the server would read `{name: value}` as the
    value itself.
    """
    return not any(map(takes_object, members_of(single.annotation)))


def _is_raw(media_type: str, body: BodySpec) -> bool:
    """Return whether a file of this media type may be sent as the whole body."""
    return media_type in body.media_types or "application/octet-stream" in body.media_types


def _dump(value: t.Any, annotation: t.Any) -> bytes:
    if needs_pydantic(annotation) and not any(True for _ in kinds_in(annotation)):
        try:
            # Leave out computed fields by `round_trip`, because a request must not contain them.
            return t.cast(
                bytes, adapter(annotation).dump_json(value, by_alias=True, round_trip=True)
            )
        except Exception:  # noqa: BLE001 - a plain value in the place of a model
            return encode(value)
    return encode(value)


def _is_file(parameter: Parameter, value: t.Any) -> bool:
    """Return whether a value is an image, a table or the like, which is sent as a file."""
    each = value[0] if isinstance(value, (list, tuple)) and value else value
    if isinstance(each, Upload):
        return True
    found = kind_of_class(type(each))
    taken = (type(kind) for kind in kinds_in(parameter.annotation) if kind.is_file)
    return found is not None and any(issubclass(kind, found) for kind in taken)


def _file(name: str, value: t.Any) -> OutgoingFile:
    kind = kind_of_class(type(value))
    data, media_type = t.cast("t.Any", kind).file_of(value)
    return OutgoingFile(data, media_type, getattr(value, "name", "") or name)


def _form(
    body: BodySpec, given: cabc.Sequence[Parameter], arguments: Arguments
) -> tuple[dict[str, t.Any], str]:
    fields: dict[str, t.Any] = {}
    for parameter in given:
        value = arguments[parameter.name]
        if value is None:
            continue
        if _is_file(parameter, value):
            fields[parameter.alias] = _parts(parameter.alias, value)
        elif sort_of(parameter.annotation) is Sort.RECORD:
            fields |= _files_of(value)
            for key, text in _pairs(value):
                fields.setdefault(key, []).append(text)
        else:
            fields[parameter.alias] = _field(value)
    return fields, MULTIPART if MULTIPART in body.media_types else URLENCODED


def _files_of(record: t.Any) -> dict[str, t.Any]:
    """Return the files in the fields of a record, as parts of a form."""
    return {
        step[1:]: _parts(step[1:], value)
        for step, value in values_in(record)
        if _is_file_of_class(value)
    }


def _is_file_of_class(value: t.Any) -> bool:
    each = value[0] if isinstance(value, (list, tuple)) and value else value
    kind = kind_of_class(type(each))
    return kind is not None and kind.is_file and not isinstance(each, bytes)


def _parts(name: str, value: t.Any) -> list[t.Any]:
    values = value if isinstance(value, (list, tuple)) else [value]
    files = [_file(name, each) for each in values]
    return [(io.BytesIO(file.data), file.name, file.media_type) for file in files]


def _field(value: t.Any) -> t.Any:
    is_list = isinstance(value, (list, tuple, set, frozenset))
    if is_list and all(isinstance(each, (str, int, float)) for each in value):
        return [_text(each) for each in value]
    plain = msgspec.to_builtins(value)
    return encode(value).decode() if isinstance(plain, (list, dict)) else _text(plain)
