"""Decide from a return annotation which media types a response can have, and encode values.

    annotation or value            media types, the default first; `Accept` chooses
    record, list, int, ...         JSON
    image                          PNG, JPEG, WebP; JSON: a data URL
    array                          JSON: nested lists; .npy
    table                          JSON: a list of records; CSV, Parquet, Arrow
    any other kind of value        the media types that its `ValueKind.answers` returns
    Iterator[Flower]               a stream of JSON lines or server-sent events
    tuple[Flower, Literal[201]]    of a view: the media types of Flower, with that status
    tuple[None, Literal[204]]      of a view: `return None, 204` has no body; also 205 and 304
    str, bytes                     of a model: JSON or text/plain; octet-stream or base64 in JSON
    str, bytes, dict, Response     of a view: Flask makes the response, this module does not run

A view `-> Flower` may also return `redirect(...)`, text or `(flower, 201)`, which mean what they
mean in Flask. Every other value must fit the annotation (`answercheck`). Values inside a list or a
record are always JSON. Results of models may contain text of untrusted clients, so no response is
HTML, and the header `X-Content-Type-Options: nosniff` keeps browsers from treating it as HTML.
"""

from __future__ import annotations

import collections.abc as cabc
import dataclasses
import datetime as dt
import decimal
import types
import typing as t
import uuid

import msgspec

from ..core.nosniff import NOSNIFF
from ..errors import AnswerError, SignatureError
from .answercheck import described, exact_test, make_check, without_json_form
from .hints import (
    is_record,
    is_recursive,
    is_scalar,
    is_typed_dict,
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
#: Return types that declare a stream: the items of the iterator are sent one by one.
STREAMS: tuple[t.Any, ...] = (
    cabc.Iterator,
    cabc.Generator,
    cabc.Iterable,
    cabc.AsyncIterator,
    cabc.AsyncGenerator,
    cabc.AsyncIterable,
)


def predicted(returns: t.Any, *, yields: bool, owner: str) -> Answer:
    """Convert the return annotation of a model's `predict` into an `Answer`.

    Args:
        returns: the annotation; `typing.Any` if `predict` has none.
        yields: whether `predict` is a generator function.
        owner: how error messages name the model.

    Raises:
        SignatureError: the annotation contradicts `yields`.
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
    if streams:
        item = t.get_args(bare)[0]
        return Answer(kind="stream", annotation=item, media_types=_STREAM_TYPES)
    return _of_members(_without_errors(returns), status=200)


def _of_members(annotation: t.Any, *, status: int, flasks: tuple[t.Any, ...] = ()) -> Answer:
    """Return an `Answer` with the media types of all members of a union."""
    found = [forms_of_type(each) for each in members_of(annotation)]
    media_types = tuple(dict.fromkeys(name for each in found for name in each.media_types))
    return Answer(
        kind="json" if media_types == (JSON,) else "value",
        annotation=annotation,
        status=status,
        media_types=media_types,
        flasks=flasks,
    )


def _without_errors(annotation: t.Any) -> t.Any:
    """Remove exception classes from a union: an exception among a batch's results is a failed
    prediction and no result.
    """
    if not is_union(strip(annotation)):
        return annotation
    members = members_of(annotation)
    kept = [each for each in members if not _is_error(each)]
    return annotation if len(kept) == len(members) or not kept else union_of(kept)


def _is_error(annotation: t.Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseException)


def read_answer(annotation: t.Any, *, as_flask: bool = False) -> Answer:
    """Convert the return annotation of a view into an `Answer`.

    Args:
        as_flask: whether `install_as_flask()` is active. Flask then sends all values that it
            supports: dicts, lists, and dataclasses inside them.
    """
    answer = _read(annotation, as_flask)
    empty = tuple(_empty_statuses(annotation))
    return dataclasses.replace(answer, empty=empty, checked=not as_flask)


def refuse_plain_tuples(annotation: t.Any, owner: str) -> None:
    """Raise SignatureError for a return type such as `tuple[float, float]`: of a view, a tuple is a
    body with a status, headers, or both, as in Flask.

    Args:
        owner: how the error names the view.
    """
    for each in () if is_unreadable(annotation) else members_of(annotation):
        bare = strip(each)
        if t.get_origin(bare) is not tuple or not t.get_args(bare):
            continue
        _, *rest = t.get_args(bare)
        if not 1 <= len(rest) <= 2 or not all(map(_may_follow_a_body, rest)):
            raise SignatureError(
                f"{owner}: the return type {shown(each)} is a tuple, which in a view means a body"
                " with a status, headers, or both. Write a record, a NamedTuple or a list instead."
            )


def _may_follow_a_body(annotation: t.Any) -> bool:
    """Return whether values of a type may be a status or headers."""
    return any(map(_may_be_status_or_headers, members_of(annotation)))


def _may_be_status_or_headers(annotation: t.Any) -> bool:
    bare = strip(annotation)
    cls = t.get_origin(bare) or bare
    if is_record(cls):
        return is_typed_dict(cls)
    if cls in (..., bool, set, frozenset) or _is_value(annotation):
        return False
    # A class that is not known here may be one of headers.
    return not is_scalar(bare) or cls is t.Literal or issubclass(cls, (int, str))


def _empty_statuses(annotation: t.Any) -> cabc.Iterator[int]:
    """Yield the statuses for which a view may respond without a body: 204 for `tuple[None,
    Literal[204]]`, also in a union.

    If the annotation has no such tuple, a view that returns None is an error.
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
    body, status = _body_of(annotation)
    bare = strip(body)
    if is_union(bare):
        return _read_union(body, status, as_flask)
    sort = None if _is_text(bare) else _sort(body, as_flask)
    if sort == "stream":
        item = t.get_args(bare)[0]
        return Answer(kind="stream", annotation=item, status=status, media_types=_STREAM_TYPES)
    if sort == "typed":
        return _of_members(body, status=status)
    return Answer(kind="flask", annotation=body, status=status)


def _read_union(union: t.Any, status: int, as_flask: bool) -> Answer:
    """Convert a union of return types into an `Answer`: `Flower | None`, `Flower | Response`,
    `Flower | tuple[Oops, Literal[404]]`, ...
    """
    members = t.get_args(strip(union))
    bodies, statuses = zip(*map(_body_of, members), strict=True)
    may_be_none = any(strip(each) is types.NoneType for each in members)
    sorts = [_sort(each, as_flask) for each in bodies]
    typed = [each for each, sort in zip(bodies, sorts, strict=True) if sort == "typed"]
    of_typed = [code for code, sort in zip(statuses, sorts, strict=True) if sort == "typed"]
    streams = [each for each, sort in zip(bodies, sorts, strict=True) if sort == "stream"]
    flasks = tuple(each for each, sort in zip(bodies, sorts, strict=True) if sort is None)
    if streams and not typed:
        return dataclasses.replace(_read(streams[0], as_flask), flasks=flasks)
    if not typed and may_be_none and not as_flask and all(map(_is_container, flasks)):
        # For `list[int] | None`, carboy sends all values, because Flask could not send None.
        typed = [*flasks]
    if not typed:
        return Answer(kind="flask", annotation=union, status=status)
    # If no member of the union has status 200, the response gets the status of the first member.
    if of_typed and 200 not in of_typed:
        status = of_typed[0]
    if may_be_none:
        typed.append(types.NoneType)
    return _of_members(union_of(typed), status=status, flasks=flasks)


def _body_of(annotation: t.Any) -> tuple[t.Any, int]:
    """Return the type of the body and the status: `tuple[Flower, Literal[201]]` -> Flower, 201."""
    bare = strip(annotation)
    if t.get_origin(bare) is not tuple:
        return annotation, 200
    first, *rest = t.get_args(bare) or (None,)
    return first, next(_statuses(rest), 200)


def _sort(annotation: t.Any, as_flask: bool) -> t.Literal["typed", "stream", "none"] | None:
    """Return who sends values of a return type, and how. "typed": carboy encodes them; "stream":
    carboy sends them item by item; "none": there is no value but None; None: Flask sends them.
    """
    bare = strip(annotation)
    if bare is None or bare is types.NoneType:
        return "none"
    if is_recursive(annotation):
        # `type Json = dict[str, Json] | ...` describes plain JSON, which Flask can send.
        return None
    origin = t.get_origin(bare)
    if origin in STREAMS:
        items = t.get_args(bare)
        return "stream" if items and strip(items[0]) not in (str, bytes, t.Any) else None
    if bare is str or bare is bytes:
        return None
    if _is_value(annotation):
        return "typed"
    if is_record(origin or bare):
        return None if as_flask and t.is_typeddict(bare) else "typed"
    if is_scalar(bare) or (origin or bare) in (set, frozenset):
        return "typed"
    return "typed" if _holds_typed(bare, as_flask) else None


def _is_text(bare: t.Any) -> bool:
    """Return whether a type is a `Literal` of texts, whose values Flask sends as it sends `str`.

    In a union with None it is a type like others, because Flask cannot send None.
    """
    values = t.get_args(bare) if t.get_origin(bare) is t.Literal else ()
    return bool(values) and all(type(value) is str for value in values)


def _is_container(annotation: t.Any) -> bool:
    """Return whether a type is a list or dict, which Flask sends as JSON."""
    bare = strip(annotation)
    return (t.get_origin(bare) or bare) in (list, dict)


def _holds_typed(annotation: t.Any, as_flask: bool) -> bool:
    """Return whether a list, dict or union contains a type that Flask cannot send, so that carboy
    must encode the whole value.
    """
    return any(_is_typed_item(each, as_flask) for each in t.get_args(annotation))


def _is_typed_item(annotation: t.Any, as_flask: bool) -> bool:
    inner = strip(annotation)
    cls = t.get_origin(inner) or inner
    if is_record(cls):
        # Flask sends a TypedDict as the dict that it is, and a dataclass by its JSON provider.
        is_flasks = t.is_typeddict(cls) or hasattr(cls, "__dataclass_fields__")
        return not (as_flask and is_flasks)
    if cls in (set, frozenset) or _is_value(annotation):
        return True
    if is_scalar(inner):
        return not _is_flasks(inner, as_flask)
    return _holds_typed(inner, as_flask)


def _is_flasks(scalar: t.Any, as_flask: bool) -> bool:
    """Return whether Flask can send values of a scalar type: JSON's own types; after
    `install_as_flask()` also dates, decimals and UUIDs.
    """
    if t.get_origin(scalar) is t.Literal or scalar in _JSON_SCALARS:
        return True
    return as_flask and scalar in _PROVIDER_SCALARS


_JSON_SCALARS: tuple[t.Any, ...] = (str, int, float, bool)
_PROVIDER_SCALARS: tuple[t.Any, ...] = (decimal.Decimal, dt.date, dt.datetime, uuid.UUID)


def _is_value(annotation: t.Any) -> bool:
    """Return whether a type is an image, a table or the like, which Flask cannot send."""
    return strip(annotation) not in (str, bytes) and _kind_of_type(annotation) is not None


def _statuses(rest: cabc.Iterable[t.Any]) -> cabc.Iterator[int]:
    """Yield the statuses in the `Literal` types of a list: 201 for `[Literal[201]]`."""
    for each in rest:
        if t.get_origin(each) is t.Literal:
            yield from (int(value) for value in t.get_args(each) if isinstance(value, int))


# -- media types of values ------------------------------------------------------------------------


class Forms(t.NamedTuple):
    """The media types in which values of one type, such as images, can be sent."""

    #: The class that writes values in media types other than JSON; None if values are only sent as
    #: JSON.
    kind: type[ValueKind] | None
    #: The media types in which values can be sent, the default first.
    media_types: tuple[str, ...]
    #: Whether a value can be encoded in less time than passing it to another thread takes.
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
    # The annotation may be the plain class `numpy.ndarray`, for which `kind_of` finds nothing:
    # without a `Tensor[...]`, the shape is unknown.
    named = kind_of_class(t.get_origin(bare) or bare)
    # Types derived from str or bytes, such as an Enum of strings, are sent as JSON.
    return None if named is None or named.takes_anything else named


def forms_of_type(annotation: t.Any) -> Forms:
    """Return the media types in which values of an annotation can be sent."""
    return _forms(_kind_of_type(annotation))


def forms_of_class(cls: type) -> Forms:
    """Return the media types in which instances of a class can be sent."""
    return _forms(kind_of_class(cls))


def _forms(kind: type[ValueKind] | None) -> Forms:
    return _JSON if kind is None else Forms(kind, kind.answers(), kind.is_light)


_ONLY_NOSNIFF = (NOSNIFF,)
_VARY = ("Vary", "Accept")
# The largest number of classes of results whose media types a writer caches. A model usually
# returns one or two classes.
_MAX_CACHED = 64
_new = tuple.__new__


class Encoded(t.NamedTuple):
    """The body and the headers of a response."""

    body: bytes
    media_type: str  # the value of Content-Type
    headers: tuple[tuple[str, str], ...] = _ONLY_NOSNIFF  # all headers except Content-Type


class AnswerWriter:
    """Checks and encodes the return values of one view or model. Thread-safe.

    Attributes:
        answer: the return type, and how its values are sent.
        media_types: the media types that clients can ask for, the default first.
        streams: whether the response is a stream, each item of which is JSON.
        item: the type of one item of a stream; the return type if the response is no stream.
        only_json: whether every result is sent as JSON.
        sure: classes of which each instance fits the return type without a check.
    """

    __slots__ = ("_by_class", "_check", "_kinds", "_owner", "_vary", "answer", "encode_json",
                 "is_exact", "item", "media_types", "only_json", "streams", "write")  # fmt: skip

    def __init__(self, answer: Answer, owner: str) -> None:
        self.answer = answer
        self.streams = answer.streams
        self.item = answer.annotation
        self.media_types = answer.media_types
        found = () if self.streams else map(forms_of_type, members_of(answer.annotation))
        is_any = answer.annotation is t.Any and not self.streams
        #: The `ValueKind` classes of the images, tables, ... that the annotation allows; None is a
        #: member if values of plain JSON are allowed, too. The whole attribute is None if the
        #: annotation is `Any`, so that values of any class are allowed.
        self._kinds = None if is_any else {each.kind for each in found}
        self.only_json = self.media_types == (JSON,) and self._kinds is not None
        self._vary = len(self.media_types) > 1
        self._by_class: dict[type, Forms] = {}
        self._owner = owner
        self._check = make_check(answer.annotation, owner) if answer.checked else None
        #: Checks and encodes one item of a stream, or one result that is sent as JSON.
        self.encode_json: Encode = encoder_for(answer, owner)
        #: Encodes the values that pass the test `is_exact`, which need no check.
        self.write: Encode = encode
        self.is_exact = exact_test(answer.annotation)

    def choose(self, accept: str) -> str:
        """Choose the media type of a response by the Accept header; the default if none is
        acceptable.
        """
        return choose(accept, self.media_types)

    def encode(self, result: t.Any, accept: str = "") -> Encoded:
        """Encode one result of `predict`.

        Args:
            result: what `predict` returned for one input.
            accept: the request's Accept header; "" if it has none.

        Raises:
            AnswerError: the result does not fit the annotation, or has no JSON form.
        """
        if self.only_json:
            # PERF: `tuple.__new__` creates an `Encoded` in 0.1 us, a call of the class in 0.2 us.
            # Encoding a small record takes less than 0.2 us.
            write = self.write if self.is_exact(result) else self.encode_json
            return _new(Encoded, (write(result), JSON, _ONLY_NOSNIFF))
        self.check(result)
        found = self._by_class.get(type(result)) or self._forms_of(type(result))
        try:
            return written(found, result, accept, vary=self._vary)
        except (NotImplementedError, TypeError, ValueError) as exc:
            raise without_json_form(result, exc, self._owner) from exc

    def check(self, result: t.Any) -> None:
        """Raise AnswerError if a result, or an item of a stream, does not fit the annotation."""
        if self._check is not None:
            self._check(result)

    def without_items(self, result: t.Any) -> AnswerError:
        """Return the error for a result that is declared as a stream of items but cannot be
        iterated.
        """
        return AnswerError(
            f"{self._owner} returned {described(result)}, but its type says that it gives items."
            " Write it with `yield`, or return an iterator."
        )

    def names(self, result: t.Any) -> bool:
        """Return whether a result is sent as an image, a table or the like, because that is its
        class and the annotation allows it.
        """
        found = self._by_class.get(type(result)) or self._forms_of(type(result))
        return found.kind is not None

    def is_light(self, result: t.Any) -> bool:
        """Return whether a result can be encoded in less time than passing it to another thread
        takes. The calling thread then encodes it.
        """
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
    """Encode a result in the media type that the request's Accept header prefers. Returns it with
    the headers of the response.
    """
    media_type = choose(accept, forms.media_types)
    headers = (_VARY, NOSNIFF) if vary or len(forms.media_types) > 1 else _ONLY_NOSNIFF
    content_type = f"{media_type}; charset=utf-8" if media_type[:5] == "text/" else media_type
    return Encoded(forms.write(result, media_type), content_type, headers)


# -- values ---------------------------------------------------------------------------------------


def encoder_for(answer: Answer, owner: str) -> Encode:
    """Return a function that checks a return value, or one item of a stream, and encodes it as
    JSON.

    The returned function raises:
        AnswerError: the value does not fit the annotation, or has no JSON form.
    """
    write = _encoder(answer.annotation)
    check = make_check(answer.annotation, owner) if answer.checked else None
    is_exact = exact_test(answer.annotation)

    def encode_or_explain(value: t.Any) -> bytes:
        try:
            return write(value)
        except (NotImplementedError, TypeError, ValueError) as exc:
            raise without_json_form(value, exc, owner) from exc

    if check is None:
        return encode_or_explain

    def encode_checked(value: t.Any) -> bytes:
        if not is_exact(value):  # PERF: `check` would make the same test, but takes 0.1 us longer
            check(value)
        try:
            return write(value)
        except (NotImplementedError, TypeError, ValueError) as exc:
            raise without_json_form(value, exc, owner) from exc

    return encode_checked


def _encoder(annotation: t.Any) -> Encode:
    if not needs_pydantic(annotation):
        return encode
    if is_union(strip(annotation)):
        # For `Pet | Point` with a pydantic model `Pet` and a Struct `Point`, pass only `Pet` to
        # pydantic, which cannot describe a Struct.
        annotation = union_of(filter(needs_pydantic, members_of(annotation)))
    kind = adapter(annotation)

    def dump(value: t.Any) -> bytes:
        # Encode a single model by its own class, not by the declared one, because a subclass may
        # have more fields.
        if not isinstance(value, _CONTAINERS):
            return encode(value)
        try:
            return t.cast("bytes", kind.dump_json(value, by_alias=True, warnings="error"))
        except ValueError:
            pass
        try:
            # The collection may contain dicts instead of pydantic models. Only models leave out
            # excluded fields and add computed ones, so convert the dicts to models.
            models = kind.validate_json(encode(value))
        except ValueError:
            return encode(value)
        return t.cast("bytes", kind.dump_json(models, by_alias=True))

    return dump


_CONTAINERS = (dict, list, tuple, set, frozenset)
encode: Encode = msgspec.json.Encoder(enc_hook=plain).encode
_JSON = Forms(None, (JSON,), is_light=True)


def values_of(annotation: t.Any) -> tuple[type, ...]:
    """Return the classes that values of a type can have: dict for a TypedDict, the classes of all
    members for a union.

    Text and bytes are left out, because Flask converts them to responses.
    """
    bare = strip(annotation)
    if is_union(bare):
        return tuple({cls for each in t.get_args(bare) for cls in values_of(each)})
    if bare in (str, bytes):
        return ()
    origin = t.get_origin(bare) or bare
    if t.is_typeddict(origin):
        return (dict,)
    if origin is t.Literal:
        return tuple({type(value) for value in t.get_args(bare)} - {str})
    if not isinstance(origin, type):
        return ()
    # For an abstract type such as `Sequence`, list the classes that its values usually have.
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
