"""The log of supervisor and workers: lines on stderr with time, level and process id."""

from __future__ import annotations

import logging

logger = logging.getLogger("carboy.serving")
_FORMAT = "%(asctime)s %(levelname)s [%(process)d] %(message)s"
# More models than these are counted only.
_MAX_MODELS = 10
_TIME = "%Y-%m-%d %H:%M:%S %z"


def configure() -> None:
    """Write carboy's messages to stderr, and leave the app's logging unchanged."""
    write_to_stderr("carboy.serving", logging.INFO)
    # If the app has configured the root logger, messages of models are written by that logger only.
    models = _handler()
    models.addFilter(lambda record: not logging.root.handlers)
    logging.getLogger("carboy.models").handlers[:] = [models]


def write_to_stderr(name: str, level: int) -> None:
    """Write the messages of a logger, from a level on, to stderr in carboy's format."""
    log = logging.getLogger(name)
    log.handlers[:] = [_handler()]
    log.setLevel(level)
    log.propagate = False


def _handler() -> logging.Handler:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(_FORMAT, _TIME))
    return handler


def say_models(url: str, rules: list[str]) -> None:
    """Log the URLs of the models, which show a page in a browser."""
    if rules:
        shown = [f"{url}{rule}" for rule in rules[:_MAX_MODELS]]
        more = f" and {len(rules) - _MAX_MODELS} more" if len(rules) > _MAX_MODELS else ""
        logger.info("models: %s%s", " ".join(shown), more)
