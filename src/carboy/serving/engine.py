"""One granian worker inside this process.

The only module that knows granian from inside. `granian.Granian` would also start and watch
processes and give up when a worker dies twice within seconds; carboy does that itself
(`supervisor`), and takes from granian what it is chosen for: sockets, HTTP, and threads.
Written against granian 2.8.

granian calls Python in two ways. Its WSGI hands a request to a thread, which stays with it until it
is answered: the quickest way for views. Its RSGI is made for coroutines: each step of one is
scheduled on an event loop. But what it really does is call a function of ours on a thread of its
pool, and hand later events (a body has arrived, a client has gone) to the `call_soon_threadsafe` of
whatever stands for the loop, on such a thread again. So here there is no loop and no coroutine: a
request is handled at once on the thread that brings it, but may leave that thread and be answered
later by any other. That is the way for predictions: 40 us of the
processor each, where one that waits on a thread of its own takes 100 to 130.
"""

from __future__ import annotations

import threading
import typing as t
from functools import partial

from .log import logger

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .crew import Crew
    from .rsgi import Protocol, Scope
    from .settings import Settings

    Rsgi = cabc.Callable[[Scope, Protocol], object]
    Wsgi = cabc.Callable[[t.Any, dict[str, t.Any]], object]

# Threads beside those for views: they bring bodies, predictions and the news of clients that left,
# also while every view is busy or waits for such news itself.
SPARE_THREADS = 4
# A thread that ended could be the one that leads. Ten years.
_FOR_EVER_S = 315_360_000


class Engine:
    """Hands requests to a callable until it is told to stop.

    Args:
        settings: where to listen, and with how much.
        wsgi: called with (protocol, environ) on one of `settings.threads` threads; or
        rsgi: called with (scope, protocol) on such a thread or a spare one.
        crew: the threads on which they are called.
        at_end: called when the last answer is out, before granian ends its threads.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        wsgi: Wsgi | None = None,
        rsgi: Rsgi | None = None,
        crew: Crew,
        at_end: cabc.Callable[[], object] = lambda: None,
    ) -> None:
        self._settings = settings
        self._wsgi = wsgi
        self._rsgi = rsgi
        self._crew = crew
        self._at_end = at_end
        self._drained = threading.Event()

    def start(self) -> None:
        """Listen. On return the system accepts connections.

        Raises:
            OSError: the address cannot be listened on.
        """
        from granian import _granian as native
        from granian.http import HTTP1Settings

        settings = self._settings
        # granian's stubs tell of older signatures than its code has.
        make_worker: t.Any = native.WSGIWorker if self._rsgi is None else native.RSGIWorker
        make_scheduler: t.Any = native.CallbackScheduler
        worker = make_worker(
            worker_id=1,
            sock=(native.ListenerSpec(settings.host, settings.port, settings.backlog), None),
            ipc=None,
            threads=1,
            # granian counts connections here, idle ones too, and leaves the rest to wait.
            backpressure=settings.connections,
            py_threads=settings.threads + (0 if self._rsgi is None else SPARE_THREADS),
            py_threads_idle_timeout=_FOR_EVER_S,
            http_mode="1",
            # The time to read a head is also the time that a connection may be idle.
            http1_opts=HTTP1Settings(header_read_timeout=int(settings.keep_alive_s * 1000)),
        )
        lead = self._crew.lead
        loop = _AtOnce(self._crew)
        wsgi = self._wsgi
        if wsgi is not None and settings.threads > 1:
            wsgi = partial(lead, wsgi)
        scheduler = make_scheduler(loop, wsgi, None, None, None)
        if self._rsgi is not None:
            scheduler._schedule_fn = partial(lead, _caller(self._rsgi))
        self._signal = native.WorkerSignal()
        self._signal.add_cb(self._end)
        self._kept = (worker, loop, scheduler)
        self._crew.start()
        try:
            worker.serve_mtr(scheduler, loop, self._signal)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as exc:  # noqa: BLE001  # a panic in Rust is no Exception
            raise OSError(
                f"granian cannot listen on {settings.host}:{settings.port}: {exc}"
            ) from None

    def stop(self) -> None:
        """Accept nothing more; finish what was accepted. Returns at once."""
        self._signal.set()

    def _end(self) -> None:
        try:
            self._at_end()
        finally:
            self._drained.set()

    def wait(self) -> None:
        """Return when the last answer is out. Signals are handled meanwhile."""
        while not self._drained.wait(3600):
            pass


class _AtOnce:
    """Stands where granian expects an event loop: what it schedules runs on the calling thread."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    def call_soon_threadsafe(
        self, callback: cabc.Callable[..., object], *args: t.Any, context: t.Any = None
    ) -> None:
        """On one of the engine's threads: something has come."""
        self._crew.lead(self._take, callback, *args)

    def _take(self, callback: cabc.Callable[..., object], *args: t.Any) -> None:
        # A thread that is parked keeps what it was called with, and this may be a large body.
        self._crew.must_return()
        self.call_soon(callback, *args)

    def call_soon(
        self, callback: cabc.Callable[..., object], *args: t.Any, context: t.Any = None
    ) -> None:
        """On any thread: what was asked for is there already, or was cancelled just now."""
        try:
            callback(*args)
        except BaseException:  # noqa: BLE001  # granian would drop it in silence
            logger.exception("error while serving")


def _caller(handle: Rsgi) -> cabc.Callable[[t.Any], None]:
    def call(watcher: t.Any) -> None:
        # An exception that left here would surface in code that has nothing to do with it.
        try:
            handle(watcher.scope, watcher.proto)
        except BaseException:  # noqa: BLE001  # SystemExit of a view too: it must not be lost
            logger.exception("error while serving %s", watcher.scope.path)
            watcher.proto.response_bytes(500, [], b"")

    return call
