"""Decide from a return annotation which media types a response can have, and encode values.

    annotation or value            media types, the default first; `Accept` chooses
    record, list, int, ...         JSON
    image                          PNG, JPEG, WebP; JSON: a data URL
    array                          JSON: nested lists; .npy
    table                          JSON: a list of records; CSV, Parquet, Arrow
    another kind of value          the media types that its `ValueKind.answers` returns
    Iterator[Flower]               a stream of JSON lines or server-sent events
    tuple[Flower, Literal[201]]    of a view: as Flower, with that status
    tuple[None, Literal[204]]      of a view: `return None, 204` has no body; also 205 and 304
    str, bytes                     of a model: JSON or text/plain; octet-stream or base64 in JSON
    str, bytes, dict, Response     of a view: left to Flask; nothing here runs

The value decides in the end: a view `-> Flower` may return `redirect(...)` or `(flower, 201)`, and
both keep Flask's meaning. Values inside a list or a record are always JSON. Results of models may
contain text of untrusted clients, so no response is HTML, and `nosniff` keeps browsers from
guessing that it is.
"""

from __future__ import annotations

import collections.abc as cabc
import dataclasses
import types
import typing as t

import msgspec

from ..errors import SignatureError
from .hints import (
    is_pydantic,
    is_record,
    is_recursive,
    is_scalar,
    is_union,
    is_unreadable,
    members_of,
    shown,
    strip,
    union_of,
)
from .hooks import plain
from .media import EVENTS, JSON, JSON_LINES
from .negotiation import choose
from .operation import Answer
from .pydanticlimits import adapter, needs_pydantic
from .values.registry import kind_of, kind_of_class

if t.TYPE_CHECKING:
    from .values.kind import ValueKind

Encode: t.TypeAlias = cabc.Callable[[t.Any], bytes]

# Responses with these statuses have no body. Source: RFC 9110, sections 15.3.5, 15.3.6, 15.4.5.
_EMPTY: t.Final = (204, 205, 304)
_FLASK = Answer(kind="flask")
_STREAM_TYPES: t.Final = (JSON_LINES, EVENTS)
#: Return types whose items are sent one by one.
STREAMS: tuple[t.Any, ...] = (
    cabc.Iterator,
    cabc.Generator,
    cabc.Iterable,
    cabc.AsyncIterator,
    cabc.AsyncGenerator,
    cabc.AsyncIterable,
)


def predicted(returns: t.Any, *, yields: bool, batched: bool, owner: str) -> Answer:
    """Convert the return annotation of a `predict` into an `Answer`.

    Args:
        returns: the annotation; `typing.Any` if `predict` has none.
        yields: whether `predict` is a generator function.
        batched: whether `predict` computes several inputs in one call.
        owner: what error messages call the model.

    Raises:
        SignatureError: the annotation contradicts `yields`, or a batch would be streamed.
    """
    if yields and returns is t.Any:
        returns = cabc.Iterator[t.Any]
    bare = strip(returns)
    streams = t.get_origin(bare) in STREAMS
    if yields and not streams:
        raise SignatureError(
            f"{owner}: `predict` is a generator function, but its annotation says that it returns"
            f" {shown(returns)}. Write `-> Iterator[...]` with the type of what it yields."
        )
    if streams and batched:
        raise SignatureError(
            f"{owner}: with `batch` above 1 `predict` returns all results of a batch at once, and"
            "cannot stream them. Leave `batch` at 1."
        )
    if streams:
        item = t.get_args(bare)[0]
        return Answer(kind="stream", annotation=item, media_types=_STREAM_TYPES)
    found = [forms_of_type(each) for each in members_of(returns)]
    media_types = tuple(dict.fromkeys(name for each in found for name in each.media_types))
    kind: t.Literal["value", "json"] = "json" if media_types == (JSON,) else "value"
    return Answer(kind=kind, annotation=returns, media_types=media_types)


def read_answer(annotation: t.Any, *, as_flask: bool = False) -> Answer:
    """Convert the return annotation of a view into an `Answer`.

    Args:
        as_flask: whether Flask serializes all types that it supports (dicts, lists, dataclasses in
            them).
    """
    answer = _read(annotation, as_flask)
    empty = tuple(_empty_statuses(annotation))
    return dataclasses.replace(answer, empty=empty) if empty else answer


def _empty_statuses(annotation: t.Any) -> cabc.Iterator[int]:
    """Return the statuses of each `tuple[None, Literal[204]]` in an annotation, also in a union.

    Without such a tuple, a view that returns None is an error.
    """
    bare = strip(annotation)
    if is_union(bare):
        for each in t.get_args(bare):
            yield from _empty_statuses(each)
    elif t.get_origin(bare) is tuple:
        first, *rest = t.get_args(bare) or ("",)
        if first in (None, types.NoneType):
            yield from (status for status in _statuses(rest) if status in _EMPTY)


def _read(annotation: t.Any, as_flask: bool) -> Answer:
    if annotation is None or is_unreadable(annotation):
        return _FLASK
    status = 200
    bare = strip(annotation)
    if t.get_origin(bare) is tuple:
        first, *rest = t.get_args(bare) or (None,)
        status = next(_statuses(rest), 200)
        bare = strip(first)
        annotation = first
    if is_union(bare):
        typed = [each for each in t.get_args(bare) if _sort(each, as_flask) not in (None, "none")]
        if not typed:
            return Answer(kind="flask", annotation=annotation, status=status)
        if len(typed) == 1:
            return _answer(typed[0], status, as_flask)
        members = [each for each in typed if t.get_origin(strip(each)) is not tuple]
        union = union_of(members)
        return Answer(kind="json", annotation=union, status=status, media_types=(JSON,))
    return _answer(annotation, status, as_flask)


def _answer(annotation: t.Any, status: int, as_flask: bool) -> Answer:
    sort = _sort(annotation, as_flask)
    bare = strip(annotation)
    # `tuple[Oops, int]` is a member of a union such as `Flower | tuple[Oops, int]`.
    if t.get_origin(bare) is tuple and sort is not None:
        return _read(annotation, as_flask)
    if sort is None or sort == "none":
        return Answer(kind="flask", annotation=annotation, status=status)
    if sort == "stream":
        item = t.get_args(bare)[0]
        return Answer(kind="stream", annotation=item, status=status, media_types=_STREAM_TYPES)
    media_types = forms_of_type(annotation).media_types
    return Answer(kind=sort, annotation=annotation, status=status, media_types=media_types)


def _sort(annotation: t.Any, as_flask: bool) -> t.Literal["json", "stream", "value", "none"] | None:
    """Classify a return type. None means that Flask handles it, "none" that the type is None."""
    bare = strip(annotation)
    if bare is types.NoneType:
        return "none"
    if is_recursive(annotation):
        return None  # `type Json = dict[str, Json] | ...` is plain JSON, which Flask sends
    origin = t.get_origin(bare)
    if origin is tuple:
        first = t.get_args(bare)[0] if t.get_args(bare) else None
        return None if first is None else _sort(first, as_flask)
    if origin in STREAMS:
        items = t.get_args(bare)
        return "stream" if items and strip(items[0]) not in (str, bytes, t.Any) else None
    if bare is str or bare is bytes:
        return None
    if _is_value(annotation):
        return "value"
    if is_record(bare):
        return None if as_flask and t.is_typeddict(bare) else "json"
    return "json" if is_scalar(bare) or _holds_typed(bare, as_flask) else None


def _holds_typed(annotation: t.Any, as_flask: bool) -> bool:
    """Return whether a list, dict or union contains a type that Flask cannot serialize."""
    for each in t.get_args(annotation):
        inner = strip(each)
        if is_record(inner):
            # Flask serializes `dict` and `list`, and its JSON provider supports dataclasses.
            flasks = t.is_typeddict(inner) or hasattr(inner, "__dataclass_fields__")
            if not (as_flask and flasks):
                return True
        elif _holds_typed(inner, as_flask) or _is_value(each):
            return True
    return False


def _is_value(annotation: t.Any) -> bool:
    """Return whether a type is a kind of value that Flask cannot send."""
    return strip(annotation) not in (str, bytes) and _kind_of_type(annotation) is not None


def _statuses(rest: cabc.Iterable[t.Any]) -> cabc.Iterator[int]:
    """Return the statuses of literals: `tuple[Flower, Literal[201]]` -> 201."""
    for each in rest:
        if t.get_origin(each) is t.Literal:
            yield from (int(value) for value in t.get_args(each) if isinstance(value, int))


# -- forms of values ------------------------------------------------------------------------------


class Forms(t.NamedTuple):
    """The media types in which values of one kind can be sent."""

    kind: type[ValueKind] | None  # None means JSON
    media_types: tuple[str, ...]  # the default first
    # Whether encoding is faster than handing it to another thread.
    is_light: bool

    def write(self, value: t.Any, media_type: str) -> bytes:
        if self.kind is None or media_type == JSON:
            return encode(value)
        return self.kind.write(value, media_type)


def _kind_of_type(annotation: t.Any) -> type[ValueKind] | None:
    found = kind_of(annotation)
    if found is not None:
        return type(found)
    bare = strip(annotation)
    # `numpy.ndarray` may be used without a `Tensor`
    named = kind_of_class(t.get_origin(bare) or bare)
    return None if named is None or named.takes_anything else named  # an Enum of strings is JSON


def forms_of_type(annotation: t.Any) -> Forms:
    """Return the media types for values of an annotation."""
    return _forms(_kind_of_type(annotation))


def forms_of_class(cls: type) -> Forms:
    """Return the media types for values of a class."""
    return _forms(kind_of_class(cls))


def _forms(kind: type[ValueKind] | None) -> Forms:
    return _JSON if kind is None else Forms(kind, kind.answers(), kind.is_light)


# Source: https://fetch.spec.whatwg.org/#x-content-type-options-header
_NOSNIFF = ("X-Content-Type-Options", "nosniff")
_VARY = ("Vary", "Accept")
# Largest number of classes whose media types are cached. A model returns one or two classes.
_MAX_CACHED = 64
_new = tuple.__new__


class Encoded(t.NamedTuple):
    """The body and the headers of a response."""

    body: bytes
    media_type: str  # the value of Content-Type
    headers: tuple[tuple[str, str], ...] = ()  # all other headers


class AnswerWriter:
    """Encodes the return values of one operation. Thread-safe.

    Attributes:
        answer: the return type.
        media_types: the media types that clients can ask for, the default first.
        streams: whether the response is a stream, each item of which is JSON.
        item: the type of one item of a stream; otherwise the return type.
        only_json: whether every result is JSON.
    """

    __slots__ = ("_by_class", "_kinds", "_vary", "answer", "item", "media_types",
                 "only_json", "streams")  # fmt: skip

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.streams = answer.streams
        self.item = answer.annotation
        self.media_types = answer.media_types
        found = () if self.streams else map(forms_of_type, members_of(answer.annotation))
        is_any = answer.annotation is t.Any and not self.streams
        #: The kinds of value in the annotation, with None for JSON. None if the annotation is
        #: `Any`.
        self._kinds = None if is_any else {each.kind for each in found}
        self.only_json = self.media_types == (JSON,) and self._kinds is not None
        self._vary = len(self.media_types) > 1
        self._by_class: dict[type, Forms] = {}

    def choose(self, accept: str) -> str:
        """Choose the media type for an Accept header; the default if none is acceptable."""
        return choose(accept, self.media_types)

    def encode(self, result: t.Any, accept: str = "") -> Encoded:
        """Encode one result of `predict`.

        Args:
            result: what `predict` returned for one input.
            accept: the request's Accept header; "" if it has none.

        Raises:
            NotImplementedError, TypeError, ValueError: the result cannot be encoded.
        """
        if self.only_json:
            # PERF: `tuple.__new__` takes 0.1 us instead of 0.2 us; encoding a small record takes
            # less.
            return _new(Encoded, (encode(result), JSON, ()))
        found = self._by_class.get(type(result)) or self._forms_of(type(result))
        return written(found, result, accept, vary=self._vary)

    def writes(self, result: t.Any) -> bool:
        """Return whether a result belongs to a kind of value that the annotation names."""
        found = self._by_class.get(type(result)) or self._forms_of(type(result))
        return found.kind is not None

    def is_light(self, result: t.Any) -> bool:
        """Return whether encoding is faster than handing it to another thread."""
        if self.only_json:
            return True
        found = self._by_class.get(type(result)) or self._forms_of(type(result))
        return found.is_light

    def _forms_of(self, cls: type) -> Forms:
        found = forms_of_class(cls)
        if self._kinds is not None and found.kind not in self._kinds:
            found = _JSON
        if len(self._by_class) < _MAX_CACHED:
            self._by_class[cls] = found
        return found


def written(forms: Forms, result: t.Any, accept: str, *, vary: bool = False) -> Encoded:
    """Encode a result in the media type that the Accept header chooses."""
    media_type = choose(accept, forms.media_types)
    headers = (_VARY,) if vary or len(forms.media_types) > 1 else ()
    if media_type != JSON:
        headers = (*headers, _NOSNIFF)
    content_type = f"{media_type}; charset=utf-8" if media_type[:5] == "text/" else media_type
    return Encoded(forms.write(result, media_type), content_type, headers)


# -- values ---------------------------------------------------------------------------------------


def encoder_for(answer: Answer) -> Encode:
    """Return the function that encodes a return value, or one item of a stream, as JSON."""
    if needs_pydantic(answer.annotation):
        bare = strip(answer.annotation)
        if is_pydantic(bare):
            return _dump_model
        return t.cast(Encode, adapter(answer.annotation).dump_json)
    return encode


def _dump_model(value: t.Any) -> bytes:
    # The class of the value is used: a subclass may have more fields than the declared class.
    return t.cast("str", value.__pydantic_serializer__.to_json(value))  # type: ignore[return-value]


encode: Encode = msgspec.json.Encoder(enc_hook=plain).encode
_JSON = Forms(None, (JSON,), is_light=True)


def values_of(annotation: t.Any) -> tuple[type, ...]:
    """Return the classes of which instances are encoded; other values are passed to Flask.

    `Flower | None` -> (Flower,): a view that returns None by mistake still gets Flask's error.
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
    # Values of an abstract type are instances of a few concrete types.
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
