"""A logging handler that writes whole lines to a target: stderr, or a log file that several
processes share.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
import typing as t
from functools import partial

from ..core.logmasking import get_masked_logger
from ..core.masking import mask_text
from .boundedwrite import BLOCK_S, BoundedWriter, may_block, open_for_itself

if t.TYPE_CHECKING:
    import collections.abc as cabc

#: The logger for messages about the log itself, such as that its disk is full.
logger = get_masked_logger("carboy.log")


class Notice(t.NamedTuple):
    """A message for operators about the log itself, such as that its disk is full, with its level
    of `logging`.
    """

    level: int
    text: str


class LineTarget(t.Protocol):
    """Something to which lines are written: stderr, or a log file. A `LineHandler` calls the
    methods of its target from one thread at a time.
    """

    def write(self, data: bytes) -> cabc.Sequence[Notice]:
        """Write whole lines: UTF-8 that ends with a line feed. Never raises an exception.

        Returns:
            Messages for operators about the log itself, such as that the disk is full. Usually
            none.
        """

    def close(self) -> None:
        """Close what the target has opened, such as its file. A later `write` opens it again."""


class LineHandler(logging.Handler):
    """Formats records and writes them to a target.

    `write` may also be called directly, by code that formats lines without making records. A
    process has one handler per target, so that the handler's lock orders all lines of the process.

    Args:
        target: what the lines are written to.
        accepts: returns whether a record may be written to the target. It is no filter of
            `logging`, because the access log makes records for a handler that has filters, which
            takes longer than to write finished lines.
    """

    def __init__(
        self, target: LineTarget, accepts: cabc.Callable[[logging.LogRecord], bool] | None = None
    ) -> None:
        super().__init__()
        self.target = target
        self._accepts = accepts

    def handle(self, record: logging.LogRecord) -> bool:
        """Filter and emit a record.

        The lock is held only while lines are written. The method of the base class would hold it
        while `write` logs notices, too. Other handlers receive the notices as well, so that two
        threads could wait for each other's locks for ever.
        """
        outcome: t.Any = (self._accepts is None or self._accepts(record)) and self.filter(record)
        if outcome:
            # From Python 3.12 on, a filter may return a record that replaces the original one.
            self.emit(outcome if isinstance(outcome, logging.LogRecord) else record)
        return bool(outcome)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            # A surrogate, as in a file name that is not UTF-8, cannot be encoded, and is written as
            # an escape.
            self.write(f"{self.format(record)}\n".encode(errors="backslashreplace"))
        except Exception:  # noqa: BLE001  # as in the handlers of the standard library
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # a name of `logging`
        """Write to stderr why a record cannot be formatted. Unlike the base class, mask the secrets
        that the record's arguments may contain.
        """
        if not logging.raiseExceptions or sys.stderr is None:
            return
        try:
            text = (
                f"--- Logging error ---\n{traceback.format_exc()}Message: {record.msg!r}, logged at"
                f" {record.pathname}:{record.lineno}\nArguments: {record.args!r}\n"
            )
            sys.stderr.write(mask_text(text))
        except Exception:  # noqa: BLE001, S110  # stderr is closed, or `repr` fails
            pass

    def write(self, data: bytes) -> None:
        """Write whole lines, each of which ends with a line feed. May be called by any thread."""
        self.call(partial(self.target.write, data))

    def call(self, work: cabc.Callable[[], cabc.Sequence[Notice]]) -> None:
        """Call `work`, which uses the target, while no other thread uses the target. Log the
        notices that `work` returns.
        """
        self.acquire()
        try:
            notices = work()
        finally:
            self.release()
        for notice in notices:
            logger.log(notice.level, "%s", notice.text)

    def close(self) -> None:
        """Close the target; the next line opens it again, because `logging.config` also closes
        handlers that are still in use.
        """
        self.acquire()
        try:
            self.target.close()
        finally:
            self.release()
        super().close()


class StandardError:
    """Writes lines to the current `sys.stderr`, which a program may replace. A process has one
    instance (`STDERR`), whose methods may be called by any thread.

    If stderr is a pipe or a terminal that nobody reads, lines are dropped after a while.

    Args:
        block_s: how long lines wait until stderr is read.
    """

    def __init__(self, *, block_s: float = BLOCK_S) -> None:
        self._block_s = block_s
        self._lock = threading.RLock()
        self._writer: BoundedWriter | None = None
        # Identifies the file to which `_writer` writes: its descriptor, device and inode.
        self._file: tuple[int, int, int] | None = None
        self._dropped = 0
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin_anew)

    def write(self, data: bytes) -> cabc.Sequence[Notice]:
        stream = sys.stderr
        if stream is None:  # a process has no stderr under pythonw.exe
            return ()
        try:
            with self._lock:
                writer = self._writer_for(stream)
                if writer is not None:
                    return self._write_bounded(writer, data)
                _write_whole(stream, data)
        except (OSError, ValueError):
            pass  # stderr is closed or broken, and there is no other place to say so
        return ()

    def close(self) -> None:
        """Do nothing: stderr belongs to the process."""

    def _writer_for(self, stream: t.TextIO) -> BoundedWriter | None:
        """Return the `BoundedWriter` for a stream; None for a stream that cannot block, because it
        is a regular file, and for one without a descriptor.
        """
        try:
            fd = stream.fileno()
        except (AttributeError, OSError, ValueError):
            return None
        status = os.fstat(fd)
        # Device and inode are compared as well as the descriptor, because the program may have
        # redirected the descriptor to another file.
        file = fd, status.st_dev, status.st_ino
        if file != self._file:
            self._forget()
            if may_block(fd):
                self._writer = BoundedWriter(open_for_itself(fd), block_s=self._block_s)
            self._file = file
        return self._writer

    def _write_bounded(self, writer: BoundedWriter, data: bytes) -> cabc.Sequence[Notice]:
        was_stalled = writer.is_stalled
        self._dropped += writer.write(data).count(b"\n")
        if writer.is_stalled:
            return () if was_stalled else (Notice(logging.ERROR, _UNREAD.format(self._block_s)),)
        if not self._dropped:
            return ()
        dropped, self._dropped = self._dropped, 0
        return (Notice(logging.WARNING, f"stderr is read again: {dropped} lines were dropped"),)

    def _forget(self) -> None:
        if self._writer is not None and self._file is not None and self._writer.fd != self._file[0]:
            os.close(self._writer.fd)
        self._writer = self._file = None

    def _begin_anew(self) -> None:
        """Forget the writer in a forked child process: if a line is partly written, the parent
        process writes the rest.
        """
        self._lock = threading.RLock()
        self._forget()
        self._dropped = 0


def _write_whole(stream: t.TextIO, data: bytes) -> None:
    buffer: t.BinaryIO | None = getattr(stream, "buffer", None)
    if buffer is None:
        stream.write(data.decode(errors="replace"))
    else:
        stream.flush()
        # Written and flushed in one piece, so that the lines of several processes that share
        # stderr do not mix.
        buffer.write(data)
    stream.flush()


_UNREAD = "stderr was not read for {:g} s: lines for it are dropped until it is"

# The only target for stderr in a process. A second one could write into the middle of a line that
# the first one has partly written.
STDERR = StandardError()


def stderr_handler() -> logging.Handler:
    """Return a handler for what servers log: lines on stderr with time, level and process id."""
    handler = LineHandler(STDERR)
    handler.setFormatter(logging.Formatter(_SERVER_FORMAT, _SERVER_TIME))
    return handler


_SERVER_FORMAT = "%(asctime)s %(levelname)s [%(process)d] %(message)s"
_SERVER_TIME = "%Y-%m-%d %H:%M:%S %z"


def show_messages(logger: logging.Logger) -> None:
    """Write the messages of a logger to stderr, unless the program has configured logging."""
    if logger.handlers or logging.root.handlers:
        return
    handler = stderr_handler()
    # If the program configures logging later, the root logger writes the messages.
    handler.addFilter(lambda record: not logging.root.handlers)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
