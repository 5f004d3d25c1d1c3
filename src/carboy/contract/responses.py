"""Convert return values of typed views into responses.

The conversion is chosen at registration by the return annotation. Text, bytes and responses are not
converted: Flask handles them. Every other value must fit the annotation.

The generator of a stream runs on the thread of the request and in its context, which stays active
until the last item. The response begins when the first item exists: an exception before that is an
ordinary error with its status. A later exception is logged, and ends the stream with an error item.
When the client disconnects, the server closes the response and thereby the generator. No keep-alive
data is sent while the generator computes, because its thread is the only one that could send.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from carboy.core.problemdetails import Problem, raise_as_problem
from carboy.helpers import stream_with_context

from .answers import STREAMS, AnswerWriter, encode, forms_of_class, values_of, written
from .framing import Chunks, framing_of
from .hints import is_record, strip
from .media import JSON
from .values.registry import kind_inside_json

if t.TYPE_CHECKING:
    from carboy.ctx import RequestContext

    from .answers import Encoded
    from .framing import Explain
    from .operation import Answer

_END: t.Any = object()

Finish: t.TypeAlias = "cabc.Callable[[RequestContext, t.Any], t.Any]"


def finisher(answer: Answer, owner: str) -> Finish | None:
    """Return the function that converts return values into responses; None if Flask converts
    them.
    """
    finish = None if answer.kind == "flask" else _accepting_tuples(_by_kind(answer, owner))
    return _accepting_empty(answer.empty, finish) if answer.empty else finish


def _accepting_empty(statuses: tuple[int, ...], finish: Finish | None) -> Finish:
    """Wrap a function that converts return values, so that a view may also return `None, 204`: a
    response without a body.
    """

    def finish_or_empty(ctx: RequestContext, rv: t.Any) -> t.Any:
        if type(rv) is tuple and 2 <= len(rv) <= 3 and rv[0] is None and rv[1] in statuses:
            response = ctx.app.response_class()
            del response.headers["Content-Type"]
            return (response, *rv[1:])
        return rv if finish is None else finish(ctx, rv)

    return finish_or_empty


def _by_kind(answer: Answer, owner: str) -> Finish:
    writer = AnswerWriter(answer, owner)
    if answer.kind == "stream":
        return _streams(writer)
    return _json(writer) if writer.only_json else _values(writer)


# The classes of what may follow the body in a tuple: statuses and headers.
_AFTER_A_BODY = (int, str, dict, list, tuple, Headers, type(None))


def _accepting_tuples(finish: Finish) -> Finish:
    """Wrap a function that converts return values, so that a view may also return `(body, status)`,
    `(body, headers)`, or all three.
    """

    def finish_either(ctx: RequestContext, rv: t.Any) -> t.Any:
        if type(rv) is tuple and 2 <= len(rv) <= 3 and isinstance(rv[1], _AFTER_A_BODY):
            return (finish(ctx, rv[0]), *rv[1:])
        return finish(ctx, rv)

    return finish_either


def _json(writer: AnswerWriter) -> Finish:
    is_flasks, encode = flasks_values(writer.answer), writer.encode_json

    def finish(ctx: RequestContext, rv: t.Any) -> t.Any:
        if is_flasks(rv):
            return rv
        return ctx.app.response_class(encode(rv), mimetype=JSON)

    return finish


def _values(writer: AnswerWriter) -> Finish:
    is_flasks = flasks_values(writer.answer)

    def finish(ctx: RequestContext, rv: t.Any) -> t.Any:
        if is_flasks(rv) and not writer.names(rv):
            return rv
        return _response(ctx, writer.encode(rv, ctx.request.headers.get("Accept", "")))

    return finish


def flasks_values(answer: Answer) -> cabc.Callable[[t.Any], bool]:
    """Return a function that says which return values of a typed view Flask handles.

    These are text, bytes, responses, WSGI applications, and the types in `answer.flasks`. Any other
    value is checked against the type. After `install_as_flask()`, Flask handles all values that do
    not belong to the type.
    """
    typed = typed_classes(answer)
    if not answer.checked:
        return lambda rv: not isinstance(rv, typed)
    flasks = (str, bytes, bytearray, BaseResponse, *_flasks_classes(answer))

    def is_flasks(rv: t.Any) -> bool:
        return not isinstance(rv, typed) and (isinstance(rv, flasks) or callable(rv))

    return is_flasks


def typed_classes(answer: Answer) -> tuple[type, ...]:
    """Return the classes of a view's declared return type whose values carboy encodes, because
    Flask has no rule for them. For `-> list[int] | Response` this is `list`.
    """
    flasks = _flasks_classes(answer)
    return tuple(cls for cls in values_of(answer.annotation) if cls not in flasks)


def _flasks_classes(answer: Answer) -> tuple[type, ...]:
    return tuple(cls for each in answer.flasks for cls in _classes_of_flasks(each))


def _classes_of_flasks(annotation: t.Any) -> tuple[type, ...]:
    """Return the classes of the values of a type that Flask handles; `object` if they are
    unknown.
    """
    bare = strip(annotation)
    origin = t.get_origin(bare) or bare
    if origin in STREAMS:
        return (cabc.Iterable, cabc.AsyncIterable)
    if origin is cabc.Mapping:
        return (dict,)
    return (origin,) if isinstance(origin, type) else (object,)


def respond(ctx: RequestContext, rv: t.Any) -> t.Any:
    """Return a response for a record, an image, a table or the like; None for other objects.

    Used for views without a return annotation. Flask refuses these objects, so no program written
    for Flask behaves differently.
    """
    cls = type(rv)
    if is_record(cls):
        return ctx.app.response_class(encode(rv), mimetype=JSON)
    forms = forms_of_class(cls)
    if forms.kind is None and not _is_number(cls):
        return None
    return _response(ctx, written(forms, rv, ctx.request.headers.get("Accept", "")))


def _is_number(cls: type) -> bool:
    """Return whether a class is one of NumPy's numbers. Unlike an array, a number is always sent as
    JSON.
    """
    return kind_inside_json(cls) is not None and not issubclass(cls, (str, bytes))


def _response(ctx: RequestContext, encoded: Encoded) -> t.Any:
    body, media_type, headers = encoded
    return ctx.app.response_class(body, content_type=media_type, headers=[*headers])


# -- streams --------------------------------------------------------------------------------------


def _streams(writer: AnswerWriter) -> Finish:
    is_flasks = flasks_values(writer.answer)

    def finish(ctx: RequestContext, rv: t.Any) -> t.Any:
        """Return a streamed response for an iterator; other return values unchanged."""
        items = _items(rv)
        if items is None:
            if is_flasks(rv):
                return rv
            raise writer.without_items(rv)
        framing = framing_of(writer.choose(ctx.request.headers.get("Accept", "")))
        try:
            chunks = Chunks(_Iterated(items), framing, writer.encode_json, _explainer(ctx.app))
        except HTTPException as exc:  # The view has called `abort` before it has yielded an item.
            raise_as_problem(ctx, exc)
        return ctx.app.response_class(
            _StreamBody(chunks),
            mimetype=framing.media_type,
            headers={**framing.headers, "Vary": "Accept"},
        )

    return finish


class _Iterated:
    """An `ItemSource` that takes its items from an iterator, on the thread of the request."""

    def __init__(self, items: cabc.Iterator[t.Any]) -> None:
        self._items = items

    def take(self, timeout_s: float | None = 0) -> list[t.Any] | None:
        for item in self._items:
            return [item]
        return None

    def close(self) -> None:
        close = getattr(self._items, "close", None)
        if close is not None:
            close()


class _StreamBody:
    """The body of a streamed response. It runs the view's generator in the request's context."""

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks
        self._stream: t.Any = stream_with_context(t.cast("cabc.Iterator[bytes]", chunks))

    def __iter__(self) -> cabc.Iterator[bytes]:
        return t.cast("cabc.Iterator[bytes]", self._stream)

    def close(self) -> None:
        # The server has not read the body, as for HEAD. A generator that has not started does
        # nothing when it is closed, so start it, to run its `finally`.
        if self._chunks.is_unread:
            next(self._stream, None)
        self._stream.close()


def _explainer(app: t.Any) -> Explain:
    def explain(exc: BaseException) -> dict[str, t.Any]:
        propagate = app.config["PROPAGATE_EXCEPTIONS"]
        if propagate is None:
            propagate = app.testing or app.debug
        if propagate or not isinstance(exc, Exception):
            raise exc
        app.log_exception((type(exc), exc, exc.__traceback__))
        return Problem(500, "The stream was aborted by an error.").to_dict()

    return explain


def _items(rv: t.Any) -> cabc.Iterator[t.Any] | None:
    if hasattr(rv, "__anext__") or hasattr(rv, "__aiter__"):
        return _from_async(rv)
    if isinstance(rv, (str, bytes, dict)) or callable(rv):
        return None
    return iter(rv) if hasattr(rv, "__iter__") else None


def _from_async(items: t.Any) -> cabc.Generator[t.Any, None, None]:
    """Iterate over an asynchronous generator, which runs on the process-wide event loop."""
    from carboy.core import eventloop

    source = items.__aiter__()

    async def step() -> t.Any:
        return await anext(source, _END)

    async def end() -> None:
        await source.aclose()

    try:
        while (item := eventloop.run(step())) is not _END:
            yield item
    finally:
        if hasattr(source, "aclose"):
            eventloop.run(end())
