"""The lines that supervisor and workers write to stderr: when, how bad, which process, what."""

from __future__ import annotations

import logging

logger = logging.getLogger("carboy.serving")
_FORMAT = "%(asctime)s %(levelname)s [%(process)d] %(message)s"
_TIME = "%Y-%m-%d %H:%M:%S %z"


def configure() -> None:
    """Send our lines, and granian's warnings, to stderr; the app's own logging is left alone."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(_FORMAT, _TIME))
    for name, level in (("carboy.serving", logging.INFO), ("_granian", logging.WARNING)):
        log = logging.getLogger(name)
        log.handlers[:] = [handler]
        log.setLevel(level)
        log.propagate = False
