"""Convert return values of typed views into responses.

The conversion is chosen at registration by the return annotation. A value of another type (a
redirect, a response, a string) is returned unchanged, and Flask handles it.

The generator of a stream runs on the thread of the request and in its context, which stays active
until the last item. When the client disconnects, the server closes the response and thereby the
generator. An exception after the first item is logged, and ends the stream with an error item. No
keep-alive data is sent while the generator computes, because its thread is the only one that could
send.
"""

from __future__ import annotations

import sys
import typing as t

from carboy.core.problemdetails import Problem
from carboy.helpers import stream_with_context

from .answers import AnswerWriter, encode, forms_of_class, values_of, written
from .framing import failure_frame, framing_of
from .hints import is_record
from .media import JSON
from .negotiation import choose
from .values.registry import kind_inside_json

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from carboy.ctx import RequestContext

    from .answers import Encode, Encoded
    from .framing import Framing
    from .operation import Answer

_END: t.Any = object()

Finish: t.TypeAlias = "cabc.Callable[[RequestContext, t.Any], t.Any]"


def finisher(answer: Answer, encode: Encode | None) -> Finish | None:
    """Return the function that converts return values into responses; None if Flask does."""
    finish = _by_kind(answer, encode)
    return _accepting_empty(answer.empty, finish) if answer.empty else finish


def _accepting_empty(statuses: tuple[int, ...], finish: Finish | None) -> Finish:
    """Wrap a converter so that it also accepts `None, 204`, a response without content."""

    def finish_or_empty(ctx: RequestContext, rv: t.Any) -> t.Any:
        if type(rv) is tuple and 2 <= len(rv) <= 3 and rv[0] is None and rv[1] in statuses:
            response = ctx.app.response_class()
            del response.headers["Content-Type"]
            return (response, *rv[1:])
        return rv if finish is None else finish(ctx, rv)

    return finish_or_empty


def _by_kind(answer: Answer, encode: Encode | None) -> Finish | None:
    if answer.kind == "flask" or encode is None:
        return None
    if answer.kind == "json":
        return _accepting_tuples(_json(values_of(answer.annotation), encode))
    if answer.kind == "stream":
        media_types = answer.media_types
        return _accepting_tuples(lambda ctx, rv: _stream(ctx, rv, encode, media_types))
    return _accepting_tuples(_values(AnswerWriter(answer)))


def _accepting_tuples(finish: Finish) -> Finish:
    """Wrap a converter to accept also `(body, status)`, `(body, headers)` and all three."""

    def finish_either(ctx: RequestContext, rv: t.Any) -> t.Any:
        if type(rv) is tuple and 2 <= len(rv) <= 3:
            return (finish(ctx, rv[0]), *rv[1:])
        return finish(ctx, rv)

    return finish_either


def _json(kinds: tuple[type, ...], encode: Encode) -> Finish:
    def finish(ctx: RequestContext, rv: t.Any) -> t.Any:
        if isinstance(rv, kinds):
            return ctx.app.response_class(encode(rv), mimetype=JSON)
        return rv

    return finish


def _values(writer: AnswerWriter) -> Finish:
    def finish(ctx: RequestContext, rv: t.Any) -> t.Any:
        if not writer.writes(rv):
            return rv
        return _response(ctx, writer.encode(rv, ctx.request.headers.get("Accept", "")))

    return finish


def respond(ctx: RequestContext, rv: t.Any) -> t.Any:
    """Return a response for a record or a kind of value; None for other objects.

    Used for views without a return annotation. Flask rejects these objects, so no Flask program
    changes its meaning.
    """
    cls = type(rv)
    if is_record(cls):
        return ctx.app.response_class(encode(rv), mimetype=JSON)
    forms = forms_of_class(cls)
    if forms.kind is None and not _is_number(cls):
        return None
    return _response(ctx, written(forms, rv, ctx.request.headers.get("Accept", "")))


def _is_number(cls: type) -> bool:
    """Return whether a class is one of NumPy's numbers, which can be sent as JSON only."""
    return kind_inside_json(cls) is not None and not issubclass(cls, (str, bytes))


def _response(ctx: RequestContext, encoded: Encoded) -> t.Any:
    body, media_type, headers = encoded
    return ctx.app.response_class(body, content_type=media_type, headers=[*headers])


# -- streams --------------------------------------------------------------------------------------


def _stream(ctx: RequestContext, rv: t.Any, encode: Encode, media_types: tuple[str, ...]) -> t.Any:
    """Return a response that sends items as they come; other values unchanged."""
    items = _items(rv)
    if items is None:
        return rv
    framing = framing_of(choose(ctx.request.headers.get("Accept", ""), media_types))
    frames = _frames(ctx.app, items, encode, framing)
    return ctx.app.response_class(
        t.cast("cabc.Iterator[bytes]", stream_with_context(frames)),
        mimetype=framing.media_type,
        headers={**framing.headers, "Vary": "Accept"},
    )


def _items(rv: t.Any) -> cabc.Iterator[t.Any] | None:
    if hasattr(rv, "__anext__") or hasattr(rv, "__aiter__"):
        return _from_async(rv)
    if isinstance(rv, (str, bytes, dict)) or callable(rv):
        return None
    return iter(rv) if hasattr(rv, "__iter__") else None


def _frames(
    app: t.Any, items: cabc.Iterator[t.Any], encode: Encode, framing: Framing
) -> cabc.Generator[bytes, None, None]:
    try:
        for item in items:
            yield framing.item(encode(item))
    except Exception:
        propagate = app.config["PROPAGATE_EXCEPTIONS"]
        if app.testing or app.debug if propagate is None else propagate:
            raise
        app.log_exception(sys.exc_info())
        yield failure_frame(framing, Problem(500, "The stream was aborted by an error.").to_dict())
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()


def _from_async(items: t.Any) -> cabc.Generator[t.Any, None, None]:
    """Iterate over an asynchronous generator, which runs on the event loop of the process."""
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
