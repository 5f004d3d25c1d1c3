"""Give a test the loggers as a new process has them."""

from __future__ import annotations

import contextlib
import logging
import typing as t

from carboy.observability import setup

# The level and the handlers of each logger.
LoggerStates = dict[logging.Logger, tuple[int, list[logging.Handler]]]


def logger_states() -> LoggerStates:
    """Return the states of all loggers but the root logger, to which pytest adds handlers."""
    return {
        logger: (logger.level, logger.handlers[:])
        for logger in logging.root.manager.loggerDict.values()
        if isinstance(logger, logging.Logger)
    }


def restore_loggers(before: LoggerStates) -> None:
    """Undo what has changed since `before`. Loggers that are new since then are as if unused."""
    for logger in logger_states():
        level, handlers = before.get(logger, (logging.NOTSET, []))
        logger.setLevel(level)
        logger.handlers[:] = handlers


@contextlib.contextmanager
def new_root_logger() -> t.Iterator[logging.Logger]:
    """Let a block configure logging; undo all of it at the end.

    pytest adds its handlers before each test, after fixtures were set up, so this is no fixture.
    """
    root = logging.getLogger()
    before, level, handlers = logger_states(), root.level, root.handlers[:]
    root.handlers.clear()
    root.setLevel(logging.WARNING)
    try:
        yield root
    finally:
        setup._end_early()
        for handler in setup._handlers.values():
            handler.close()
        setup._handlers.clear()
        restore_loggers(before)
        root.setLevel(level)
        root.handlers[:] = handlers
