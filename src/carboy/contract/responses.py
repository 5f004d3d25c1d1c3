"""From what a view returned to what Flask can send, for all but the commonest case.

`finisher` is chosen at registration by the answer's kind. What it does not recognize (a redirect, a
response, a text) it hands on, and Flask's meaning holds.
"""

from __future__ import annotations

import typing as t

from .answers import values_of
from .media import JSON

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from carboy.ctx import RequestContext

    from .answers import Encode
    from .operation import Answer

Finish: t.TypeAlias = "cabc.Callable[[RequestContext, t.Any], t.Any]"


def finisher(answer: Answer, encode: Encode | None) -> Finish | None:
    """What turns values of an answer into responses; None where that is Flask's business."""
    finish = _by_kind(answer, encode)
    return _or_empty(answer.empty, finish) if answer.empty else finish


def _or_empty(statuses: tuple[int, ...], finish: Finish | None) -> Finish:
    """`None, 204` is an answer without content."""

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
        return _in_tuples(_json(values_of(answer.annotation), encode))
    if answer.kind == "stream":
        from .streamresponses import respond as stream

        return _in_tuples(lambda ctx, rv: stream(ctx, rv, encode))
    from .objects import respond

    return _in_tuples(lambda ctx, rv: _or_same(respond(ctx, rv), rv))


def _in_tuples(finish: Finish) -> Finish:
    """The same for Flask's `(body, status)`, `(body, status, headers)` and `(body, headers)`."""

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


def _or_same(made: t.Any, rv: t.Any) -> t.Any:
    return rv if made is None else made
