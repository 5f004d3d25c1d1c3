"""The log of supervisor and workers: lines on stderr with time, level and process id."""

from __future__ import annotations

import logging
import sys
import typing as t
from time import monotonic

from ..core.logmasking import get_masked_logger

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from _typeshed.wsgi import WSGIApplication

    from ..observability.handlers import LineHandler
    from ..observability.logoptions import LogOptions

logger = get_masked_logger("carboy.serving")
_MAX_FIRST = 20
# Loggers of what apps use under any server.
_LOGGERS_OF_APPS = ("carboy.models", "carboy.admission")


# The least number of seconds between two lines of the same kind that `Notices` logs.
NOTICE_S = 10.0


class Notices:
    """Logs what clients do wrong, at most one line of each kind per `NOTICE_S` seconds, so that
    clients cannot fill the log.

    Args:
        clock: returns the current time in seconds.
    """

    def __init__(self, clock: cabc.Callable[[], float] = monotonic) -> None:
        self._clock = clock
        # For each kind of message: when it was last logged, and how many of this kind were dropped
        # since.
        self._last: dict[str, tuple[float, int]] = {}

    def note_error(self, message: str) -> None:
        """Log the exception that is being handled, which clients may be able to cause. Exceptions
        of one class are of one kind.
        """
        self.note(f"{message}: {sys.exc_info()[0]}", logging.ERROR, message, exc_info=True)

    def note(
        self, kind: str, level: int, message: str, *args: object, exc_info: bool = False
    ) -> None:
        """Log a message, unless the last one of this `kind` is less than `NOTICE_S` seconds old."""
        now_s = self._clock()
        last_s, left_out = self._last.get(kind, (-NOTICE_S, 0))
        if now_s - last_s < NOTICE_S:
            self._last[kind] = last_s, left_out + 1
            return
        self._last[kind] = now_s, 0
        if left_out:
            message = f"{message} ({left_out} more times since the last such line)"
        logger.log(level, message, *args, exc_info=exc_info)


def configure() -> None:
    """Write carboy's log messages to stderr, without changing the logging of the app."""
    from ..observability.handlers import stderr_handler

    logger.handlers[:] = [stderr_handler(), _FirstRecords()]
    logger.setLevel(logging.INFO)
    logger.propagate = False
    of_log = logging.getLogger("carboy.log")
    to_stderr = stderr_handler()
    to_stderr.addFilter(lambda record: not _root_logger_shows(record))
    of_log.handlers[:] = [to_stderr]
    of_log.setLevel(logging.INFO)
    for name in _LOGGERS_OF_APPS:
        # If the app has configured the root logger, that logger also writes these messages. So this
        # handler drops them, to avoid writing them twice.
        handler = stderr_handler()
        handler.addFilter(lambda record: not logging.root.handlers)
        logging.getLogger(name).handlers[:] = [handler]


def _root_logger_shows(record: logging.LogRecord) -> bool:
    """Return whether a handler of the root logger writes the record to stderr."""
    from .startscreen import describe

    return any(
        handler.level <= record.levelno and describe([handler]) == "stderr"
        for handler in logging.root.handlers
    )


def configure_for_app(
    app: WSGIApplication, warn: cabc.Callable[[str], object]
) -> LogOptions | None:
    """Configure logging as the keys `LOG_*` of an application and of the environment ask for.

    Args:
        app: any WSGI application; only carboy's have a config with these keys.
        warn: is called with a text for the log if keys have no effect.

    Raises:
        ConfigError: a value is not valid, or the log file cannot be written.
    """
    from ..core.dispatch import carboy_app
    from ..observability.setup import configure, find_handler

    options = configure(carboy_app(app), warn=warn)
    if options is not None:
        follow(options, find_handler(options.file))
    return options


def follow(options: LogOptions, file_handler: LineHandler | None) -> None:
    """Apply the keys `LOG_*` to the messages of the server itself. The messages are still written
    to stderr, and also to the log file, if there is one. If the log file is stdout or stderr
    itself, they are written to it alone, because containers show both streams together.

    Args:
        options: the values of the keys.
        file_handler: writes the log file; None if there is none.
    """
    from ..observability.formatters import make_formatter
    from ..observability.logfile import descriptor_named_by

    if options.level is not None:
        logger.setLevel(options.level)
    if options.format is not None:
        for name in ("carboy.serving", *_LOGGERS_OF_APPS, "carboy.log"):
            for handler in logging.getLogger(name).handlers:
                handler.setFormatter(make_formatter(options.format))
    if file_handler is not None:
        if options.file is not None and descriptor_named_by(options.file) is not None:
            logger.handlers.clear()
        for first in [each for each in logger.handlers if isinstance(each, _FirstRecords)]:
            logger.removeHandler(first)
            for record in first.records:
                file_handler.handle(record)
        logger.addHandler(file_handler)


class _FirstRecords(logging.Handler):
    """Keeps the first records of the server in memory, because the log file is known only after the
    app was loaded, whose config names it. Then `follow` writes the records to the file.
    """

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if len(self.records) < _MAX_FIRST:
            self.records.append(record)
