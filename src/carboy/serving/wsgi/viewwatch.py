"""Find views that take too long to begin their response.

A Python thread cannot be ended from outside. So nothing is done about one view but to log where it
waits; a worker whose threads all wait in such views answers no further view, and is replaced.
"""

from __future__ import annotations

import typing as t
from _thread import get_ident
from time import monotonic

from ..http.environ import SOCKET
from .driver import Result

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class RunningView(t.NamedTuple):
    """A call of the application that has not returned yet.

    Attributes:
        thread: the identifier of the thread that runs it.
        request: method and path of the request.
        began_s: when the call began.
    """

    thread: int
    request: str
    began_s: float


class ViewWatch:
    """Knows which calls of the application are running, and since when.

    PERF: without the setting `view_timeout` there is no `ViewWatch`, so that a request costs
    nothing. With it, a request takes 1 us more.
    """

    def __init__(self) -> None:
        self._running: dict[int, RunningView] = {}

    def call(self, app: WSGIApplication, environ: dict[str, t.Any], joined_bytes: int) -> Result:
        """Call the application, as `Result` does."""
        # The view of a WebSocket goes on for as long as the client stays.
        if SOCKET in environ:
            return Result(app, environ, joined_bytes)
        ident = get_ident()
        request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        self._running[ident] = RunningView(ident, request, monotonic())
        try:
            return Result(app, environ, joined_bytes)
        finally:
            del self._running[ident]

    def overdue(self, limit_s: float) -> list[RunningView]:
        """Return the calls that have taken longer than `limit_s`, the longest first.

        Thread-safe.
        """
        latest_s = monotonic() - limit_s
        running = sorted(self._running.copy().values(), key=lambda view: view.began_s)
        return [view for view in running if view.began_s <= latest_s]
