"""One request on its way to an answer, and whether its client still waits."""

from __future__ import annotations

import typing as t
from functools import partial

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from _typeshed.wsgi import WSGIApplication

    from .rsgi import Future, Protocol, Scope


class Exchange:
    """A request, and the place for its answer.

    Attributes:
        headers: of the scope, which copies them each time it is asked.
        gone: the client left while it was watched.
        outcome: of a prediction, where the app is asked when it is there: `ways.OUTCOME`.
        app: who answers in the place of the server's app.
        queued: the watch while it is in line.
    """

    __slots__ = ("app", "gone", "headers", "outcome", "protocol", "queued", "scope")

    def __init__(self, scope: Scope, protocol: Protocol) -> None:
        self.scope = scope
        self.protocol = protocol
        self.headers = scope.headers
        self.gone = False
        self.outcome: t.Any = None
        self.app: WSGIApplication | None = None
        self.queued: Future | None = None

    def watch(self, leave: cabc.Callable[[], object] | None = None) -> Future | None:
        """Notice when the client leaves before its answer begins; call `leave` then.

        PERF: a watch costs 10 us until it is over, so it is for what takes longer. granian keeps
        what is returned, and all that it leads to, until the client leaves before its answer or
        the caller cancels it: after the answer it would be kept for ever. None: it has left.
        """
        if not self.gone:
            watch = self.protocol.client_disconnect()
            if hasattr(watch, "add_done_callback"):
                watch.add_done_callback(partial(self._left, leave))
                return watch
        # `gone`, or what granian gives when it knows already
        self._leave(leave)
        return None

    def _left(self, leave: cabc.Callable[[], object] | None, watch: Future) -> None:
        if not watch.cancelled():
            self._leave(leave)

    def _leave(self, leave: cabc.Callable[[], object] | None) -> None:
        self.gone = True
        if leave is not None:
            leave()
