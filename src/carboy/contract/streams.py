"""A generator of records: JSON lines, or server-sent events for a client that asks for them.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

import typing as t

from carboy.helpers import stream_with_context

from .answers import EVENTS, JSON_LINES

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from carboy.ctx import RequestContext

    from .answers import Encode

# A proxy that collects an answer before it passes it on would make a stream pointless.
_EVENT_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_END: t.Any = object()


def respond(ctx: RequestContext, rv: t.Any, encode: Encode) -> t.Any:
    """A response that sends items as they come; anything that is no stream is returned as it is.

    The request's context stays until the last item. When the client leaves, the server closes the
    response, and the generator with it.
    """
    items = _items(rv)
    if items is None:
        return rv
    accepted = ctx.request.accept_mimetypes
    wants_events = accepted.best_match((JSON_LINES, EVENTS), default=JSON_LINES) == EVENTS
    frame = _as_event if wants_events else _as_line
    body = t.cast("cabc.Iterator[bytes]", stream_with_context(_frames(items, encode, frame)))
    return ctx.app.response_class(
        body,
        mimetype=EVENTS if wants_events else JSON_LINES,
        headers=_EVENT_HEADERS if wants_events else None,
    )


def _items(rv: t.Any) -> cabc.Iterator[t.Any] | None:
    if hasattr(rv, "__anext__") or hasattr(rv, "__aiter__"):
        return _from_async(rv)
    if isinstance(rv, (str, bytes, dict)) or callable(rv):
        return None
    return iter(rv) if hasattr(rv, "__iter__") else None


def _frames(
    items: cabc.Iterator[t.Any], encode: Encode, frame: cabc.Callable[[bytes], bytes]
) -> cabc.Generator[bytes, None, None]:
    try:
        for item in items:
            yield frame(encode(item))
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()


def _as_line(data: bytes) -> bytes:
    return data + b"\n"


def _as_event(data: bytes) -> bytes:
    # JSON has no line breaks of its own, so one `data` field is enough.
    return b"data: " + data + b"\n\n"


def _from_async(items: t.Any) -> cabc.Generator[t.Any, None, None]:
    """An asynchronous generator, item by item on the process's event loop."""
    from carboy import eventloop

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
