"""Decide whether a worker process writes an access log, and let its lines go to a handler."""

from __future__ import annotations

import logging
import typing as t

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from carboy.observability.access import AccessLog

    from .settings import Settings


def access_log_of(app: WSGIApplication, settings: Settings) -> AccessLog | None:
    """Return the access log that the setting `access_log` asks for; None if it asks for none.

    With the setting "auto", an access log is written only if the program has a handler for its
    records: because LOG_FILE or another `LOG_*` key of the config is set, or because the program
    has configured logging itself. If LOG_LEVEL hides records of level INFO, no access log is
    written.
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
    # Without a level of its own, this logger would inherit the default level of the root logger,
    # WARNING, which hides the records of requests (INFO). Werkzeug sets the level of its logger in
    # the same way under `carboy run`.
    if logger.level == logging.NOTSET or not is_automatic:
        logger.setLevel(logging.INFO)
    if not receivers(logger):
        if is_automatic:
            return None
        logger.addHandler(handler_for(LogOptions()))
    return AccessLog(settings.access_log, with_query=settings.access_log_query)
