"""What sort of thing a type is: text of a query, a record of a body, a file, or nobody's business.

Only annotations are looked at. Heavy packages are recognized by the name of a class, never
imported for it.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import sys
import types
import typing as t
import uuid

import msgspec

from .markers import Marker
from .values.file import Upload
from .values.image import is_picture
from .values.tensor import tensor_spec

if t.TYPE_CHECKING:
    import collections.abc as cabc

_SCALARS = (
    str,
    int,
    float,
    bool,
    decimal.Decimal,
    dt.datetime,
    dt.date,
    dt.time,
    dt.timedelta,
    uuid.UUID,
)
_COLLECTIONS = (list, set, frozenset, tuple)


class Kind(enum.Enum):
    """The sorts of annotations of a parameter."""

    SCALAR = "scalar"  # one text: str, int, Enum, `int | None`, ...
    SCALARS = "scalars"  # several: list[int]
    RECORD = "record"  # fields by name: forms can write it
    VALUE = "value"  # other JSON: lists of records, dicts of anything, unions
    FILE = "file"
    FILES = "files"
    UNKNOWN = "unknown"


class Taken(t.NamedTuple):
    """An annotation without carboy's markers."""

    annotation: t.Any
    marker: Marker | None
    extra: int  # markers beyond the first


def take_marker(annotation: t.Any) -> Taken:
    """Part a marker from its type: `Annotated[int, Meta(), Query()]` -> Annotated[int, Meta()]."""
    if t.get_origin(annotation) is not t.Annotated:
        return Taken(annotation, None, 0)
    inner, *extras = t.get_args(annotation)
    markers = [_as_marker(extra) for extra in extras if _as_marker(extra) is not None]
    others = [extra for extra in extras if _as_marker(extra) is None]
    bare = t.Annotated[(inner, *others)] if others else inner
    return Taken(bare, markers[0] if markers else None, max(0, len(markers) - 1))


def _as_marker(extra: t.Any) -> Marker | None:
    if isinstance(extra, Marker):
        return extra
    return extra() if isinstance(extra, type) and issubclass(extra, Marker) else None


def kind_of(annotation: t.Any) -> Kind:
    """The sort of a parameter's type, its markers taken off."""
    bare = strip(annotation)
    file = file_type(bare)
    if file is not None:
        return Kind.FILE
    origin = t.get_origin(bare) or bare
    arguments = t.get_args(bare)
    if is_union(bare):
        return _kind_of_union([each for each in arguments if each is not types.NoneType])
    if origin in _COLLECTIONS and arguments:
        inner = [each for each in arguments if each is not Ellipsis]
        if len(inner) == 1 and file_type(strip(inner[0])) is not None:
            return Kind.FILES
        if all(kind_of(each) is Kind.SCALAR for each in inner):
            return Kind.SCALARS
    if is_scalar(bare):
        return Kind.SCALAR
    if is_record(origin):
        return Kind.RECORD
    return Kind.VALUE if is_decodable(bare) else Kind.UNKNOWN


def _kind_of_union(members: list[t.Any]) -> Kind:
    kinds = {kind_of(member) for member in members}
    if len(kinds) == 1:
        return kinds.pop()
    if Kind.UNKNOWN in kinds:
        return Kind.UNKNOWN
    if kinds == {Kind.SCALAR, Kind.SCALARS}:
        return Kind.SCALARS
    # A picture that may also come as JSON, as models take it, is not for views: say which.
    return Kind.UNKNOWN if kinds & {Kind.FILE, Kind.FILES} else Kind.VALUE


def strip(annotation: t.Any) -> t.Any:
    """Without `Annotated`, and an alias of a type by what it stands for."""
    while True:
        if t.get_origin(annotation) is t.Annotated:
            annotation = t.get_args(annotation)[0]
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        elif type(t.get_origin(annotation)).__name__ == "TypeAliasType":
            annotation = _substituted(annotation)
        elif isinstance(annotation, t.NewType):
            annotation = annotation.__supertype__
        else:
            return annotation


def _substituted(annotation: t.Any) -> t.Any:
    """Put the arguments of a generic alias in place: of `type Few[T] = list[T]`, `Few[int]`.

    `NDArray[...]` is one since NumPy 2.5.
    """
    alias = t.get_origin(annotation)
    value = alias.__value__
    wanted = getattr(value, "__parameters__", ())
    if not wanted:
        return value
    if wanted == alias.__type_params__:
        return value[t.get_args(annotation)]
    given = dict(zip(alias.__type_params__, t.get_args(annotation), strict=False))
    return value[tuple(given.get(each, each) for each in wanted)]


def is_union(annotation: t.Any) -> bool:
    return t.get_origin(annotation) in (t.Union, types.UnionType)


def union_of(members: cabc.Iterable[t.Any]) -> t.Any:
    """The union of types that are known at run time only."""
    # Not `reduce(or_, ...)`: `|` refuses text, and types that are no classes.
    return t.Union[tuple(members)]  # noqa: UP007 - the members are known at run time only


def without_none(annotation: t.Any) -> t.Any:
    """`Flower | None` -> Flower, and `list[int | None]` -> list[int]."""
    if t.get_origin(annotation) is t.Annotated:
        inner, *extras = t.get_args(annotation)
        return t.Annotated[(without_none(inner), *extras)]
    bare = strip(annotation)
    if is_union(bare):
        rest = [each for each in t.get_args(bare) if each is not types.NoneType]
        return union_of(without_none(each) for each in rest) if rest else annotation
    origin = t.get_origin(bare)
    if origin in _COLLECTIONS:
        return origin[tuple(without_none(each) for each in t.get_args(bare))]
    return annotation


def is_scalar(annotation: t.Any) -> bool:
    """Whether one text of a query or a header can write it."""
    if t.get_origin(annotation) is t.Literal:
        return all(isinstance(value, (str, int)) for value in t.get_args(annotation))
    if not isinstance(annotation, type):
        return False
    return annotation in _SCALARS or issubclass(annotation, enum.Enum)


def is_record(annotation: t.Any) -> bool:
    """A type with named fields: Struct, dataclass, TypedDict, attrs class, pydantic model."""
    if not isinstance(annotation, type):
        return False
    return (
        issubclass(annotation, msgspec.Struct)
        or dataclasses.is_dataclass(annotation)
        or t.is_typeddict(annotation)
        or "__attrs_attrs__" in vars(annotation)
        or is_pydantic(annotation)
    )


def is_pydantic(annotation: t.Any) -> bool:
    """A pydantic model or dataclass; False while nothing has imported pydantic."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is None or not isinstance(annotation, type):
        return False
    return issubclass(annotation, pydantic.BaseModel) or "__pydantic_core_schema__" in vars(
        annotation
    )


def needs_pydantic(annotation: t.Any) -> bool:
    """Whether pydantic must read it: a model of its own, or one directly in a list, dict, union.

    And what has pydantic's limits on it (`Annotated[int, Field(ge=1)]`), which msgspec passes over.
    """
    if t.get_origin(annotation) is t.Annotated and "pydantic" in sys.modules:
        packages = {type(e).__module__.partition(".")[0] for e in annotation.__metadata__}
        if packages & {"annotated_types", "pydantic"}:
            return True
    bare = strip(annotation)
    return is_pydantic(bare) or any(needs_pydantic(each) for each in t.get_args(bare))


def file_type(annotation: t.Any) -> t.Literal["upload", "image", "bytes"] | None:
    """Which way of handing over a file a type names."""
    if annotation is bytes:
        return "bytes"
    if isinstance(annotation, type) and issubclass(annotation, Upload):
        return "upload"
    if is_picture(annotation):
        return "image"
    if is_union(annotation):
        members = [each for each in t.get_args(annotation) if each is not types.NoneType]
        named = {file_type(strip(each)) for each in members}
        return named.pop() if len(named) == 1 else None
    return None


def is_decodable(annotation: t.Any) -> bool:
    """Whether JSON can be read as this type."""
    try:
        if needs_pydantic(annotation):
            adapter(annotation)
        else:
            msgspec.json.Decoder(annotation)
            msgspec.json.schema(annotation, schema_hook=_known)
    except Exception:  # noqa: BLE001 - each library refuses in its own way; the answer is no
        return False
    return True


def _known(kind: type) -> dict[str, t.Any]:
    if tensor_spec(kind, ()) is not None:
        return {"type": "array"}
    if is_pydantic(kind) or file_type(kind) is not None:
        return {}
    raise NotImplementedError


def adapter(annotation: t.Any) -> t.Any:
    """What reads and writes a type for pydantic."""
    import pydantic

    return pydantic.TypeAdapter(annotation)


def list_fields(annotation: t.Any) -> frozenset[str]:
    """Fields of a record that are lists: a form or a query writes them by repeating the key."""
    if is_pydantic(strip(without_none(annotation))):
        fields = strip(without_none(annotation)).model_fields
        return frozenset(
            field.alias or name
            for name, field in fields.items()
            if kind_of(field.annotation) in (Kind.SCALARS, Kind.FILES)
        )
    return frozenset(
        field.encode_name
        for kind in record_types(annotation)
        for field in kind.fields
        if isinstance(field.type, _LISTS)
    )


def members(annotation: t.Any) -> tuple[msgspec.inspect.Type, ...]:
    """What msgspec knows of a type, or of each one in a union; () of a type that it refuses."""
    try:
        info = msgspec.inspect.type_info(annotation)
    except TypeError:
        return ()
    if isinstance(info, msgspec.inspect.Metadata):
        info = info.type
    return info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)


def record_types(annotation: t.Any) -> list[t.Any]:
    """What msgspec knows of the records that an annotation names directly."""
    return [member for member in members(annotation) if isinstance(member, _RECORDS)]


_LISTS = (
    msgspec.inspect.ListType,
    msgspec.inspect.SetType,
    msgspec.inspect.FrozenSetType,
    msgspec.inspect.VarTupleType,
    msgspec.inspect.TupleType,
)
_RECORDS = (
    msgspec.inspect.StructType,
    msgspec.inspect.DataclassType,
    msgspec.inspect.TypedDictType,
)
