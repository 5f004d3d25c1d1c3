"""Mask known secrets in the records that carboy logs, whichever handlers write them: those of
carboy, of the user, or of another server.

Formatters cannot do this, because a user's handlers have formatters of their own. So a filter is
added to carboy's loggers: it changes a record before any handler gets it.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from contextlib import suppress

from .masking import mask_known, mask_text


class MaskingFilter(logging.Filter):
    """A filter that masks known secrets in the message and traceback of each record, and lets all
    records pass.

    A record without a known secret is left unchanged. `exc_info` is never changed, so that tools
    that collect errors get the exception itself.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        self._mask(record)
        return True

    def _mask(self, record: logging.LogRecord) -> None:
        message = _text_of(record)
        if (safe := mask_known(message)) != message:
            record.msg, record.args = safe, ()
        if record.exc_info and not record.exc_text:
            details = _formatter.formatException(record.exc_info)
            if (safe := mask_known(details)) != details:
                record.exc_text = safe
        if record.stack_info:
            record.stack_info = mask_known(record.stack_info)


def _text_of(record: logging.LogRecord) -> str:
    with suppress(Exception):
        return record.getMessage()
    # The arguments do not fit. The handler will report this, and print them with the message. If
    # they contain a secret, this text replaces both.
    with suppress(Exception):
        return f"{record.msg!r} % {record.args!r}"
    # An argument cannot be printed. The handler will report this, and print neither.
    return ""


_formatter = logging.Formatter()
_filter = MaskingFilter()


def get_masked_logger(name: str) -> logging.Logger:
    """Return the logger with this name, after adding a filter that masks known secrets."""
    logger = logging.getLogger(name)
    logger.addFilter(_filter)  # does nothing if the logger has this filter already
    return logger


def mask_output_of(handler: logging.Handler) -> None:
    """Let a handler mask known secrets in all records that it writes, whichever logger they are
    from.
    """
    handler.addFilter(_filter)


def mask_failed_threads() -> None:
    """Mask secrets in the traceback that Python prints when an exception ends a thread.

    If the user, or a tool that collects errors, has replaced `threading.excepthook`, nothing is
    changed.
    """
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _print_failure


def _print_failure(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_value is None or isinstance(failure.exc_value, SystemExit) or not sys.stderr:
        return
    name = failure.thread.name if failure.thread else "-"
    details = "".join(traceback.format_exception(failure.exc_value))
    sys.stderr.write(mask_text(f"Exception in thread {name}:\n{details}"))
