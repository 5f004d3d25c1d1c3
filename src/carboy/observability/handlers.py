"""A logging handler that writes whole lines to a target: stderr, or a file of several processes."""

from __future__ import annotations

import logging
import sys
import typing as t


class LineTarget(t.Protocol):
    """Where lines go. A `LineHandler` calls the methods of its target from one thread at a time."""

    def write(self, data: bytes) -> None:
        """Write whole lines: UTF-8 that ends with a line feed. Never raises an exception."""

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

    def emit(self, record: logging.LogRecord) -> None:
        try:
            # A surrogate, as in a file name that is not UTF-8, cannot be encoded.
            self.write(f"{self.format(record)}\n".encode(errors="backslashreplace"))
        except Exception:  # noqa: BLE001  # as in the handlers of the standard library
            self.handleError(record)

    def write(self, data: bytes) -> None:
        """Write whole lines, each of which ends with a line feed. May be called by any thread."""
        self.acquire()
        try:
            self.target.write(data)
        finally:
            self.release()

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

    def write(self, data: bytes) -> None:
        stream = sys.stderr
        if stream is None:  # as under pythonw.exe
            return
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
            pass  # stderr is closed or broken: there is no other place to say so

    def close(self) -> None:
        """Do nothing: stderr belongs to the process."""
