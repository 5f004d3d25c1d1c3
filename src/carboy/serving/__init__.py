"""Serve an app in production: `carboy serve` and `Carboy.serve`.

    process     the supervisor process, the worker processes that it starts, and `carboy serve`
    http        the HTTP server, which knows sockets and requests, but no application
    wsgi        calls the WSGI application for the requests that the HTTP server receives
    threads     the threads of a worker: one at a time reads requests, the others run views
    management  probes, and the requests of `carboy ctl`
    metrics     the metrics of all workers

    predictions   serves predictions without a thread that waits
    settings      the settings of the server; `declaration` says what a setting consists of
    machine       what this machine offers
    activation    sockets that systemd passes; `unixsocket` makes Unix sockets
    certificates  the TLS certificate
    log           the server's logger; `accesslog` sets up the access log
    tracing       spans of OpenTelemetry
    startscreen   the lines that are logged when the server is ready
    mainthread    waits on the main thread, which runs signal handlers
    mainblock     what a program adds below `if __name__ == "__main__"`

The supervisor passes the settings to each worker on the worker's command line. Supervisor and
worker then send each other messages over a pair of sockets, and the worker sends the lines of the
log file through a pipe. They share nothing else.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import typing as t

from ..errors import ServingError
from ..observability.keys import is_any_set

if t.TYPE_CHECKING:
    from ..app import Carboy
    from ..observability.logoptions import LogOptions
    from .process.sockets import ServerSockets
    from .process.systemd import SystemdNotifier
    from .process.worker import Service
    from .settings import Settings


def serve(app: Carboy, **arguments: t.Any) -> None:
    """Serve the app until it is stopped. Called by `Carboy.serve`.

    As with `carboy serve`, each worker process imports the module of the app, without the code
    under `if __name__ == "__main__"`. An app that is not a global variable of its module cannot be
    imported: like any app with `workers=0`, it is served by the calling process, which nobody
    restarts.

    Args:
        app: the application.
        **arguments: the settings, which docs/serving.md lists.

    Raises:
        ServingError: a setting is not valid, or the address cannot be listened on.
        TypeError: an argument is not the name of a setting.
    """
    from .. import cli
    from ..helpers import get_load_dotenv

    if os.environ.get("FLASK_RUN_FROM_CLI") == "true":
        cli.say_run_is_ignored("serve")
        return
    thread = threading.current_thread()
    if thread is not threading.main_thread():
        raise ServingError(
            f"app.serve() was called on the thread {thread.name!r}, but only the main thread gets"
            " the signals that stop a server. Call it on the main thread, run 'carboy serve' beside"
            " this program, or use app.run(use_reloader=False), which any thread may call."
        )
    if get_load_dotenv():
        cli.load_dotenv()
    settings = prepare(arguments)
    target = import_path(app) if settings.workers != 0 else None
    if target is None:
        serve_here(app, settings)
        return
    _refuse_parts_in_main_block(app, target)
    from .process.supervisor import Supervisor

    exit_code = Supervisor(target, settings).run()
    if exit_code:
        sys.exit(exit_code)


def _refuse_parts_in_main_block(app: Carboy, target: str) -> None:
    from .mainblock import parts_in_main_block

    lacking = parts_in_main_block(app)
    if lacking:
        raise ServingError(
            f"app.serve() starts workers, which import {target!r} without the code under `if"
            f' __name__ == "__main__"`, so that they would lack {" and ".join(lacking)}. Move the'
            " definition above that line, or serve from this process: app.serve(workers=0)."
        )


def prepare(arguments: dict[str, t.Any], *, listens: bool = True, **options: t.Any) -> Settings:
    """Create the settings, configure logging, and warn of variables `CARBOY_SERVE_*` that belong to
    no setting.

    Args:
        arguments: the values that the caller has set, by the names of the settings.
        listens: whether the server listens on the addresses of the settings.
        **options: passed to `make_settings`.
    """
    from . import log
    from .settings import make_settings, unknown_variables

    settings = make_settings(arguments, **options)
    if settings.on == "ray":
        from ..models.raycluster.rayconnection import require_ray

        require_ray()
    log.configure()
    if is_any_set(None):
        from ..observability.logoptions import read_options

        # The environment sets `LOG_*` keys. They hold until the app is loaded, whose config may set
        # the same keys.
        log.follow(t.cast("LogOptions", read_options(None)), None)
    warnings = unknown_variables()
    if listens:
        warnings.append(_advice_in_container(settings))
    if settings.tls_cert:
        from .certificates import read_certificate

        warnings.append(read_certificate(settings).warning)
    for warning in filter(None, warnings):
        log.logger.warning("%s", warning)
    return settings


def _advice_in_container(settings: Settings) -> str:
    """Return advice if this is a container and nobody outside of it can reach any address."""
    from ..core.reachability import advice_in_container

    texts = [advice_in_container(each.host or str(each)) for each in settings.addresses]
    return texts[0] if all(texts) else ""


def serve_here(app: Carboy, settings: Settings) -> None:
    """Serve in this process, without a supervisor, until SIGTERM or Ctrl+C arrives. Must be called
    on the main thread, because Python lets only that thread handle signals.

    Raises:
        SystemExit: with the code 1, because requests were cut off.
    """
    from dataclasses import replace

    from . import log
    from .process import debugmode
    from .process.sockets import ServerSockets
    from .process.systemd import SystemdNotifier
    from .process.worker import Service
    from .settings import refuse_without_workers
    from .startscreen import advice_on_other_flask

    # Without a supervisor nobody shows the metrics, which are on by default.
    settings = replace(settings, metrics=False)
    refuse_without_workers(settings.changed())
    systemd = SystemdNotifier()
    debug_warning = debugmode.disable(app)
    sockets = ServerSockets(settings)
    settings = replace(sockets.settings, workers=1)
    log.configure_for_app(app, warn=log.logger.warning)
    for warning in filter(None, (debug_warning, advice_on_other_flask(app))):
        log.logger.warning("%s", warning)
    descriptors = [
        None if each is None else (os.dup(each.fileno()), True) for each in sockets.shared
    ]
    service = Service(app, settings, descriptors)
    try:
        finished = _serve_until_signal(app, settings, service, sockets, systemd)
    finally:
        systemd.close()
        sockets.close()
    log.logger.info("stopped")
    if not finished:
        sys.exit(1)


def _serve_until_signal(
    app: Carboy,
    settings: Settings,
    service: Service,
    sockets: ServerSockets,
    systemd: SystemdNotifier,
) -> bool:
    """Return whether all requests that had begun were finished."""
    from .process.serversignals import handlers_without_workers, say_stopping

    loaded = stopping = False

    def stop(asked_by: str) -> None:
        nonlocal stopping
        stopping = True
        say_stopping(asked_by, settings.grace_s)
        systemd.say_stopping()
        sockets.withdraw()
        if not loaded:
            raise KeyboardInterrupt  # no client waits, and loading may take long
        service.stop()

    handlers = handlers_without_workers(stop, service.stop_at_once)
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        service.load()
        if stopping:  # the app has caught the `KeyboardInterrupt`
            return True
        loaded = True
        service.listen()
        _say_serving(app, settings, service)
        systemd.say_ready()
        systemd.explain_abort()
        # The thread that runs the event loop gives the signs of life, so that they prove that
        # requests are read.
        systemd.keep_alive(service.call)
        return service.wait()
    except KeyboardInterrupt:  # raised by `stop`
        return True
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say_serving(app: Carboy, settings: Settings, service: Service) -> None:
    from . import log

    log.logger.info(
        "serving %s on %s from this process, with %d threads",
        app.name,
        ", ".join(settings.urls),
        settings.threads,
    )
    for line in service.about():
        log.logger.info("%s", line)


def import_path(app: Carboy) -> str | None:
    """Return the text by which a worker can import the app: `module:name` or
    `path/to/file.py:name`.

    Returns:
        None if the app is not a global variable of the main module or of its own module.
    """
    for module_name in ("__main__", app.import_name):
        module = sys.modules.get(module_name)
        for name, value in list(vars(module).items()) if module else ():
            if value is not app:
                continue
            if module_name != "__main__":
                return f"{module_name}:{name}"
            spec = getattr(module, "__spec__", None)
            if spec is not None:
                return f"{spec.name}:{name}"
            filename = getattr(module, "__file__", None)
            if filename and os.path.isfile(filename):
                return f"{os.path.abspath(filename)}:{name}"
    return None
