"""A worker process: loads the app, serves it, and stops on request.

    python -P -m carboy.serving.process.worker FD '{"target": "shop:app", "settings": {...}, ...}'

Through the socket FD it tells its supervisor `ready`, or `failed` and why. A `drain` from there,
the end of the supervisor (the socket closes), and SIGTERM all mean the same: ask clients to connect
anew for a moment, close the listening socket, finish what was begun, exit. SIGINT and SIGHUP are
left to the supervisor, because a terminal sends them to both.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
import typing as t
from functools import partial

from .. import log
from ..machine import default_workers, raise_descriptor_limit
from ..settings import Settings

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

# For threads of the app that are no daemons and would keep the process for ever.
EXIT_S = 5.0


class Service:
    """The server of one application, from its models to its end.

    `stop` may be called from any thread, and often.
    """

    def __init__(self, app: WSGIApplication, settings: Settings) -> None:
        self._server = server_of(app, settings)
        self._app = app
        self._settings = settings
        self._stopping = threading.Lock()

    def start(self) -> None:
        """Load the app's models, then listen: a worker that is ready answers at once."""
        load_models = getattr(self._app, "load_models", None)  # any WSGI app may be served
        if load_models is not None:
            load_models()
        raise_descriptor_limit(self._settings.connections)
        self._server.start()

    def stop(self) -> None:
        """Begin to drain. Returns at once."""
        if self._stopping.acquire(blocking=False):
            threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        self._server.draining = True
        time.sleep(self._settings.drain_s)
        if self._server.refuse_new():
            # Clients that have connected in the last moment send their request.
            time.sleep(self._settings.drain_s / 4)
        self._server.stop()

    def wait(self) -> None:
        """Return when the last response is sent and the models are closed."""
        self._server.wait()
        close_models = getattr(self._app, "close_models", None)
        if close_models is not None:
            close_models(EXIT_S)


class AppServer(t.Protocol):
    """A server that listens and calls an application.

    Attributes:
        draining: set it once, and clients are asked to connect anew.
    """

    draining: bool

    def start(self) -> None:
        """Listen; raises OSError if the address cannot be listened on."""

    def refuse_new(self) -> bool:
        """Let no new client connect; False if the system cannot do that."""

    def stop(self) -> None:
        """Finish what has come. Returns at once."""

    def wait(self) -> None:
        """Return when the last response is sent."""


def server_of(app: WSGIApplication, settings: Settings) -> AppServer:
    """Return the quickest server for an app: granian for views, carboy's own for models."""
    limits = settings.http_limits()
    multiprocess = settings.workers > 1
    if not has_models(app):
        from ..wsgi.granian import GranianServer

        if unused := settings.without_effect_under_granian():
            log.logger.warning(
                "no effect of %s: granian serves apps without models, and has no such setting",
                ", ".join(unused),
            )
        return GranianServer(
            settings.host,
            settings.port,
            app=app,
            threads=settings.threads,
            limits=limits,
            multiprocess=multiprocess,
        )
    from ..http.server import HTTPServer
    from ..predictions import routes
    from ..threads.pool import LeaderPool
    from ..wsgi.gateway import Gateway

    pool = LeaderPool(settings.threads)
    gateway = Gateway(
        app, limits=limits, threads=settings.threads, pool=pool, routes=partial(routes, app)
    )
    return HTTPServer(
        settings.host,
        settings.port,
        handler=gateway,
        pool=pool,
        limits=limits,
        multiprocess=multiprocess,
        spins=default_workers() > 1,  # a processor is left for clients and other threads
    )


def has_models(app: WSGIApplication) -> bool:
    """Whether an application, which may be any WSGI application, has models."""
    return bool(vars(app).get("models")) if hasattr(app, "__dict__") else False


class Control:
    """The worker's end of the socket to its supervisor."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._service: Service | None = None
        self._lock = threading.Lock()

    def listen(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        try:
            message = self._line.recv(64)
        except OSError:
            message = b""
        if not message:
            log.logger.error("the supervisor is gone: finishing the requests that have begun")
        self.stop()

    def stop(self) -> None:
        with self._lock:
            service = self._service
        if service is not None:
            service.stop()
        else:
            # Still loading: no client waits, and imports cannot be interrupted otherwise.
            os._exit(0)

    def tell(self, word: str, text: str = "") -> None:
        try:
            self._line.sendall(json.dumps([word, text]).encode() + b"\n")
        except OSError:
            pass  # The supervisor is gone; `_listen` notices too.

    def serve(self, service: Service) -> None:
        service.start()
        with self._lock:
            self._service = service
        self.tell("ready")
        service.wait()


def load(target: str | None) -> WSGIApplication:
    """Import the app, with the same rules as every other command."""
    from ...cli.discovery import ScriptInfo

    return ScriptInfo(app_import_path=target, set_debug_flag=False).load_app()


def main(argv: list[str]) -> None:
    control = Control(socket.socket(fileno=int(argv[0])))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A handler, not SIG_IGN: programs that the app starts would inherit that.
    signal.signal(signal.SIGHUP, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: control.stop())
    control.listen()
    order = json.loads(argv[1])
    log.configure()
    # So that the log of a worker that is killed has its last lines too.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)
    try:
        if os.environ.get("CARBOY_AS_FLASK") == "1":
            from ...compat import install_as_flask

            install_as_flask()
        app = load(order["target"])
        control.serve(Service(app, Settings(**order["settings"])))
    except BaseException as exc:  # noqa: BLE001  # SystemExit of the user's module too
        control.tell("failed", _explain(exc))
        sys.exit(1)
    threading.Thread(target=_exit_anyway, daemon=True).start()


def _explain(exc: BaseException) -> str:
    import click

    from ...cli.failures import format_for_user

    if isinstance(exc, click.ClickException):
        return exc.format_message()
    if isinstance(exc, SystemExit):
        return f"It called sys.exit({exc.code!r}) while it was imported."
    if isinstance(exc, OSError) and exc.__traceback__ and not exc.__traceback__.tb_next:
        return str(exc)
    return format_for_user(exc)


def _exit_anyway() -> None:
    time.sleep(EXIT_S)
    names = [
        thread.name
        for thread in threading.enumerate()
        if not thread.daemon and thread is not threading.main_thread()
    ]
    log.logger.warning(
        "left behind threads of the app that did not end within %g s: %s",
        EXIT_S,
        ", ".join(names) or "none, but the interpreter did not end",
    )
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
