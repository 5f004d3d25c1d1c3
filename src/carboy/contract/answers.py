"""What a view returns, and what becomes of it.

    annotation                                   becomes
    none, str, dict, Response, tuple of such     what Flask makes of it; nothing here runs
    record, list or dict of records, int, ...    JSON by msgspec (pydantic's models by pydantic)
    tuple[Flower, Literal[201]]                  the same, and documented as 201
    tuple[None, Literal[204]]                    nothing, of `return None, 204`; 205 and 304 too
    Iterator[Flower]                             a stream: see `carboy.contract.streamresponses`
    DataFrame, ndarray, Image                    see `carboy.contract.objects`

The annotation says what is meant; the value decides what is sent. A view `-> Flower` that returns
`redirect(...)`, or `flower, 201`, does what it says.
"""

from __future__ import annotations

import collections.abc as cabc
import dataclasses
import types
import typing as t

import msgspec

from .hints import UNREADABLE
from .hooks import plain
from .kinds import (
    adapter,
    is_pydantic,
    is_record,
    is_scalar,
    is_union,
    needs_pydantic,
    strip,
    union_of,
)
from .media import EVENTS, JSON, JSON_LINES
from .operation import Answer
from .values import drawing, tensor
from .values.registry import wire_of

Encode: t.TypeAlias = cabc.Callable[[t.Any], bytes]

# Answers with these have no content. Source: RFC 9110, sections 15.3.5, 15.3.6, 15.4.5.
_EMPTY: t.Final = (204, 205, 304)
_FLASK = Answer(kind="flask")
#: An answer of one of these is sent item by item.
STREAMS: tuple[t.Any, ...] = (
    cabc.Iterator,
    cabc.Generator,
    cabc.Iterable,
    cabc.AsyncIterator,
    cabc.AsyncGenerator,
    cabc.AsyncIterable,
)


def read_answer(annotation: t.Any, *, as_flask: bool = False) -> Answer:
    """What a return annotation means.

    Args:
        as_flask: what Flask serializes itself (dicts and lists, of dataclasses too) stays so.
    """
    answer = _read(annotation, as_flask)
    empty = tuple(_empty_statuses(annotation))
    return dataclasses.replace(answer, empty=empty) if empty else answer


def _empty_statuses(annotation: t.Any) -> cabc.Iterator[int]:
    """`tuple[None, Literal[204]]`, alone or in a union: without it, None is Flask's error."""
    bare = strip(annotation)
    if is_union(bare):
        for each in t.get_args(bare):
            yield from _empty_statuses(each)
    elif t.get_origin(bare) is tuple:
        first, *rest = t.get_args(bare) or ("",)
        if first in (None, types.NoneType):
            yield from (status for status in _statuses(rest) if status in _EMPTY)


def _read(annotation: t.Any, as_flask: bool) -> Answer:
    if annotation is None or annotation is UNREADABLE:
        return _FLASK
    status = 200
    bare = strip(annotation)
    if t.get_origin(bare) is tuple:
        first, *rest = t.get_args(bare) or (None,)
        status = next(_statuses(rest), 200)
        bare = strip(first)
        annotation = first
    if is_union(bare):
        typed = [each for each in t.get_args(bare) if _kind(each, as_flask) not in (None, "none")]
        if not typed:
            return Answer(kind="flask", annotation=annotation, status=status)
        if len(typed) == 1:
            return _answer(typed[0], status, as_flask)
        members = [each for each in typed if t.get_origin(strip(each)) is not tuple]
        union = union_of(members)
        return Answer(kind="json", annotation=union, status=status, media_types=(JSON,))
    return _answer(annotation, status, as_flask)


def _answer(annotation: t.Any, status: int, as_flask: bool) -> Answer:
    kind = _kind(annotation, as_flask)
    bare = strip(annotation)
    if t.get_origin(bare) is tuple and kind is not None:  # of a union: Flower | tuple[Oops, int]
        return _read(annotation, as_flask)
    if kind is None or kind == "none":
        return Answer(kind="flask", annotation=annotation, status=status)
    if kind == "stream":
        item = t.get_args(bare)[0]
        forms = (JSON_LINES, EVENTS)
        return Answer(kind="stream", annotation=item, status=status, media_types=forms)
    media_types = {"json": (JSON,), "image": drawing.ANSWERS, "tensor": tensor.ANSWERS}.get(kind)
    if media_types is None:
        from .values.tables.writing import answer_types

        media_types = answer_types()
    return Answer(
        kind=t.cast("t.Any", kind), annotation=annotation, status=status, media_types=media_types
    )


def _kind(annotation: t.Any, as_flask: bool) -> str | None:
    """The kind of an answer; None: Flask's; "none": None itself."""
    bare = strip(annotation)
    if bare is types.NoneType:
        return "none"
    origin = t.get_origin(bare)
    if origin is tuple:
        first = t.get_args(bare)[0] if t.get_args(bare) else None
        return None if first is None else _kind(first, as_flask)
    if origin in STREAMS:
        items = t.get_args(bare)
        return "stream" if items and strip(items[0]) not in (str, bytes, t.Any) else None
    wire = wire_of(annotation)
    if wire is not None and wire.packages:  # text and bytes are Flask's
        return wire.name
    # `ndarray[Any, dtype[...]]` has these of `ndarray`.
    package = getattr(bare, "__module__", "").partition(".")[0]
    if (package, getattr(bare, "__qualname__", "")) in _OBJECTS:
        return _OBJECTS[package, bare.__qualname__]
    if is_record(bare):
        return None if as_flask and t.is_typeddict(bare) else "json"
    if bare is str or bare is bytes:
        return None
    if is_scalar(bare):
        return "json"
    if _holds_record(bare, as_flask):
        return "json"
    return None


# Without any more said of them, these come by no wire.
_OBJECTS: dict[tuple[str, str], str] = {
    ("pandas", "DataFrame"): "table",
    ("numpy", "ndarray"): "tensor",
}


def _holds_record(annotation: t.Any, as_flask: bool) -> bool:
    """Whether a list, dict or union has records in it that Flask would not serialize itself."""
    for each in t.get_args(annotation):
        inner = strip(each)
        if is_record(inner):
            # `dict` and `list` are Flask's answers, and its JSON knows dataclasses.
            flasks = t.is_typeddict(inner) or hasattr(inner, "__dataclass_fields__")
            if not (as_flask and flasks):
                return True
        elif _holds_record(inner, as_flask):
            return True
    return False


def _statuses(rest: cabc.Iterable[t.Any]) -> cabc.Iterator[int]:
    """`tuple[Flower, Literal[201]]` -> 201."""
    for each in rest:
        if t.get_origin(each) is t.Literal:
            yield from (int(value) for value in t.get_args(each) if isinstance(value, int))


# -- values ---------------------------------------------------------------------------------------


def encoder_for(answer: Answer) -> Encode:
    """What turns values of an answer, or items of a stream, into JSON."""
    if needs_pydantic(answer.annotation):
        bare = strip(answer.annotation)
        if is_pydantic(bare):
            return _dump_model
        return t.cast(Encode, adapter(answer.annotation).dump_json)
    return encode


def _dump_model(value: t.Any) -> bytes:
    # The value's own class: a subclass has fields that the declared one has not.
    return t.cast("str", value.__pydantic_serializer__.to_json(value))  # type: ignore[return-value]


encode: Encode = msgspec.json.Encoder(enc_hook=plain).encode


def values_of(annotation: t.Any) -> tuple[type, ...]:
    """The classes whose values are serialized by the annotation; all else goes to Flask.

    `Flower | None` -> (Flower,): a view that forgets its return statement hears of it.
    """
    bare = strip(annotation)
    if is_union(bare):
        return tuple({cls for each in t.get_args(bare) for cls in values_of(each)})
    if bare is types.NoneType:
        return ()
    origin = t.get_origin(bare) or bare
    if t.is_typeddict(origin):
        return (dict,)
    if origin is t.Literal:
        return tuple({type(value) for value in t.get_args(bare)} - {str})
    if not isinstance(origin, type):
        return ()
    # An abstract type is met by its usual concrete ones.
    for abstract, concrete in _CONCRETE:
        if origin in abstract:
            return concrete
    return (origin,)


_CONCRETE: tuple[tuple[tuple[t.Any, ...], tuple[type, ...]], ...] = (
    ((cabc.Sequence, cabc.Collection, cabc.MutableSequence), (list,)),
    ((cabc.Mapping, cabc.MutableMapping), (dict,)),
    ((cabc.Set,), (set, frozenset)),
    ((int,), (int,)),
    ((float,), (float, int)),
)
