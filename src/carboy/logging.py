"""Create the app's logger, with a default handler if the user has configured none.

Levels, formats and files that the user has configured always take precedence.
"""

from __future__ import annotations

import logging
import sys
import typing as t

from werkzeug.local import LocalProxy

from .core.flasknames import flask_names
from .core.logmasking import get_masked_logger, mask_output_of
from .globals import _cv_request
from .observability.keys import find_key, is_any_set

if t.TYPE_CHECKING:
    from .sansio.app import App


def _find_errors_stream() -> t.TextIO:
    """Return the stream for errors: the server's (`wsgi.errors`) during a request, else stderr."""
    ctx = _cv_request.get(None)
    if ctx is None:
        return sys.stderr
    return t.cast("t.TextIO", ctx.request.environ["wsgi.errors"])


#: A proxy for the error stream: the server's (`wsgi.errors`) during a request, else stderr. Pass it
#: to a `StreamHandler`, or name it in a `dictConfig`: `ext://carboy.logging.wsgi_errors_stream`.
wsgi_errors_stream: LocalProxy[t.TextIO] = LocalProxy(_find_errors_stream)


def has_level_handler(logger: logging.Logger) -> bool:
    """Return whether the logger or one of its parents has a handler for the logger's effective
    level.
    """
    level = logger.getEffectiveLevel()
    node: logging.Logger | None = logger
    while node is not None:
        for handler in node.handlers:
            if handler.level <= level:
                return True
        node = node.parent if node.propagate else None
    return False


class _SingleRecordFormatter(logging.Formatter):
    """Writes a record so that no line of it looks like another record: a path or a header that it
    quotes may have line breaks. Further lines are indented, and control characters are escaped.
    """

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if text.isprintable():
            return text
        from .observability.formatters import escape

        return "\n    ".join(map(escape, text.split("\n")))


#: The handler that is added to an app's logger if no other handler would receive its records.
default_handler: logging.StreamHandler[t.Any] = logging.StreamHandler(
    t.cast("t.TextIO", wsgi_errors_stream)
)
default_handler.setFormatter(
    _SingleRecordFormatter("[%(asctime)s] %(levelname)s in %(module)s: %(message)s")
)
# The documentation of Flask advises to add it to the root logger, too.
mask_output_of(default_handler)


def configure_by_keys(app: App) -> None:
    """Configure logging as the app's keys `LOG_*` ask for, before the first request. Without them
    nothing is done.

    carboy's own servers have done it before they listen, and have reported wrong keys. Other
    servers have not; there wrong keys have no effect, and an error is logged. Requests are
    answered.
    """
    if is_any_set(app):
        from .observability.setup import configure, is_tried

        try:
            if not is_tried(app):
                configure(app)
        except Exception as exc:  # noqa: BLE001  # a log must not make requests fail
            _report(exc)


def _report(exc: Exception) -> None:
    """Log why the keys `LOG_*` have no effect; to stderr, if there is no handler."""
    from .observability.handlers import logger

    logger.error("The keys LOG_* have no effect in this process. %s", exc)


def create_logger(app: App) -> logging.Logger:
    """Return the logger that has the app's name, after making sure that it has a level and a
    handler.

    In debug mode the level is set to DEBUG if the user has set none. `default_handler` is added
    only if neither this logger nor one of its parents would handle its records.

    Raises:
        ConfigError: one of the config keys `LOG_*` is not valid. Not raised during a request, whose
            own error may be about to be logged, and not after the first one: `configure_by_keys`
            has logged an error then.
    """
    logger = get_masked_logger(app.name)
    if not app._got_first_request and is_any_set(app):
        _configure_early(app, logger)
    if app.debug and logger.level == logging.NOTSET and not find_key("LOG_LEVEL", app):
        logger.setLevel(logging.DEBUG)
    if not has_level_handler(logger):
        logger.addHandler(default_handler)
    return logger


def _configure_early(app: App, logger: logging.Logger) -> None:
    from .observability.setup import configure_early

    try:
        configure_early(app, logger)
    except Exception as exc:
        if _cv_request.get(None) is None:
            raise
        _report(exc)


if not t.TYPE_CHECKING:
    __getattr__, __dir__ = flask_names(__name__)
