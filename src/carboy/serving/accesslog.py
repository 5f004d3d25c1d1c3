"""Decide whether a worker writes an access log, and where its lines go."""

from __future__ import annotations

import logging
import typing as t

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from carboy.observability.access import AccessLog

    from .settings import Settings


def access_log_of(app: WSGIApplication, settings: Settings) -> AccessLog | None:
    """Return the access log that the settings ask for; None if there is none.

    With the setting "auto", there is one if a handler would receive its records, as there is a log
    of requests under `carboy run`: because LOG_FILE or another key of the log is set, or because
    the program has configured logging itself. If LOG_LEVEL hides records of level INFO, there is
    none.
    """
    if settings.access_log == "off":
        return None
    from carboy.core.dispatch import carboy_app
    from carboy.observability.access import LOGGER, AccessLog, receivers
    from carboy.observability.logoptions import LogOptions, read_options
    from carboy.observability.setup import handler_for

    options = read_options(carboy_app(app)) or LogOptions()
    logger = logging.getLogger(LOGGER)
    is_automatic = settings.access_log == "auto"
    if is_automatic and options.level is not None and options.level > logging.INFO:
        return None
    # As Werkzeug's logger under `carboy run`: a root logger without a level, which hides records of
    # level INFO, does not mean that nobody wants these.
    if logger.level == logging.NOTSET or not is_automatic:
        logger.setLevel(logging.INFO)
    if not receivers(logger):
        if is_automatic:
            return None
        logger.addHandler(handler_for(LogOptions()))
    return AccessLog(settings.access_log, with_query=settings.access_log_query)
