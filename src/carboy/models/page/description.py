"""What the page must know of a model beyond its metadata: defaults, and a first example."""

from __future__ import annotations

import typing as t

import msgspec

from carboy.contract.answers import encode

if t.TYPE_CHECKING:
    from carboy.models.registry import Model

# An example is part of the page, in JSON. A photograph fits; a tensor as large as a network's input
# does not, and the page makes up such values with a click.
_MOST_EXAMPLE_BYTES = 512 * 1024


def describe(model: Model) -> dict[str, t.Any]:
    """The metadata, and what stands in the form at first."""
    parameters = model.interface.parameters
    found: dict[str, t.Any] = {
        **model.metadata(),
        "defaults": {p.name: _spell(p.default) for p in parameters if not p.required},
    }
    example = model.example
    if example is not None and len(example.json) <= _MOST_EXAMPLE_BYTES:
        found["example"] = msgspec.json.decode(example.json)
    return found


def _spell(default: t.Any) -> t.Any:
    """A default in JSON; null, which leaves the field empty, if it has no such form."""
    try:
        return msgspec.json.decode(encode(default))
    except (TypeError, ValueError, NotImplementedError):
        return None
