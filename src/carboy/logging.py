"""The app's logger, and the stream that its records go to when nobody configured logging.

Decides only whether a handler is missing. Levels, formats and files set by the user through
`logging.config` or by hand always win. Rotation and the log of requests live elsewhere.
"""

from __future__ import annotations

import logging
import sys
import typing as t

from werkzeug.local import LocalProxy

from .globals import _cv_request

if t.TYPE_CHECKING:
    from .sansio.app import App


def _find_errors_stream() -> t.TextIO:
    """The server's error stream while a request is handled, else the process's stderr."""
    ctx = _cv_request.get(None)
    if ctx is None:
        return sys.stderr
    return t.cast("t.TextIO", ctx.request.environ["wsgi.errors"])


#: Stands for the stream that fits at the moment of writing. Give it to a `StreamHandler`, or name
#: it as `ext://carboy.logging.wsgi_errors_stream` in a `dictConfig`.
wsgi_errors_stream: LocalProxy[t.TextIO] = LocalProxy(_find_errors_stream)


def has_level_handler(logger: logging.Logger) -> bool:
    """Whether a record of the logger's effective level would be handled by anyone."""
    level = logger.getEffectiveLevel()
    node: logging.Logger | None = logger
    while node is not None:
        for handler in node.handlers:
            if handler.level <= level:
                return True
        node = node.parent if node.propagate else None
    return False


#: What an app's logger gets when nothing else would handle its records.
default_handler: logging.StreamHandler[t.Any] = logging.StreamHandler(
    t.cast("t.TextIO", wsgi_errors_stream)
)
default_handler.setFormatter(
    logging.Formatter("[%(asctime)s] %(levelname)s in %(module)s: %(message)s")
)


def create_logger(app: App) -> logging.Logger:
    """Return the logger named as the app, complete with a level and a handler.

    The level becomes DEBUG in debug mode if the user set none; `default_handler` is added only if
    neither this logger nor one above it would handle its records.
    """
    logger = logging.getLogger(app.name)
    if app.debug and logger.level == logging.NOTSET:
        logger.setLevel(logging.DEBUG)
    if not has_level_handler(logger):
        logger.addHandler(default_handler)
    return logger
