"""A contract from the other side: the request for some arguments, and the value in the answer.

What `carboy.testing` sends is made of the same declaration that the app reads it with, so that a
test says `client.call(add, flower=Flower(...))` and gets a `Flower`.
"""

from __future__ import annotations

import typing as t

import msgspec

from .answers import encode
from .bodies import json_decoder
from .kinds import file_type, needs_pydantic, strip
from .media import JSON, JSON_LINES, MULTIPART, URLENCODED
from .values import drawing
from .values.file import Upload

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .operation import Operation, Parameter, RequestBody


class Outgoing(t.NamedTuple):
    """What a client sends, in the words of `werkzeug.test.EnvironBuilder`."""

    query: list[tuple[str, str]]
    headers: list[tuple[str, str]]
    cookies: list[tuple[str, str]]
    data: t.Any
    content_type: str | None


def compose(operation: Operation, arguments: cabc.Mapping[str, t.Any]) -> Outgoing:
    """The parts of a request that carry these arguments; those with a default may be missing.

    Raises:
        TypeError: an argument is required and missing.
    """
    out = Outgoing([], [], [], None, None)
    for parameter in operation.parameters:
        if parameter.name in arguments:
            value = arguments[parameter.name]
            if value is None and not parameter.required:
                continue
            _add(out, parameter, value)
        elif parameter.required:
            raise _missing(operation, parameter.name)
    if operation.body is None:
        return out
    for name in _required(operation.body):
        if name not in arguments:
            raise _missing(operation, name)
    data, content_type = _body(operation.body, arguments)
    return out._replace(data=data, content_type=content_type)


def value_of(operation: Operation, media_type: str, data: bytes) -> t.Any:
    """The typed value of an answer, None of one without content; else bytes or text."""
    answer = operation.answer
    if answer.empty and not data:
        return None
    if answer.kind == "json" and media_type == JSON:
        return json_decoder(answer.annotation)(data)
    if answer.kind == "stream" and media_type == JSON_LINES:
        decode = json_decoder(answer.annotation)
        return [decode(line) for line in data.splitlines()]
    if media_type == JSON or media_type.endswith("+json"):
        return msgspec.json.decode(data)
    return data.decode() if media_type.startswith("text/") else data


def _add(out: Outgoing, parameter: Parameter, value: t.Any) -> None:
    if parameter.spread:
        out.query.extend(_pairs(msgspec.to_builtins(_plain(value))))
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
    return plain if isinstance(plain, str) else str(plain)


def _plain(value: t.Any) -> t.Any:
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def _pairs(record: cabc.Mapping[str, t.Any]) -> cabc.Iterator[tuple[str, str]]:
    for key, value in record.items():
        for each in value if isinstance(value, (list, tuple)) else [value]:
            if each is not None:
                yield key, _text(each)


def _body(body: RequestBody, arguments: cabc.Mapping[str, t.Any]) -> tuple[t.Any, str | None]:
    if body.embedded:
        given = {name: arguments[name] for name, _, _ in body.embedded if name in arguments}
        return encode(given), JSON
    if not body.parts and body.name is not None:
        if body.name not in arguments:
            return None, None
        value = arguments[body.name]
        if JSON in body.media_types:
            return _dump(value, body.annotation), JSON
        if URLENCODED not in body.media_types:
            return _raw(value, body)
    return _form(body, arguments)


def _dump(value: t.Any, annotation: t.Any) -> bytes:
    if needs_pydantic(annotation):
        from .kinds import adapter

        return t.cast(bytes, adapter(annotation).dump_json(value))
    return encode(value)


def _raw(value: t.Any, body: RequestBody) -> tuple[bytes, str]:
    if isinstance(value, str):
        return value.encode(), "text/plain"
    if file_type(strip(body.annotation)) == "image":
        return drawing.write(value, "image/png"), "image/png"
    return (value.read() if isinstance(value, Upload) else value), "application/octet-stream"


def _form(body: RequestBody, arguments: cabc.Mapping[str, t.Any]) -> tuple[t.Any, str]:
    fields: dict[str, list[t.Any]] = {}
    if body.name is not None and arguments.get(body.name) is not None:
        for key, text in _pairs(msgspec.to_builtins(_plain(arguments[body.name]))):
            fields.setdefault(key, []).append(text)
    for part in body.parts:
        value = arguments.get(part.name)
        if value is not None:
            values = value if part.many else [value]
            put = _file if part.place == "file" else _text
            fields[part.alias] = [put(each) for each in values]
    return fields, MULTIPART if MULTIPART in body.media_types else URLENCODED


def _file(value: t.Any) -> tuple[t.Any, str, str]:
    import io

    if isinstance(value, Upload):
        return value.stream, value.name or "file", value.media_type or "application/octet-stream"
    if isinstance(value, bytes):
        return io.BytesIO(value), "file", "application/octet-stream"
    return io.BytesIO(drawing.write(value, "image/png")), "file.png", "image/png"


def _required(body: RequestBody) -> cabc.Iterator[str]:
    from .operation import UNSET

    for name, _, default in body.embedded:
        if default is UNSET:
            yield name
    if body.name is not None and body.default is UNSET:
        yield body.name
    for part in body.parts:
        if part.required:
            yield part.name


def _missing(operation: Operation, name: str) -> TypeError:
    view = operation.function.__qualname__
    return TypeError(f"call({view}): the argument {name!r} is required and was not given.")
