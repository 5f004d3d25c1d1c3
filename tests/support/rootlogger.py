"""Give a test the root logger as a new process has it."""

from __future__ import annotations

import contextlib
import logging
import typing as t

from carboy.observability import setup


@contextlib.contextmanager
def new_root_logger() -> t.Iterator[logging.Logger]:
    """Let a block configure logging; undo all of it at the end.

    pytest adds its handlers before each test, after fixtures were set up, so this is no fixture.
    """
    root = logging.getLogger()
    before = {logger: (logger.level, logger.handlers[:]) for logger in loggers()}
    for logger in before:
        # Earlier tests of the same process leave levels and handlers behind.
        if not logger.name.startswith("carboy"):
            logger.setLevel(logging.NOTSET)
            logger.handlers.clear()
    root.setLevel(logging.WARNING)
    try:
        yield root
    finally:
        setup._end_early()
        for handler in setup._handlers.values():
            handler.close()
        setup._handlers.clear()
        for logger in loggers():
            level, handlers = before.get(logger, (logging.NOTSET, []))
            logger.setLevel(level)
            logger.handlers[:] = handlers


def loggers() -> list[logging.Logger]:
    every = [logging.getLogger(), *logging.root.manager.loggerDict.values()]
    return [logger for logger in every if isinstance(logger, logging.Logger)]
