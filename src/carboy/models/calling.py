"""A prediction from the other side: the request for some arguments, and the value in the answer.

What `carboy.testing` sends is made of the types that the model reads it with, so that a test or a
notebook says `client.call("digits", image=picture)` and gets a `Digit`.
"""

from __future__ import annotations

import io
import typing as t

import msgspec

from carboy.contract.answers import encode
from carboy.contract.bodies import json_decoder
from carboy.contract.kinds import needs_pydantic
from carboy.contract.media import JSON, JSON_LINES, MULTIPART
from carboy.contract.objects import forms_of
from carboy.contract.values.file import Upload
from carboy.contract.values.registry import part

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from carboy.contract.values.registry import Wire

    from .registry import Model


class File(t.NamedTuple):
    """A value that is a body by itself, or a file of a form."""

    data: bytes
    media_type: str
    name: str


def compose(model: Model, arguments: cabc.Mapping[str, t.Any]) -> tuple[t.Any, str]:
    """The body for these arguments, as `werkzeug.test.EnvironBuilder` takes it, and its type.

    JSON by name; a lone picture, tensor or table as itself; with others beside it, a form.

    Raises:
        TypeError: an argument is missing or unknown.
    """
    arguments = model.binder.bind((), arguments)
    wires = {each.name: each.wires for each in model.interface.parameters}
    files: dict[str, File] = {}
    plain: dict[str, t.Any] = {}
    for name, value in arguments.items():
        file = _as_file(name, value, wires[name])
        if file is None:
            plain[name] = value
        else:
            files[name] = file
    if not files:
        return encode(plain), JSON
    if len(files) == 1 and not plain:
        (file,) = files.values()
        return file.data, file.media_type
    form = {name: (io.BytesIO(f.data), f.name, f.media_type) for name, f in files.items()}
    return {**{name: _as_field(value) for name, value in plain.items()}, **form}, MULTIPART


def value_of(model: Model, media_type: str, data: bytes) -> t.Any:
    """The value of an answer, in the type that `predict` names; of a stream, the list of items."""
    annotation = model.answers.item
    if model.answers.streams and media_type == JSON_LINES:
        return [_of_json(line, annotation) for line in data.splitlines()]
    if media_type == JSON or media_type.endswith("+json"):
        return _of_json(data, annotation)
    for wire in part(annotation).wires:
        if media_type in wire.media_types:
            return wire.read(data, media_type=media_type)
    return data.decode() if media_type.startswith("text/") else data


def _of_json(data: bytes, annotation: t.Any) -> t.Any:
    wires, rest = part(annotation)
    if wires and rest is None:
        return wires[0].revive(msgspec.json.decode(data, type=wires[0].json_type))
    return (json_decoder(annotation) if _is_plain(annotation) else msgspec.json.decode)(data)


def _is_plain(annotation: t.Any) -> bool:
    """Whether JSON can be made into it: not into a class that only `predict` knows."""
    if needs_pydantic(annotation):
        return True
    try:
        msgspec.json.schema(annotation)
    except (TypeError, NotImplementedError):
        return False
    return True


def _as_file(name: str, value: t.Any, wires: cabc.Sequence[Wire]) -> File | None:
    """None of what JSON says just as well."""
    if isinstance(value, Upload):
        media_type = value.media_type or "application/octet-stream"
        return File(value.read(), media_type, value.name or name)
    found = forms_of(type(value))
    for wire in wires:
        if found is not None and found.kind == wire.name:
            media_type = next(each for each in wire.media_types if each in wire.answers)
            return File(wire.write(value, media_type), media_type, name)
    return None


def _as_field(value: t.Any) -> str:
    return value if isinstance(value, str) else encode(value).decode()
