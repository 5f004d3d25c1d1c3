"""Find the handlers that a program has added to loggers itself, and what may go wrong with them."""

from __future__ import annotations

import logging
import os
import typing as t

from .handlers import LineHandler
from .logoptions import is_device

if t.TYPE_CHECKING:
    import collections.abc as cabc


def is_of_program(handler: logging.Handler) -> bool:
    """Return whether a handler writes records and has been added by the program, not by carboy."""
    return not isinstance(handler, (LineHandler, logging.NullHandler))


def program_handlers() -> list[logging.Handler]:
    """Return the handlers that the program has added to loggers."""
    # Some values of `loggerDict` are placeholders for loggers that do not exist yet.
    loggers = [logging.getLogger(), *logging.root.manager.loggerDict.values()]
    handlers = dict.fromkeys(
        handler for each in loggers if isinstance(each, logging.Logger) for handler in each.handlers
    )
    return list(filter(is_of_program, handlers))


def find_writer(path: str) -> logging.Handler | None:
    """Return the program's handler that writes to the file at `path`, an absolute path without
    symbolic links; None if there is none.
    """
    for handler in _file_handlers():
        if os.path.realpath(handler.baseFilename) == path:
            return handler
    return None


def lossy_in_several_processes() -> list[str]:
    """Return a warning for each of the program's handlers that would lose lines if several
    processes wrote to its file.
    """
    return [
        f"the program's own {type(handler).__name__} loses lines of {handler.baseFilename}, because"
        f" {reason}. Set LOG_FILE (with LOG_MAX_BYTES and LOG_BACKUP_COUNT) instead of adding the"
        " handler: then one process writes for all workers. Or serve with one worker (--workers 1)"
        for handler in _file_handlers()
        if (reason := _reason_for_loss(handler))
    ]


def _file_handlers() -> cabc.Iterator[logging.FileHandler]:
    for handler in program_handlers():
        if isinstance(handler, logging.FileHandler):
            yield handler


def _reason_for_loss(handler: logging.FileHandler) -> str:
    from logging.handlers import RotatingFileHandler, TimedRotatingFileHandler

    if is_device(handler.baseFilename):
        return ""
    if isinstance(handler, TimedRotatingFileHandler) or (
        isinstance(handler, RotatingFileHandler) and handler.maxBytes > 0
    ):
        return "each worker renames the file on its own, and overwrites what others have renamed"
    if handler.mode.startswith("w"):
        return "each worker empties the file when it starts, and writes over the others' lines"
    return ""
