"""How values stand in a body: the schema of each media type, of values too that JSON lacks."""

from __future__ import annotations

import math
import typing as t

from carboy.contract.media import JSON

from .schemas import Of

if t.TYPE_CHECKING:
    from carboy.contract.values.registry import Parted, Wire

Dict: t.TypeAlias = dict[str, t.Any]

FILE: Dict = {"type": "string", "format": "binary"}
# Numbers in the largest tensor whose schema says how long each list is.
_MOST_SHOWN = 1000


def describe_media(kind: str, annotation: t.Any, *, streams: bool = False) -> Dict:
    """An answer as one media type.

    Args:
        annotation: of the answer, or of one item of a stream.
    """
    if streams:
        # Lines of JSON and events are text; what is in each of them, 3.1 says in this way.
        item = {"contentMediaType": JSON, "contentSchema": spell(annotation, answered=True)}
        return {"schema": {"type": "string", **item}}
    if kind == JSON:
        return {} if annotation is t.Any else {"schema": spell(annotation, answered=True)}
    return {"schema": {"type": "string"} if kind.startswith("text/") else dict(FILE)}


def spell(annotation: t.Any, *, answered: bool = False) -> t.Any:
    """The schema of a value in JSON, of one too that JSON has no word for."""
    wires, rest = _parted(annotation)
    if not wires:
        return Of(annotation)
    # Pages and collections make their example of the first; of a picture in base64 they cannot.
    either: list[t.Any] = [] if rest is None else [Of(rest)]
    either += [_readable(wire.schema(answered=answered)) for wire in wires]
    return either[0] if len(either) == 1 else {"anyOf": either}


def _readable(schema: Dict) -> Dict:
    """Without the sizes of a large tensor: pages make their example of them, number by number."""
    spec = schema.get("x-tensor")
    if spec is None or math.prod(s for s in spec["shape"] if isinstance(s, int)) <= _MOST_SHOWN:
        return schema
    sides = ", ".join(map(str, spec["shape"]))
    text = f"Nested lists of shape ({sides}), {spec['dtype']}."
    return {"type": "array", "description": text, "x-tensor": spec}


def wires_of(annotation: t.Any) -> tuple[Wire, ...]:
    """How a type comes as a file; text does not need to."""
    return _parted(annotation).wires


def _parted(annotation: t.Any) -> Parted:
    from carboy.contract.values.registry import Parted, part

    found = part(annotation)
    return found if any(wire.name != "text" for wire in found.wires) else Parted((), annotation)
