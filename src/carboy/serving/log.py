"""The lines that supervisor and workers write to stderr: when, how bad, which process, what."""

from __future__ import annotations

import logging

logger = logging.getLogger("carboy.serving")
_FORMAT = "%(asctime)s %(levelname)s [%(process)d] %(message)s"
_TIME = "%Y-%m-%d %H:%M:%S %z"


def configure() -> None:
    """Send our lines, and granian's warnings, to stderr; the app's own logging is left alone."""
    handler = _handler()
    for name, level in (("carboy.serving", logging.INFO), ("_granian", logging.WARNING)):
        log = logging.getLogger(name)
        log.handlers[:] = [handler]
        log.setLevel(level)
        log.propagate = False
    # What models have to say the app may want in a log of its own; else it looks like our lines.
    models = _handler()
    models.addFilter(lambda record: not logging.root.handlers)
    logging.getLogger("carboy.models").handlers[:] = [models]


def _handler() -> logging.Handler:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(_FORMAT, _TIME))
    return handler
