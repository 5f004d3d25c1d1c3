"""A view that returns a generator of records: sent item by item, framed by `framing`.

The generator runs on the request's own thread and in its context, which stays until the last item.
When the client leaves, the server closes the answer, and the generator with it. What fails on the
way is logged, and is the last that the client gets. In silence nothing is sent: this thread is the
only one that could, and it is in the generator.
"""

from __future__ import annotations

import sys
import typing as t

from carboy.core.problems import Problem
from carboy.helpers import stream_with_context

from .framing import failure_frame, framing_of
from .media import EVENTS, JSON_LINES

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from carboy.ctx import RequestContext

    from .answers import Encode
    from .framing import Framing

_END: t.Any = object()


def respond(ctx: RequestContext, rv: t.Any, encode: Encode) -> t.Any:
    """A response that sends items as they come; anything that is no stream is returned as it is."""
    items = _items(rv)
    if items is None:
        return rv
    accepted = ctx.request.accept_mimetypes
    framing = framing_of(accepted.best_match((JSON_LINES, EVENTS), default=JSON_LINES))
    frames = _frames(ctx.app, items, encode, framing)
    return ctx.app.response_class(
        t.cast("cabc.Iterator[bytes]", stream_with_context(frames)),
        mimetype=framing.media_type,
        headers=framing.headers,
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
        yield failure_frame(framing, Problem(500, "The answer ends here: it failed.").to_dict())
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()


def _from_async(items: t.Any) -> cabc.Generator[t.Any, None, None]:
    """An asynchronous generator, item by item on the process's event loop."""
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
