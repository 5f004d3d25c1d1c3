"""One granian worker inside this process.

The only module that knows granian from inside. `granian.Granian` would also start and watch
processes and give up when a worker dies twice within seconds; carboy does that itself
(`supervisor`), and takes from granian what it is chosen for: sockets, HTTP, and threads.
Written against granian 2.8.

granian's WSGI hands a request to a thread, which stays with it until it is answered: the quickest
way for views, since HTTP is read and written beside Python. Apps with models are served by `front`.
"""

from __future__ import annotations

import threading
import typing as t
from functools import partial

from ..http.listener import notice_vanished_clients, stop_new_connections
from .granian_gateway import WsgiGateway

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from _typeshed.wsgi import WSGIApplication

    from ..settings import Settings
    from ..threads.leader import Crew

# A thread that ended could be the one that leads. Ten years.
_FOR_EVER_S = 315_360_000


class Engine:
    """Serves an app without models until it is told to stop.

    Args:
        settings: where to listen, and with how much.
        app: called on one of `threads` threads.
        max_body_bytes: above it 413; None: no limit.
        threads: most views at once.
        crew: decides which of granian's threads leads.
    """

    def __init__(
        self,
        settings: Settings,
        app: WSGIApplication,
        *,
        max_body_bytes: int | None,
        threads: int,
        crew: Crew,
    ) -> None:
        self._settings = settings
        self._threads = threads
        self._crew = crew
        self._gateway = WsgiGateway(
            app,
            max_body_bytes=max_body_bytes,
            threads=threads,
            multiprocess=settings.workers > 1,
            crew=crew,
        )
        self._drained = threading.Event()

    @property
    def draining(self) -> bool:
        return self._gateway.draining

    @draining.setter
    def draining(self, draining: bool) -> None:
        self._gateway.draining = draining

    def start(self) -> None:
        """Listen. On return the system accepts connections.

        Raises:
            OSError: the address cannot be listened on.
        """
        from granian import _granian as native
        from granian.http import HTTP1Settings

        settings = self._settings
        # granian's stubs tell of older signatures than its code has.
        make_worker: t.Any = native.WSGIWorker
        make_scheduler: t.Any = native.CallbackScheduler
        worker = make_worker(
            worker_id=1,
            sock=(native.ListenerSpec(settings.host, settings.port, settings.backlog), None),
            ipc=None,
            threads=1,
            # granian counts connections here, idle ones too, and leaves the rest to wait.
            backpressure=settings.connections,
            py_threads=self._threads,
            py_threads_idle_timeout=_FOR_EVER_S,
            http_mode="1",
            # The time to read a head is also the time that a connection may be idle.
            http1_opts=HTTP1Settings(header_read_timeout=int(settings.keep_alive_s * 1000)),
        )
        # PERF: 1 us less where one thread does everything anyway.
        wsgi: t.Any = self._gateway.handle
        if self._threads > 1:
            wsgi = partial(self._crew.lead, self._gateway)
        loop = _AtOnce()
        scheduler = make_scheduler(loop, wsgi, None, None, None)
        self._signal = native.WorkerSignal()
        self._signal.add_cb(self._drained.set)
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
        notice_vanished_clients(settings.port)

    def refuse_new(self) -> bool:
        """Let no new client come, as far as the system can; whether it can."""
        return stop_new_connections(self._settings.port)

    def stop(self) -> None:
        """Accept nothing more; finish what was accepted. Returns at once."""
        self._signal.set()

    def wait(self) -> None:
        """Return when the last answer is out. Signals are handled meanwhile."""
        while not self._drained.wait(3600):
            pass


class _AtOnce:
    """Stands where granian expects an event loop: what it schedules runs on the calling thread."""

    def call_soon(
        self, callback: cabc.Callable[..., object], *args: t.Any, context: t.Any = None
    ) -> None:
        callback(*args)

    call_soon_threadsafe = call_soon
