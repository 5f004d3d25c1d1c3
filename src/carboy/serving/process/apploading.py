"""What every process does that loads the app for the supervisor: a worker, or a replica."""

from __future__ import annotations

import os
import sys
import threading
import time
import typing as t
from functools import partial

from .. import log

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from ...observability.logoptions import LogOptions
    from .supervisorlink import SupervisorLink

# How many seconds the exit of the process may be delayed by models and by threads of the app that
# are not daemons.
EXIT_S = 5.0


def flush_each_line() -> None:
    """Flush output after each line, so that no line is lost if the process is killed."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)


def install_as_flask_if_asked() -> None:
    """Let `import flask` import carboy, if the user has started the server by `carboy.as_flask`."""
    if os.environ.get("CARBOY_AS_FLASK") == "1":
        from ...compat import install_as_flask

        install_as_flask()


def load(target: str | None) -> WSGIApplication:
    """Import the application that `target` names; None: look for it in `wsgi.py` or `app.py`."""
    from ...cli.discovery import ScriptInfo

    return ScriptInfo(app_import_path=target, set_debug_flag=False).load_app()


def send_log_lines(control: SupervisorLink, fds: list[int]) -> None:
    """Let this process send the lines of its log file to the supervisor, which writes them.

    Args:
        fds: the reading and the writing end of the pipe for the lines.
    """
    from ...observability.setup import open_files_by
    from .logpipe import WorkerLog

    worker_log = WorkerLog(fds[0], fds[1], partial(announce_log, control))
    control.on_orphaned.insert(0, worker_log.take_over)
    control.on("write-log", lambda _: worker_log.take_over())
    open_files_by(worker_log.open)


def announce_log(control: SupervisorLink, options: LogOptions) -> None:
    control.report("log", options.as_dict())


def configure_log(app: WSGIApplication, control: SupervisorLink, *, several: bool) -> None:
    """Configure logging as the app's keys `LOG_*` ask for.

    Args:
        several: whether other processes load the app as well: then warn of the program's log
            handlers that lose lines when several processes use them.
    """
    from ...observability.programhandlers import lossy_in_several_processes

    options = log.configure_for_app(app, warn=partial(control.report, "warning"))
    if options is not None and options.file is None:
        announce_log(control, options)
    if several:
        for text in lossy_in_several_processes():
            control.report("warning", text)


def exit_code(exc: BaseException) -> int:
    """Return the exit code of a worker that could not load the app because of `exc`."""
    from ...cli import failures

    return failures.exit_code(exc)


def explain(exc: BaseException) -> str:
    import click

    from ...cli.failures import format_for_user

    if isinstance(exc, click.ClickException):
        return exc.format_message()
    if isinstance(exc, SystemExit):
        return f"The app called sys.exit({exc.code!r}) while it was imported."
    if isinstance(exc, OSError) and exc.__traceback__ and not exc.__traceback__.tb_next:
        return str(exc)
    return format_for_user(exc)


def force_exit(code: int) -> None:
    """End the process with this exit code, if it has not ended by itself soon."""
    time.sleep(EXIT_S)
    # Log on another thread, and wait for it for a limited time: a log handler of the program may
    # block for ever, if it writes to a pipe that nobody reads.
    saying = threading.Thread(target=_say_last_words, daemon=True)
    saying.start()
    saying.join(EXIT_S)
    os._exit(code)


def _say_last_words() -> None:
    names = [
        thread.name
        for thread in threading.enumerate()
        if not thread.daemon and thread is not threading.main_thread()
    ]
    log.logger.warning(
        "exiting although threads of the app have not ended within %g s: %s",
        EXIT_S,
        ", ".join(names) or "none, but the interpreter did not end",
    )
    sys.stdout.flush()
    sys.stderr.flush()
