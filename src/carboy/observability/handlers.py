"""A logging handler that writes whole lines to a target: stderr, or a file of several processes."""

from __future__ import annotations

import logging
import sys
import typing as t
from functools import partial

from ..core.logmasking import get_masked_logger

if t.TYPE_CHECKING:
    import collections.abc as cabc

#: The logger of what operators must know of the log itself, such as a disk that is full.
logger = get_masked_logger("carboy.log")


class Notice(t.NamedTuple):
    """Something that operators must know of the log itself: a level of `logging`, and a text."""

    level: int
    text: str


class LineTarget(t.Protocol):
    """Where lines go. A `LineHandler` calls the methods of its target from one thread at a time."""

    def write(self, data: bytes) -> cabc.Sequence[Notice]:
        """Write whole lines: UTF-8 that ends with a line feed. Never raises an exception.

        Returns:
            What operators must know, such as that the disk is full. Usually nothing.
        """

    def close(self) -> None:
        """Free resources. A later `write` takes them again."""


class LineHandler(logging.Handler):
    """Formats records and writes them to a target.

    `write` may also be called directly, by code that formats lines without making records. A
    process has one handler per target, so that the handler's lock orders all lines of the process.
    """

    def __init__(self, target: LineTarget) -> None:
        super().__init__()
        self.target = target

    def handle(self, record: logging.LogRecord) -> bool:
        """Filter and emit a record.

        The base class would hold the lock while the record is formatted, and while notices are
        logged. Other handlers receive those too, so that two threads could wait for each other.
        """
        outcome: t.Any = self.filter(record)
        if outcome:
            # From Python 3.12 on, a filter may return another record.
            self.emit(outcome if isinstance(outcome, logging.LogRecord) else record)
        return bool(outcome)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            # A surrogate, as in a file name that is not UTF-8, cannot be encoded.
            self.write(f"{self.format(record)}\n".encode(errors="backslashreplace"))
        except Exception:  # noqa: BLE001  # as in the handlers of the standard library
            self.handleError(record)

    def write(self, data: bytes) -> None:
        """Write whole lines, each of which ends with a line feed. May be called by any thread."""
        self.call(partial(self.target.write, data))

    def call(self, work: cabc.Callable[[], cabc.Sequence[Notice]]) -> None:
        """Call a method of the target while no other thread uses it, and log what it returns."""
        self.acquire()
        try:
            notices = work()
        finally:
            self.release()
        for notice in notices:
            logger.log(notice.level, "%s", notice.text)

    def close(self) -> None:
        """Close the target. `logging.config` closes all handlers; the next line opens it again."""
        self.acquire()
        try:
            self.target.close()
        finally:
            self.release()
        super().close()


class StandardError:
    """The target that writes to `sys.stderr`, whatever that is at the moment."""

    def write(self, data: bytes) -> cabc.Sequence[Notice]:
        stream = sys.stderr
        if stream is None:  # as under pythonw.exe
            return ()
        try:
            buffer: t.BinaryIO | None = getattr(stream, "buffer", None)
            if buffer is None:
                stream.write(data.decode(errors="replace"))
            else:
                stream.flush()
                # Written and flushed in one piece, so that the lines of several processes that
                # share stderr do not mix.
                buffer.write(data)
            stream.flush()
        except (OSError, ValueError):
            pass  # stderr is closed or broken, and there is no other place to say so
        return ()

    def close(self) -> None:
        """Do nothing: stderr belongs to the process."""
