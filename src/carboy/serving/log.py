"""The log of supervisor and workers: lines on stderr with time, level and process id."""

from __future__ import annotations

import logging

logger = logging.getLogger("carboy.serving")
_FORMAT = "%(asctime)s %(levelname)s [%(process)d] %(message)s"
_TIME = "%Y-%m-%d %H:%M:%S %z"


def configure() -> None:
    """Write carboy's messages and granian's warnings to stderr; leave the app's logging alone."""
    handler = _handler()
    for name, level in (("carboy.serving", logging.INFO), ("_granian", logging.WARNING)):
        log = logging.getLogger(name)
        log.handlers[:] = [handler]
        log.setLevel(level)
        log.propagate = False
    # An app that configures the root logger gets the models' messages there, and only there.
    models = _handler()
    models.addFilter(lambda record: not logging.root.handlers)
    logging.getLogger("carboy.models").handlers[:] = [models]


def _handler() -> logging.Handler:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(_FORMAT, _TIME))
    return handler
