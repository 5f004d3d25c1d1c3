"""The registry of `ValueKind` classes, which read and write values that JSON cannot express.

Each class is for one type of values, such as images or tables. It is found by an annotation, a
class, a media type or a schema. To support another type, write a subclass of `ValueKind` and pass
it to `register`.
"""

from __future__ import annotations

import types
import typing as t
from functools import lru_cache
from importlib.util import find_spec

from ...errors import SignatureError
from ..hints import annotated, is_recursive, is_union, peel, strip, union_of
from ..pydanticlimits import translated
from .image import ImageKind
from .kind import ValueKind
from .tables.value import TableKind
from .tensor import TensorKind
from .text import BytesKind, TextKind, UploadKind

if t.TYPE_CHECKING:
    import collections.abc as cabc

K = t.TypeVar("K", bound=type[ValueKind])

# How many results of `_find` are cached. PERF: `_find` is called with the class of each value that
# is encoded, and takes 1 us without the cache.
_MAX_CACHED = 256

_kinds: list[type[ValueKind]] = []
# The registered `ValueKind` classes, by package and qualified name of their values' classes.
_whole: dict[tuple[str, str], type[ValueKind]] = {}
_within: dict[tuple[str, str], type[ValueKind]] = {}


def register(kind: K) -> K:
    """Register a `ValueKind`, which reads and writes one type of values, such as images.

    Call this before registering the views and models that use such values, because their
    annotations are read at registration.
    """
    _kinds.append(kind)
    for each in kind.classes:
        _whole[each] = _within[each] = kind
    for each in kind.parts:
        _within[each] = kind
    _find.cache_clear()
    return kind


class Parted(t.NamedTuple):
    """The members of a union, split into types that JSON cannot express (images, tables, ...) and a
    type of plain JSON.
    """

    # Readers of images, tables, ..., in the order in which they are tried.
    kinds: tuple[ValueKind, ...]
    rest: t.Any  # the members of the union that are plain JSON, as one type; None if there are none


def kind_of(annotation: t.Any) -> ValueKind | None:
    """Return the reader for a type that JSON cannot express, such as `Image`; None for plain JSON
    and for unions.
    """
    bare, extras = peel(annotation)
    extras = translated(extras)
    for kind in _kinds:
        found = kind.of(bare, extras)
        if found is not None:
            return found
    return None


def part(annotation: t.Any) -> Parted:
    """Split a union into readers (for images, tables, ...) and a type of plain JSON: `Image |
    Pixels` becomes the reader of images and `Pixels`.

    For `Image | None` the type of plain JSON is NoneType.
    """
    kind = kind_of(annotation)
    if kind is not None:
        return Parted((kind,), None)
    bare, extras = peel(annotation)
    if not is_union(bare) or is_recursive(annotation):
        return Parted((), annotation)
    kinds: list[ValueKind] = []
    rest: list[t.Any] = []
    for each in t.get_args(bare):
        # Metadata of a union applies to each of its members, too, as in `Annotated[str | None,
        # Meta()]`. So add it to each member.
        member = each if each is types.NoneType else annotated(each, extras)
        found = kind_of(member)
        if found is None:
            rest.append(member)
        else:
            kinds.append(found)
    if not kinds:
        return Parted((), annotation)
    kinds.sort(key=lambda each: each.takes_anything)
    return Parted(tuple(kinds), union_of(rest) if rest else None)


def kinds_in(annotation: t.Any) -> cabc.Iterator[ValueKind]:
    """Yield the readers of all images, tables, ... that an annotation names, also inside lists,
    unions and dicts.
    """
    kind = kind_of(annotation)
    if kind is not None:
        yield kind
        return
    if not is_recursive(annotation):
        for inner in t.get_args(strip(annotation)):
            yield from kinds_in(inner)


def kind_of_class(cls: t.Any) -> type[ValueKind] | None:
    """Return the `ValueKind` for instances of a class (an image, a table, ...); None for plain
    JSON.
    """
    return _find(cls)[0] if isinstance(cls, type) else None


def kind_inside_json(cls: t.Any) -> type[ValueKind] | None:
    """Return the `ValueKind` that converts instances of a class inside JSON, including the classes
    in `ValueKind.parts`, such as NumPy's numbers.
    """
    return _find(cls)[1] if isinstance(cls, type) else None


@lru_cache(maxsize=_MAX_CACHED)
def _find(cls: t.Any) -> tuple[type[ValueKind] | None, type[ValueKind] | None]:
    names = [(each.__module__.partition(".")[0], each.__qualname__) for each in cls.__mro__]
    whole = next((_whole[name] for name in names if name in _whole), None)
    return whole, next((_within[name] for name in names if name in _within), None)


def kind_named(name: str) -> type[ValueKind] | None:
    """Return the `ValueKind` class of this name, such as "ImageKind"."""
    return next((kind for kind in _kinds if kind.__qualname__ == name), None)


def kind_of_media_type(media_type: str) -> type[ValueKind] | None:
    """Return the `ValueKind` that reads files of a media type, which can make a sample of such a
    file.
    """
    found = (kind for kind in _kinds if media_type in kind.media_types)
    return next(found, None)


def kind_of_schema(schema: dict[str, t.Any]) -> type[ValueKind] | None:
    """Return the `ValueKind` whose method `schema` made a JSON Schema, which can make a sample for
    it.
    """
    return next((kind for kind in _kinds if kind.describes(schema)), None)


def require(kind: ValueKind, owner: str) -> None:
    """Check that the packages for a type of values are installed, such as Pillow for images.

    Raises:
        SignatureError: a package is missing.
    """
    for each in kind.packages:
        module, _, distribution = each.partition(" ")
        if find_spec(module) is None:
            raise SignatureError(
                f"{owner} uses the type {kind.name}, but {distribution or module} is not"
                f" installed: pip install {distribution or module}"
            )


for _each in (ImageKind, TensorKind, TableKind, TextKind, BytesKind, UploadKind):
    register(_each)
