"""Classify the types of parameters, and look up msgspec's descriptions of types.

`carboy.contract.signature` uses the class of a type (`Sort`) to decide whether an argument comes
from the query, the body or a file of the request.
"""

from __future__ import annotations

import enum
import types
import typing as t

import msgspec

from ..errors import SignatureError
from .hints import (
    COLLECTIONS,
    annotated,
    is_pydantic,
    is_record,
    is_recursive,
    is_scalar,
    is_union,
    item_of,
    peel,
    strip,
    union_of,
    without_none,
)
from .markers import Marker
from .pydanticlimits import adapter, needs_pydantic
from .values.registry import kind_of, part


class Sort(enum.Enum):
    """The class of a parameter's type (scalar, record, ...). It decides where the argument comes
    from.
    """

    SCALAR = "scalar"  # a value that one text can express: str, int, Enum, `int | None`, ...
    SCALARS = "scalars"  # several texts, such as a repeated key of a query: list[int]
    RECORD = "record"  # a class with named fields, which can be the fields of a form
    VALUE = "value"  # any other type of JSON: lists of records, dicts, unions
    FILE = "file"  # a value that is sent as a file: Upload, Image, Tensor, ...
    FILES = "files"  # several files: list[Upload]
    UNKNOWN = "unknown"


class Unmarked(t.NamedTuple):
    """An annotation without markers such as `Query()`, and the first marker that it contained."""

    annotation: t.Any
    marker: Marker | None
    # The number of markers after the first one. If it is not 0, the annotation is refused.
    extra: int


def take_marker(annotation: t.Any) -> Unmarked:
    """Separate a marker from a type: `Annotated[int, Meta(), Query()]` becomes `Annotated[int,
    Meta()]`.

    The marker may be inside a `type` alias, or on the type `X` in `X | None`.
    """
    bare, extras = peel(annotation)
    markers = [marker for extra in extras if (marker := _as_marker(extra)) is not None]
    if is_union(bare) and not is_recursive(bare):
        members = [take_marker(each) for each in t.get_args(bare)]
        marked = [each for each in members if each.marker is not None]
        if len(marked) == 1 and len(members) == 2 and types.NoneType in t.get_args(bare):
            bare = union_of(each.annotation for each in members)
            markers += [t.cast("Marker", marked[0].marker)] * (1 + marked[0].extra)
    if not markers:
        return Unmarked(annotation, None, 0)
    others = [extra for extra in extras if _as_marker(extra) is None]
    return Unmarked(annotated(bare, others), markers[0], len(markers) - 1)


def _as_marker(extra: t.Any) -> Marker | None:
    if isinstance(extra, Marker):
        return extra
    return extra() if isinstance(extra, type) and issubclass(extra, Marker) else None


def sort_of(annotation: t.Any) -> Sort:
    """Classify a parameter's type, from which markers such as `Query()` have been removed."""
    sort = _sort_of(annotation)
    if sort in (Sort.SCALAR, Sort.SCALARS) and not is_decodable(strip(without_none(annotation))):
        # A text could be read as several of the types, as for `date | datetime`, which msgspec does
        # not allow.
        return Sort.UNKNOWN
    return sort


def _sort_of(annotation: t.Any) -> Sort:
    bare = strip(annotation)
    if is_recursive(annotation):
        return Sort.VALUE if is_decodable(annotation) else Sort.UNKNOWN
    kinds, rest = part(annotation)
    if any(kind.is_file for kind in kinds):
        return Sort.FILE if rest is None or is_decodable(rest) else Sort.UNKNOWN
    arguments = t.get_args(bare)
    if is_union(bare):
        return _sort_of_union([each for each in arguments if each is not types.NoneType])
    if t.get_origin(bare) in COLLECTIONS and arguments:
        if is_file(item_of(bare)):
            return Sort.FILES
        if all(_sort_of(each) is Sort.SCALAR for each in arguments if each is not Ellipsis):
            return Sort.SCALARS
    if is_scalar(bare):
        return Sort.SCALAR
    if is_record(t.get_origin(bare) or bare):
        return Sort.RECORD
    return Sort.VALUE if is_decodable(bare) else Sort.UNKNOWN


def is_file(annotation: t.Any) -> bool:
    """Return whether values of a type are sent as files: uploads, images, arrays, tables."""
    kind = None if annotation is None else kind_of(annotation)
    return kind is not None and kind.is_file


def _sort_of_union(members: list[t.Any]) -> Sort:
    sorts = {_sort_of(member) for member in members}
    if len(sorts) == 1:
        return sorts.pop()
    if Sort.UNKNOWN in sorts or sorts & {Sort.FILE, Sort.FILES}:
        return Sort.UNKNOWN
    return Sort.SCALARS if sorts == {Sort.SCALAR, Sort.SCALARS} else Sort.VALUE


def is_decodable(annotation: t.Any) -> bool:
    """Return whether values of a type can be decoded from JSON.

    Raises:
        SignatureError: a field of a class uses an undefined name, or pydantic is missing.
    """
    try:
        if needs_pydantic(annotation):
            adapter(annotation)
        else:
            check_decodable(annotation)
    except NameError as exc:
        raise undefined_name(exc) from None
    except SignatureError:
        raise
    except Exception:  # noqa: BLE001 - each library refuses in its own way; the answer is no
        return False
    return True


def undefined_name(error: NameError) -> SignatureError:
    """Return the error for a class with a field whose annotation has an undefined name."""
    return SignatureError(
        f"a class in it has a field whose type {error.name!r} cannot be found. Import it at the top"
        " of the module, not under TYPE_CHECKING."
    )


def check_decodable(annotation: t.Any) -> None:
    """Check at registration that msgspec can decode a type.

    Raises:
        TypeError, NotImplementedError: JSON cannot be read as this type.
    """
    msgspec.json.Decoder(annotation)
    msgspec.json.schema(annotation, schema_hook=_known)


def _known(cls: type) -> dict[str, t.Any]:
    """Return a schema for a class that carboy can read, though msgspec cannot; raise TypeError for
    other classes.

    Used as msgspec's `schema_hook`, only to check that a type can be read. The content of the
    schema has no effect.
    """
    kind = kind_of(cls)
    if kind is not None or is_pydantic(cls):
        return {"type": "string"}
    if cls.__qualname__ in ("Tensor", "ndarray"):
        raise TypeError('it names no dtype and no sides; any sides are `Tensor["float32", ...]`')
    raise TypeError(f"the class {cls.__module__}.{cls.__qualname__} is not supported")


def members(annotation: t.Any) -> tuple[msgspec.inspect.Type, ...]:
    """Return msgspec's description of a type, or of each member of a union; () if msgspec has
    none.
    """
    if is_recursive(annotation):
        # msgspec cannot describe an alias that refers to itself, so any JSON is accepted for it.
        return (msgspec.inspect.AnyType(),)
    try:
        info = msgspec.inspect.type_info(annotation)
    except TypeError:
        return ()
    if isinstance(info, msgspec.inspect.Metadata):
        info = info.type
    return info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)


def record_types(annotation: t.Any) -> list[t.Any]:
    """Return msgspec's description of a record type, or of all record types in a union."""
    return [member for member in members(annotation) if isinstance(member, _RECORDS)]


_RECORDS = (
    msgspec.inspect.StructType,
    msgspec.inspect.DataclassType,
    msgspec.inspect.TypedDictType,
)
# For each of msgspec's descriptions of types, by class name: the Python classes that JSON values of
# such a type become if they are decoded without the type.
_PLAIN: dict[str, tuple[type, ...]] = {
    "NoneType": (type(None),),
    "BoolType": (bool,),
    "IntType": (int,),
    "FloatType": (float, int),
    **dict.fromkeys(("BytesType", "ByteArrayType", "MemoryViewType"), (bytes, str)),
    **dict.fromkeys(("DictType", "StructType", "DataclassType", "TypedDictType"), (dict,)),
    **dict.fromkeys(("ListType", "TupleType", "VarTupleType"), (list,)),
    **dict.fromkeys(("SetType", "FrozenSetType"), (list,)),
    **dict.fromkeys(("StrType", "EnumType", "LiteralType", "UUIDType", "DecimalType"), (str,)),
    **dict.fromkeys(("DateTimeType", "DateType", "TimeType", "TimeDeltaType"), (str,)),
    "AnyType": (bytes, str, list, dict, int, float, bool),
}
_OBJECTS = (*_RECORDS, msgspec.inspect.DictType, msgspec.inspect.AnyType,
            msgspec.inspect.RawType, msgspec.inspect.CustomType)  # fmt: skip


def plain_classes(annotation: t.Any) -> set[type]:
    """Return the Python classes (dict, list, str, ...) that JSON values of a type become if they
    are decoded without the type.
    """
    return {cls for each in members(annotation) for cls in _PLAIN.get(type(each).__name__, ())}


def takes_object(annotation: t.Any) -> bool:
    """Return whether a value of a type can be a JSON object."""
    return any(isinstance(each, _OBJECTS) for each in members(annotation))
