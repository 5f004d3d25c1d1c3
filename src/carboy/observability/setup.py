"""Add the handlers that the keys `LOG_*` ask for to the root logger, once per process.

The handlers are added as late as possible: when a server starts, or at the first request. Until
then a program may configure logging itself, and `logging.basicConfig` does nothing if the root
logger has a handler already. Records that are logged before, while the program is imported, are
written if they come from the app's own logger: it gets the handler on its first use.
"""

from __future__ import annotations

import errno
import logging
import threading
import typing as t
from dataclasses import replace

from .formatters import make_formatter
from .handlers import LineHandler, StandardError, logger
from .logfile import SharedLogFile
from .options import LogOptions, explain_unusable, read_options
from .programhandlers import find_writer, is_of_program

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..sansio.app import App
    from .handlers import LineTarget

# carboy's own loggers. `logging.config` disables all loggers that its dict or file does not name.
OWN_LOGGERS = ("carboy.serving", "carboy.models", "carboy.access", "carboy.log")
# A disk that is full when a program starts is no mistake of its configuration.
_PASSING = frozenset({errno.ENOSPC, errno.EDQUOT})

_lock = threading.RLock()
# The handlers of this process by the path of their file; None is the path of stderr.
_handlers: dict[str | None, LineHandler] = {}
# The loggers that have a handler before the root logger has, and their levels before and since.
_early: list[tuple[logging.Logger, int, int]] = []


def open_directly(options: LogOptions) -> LineTarget:
    """Return the log file of the options as a target.

    Raises:
        ConfigError: the file cannot be opened.
    """
    assert options.file is not None
    file = SharedLogFile(
        options.file, max_bytes=options.max_bytes, backup_count=options.backup_count
    )
    try:
        file.check()
    except OSError as exc:
        if exc.errno not in _PASSING:
            raise explain_unusable(options, exc) from None
    return file


# Returns the target for a log file. A worker of `carboy serve` replaces it (`open_files_by`).
_open_file: cabc.Callable[[LogOptions], LineTarget] = open_directly


def open_files_by(function: cabc.Callable[[LogOptions], LineTarget]) -> None:
    """Use another function than `open_directly` to open log files in this process."""
    global _open_file  # noqa: PLW0603  # a process has one way to its log files
    _open_file = function


def configure(
    app: App | None,
    *,
    terminal: bool = False,
    warn: cabc.Callable[[str], object] = logger.warning,
) -> LogOptions | None:
    """Configure logging as the keys `LOG_*` ask for. Further calls with the same keys do nothing.

    Args:
        app: None for WSGI applications that are not carboy's.
        terminal: whether records are also written to stderr if they are written to a file, as
            developers want it.
        warn: called for options that have no effect, because the program does the same itself.

    Returns:
        The options; None if no key is set, in which case nothing is changed.

    Raises:
        ConfigError: a value is not valid, or the file cannot be written.
    """
    with _lock:
        options = read_options(app)
        if options is not None:
            _configure(app, options, terminal, warn)
        return options


def _configure(
    app: App | None, options: LogOptions, terminal: bool, warn: cabc.Callable[[str], object]
) -> None:
    _end_early()
    root = logging.getLogger()
    has_own_handlers = any(map(is_of_program, root.handlers))
    if options.level is not None:
        root.setLevel(options.level)
    elif root.level == logging.WARNING and not has_own_handlers:
        root.setLevel(logging.INFO)  # Python's default would hide what most programs log
    for name, level in options.levels.items():
        logging.getLogger(name).setLevel(level)
    for name in OWN_LOGGERS:
        logging.getLogger(name).disabled = False
    for text in _without_effect(options, has_own_handlers):
        warn(text)
    for handler in _handlers_for(options, has_own_handlers, terminal):
        root.addHandler(handler)
        if app is not None:
            _redirect_app_logger(logging.getLogger(app.name), handler)


def _without_effect(options: LogOptions, has_own_handlers: bool) -> cabc.Iterator[str]:
    """Yield a warning for each option that has no effect beside the program's own handlers."""
    if options.file is not None and (writer := find_writer(options.file)) is not None:
        yield (
            f"LOG_FILE: the program's own {type(writer).__name__} writes to {options.file}, so that"
            " carboy does not. Remove that handler, and carboy writes and rotates the file"
        )
    if options.file is None and options.format is not None and has_own_handlers:
        yield (
            "LOG_FORMAT has no effect, because the program has configured the root logger itself,"
            " as logging.basicConfig() does. Remove that, or set LOG_FILE"
        )


def _handlers_for(
    options: LogOptions, has_own_handlers: bool, terminal: bool
) -> cabc.Iterator[LineHandler]:
    """Yield the handlers that the root logger needs."""
    if options.file is not None and find_writer(options.file) is None:
        yield handler_for(options)
    if (options.file is None or terminal) and not has_own_handlers:
        yield handler_for(replace(options, file=None))


def _redirect_app_logger(app_logger: logging.Logger, handler: LineHandler) -> None:
    from ..logging import default_handler

    app_logger.removeHandler(default_handler)
    if not app_logger.propagate:
        app_logger.addHandler(handler)


def handler_for(options: LogOptions) -> LineHandler:
    """Return this process's handler for the file of the options, or for stderr.

    Raises:
        ConfigError: the file cannot be opened.
    """
    with _lock:
        handler = _handlers.get(options.file)
        if handler is None:
            target = StandardError() if options.file is None else _open_file(options)
            handler = _handlers[options.file] = LineHandler(target)
        handler.setFormatter(make_formatter(options.format or "text"))
        return handler


def find_handler(path: str) -> LineHandler | None:
    """Return this process's handler for a log file; None if it has none."""
    return _handlers.get(path)


def handlers() -> list[LineHandler]:
    """Return the handlers of this process."""
    with _lock:
        return list(_handlers.values())


# --- before the root logger has a handler -----------------------------------------------------


def configure_early(app: App, app_logger: logging.Logger) -> None:
    """Write the records of the app's logger, while the program may still configure the others.

    Raises:
        ConfigError: a value is not valid, or the file cannot be written.
    """
    with _lock:
        options = read_options(app)
        if options is None or (options.file is None and logging.getLogger().handlers):
            return
        handler = handler_for(options)
        if handler in logging.getLogger().handlers:
            return
        app_logger.addHandler(handler)
        level = options.level if options.level is not None else logging.INFO
        _early.append((app_logger, app_logger.level, level))
        if app_logger.level == logging.NOTSET:
            app_logger.setLevel(level)


def _end_early() -> None:
    """Remove what `configure_early` has added, as the root logger has the same from now on."""
    while _early:
        early, level_before, level = _early.pop()
        for handler in _handlers.values():
            early.removeHandler(handler)
        if early.level == level:
            early.setLevel(level_before)
