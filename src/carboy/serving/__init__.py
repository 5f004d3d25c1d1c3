"""Production: `carboy serve` and `Carboy.serve`.

    commands > supervisor > settings, restarts, log       the process that the user starts
    worker > wsgi.granian > threads.leader                   serve an app without models
    worker > http.server, threads.pool, wsgi.gateway, predictions      serve an app with models

They meet in `worker`'s command line and in the few words that go over its socket.
"""

from __future__ import annotations

import os
import signal
import sys
import typing as t

if t.TYPE_CHECKING:
    from ..app import Carboy
    from .settings import Settings


def serve(app: Carboy, **options: t.Any) -> None:
    """Serve the app until it is stopped; what `Carboy.serve` calls.

    Like `carboy serve` on the module in which the app is: each worker imports that module, without
    what stands under `if __name__ == "__main__"`. With `workers=0`, and for an app that has no name
    in a module, this process serves by itself: one worker, which nobody replaces.

    Args:
        app: the application.
        options: as for `make_settings`: host, port, workers, threads, max_body, grace_s.

    Raises:
        ServingError: an option or the address is of no use.
    """
    from ..cli import say_run_is_ignored
    from . import log
    from .settings import make_settings

    if os.environ.get("FLASK_RUN_FROM_CLI") == "true":
        say_run_is_ignored("serve")
        return
    settings = make_settings(**options)
    log.configure()
    target = import_path(app) if settings.workers else None
    if target is None:
        serve_here(app, settings)
        return
    from .process.supervisor import Supervisor

    exit_code = Supervisor(target, settings).run()
    if exit_code:
        sys.exit(exit_code)


def serve_here(app: Carboy, settings: Settings) -> None:
    """Serve in this process, until SIGTERM or Ctrl+C. Needs the main thread."""
    from dataclasses import replace

    from . import log
    from .process.supervisor import hold_port, stop_signals
    from .process.worker import Service

    holder = hold_port(settings)
    settings = replace(settings, port=holder.getsockname()[1], workers=1)
    service = Service(app, settings)
    before = {number: signal.signal(number, lambda *_: service.stop()) for number in stop_signals()}
    try:
        service.start()
        log.logger.info(
            "serving %s on %s from this process, with %d threads",
            app.name,
            settings.url,
            settings.threads,
        )
        service.wait()
        log.logger.info("stopped")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        holder.close()


def import_path(app: Carboy) -> str | None:
    """How a new process gets this app by import: `module:name`; None if it cannot."""
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
