"""How values that JSON has no word for travel: pictures, tensors, tables.

A *wire* reads and writes one annotated type. It is made at registration from the annotation alone,
keeps no state afterwards and belongs to no thread. `models.codec` is a table over wires and knows
none of them by name; a new kind of value is a new wire, and a line in `wire_of`.

Heavy packages (Pillow, NumPy, pandas, pyarrow) are recognised by the annotation and loaded when a
value is read or written.
"""

from __future__ import annotations

import typing as t
from importlib.util import find_spec

from ...errors import SignatureError
from ..kinds import is_union, strip, union_of
from . import drawing, text
from .image import DEFAULTS, ImageOptions, is_picture, open_image, open_text, sniff
from .tables import is_table
from .tensor import TensorWire, tensor_spec

if t.TYPE_CHECKING:
    import collections.abc as cabc


class Wire(t.Protocol):
    """One type of value, read from and written to bytes."""

    @property
    def name(self) -> str:
        """What a person calls it: "image", "tensor", "table"; for messages and for pages."""

    @property
    def media_types(self) -> tuple[str, ...]:
        """Raw bodies and files that are such a value, the most fitting first."""

    @property
    def answers(self) -> tuple[str, ...]:
        """What `write` writes, the most fitting first."""

    @property
    def json_type(self) -> t.Any:
        """What msgspec decodes for it inside JSON; `revive` gets that.

        `str` for base64; `msgspec.Raw` where the wire reads JSON itself, and quicker.
        """

    @property
    def packages(self) -> tuple[str, ...]:
        """What must be installed, as `import` and as `pip install` know it: "PIL Pillow"."""

    def recognises(self, data: bytes, media_type: str) -> bool:
        """Whether a raw body is meant to be this value: by its content, then by its media type."""

    def read(self, data: bytes, *, media_type: str = "", path: str = "$") -> t.Any:
        """A raw body or a file. Raises InputError."""

    def revive(self, value: t.Any, *, path: str = "$") -> t.Any:
        """What `json_type` gave, or the plain value of a form's field. Raises InputError."""

    def write(self, value: t.Any, media_type: str) -> bytes:
        """One of `answers`."""

    def schema(self, *, answered: bool = False) -> dict[str, t.Any]:
        """JSON Schema of the spelling in JSON; `x-tensor` and `x-table` tell pages what it is.

        Args:
            answered: of a value that is returned, which may be empty.
        """


class Parted(t.NamedTuple):
    """An annotation as the ways in which its value may come: by wires, and as plain JSON."""

    wires: tuple[Wire, ...]  # in the order in which they are asked
    rest: t.Any  # None: the wires alone


def wire_of(annotation: t.Any) -> Wire | None:
    """The wire of a type; None where JSON says it all (and of a union: see `part`)."""
    bare, extras = _peel(annotation)
    if is_picture(bare):
        options = next((each for each in extras if isinstance(each, ImageOptions)), DEFAULTS)
        return PictureWire(options)
    tensor = tensor_spec(bare, extras)
    if tensor is not None:
        return TensorWire(*tensor)
    if is_table(bare, extras):
        from .tables.value import TableWire

        return TableWire.of(bare, extras)
    return text.wire_of(annotation)


def _peel(annotation: t.Any) -> tuple[t.Any, tuple[t.Any, ...]]:
    """A type without `Annotated` and aliases, and what stood beside it on the way."""
    extras: tuple[t.Any, ...] = ()
    while True:
        if t.get_origin(annotation) is t.Annotated:
            annotation, *found = t.get_args(annotation)
            extras = (*found, *extras)
        elif strip(annotation) is annotation:
            return annotation, extras
        else:  # an alias, perhaps of something with `Annotated`
            annotation = getattr(annotation, "__value__", None) or annotation.__supertype__


def part(annotation: t.Any) -> Parted:
    """Part wires from the other ways to write a value: `Image | Pixels` -> image, Pixels.

    Of `Image | None` the rest is None's type.
    """
    wire = wire_of(annotation)
    if wire is not None:
        return Parted((wire,), None)
    if not is_union(strip(annotation)):
        return Parted((), annotation)
    wires: list[Wire] = []
    rest: list[t.Any] = []
    for member in t.get_args(strip(annotation)):
        found = wire_of(member)
        if found is None:
            rest.append(member)
        else:
            wires.append(found)
    if not wires:
        return Parted((), annotation)
    # Text and bytes take what nobody else does: they are asked last.
    wires.sort(key=lambda each: not each.packages)
    return Parted(tuple(wires), union_of(rest) if rest else None)


def wires_in(annotation: t.Any) -> cabc.Iterator[Wire]:
    """All wires that an annotation names, also inside lists, unions and dicts."""
    wire = wire_of(annotation)
    if wire is not None:
        yield wire
        return
    for inner in t.get_args(strip(annotation)):
        yield from wires_in(inner)


def require(wire: Wire, owner: str) -> None:
    """Say at registration which package a type needs.

    Raises:
        SignatureError: it is not installed.
    """
    for each in wire.packages:
        module, _, distribution = each.partition(" ")
        if find_spec(module) is None:
            raise SignatureError(
                f"{owner} takes or gives {wire.name}s, and {distribution or module} is not"
                f" installed: pip install {distribution or module}"
            )


class PictureWire:
    """A PIL image."""

    name: t.Final = "image"
    answers: t.Final = drawing.ANSWERS
    json_type: t.Final = str
    packages: t.Final = ("PIL Pillow",)

    def __init__(self, options: ImageOptions = DEFAULTS) -> None:
        self.options = options
        self.media_types = tuple(options.media_types)

    def recognises(self, data: bytes, media_type: str) -> bool:
        return sniff(data) is not None or media_type.startswith("image/")

    def read(self, data: bytes, *, media_type: str = "", path: str = "$") -> t.Any:
        return open_image(data, options=self.options, path=path)

    def revive(self, value: t.Any, *, path: str = "$") -> t.Any:
        return open_text(value, options=self.options, path=path)

    def write(self, value: t.Any, media_type: str) -> bytes:
        return drawing.write(value, media_type)

    def schema(self, *, answered: bool = False) -> dict[str, t.Any]:
        return {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/*"}
