"""Refuse, at registration, parts of an annotation that would have no effect on a request.

a marker inside a type             `list[Annotated[str, Header()]]`; `X | None` may contain one
limits of a library that does      `pydantic.Field(gt=0)` on a field of a Struct, `msgspec.Meta`
not read the class                 on a field of a pydantic model
options of an image, a table, ...  `Annotated[Image, ImageOptions(...)]` inside a record: such
that cannot arrive there           values are read by their class, without options
a default that requests share      a field of a record whose default can be changed
"""

from __future__ import annotations

import typing as t

import msgspec

from ..errors import SignatureError
from .hints import COLLECTIONS, is_pydantic, is_recursive, is_union, item_of, peel, shown
from .kinds import is_file, undefined_name
from .markers import Marker
from .operation import copier, fresh
from .pydanticlimits import is_foreign_limit, is_limit, needs_pydantic, translated
from .records import NO_DEFAULT, RecordField, fields_of
from .values.file import Upload
from .values.registry import kind_of

if t.TYPE_CHECKING:
    from .values.kind import ValueKind

# Kinds of value that obey the limits of `msgspec.Meta`; inside records msgspec applies the limits.
_WITH_LIMITS = (str, bytes, Upload)

# Classes whose instances describe a parameter or a field: the package, and the name of the class.
_DECLARATIONS = {
    ("pydantic", "FieldInfo"),
    ("msgspec", "Meta"),
    ("msgspec", "Field"),
    ("dataclasses", "Field"),
}


def check_annotation(annotation: t.Any, *, of_body: bool) -> None:
    """Check the annotation of a parameter, from which a marker such as `Query()` was removed.

    Args:
        annotation: the annotation.
        of_body: whether the parameter is read from a body, so that options of images, ... apply.

    Raises:
        SignatureError: a part of it would have no effect.
    """
    place = _Place("", needs_pydantic(annotation), of_body, inside=False)
    try:
        _visit(annotation, place, set())
    except NameError as exc:
        raise undefined_name(exc) from None


def check_default(default: t.Any) -> None:
    """Check the default of a parameter that is read from requests.

    Raises:
        SignatureError: the default cannot be copied for each request.
    """
    try:
        fresh(default)
    except Exception as exc:  # noqa: BLE001 - of whatever the author's object holds: a lock, a file
        raise SignatureError(
            f"the default {default!r} would be one object for all requests, because it cannot be"
            f" copied ({exc}). Write None, and create the object in the function."
        ) from None


def has_marker(annotation: t.Any) -> bool:
    """Return whether an annotation contains a marker such as `Query()`; fields are not searched."""
    if is_recursive(annotation):
        return False
    bare, extras = peel(annotation)
    return any(map(is_marker, extras)) or any(map(has_marker, t.get_args(bare)))


def as_written(value: t.Any) -> str:
    """Return an object of an annotation or a default approximately as its author wrote it."""
    text = repr(value)
    return f"{type(value).__name__}(...)" if text.startswith("<") else text


def is_effective(extra: t.Any) -> bool:
    """Return whether metadata restricts or changes the values of a type."""
    return is_limit(extra) or is_foreign_limit(extra)


def is_declaration(default: t.Any) -> bool:
    """Return whether a default describes the parameter, like FastAPI's `= Query()`."""
    cls = type(default)
    package = cls.__module__.partition(".")[0]
    named = (package, cls.__name__)
    return is_marker(default) or package == "fastapi" or named in _DECLARATIONS


def is_marker(value: t.Any) -> bool:
    """Return whether a value is a marker, or a class of markers: `Header("X-Token")`, `Header`."""
    return isinstance(value, Marker) or (isinstance(value, type) and issubclass(value, Marker))


class _Place(t.NamedTuple):
    """Where a part of an annotation is."""

    #: The field of a record, such as "Order.count"; "" outside of records.
    field: str
    #: Whether pydantic validates the part, and not msgspec.
    by_pydantic: bool
    of_body: bool
    #: Whether the part is inside a collection or a record.
    inside: bool

    def refusal(self, extra: t.Any, why: str) -> SignatureError:
        where = f"the field {self.field} has" if self.field else "it has"
        return SignatureError(f"{where} {as_written(extra)} in its annotation, {why}")


def _visit(annotation: t.Any, place: _Place, seen: set[t.Any]) -> None:
    bare, extras = peel(annotation)
    kind = kind_of(annotation)
    for extra in extras:
        _check_extra(extra, bare, kind, place)
    if is_pydantic(t.get_origin(bare) or bare):
        place = place._replace(by_pydantic=True)
    if t.get_origin(bare) is t.Literal or not isinstance(bare, t.Hashable):
        return
    if (bare, place) in seen:
        return
    seen.add((bare, place))
    is_whole = is_union(bare) or (not place.inside and place.of_body and is_file(item_of(bare)))
    inner = place if is_whole else place._replace(inside=True)
    for each in t.get_args(bare):
        _visit(each, inner, seen)
    owner = getattr(t.get_origin(bare) or bare, "__qualname__", "")
    for field in fields_of(bare):
        within = inner._replace(field=f"{owner}.{field.name}")
        _check_field_default(field, within)
        _visit(field.annotation, within, seen)


def _check_extra(extra: t.Any, bare: t.Any, kind: ValueKind | None, place: _Place) -> None:
    """Check one piece of the metadata of a type."""
    if is_marker(extra):
        raise place.refusal(
            extra,
            "but only a whole parameter comes from one place. Write the marker outside:"
            f" `Annotated[..., {extra!r}]`.",
        )
    if type(extra).__module__.startswith("carboy."):
        if kind is None:
            raise place.refusal(extra, f"which says nothing about {shown(bare)}.")
        if place.inside and not _is_described_by(extra, bare):
            raise place.refusal(
                extra,
                "which has no effect inside a record, a dict or a nested list. Make the value, or a"
                " list of such values, a parameter of its own, or leave the options out.",
            )
    elif is_foreign_limit(extra):
        _check_fit(extra, bare, place)
        _check_foreign_limit(extra, bare, kind, place)
    elif is_limit(extra):
        if kind is not None and bare not in _WITH_LIMITS:
            raise place.refusal(extra, f"which has no effect on {shown(bare)}.")
        if place.by_pydantic and place.field:
            raise place.refusal(
                extra, "which pydantic ignores. Write its own, such as `pydantic.Field(ge=1)`."
            )


def _check_foreign_limit(extra: t.Any, bare: t.Any, kind: ValueKind | None, place: _Place) -> None:
    if kind is not None and place.of_body and not place.inside:
        if bare not in _WITH_LIMITS or not any(map(is_limit, translated([extra]))):
            raise place.refusal(
                extra, f"which has no effect on {shown(bare)}. Check the value in the function."
            )
    elif not place.by_pydantic:
        raise place.refusal(
            extra, "which msgspec ignores. Write `msgspec.Meta`, such as `Meta(ge=1)`."
        )


def _check_fit(extra: t.Any, bare: t.Any, place: _Place) -> None:
    """Refuse a limit that pydantic cannot apply to the type: each request would fail."""
    if bare not in (int, float, str) and t.get_origin(bare) not in COLLECTIONS:
        return
    for meta in filter(is_limit, translated([extra])):
        try:
            msgspec.json.Decoder(t.Annotated[bare, meta])
        except TypeError as exc:
            if "Can only set" in str(exc):
                raise place.refusal(extra, f"which does not fit {shown(bare)}.") from None


def _is_described_by(extra: t.Any, bare: t.Any) -> bool:
    """Return whether the metadata is part of the type: `Annotated[ndarray, Tensor[...]]`."""
    return kind_of(bare) is None


def _check_field_default(field: RecordField, place: _Place) -> None:
    default = field.default
    if default is NO_DEFAULT:
        return
    if is_declaration(default):
        raise SignatureError(
            f"the field {place.field} has the default {default!r}, which describes a parameter and"
            " is no value."
        )
    if copier(default) is not None:
        raise SignatureError(
            f"the field {place.field} has the default {default!r}, which all requests would share."
            " Write a `default_factory` that creates it, or a default that cannot be changed."
        )
