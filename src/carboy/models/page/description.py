"""What the page must know of a model beyond its metadata: defaults, and a first example."""

from __future__ import annotations

import binascii
import sys
import typing as t

import msgspec

from carboy.contract.hooks import plain
from carboy.contract.images import is_picture

if t.TYPE_CHECKING:
    from carboy.models.registry import Model

# An example is part of the page, in JSON. A photograph fits; a tensor of a network's input does
# not, and one makes up such values with a click.
_MOST_EXAMPLE_BYTES = 512 * 1024


def describe(model: Model) -> dict[str, t.Any]:
    """The metadata, and what stands in the form at first."""
    parameters = model.interface.parameters
    defaults = {p.name: p.default for p in parameters if not p.required}
    found: dict[str, t.Any] = {
        **model.metadata(),
        "defaults": {name: _spell(value, None) for name, value in defaults.items()},
    }
    example = _spell(model.options.example, None)
    if example is not None:
        found["example"] = example
    return found


def _spell(value: t.Any, otherwise: t.Any) -> t.Any:
    """A value in JSON; `otherwise` if it has no such form, or one too long for a page."""
    if value is None:
        return otherwise
    try:
        text = msgspec.json.encode(value, enc_hook=_plain)
    except (TypeError, ValueError, NotImplementedError, OSError, RecursionError):
        return otherwise
    return msgspec.json.decode(text) if len(text) <= _MOST_EXAMPLE_BYTES else otherwise


def _plain(value: t.Any) -> t.Any:
    if any(is_picture(cls) for cls in type(value).__mro__):
        from carboy.contract.wires import PictureWire

        data = PictureWire().write(value, "image/png")
        return f"data:image/png;base64,{binascii.b2a_base64(data, newline=False).decode()}"
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, pandas.DataFrame):
        return msgspec.Raw(value.to_json(orient="records").encode())
    return plain(value)
