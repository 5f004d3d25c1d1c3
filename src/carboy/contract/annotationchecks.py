"""Refuse, when a view is registered, parts of its annotations that would have no effect on
requests.

    a marker inside a type            `list[Annotated[str, Header()]]`: only a whole parameter comes
                                      from a header. A marker in `Annotated[X, Header()] | None` is
                                      for the whole parameter, so it is allowed.
    a limit of pydantic on a field    `pydantic.Field(gt=0)` on a field of a Struct
    that msgspec reads
    a limit of msgspec on a field     `msgspec.Meta(gt=0)` on a field of a pydantic model
    that pydantic reads
    options inside a record           `Annotated[Image, ImageOptions(...)]` as the type of a field:
                                      images in a record are read without options
    a pydantic dataclass in a record  msgspec would read it, without its limits and validators
    that msgspec reads
    an `__init__` that an author      msgspec and pydantic create such an object without it;
    wrote for a dataclass or attrs    likewise `alias` and `converter` of a field of attrs
    class

It also refuses a default of a parameter or of a record's field that would be one object for all
requests, and that a request could change.
"""

from __future__ import annotations

import dataclasses
import inspect
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

# Of the types that JSON cannot express, those for which a limit of `msgspec.Meta`, such as
# `max_length`, is applied. On an image, an array or a table such a limit is refused.
_WITH_LIMITS = (str, bytes, Upload)

# Package and class of objects that describe a field or a parameter, such as `pydantic.Field(...)`.
# If an author writes one as the default, it is not meant as a value.
_DECLARATIONS = {
    ("pydantic", "FieldInfo"),
    ("msgspec", "Meta"),
    ("msgspec", "Field"),
    ("dataclasses", "Field"),
}


def check_annotation(annotation: t.Any, *, of_body: bool) -> None:
    """Check a parameter's annotation, from which a marker such as `Query()` has been removed.

    Args:
        annotation: the annotation.
        of_body: whether the parameter is read from a body, so that the options of an image, a
            table, ... take effect.

    Raises:
        SignatureError: a part of the annotation would have no effect.
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
    """Return whether an annotation contains a marker such as `Query()`. Fields of classes are not
    searched.
    """
    if is_recursive(annotation):
        return False
    bare, extras = peel(annotation)
    return any(map(is_marker, extras)) or any(map(has_marker, t.get_args(bare)))


def as_written(value: t.Any) -> str:
    """Return the source code of a value in an annotation or a default, as its author may have
    written it.
    """
    text = repr(value)
    return f"{type(value).__name__}(...)" if text.startswith("<") else text


def is_effective(extra: t.Any) -> bool:
    """Return whether an object in the metadata of an `Annotated` restricts or converts values, as
    `msgspec.Meta(ge=1)` does; a description or an example does not.
    """
    return is_limit(extra) or is_foreign_limit(extra)


def is_declaration(default: t.Any) -> bool:
    """Return whether a default only describes the parameter and is not meant as its value, as in
    FastAPI's `page: int = Query()`.
    """
    cls = type(default)
    package = cls.__module__.partition(".")[0]
    named = (package, cls.__name__)
    return is_marker(default) or package == "fastapi" or named in _DECLARATIONS


def is_marker(value: t.Any) -> bool:
    """Return whether a value is an instance or a subclass of `Marker`, such as `Header("X-Token")`
    or `Header`.
    """
    return isinstance(value, Marker) or (isinstance(value, type) and issubclass(value, Marker))


class _Place(t.NamedTuple):
    """Where a part of an annotation stands, such as inside a list or in a field of a record."""

    #: The name of the record's field that has the annotation, such as "Order.count"; "" outside of
    #: records.
    field: str
    #: Whether this part of the annotation is validated by pydantic instead of msgspec.
    by_pydantic: bool
    of_body: bool
    #: Whether this part of the annotation is inside a collection or a record, where the options of
    #: an image, a table, ... have no effect.
    inside: bool
    #: Whether this part declares the columns of a table: no objects of its class are created.
    of_columns: bool = False

    def refusal(self, extra: t.Any, why: str) -> SignatureError:
        where = f"the field {self.field} has" if self.field else "it has"
        return SignatureError(f"{where} {as_written(extra)} in its annotation, {why}")


def _visit(annotation: t.Any, place: _Place, seen: set[t.Any]) -> None:
    bare, extras = peel(annotation)
    kind = kind_of(annotation)
    for extra in extras:
        _check_extra(extra, bare, kind, place)
    cls = t.get_origin(bare) or bare
    if kind is None and not place.of_columns:
        _check_class(cls, place)
    if is_pydantic(cls):
        place = place._replace(by_pydantic=True)
    if t.get_origin(bare) is t.Literal or not isinstance(bare, t.Hashable):
        return
    if (bare, place) in seen:
        return
    seen.add((bare, place))
    is_whole = is_union(bare) or (not place.inside and place.of_body and is_file(item_of(bare)))
    inner = place if is_whole else place._replace(inside=True, of_columns=kind is not None)
    for each in t.get_args(bare):
        _visit(each, inner, seen)
    owner = getattr(cls, "__qualname__", "")
    for field in fields_of(bare):
        within = inner._replace(field=f"{owner}.{field.name}")
        _check_field_default(field, within)
        _visit(field.annotation, within, seen)


def _check_class(cls: t.Any, place: _Place) -> None:
    """Raise SignatureError if objects of a class would be created without code or options of its
    author.
    """
    name = getattr(cls, "__qualname__", "")
    if is_pydantic(cls):
        if dataclasses.is_dataclass(cls) and not place.by_pydantic:
            raise SignatureError(
                f"the field {place.field} is of the pydantic dataclass {name}, whose limits and"
                " validators msgspec ignores. Make it, or the class that has the field, a"
                " `pydantic.BaseModel`."
            )
    elif dataclasses.is_dataclass(cls) or hasattr(cls, "__attrs_attrs__"):
        if _has_own_init(cls):
            raise SignatureError(
                f"the class {name} has an `__init__`, which is not called when it is read from a"
                " request. Write `__post_init__` (`__attrs_post_init__` in an attrs class), or a"
                " plain class with a function that makes it."
            )
        for field in getattr(cls, "__attrs_attrs__", ()):
            _check_attrs_field(field, f"{name}.{field.name}")


def _has_own_init(cls: t.Any) -> bool:
    """Return whether an author wrote the `__init__` of a dataclass or attrs class. A decorator such
    as beartype's may have wrapped the generated one.
    """
    code = getattr(inspect.unwrap(cls.__init__), "__code__", None)
    return code is not None and not code.co_filename.startswith(("<string>", "<attrs generated"))


def _check_attrs_field(field: t.Any, name: str) -> None:
    renamed = getattr(field, "alias", None) not in (None, field.name, field.name.lstrip("_"))
    for option in ["alias"] * renamed + ["converter"] * (field.converter is not None):
        raise SignatureError(
            f"the field {name} has the option `{option}` of attrs, which has no effect when it is"
            " read from a request. Use a `msgspec.Struct`, whose fields may be renamed"
            " (`msgspec.field(name=...)`) and changed in `__post_init__`."
        )


def _check_extra(extra: t.Any, bare: t.Any, kind: ValueKind | None, place: _Place) -> None:
    """Raise SignatureError if an object in the metadata of an `Annotated` would have no effect on
    the type.
    """
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
    """Raise SignatureError for a limit that does not fit the type, such as a minimum length of an
    int: pydantic could not apply it, so each request would fail.
    """
    if bare not in (int, float, str) and t.get_origin(bare) not in COLLECTIONS:
        return
    for meta in filter(is_limit, translated([extra])):
        try:
            msgspec.json.Decoder(t.Annotated[bare, meta])
        except TypeError as exc:
            if "Can only set" in str(exc):
                raise place.refusal(extra, f"which does not fit {shown(bare)}.") from None


def _is_described_by(extra: t.Any, bare: t.Any) -> bool:
    """Return whether a type is incomplete without the object in its `Annotated`, as `ndarray` is
    without the `Tensor[...]` in `Annotated[ndarray, Tensor[...]]`.
    """
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
