"""One granian worker inside this process.

The only module that knows granian from inside. `granian.Granian` would also start and watch
processes, hand the process environment to every request, and give up when a worker dies twice
within seconds; carboy does these itself (`supervisor`, `gateway`), and takes from granian what it
is chosen for: sockets, HTTP, and the threads that call the application. Written against granian
2.8.
"""

from __future__ import annotations

import threading
import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .settings import Settings


class Engine:
    """Serves one callable until it is told to stop.

    Args:
        callback: called with (protocol, environ) on one of `settings.threads` threads.
        settings: where to listen, and with how much.
    """

    def __init__(self, callback: cabc.Callable[..., object], settings: Settings) -> None:
        self._callback = callback
        self._settings = settings
        self._drained = threading.Event()

    def start(self) -> None:
        """Listen. On return the system accepts connections.

        Raises:
            OSError: the address cannot be listened on.
        """
        import asyncio

        from granian import _futures
        from granian import _granian as native
        from granian.http import HTTP1Settings

        make_scheduler: t.Any = _futures._new_cbscheduler
        settings = self._settings
        # granian's stubs tell of an older signature than its code has.
        make_worker: t.Any = native.WSGIWorker
        worker = make_worker(
            worker_id=1,
            sock=(native.ListenerSpec(settings.host, settings.port, settings.backlog), None),
            ipc=None,
            threads=1,
            # granian counts connections here, idle ones too, and leaves the rest to wait.
            backpressure=settings.connections,
            py_threads=settings.threads,
            py_threads_idle_timeout=30,
            http_mode="1",
            # The time to read a head is also the time that a connection may be idle.
            http1_opts=HTTP1Settings(header_read_timeout=int(settings.keep_alive_s * 1000)),
        )
        # granian wants a loop for every interface; nothing runs on it here.
        loop = asyncio.new_event_loop()
        self._signal = native.WorkerSignal()
        self._signal.add_cb(self._drained.set)
        self._kept = (worker, loop)
        try:
            worker.serve_mtr(
                make_scheduler(loop, self._callback, impl_asyncio=True), loop, self._signal
            )
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as exc:  # noqa: BLE001  # a panic in Rust is no Exception
            raise OSError(
                f"granian cannot listen on {settings.host}:{settings.port}: {exc}"
            ) from None

    def stop(self) -> None:
        """Accept nothing more; finish what was accepted. Returns at once."""
        self._signal.set()

    def wait(self) -> None:
        """Return when the last answer is out. Signals are handled meanwhile."""
        while not self._drained.wait(3600):
            pass
