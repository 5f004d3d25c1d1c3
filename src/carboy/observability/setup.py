"""Add the handlers that the keys `LOG_*` ask for to the root logger, once per process.

The handlers are added as late as possible: when a server starts, or at the first request. Until
then a program may configure logging itself, and `logging.basicConfig` does nothing if the root
logger has a handler already. Records that are logged while the program is imported are written only
if the app's own logger has created them: that logger gets the handler on its first use.
"""

from __future__ import annotations

import errno
import logging
import threading
import typing as t
import weakref
from dataclasses import replace

from .formatters import make_formatter
from .handlers import STDERR, LineHandler, logger
from .logfile import SharedLogFile
from .logoptions import LogOptions, explain_unusable, read_options
from .programhandlers import find_writer, is_of_program

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..sansio.app import App
    from .handlers import LineTarget

# carboy's own loggers, which `configure` enables again, because `logging.config` disables all
# loggers that its dict or file does not name.
OWN_LOGGERS = (
    "carboy.serving",
    "carboy.models",
    "carboy.admission",
    "carboy.access",
    "carboy.log",
)
# Errors of a full disk do not stop a program when it starts, because they are no mistake of its
# configuration and may pass.
_PASSING = frozenset({errno.ENOSPC, errno.EDQUOT})

_lock = threading.RLock()
# The handlers of this process by the path of their log file. The key None is for stderr.
_handlers: dict[str | None, LineHandler] = {}
# The loggers of apps that have a handler of their own until the root logger gets one.
_early: list[_EarlyLogger] = []
# The apps for which `configure` was called in this process.
_tried: weakref.WeakSet[App] = weakref.WeakSet()


def open_directly(options: LogOptions) -> LineTarget:
    """Open the log file of the options in this process, and return it as a target of `LineHandler`.

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


# The function that opens a log file and returns it as a target. A worker of `carboy serve` replaces
# the function (`open_files_by`).
_open_file: cabc.Callable[[LogOptions], LineTarget] = open_directly


def open_files_by(function: cabc.Callable[[LogOptions], LineTarget]) -> None:
    """Let `function` open log files in this process, instead of `open_directly`."""
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
        app: None for a WSGI application that is not a carboy app.
        terminal: whether records are written to stderr besides the log file, so that a developer
            sees them.
        warn: called with a warning for each option that has no effect, because the program has
            configured the same thing itself.

    Returns:
        The options; None if no key is set, in which case nothing is changed.

    Raises:
        ConfigError: a value is not valid, or the file cannot be written.
    """
    with _lock:
        if app is not None:
            _tried.add(app)
        options = read_options(app)
        if options is not None:
            _configure(app, options, terminal, warn)
        return options


def is_tried(app: App) -> bool:
    """Return whether `configure` was called for an app in this process. Its caller has reported the
    keys that are not valid or have no effect. If another thread calls `configure` at the moment,
    wait for it: before, a record would be lost.
    """
    with _lock:
        return app in _tried


def _configure(
    app: App | None, options: LogOptions, terminal: bool, warn: cabc.Callable[[str], object]
) -> None:
    _end_early()
    root = logging.getLogger()
    has_own_handlers = any(map(is_of_program, root.handlers))
    if options.level is not None:
        root.setLevel(options.level)
    elif root.level == logging.WARNING and not has_own_handlers:
        root.setLevel(logging.INFO)  # Python's default, WARNING, would hide much
    for name, level in options.levels.items():
        logging.getLogger(name).setLevel(level)
    for name in OWN_LOGGERS:
        logging.getLogger(name).disabled = False
    for text in _without_effect(options, has_own_handlers):
        warn(text)
    for handler in _handlers_for(options, has_own_handlers, terminal):
        root.addHandler(handler)
    if app is not None:
        _redirect_app_logger(logging.getLogger(app.name), find_handler(options.file))


def _without_effect(options: LogOptions, has_own_handlers: bool) -> cabc.Iterator[str]:
    """Yield a warning for each option that has no effect because of the program's own handlers."""
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
    """Yield the handlers that the root logger gets: for the log file and for stderr, unless the
    program's own handlers write there already.
    """
    if options.file is not None and find_writer(options.file) is None:
        yield handler_for(options)
    if terminal and not has_own_handlers:
        yield _terminal_handler(options)
    elif options.file is None and not has_own_handlers:
        yield handler_for(options)


def _terminal_handler(options: LogOptions) -> LineHandler:
    """Return the handler with which a development server writes to stderr. It skips the records of
    Werkzeug, because another handler writes these unchanged, with their colours and line breaks.
    """
    is_json = options.file is not None and options.format == "json"
    handler = handler_for(replace(options, file=None, format=None if is_json else options.format))
    handler.addFilter(_is_not_werkzeugs)
    werkzeug = logging.getLogger("werkzeug")
    if not werkzeug.handlers:
        werkzeug.addHandler(logging.StreamHandler())
    return handler


def _is_not_werkzeugs(record: logging.LogRecord) -> bool:
    return record.name != "werkzeug"


def _is_for_files(record: logging.LogRecord) -> bool:
    """Return whether a record may be written to a log file.

    Two records of Werkzeug are for the terminal only: the start screen, and the PIN of the
    debugger, with which whoever reads the file could run code.
    """
    if record.name != "werkzeug" or record.levelno != logging.INFO:
        return True
    text = str(record.msg)
    return "\n" not in text and not text.startswith(" * Debugger ")


def _redirect_app_logger(app_logger: logging.Logger, file_handler: LineHandler | None) -> None:
    from ..logging import default_handler, has_level_handler

    app_logger.removeHandler(default_handler)
    if file_handler is not None and not app_logger.propagate:
        app_logger.addHandler(file_handler)
    if not has_level_handler(app_logger):
        app_logger.addHandler(default_handler)


def handler_for(options: LogOptions) -> LineHandler:
    """Return this process's handler for the file of the options, or for stderr.

    Raises:
        ConfigError: the file cannot be opened.
    """
    with _lock:
        handler = _handlers.get(options.file)
        if handler is None:
            if options.file is None:
                handler = LineHandler(STDERR)
            else:
                handler = LineHandler(_open_file(options), _is_for_files)
            _handlers[options.file] = handler
        handler.setFormatter(make_formatter(options.format or "text"))
        return handler


def find_handler(path: str | None) -> LineHandler | None:
    """Return the handler for a log file if the root logger has it, else None."""
    handler = _handlers.get(path) if path is not None else None
    return handler if handler in logging.getLogger().handlers else None


def path_of(handler: LineHandler) -> str | None:
    """Return the path of a handler's log file; None if it writes to stderr."""
    with _lock:
        return next((path for path, each in _handlers.items() if each is handler), None)


def handlers() -> list[LineHandler]:
    """Return the handlers that this module has created in this process."""
    with _lock:
        return list(_handlers.values())


# --- before the root logger has a handler -----------------------------------------------------


def configure_early(app: App, app_logger: logging.Logger) -> None:
    """Let the app's own logger write records before the root logger gets a handler, so that records
    which are logged while the program is imported are not lost, and the program may still configure
    the other loggers.

    Raises:
        ConfigError: a value is not valid, or the file cannot be written.
    """
    with _lock:
        options = read_options(app)
        if options is None or (options.file is None and logging.getLogger().handlers):
            return
        handler = handler_for(options)
        if handler not in logging.getLogger().handlers:
            _early.append(_EarlyLogger(app_logger, handler, options))


class _EarlyLogger:
    """The logger of an app while it has a handler of its own, because the root logger has no
    handler yet.
    """

    def __init__(self, of_app: logging.Logger, handler: LineHandler, options: LogOptions) -> None:
        self._logger, self._handler, self._options = of_app, handler, options
        self._level_before = of_app.level
        if of_app.level == logging.NOTSET:
            of_app.setLevel(logging.INFO if options.level is None else options.level)
        self._level = of_app.level
        of_app.addHandler(handler)
        handler.addFilter(self._is_left_to_us)

    def _is_left_to_us(self, record: logging.LogRecord) -> bool:
        """Return whether carboy writes the record: the program has not added a handler of its own
        for the same file meanwhile.
        """
        return self._options.file is None or find_writer(self._options.file) is None

    def end(self) -> None:
        """Remove the handler from the logger, and restore its level, because the root logger gets
        the handler now.
        """
        self._logger.removeHandler(self._handler)
        self._handler.removeFilter(self._is_left_to_us)
        if self._logger.level == self._level:
            self._logger.setLevel(self._level_before)


def _end_early() -> None:
    while _early:
        _early.pop().end()
