"""The pipes by which workers send the lines of the log file to the supervisor, which writes them.

Workers format their records, and the supervisor writes bytes: one process rotates the file, and no
worker waits for the disk. If the supervisor cannot keep up, a worker waits for a limited time.

    worker       `LogPipe`, the target of its `LineHandler`
    supervisor   `LogWriter`, a thread that reads the pipes of all workers

A worker also holds the reading end of its own pipe, without reading it. So the lines in the pipe
outlive a supervisor that is killed: the worker writes them to the file, and its further lines too.
"""

from __future__ import annotations

import collections
import logging
import os
import selectors
import threading
import time
import typing as t
from functools import partial

from ...observability.boundedwrite import BLOCK_S, BoundedWriter
from ...observability.formatters import make_formatter
from ...observability.handlers import LineHandler, Notice
from ...observability.logfile import SharedLogFile
from ...observability.setup import handlers, open_directly

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ...observability.handlers import LineTarget
    from ...observability.logoptions import LogOptions

# A shorter wait for the supervisor is normal while the disk is busy, and is not worth a line.
SAY_S = 1.0
# The least time between two lines about waits. Such a line may have to wait itself.
SAY_AGAIN_S = 10.0
_CHUNK_BYTES = 65536


# --- the worker's end -------------------------------------------------------------------------


class LogPipe:
    """A target of `LineHandler` in a worker: the pipe to the supervisor.

    Args:
        file: where lines go if the supervisor does not take them: the log file itself.
        read_fd: the reading end of the pipe.
        write_fd: the writing end.
        block_s: how long a line may wait for room in the pipe.
    """

    def __init__(
        self, file: LineTarget, read_fd: int, write_fd: int, *, block_s: float = BLOCK_S
    ) -> None:
        self._file = file
        self._read_fd = read_fd
        self._block_s = block_s
        self._pid = os.getpid()
        self._is_broken = False
        self._said_at_s = -SAY_AGAIN_S
        os.set_blocking(write_fd, False)
        self._writer = BoundedWriter(write_fd, block_s=block_s, piece_bytes=_CHUNK_BYTES)

    def write(self, data: bytes) -> cabc.Sequence[Notice]:
        if self._is_broken or self._pid != os.getpid():
            # Lines of a forked process and of this one could mix in the pipe.
            return self._file.write(data)
        started_s, was_stalled = time.monotonic(), self._writer.is_stalled
        rest = self._writer.write(data)
        if not self._writer.is_stalled:
            return self._say_waited(started_s)
        notices = list(self._file.write(rest)) if rest else []
        if not was_stalled:
            notices.append(
                Notice(
                    logging.ERROR,
                    f"the supervisor has taken no line for {self._block_s:g} s: this worker writes"
                    " to the log file itself until the supervisor does again",
                )
            )
        return notices

    def _say_waited(self, started_s: float) -> cabc.Sequence[Notice]:
        now_s = time.monotonic()
        waited_s = now_s - started_s
        if waited_s < SAY_S or now_s - self._said_at_s < SAY_AGAIN_S:
            return ()
        self._said_at_s = now_s
        return (
            Notice(
                logging.WARNING,
                f"this worker has waited {waited_s:.1f} s for the supervisor to write log lines:"
                " the disk may be slow, or too much may be logged",
            ),
        )

    def take_over(self) -> cabc.Sequence[Notice]:
        """Write to the file itself from now on: the supervisor has died. The lines that it has left
        in the pipe are written first.
        """
        if self._is_broken or self._pid != os.getpid():
            return ()
        self._is_broken = True
        left = read_all(self._read_fd) + self._writer.owed
        return self._file.write(left) if left else ()

    def close(self) -> None:
        """Finish the line that has been begun. The pipe stays open: no other takes its place."""
        if self._writer.owed and not self._is_broken:
            self._writer.write(b"")


def read_all(fd: int) -> bytes:
    """Return what is in a pipe, without waiting for more."""
    os.set_blocking(fd, False)
    chunks = []
    try:
        while chunk := os.read(fd, _CHUNK_BYTES):
            chunks.append(chunk)
    except BlockingIOError:
        pass
    return b"".join(chunks)


class WorkerLog:
    """Opens the log file of a worker by its pipe.

    Args:
        read_fd: the reading end of the pipe.
        write_fd: the writing end.
        announce: called with the options before the first line is sent.
    """

    def __init__(
        self, read_fd: int, write_fd: int, announce: cabc.Callable[[LogOptions], object]
    ) -> None:
        self._fds = fds = (read_fd, write_fd)
        self._announce = announce
        self._pipe: LogPipe | None = None
        for fd in fds:
            os.set_inheritable(fd, False)  # programs that the app starts do not get the pipe

    def open(self, options: LogOptions) -> LineTarget:
        """Return the target for the log file of the options.

        Raises:
            ConfigError: the file cannot be opened.
        """
        file = open_directly(options)
        file.close()  # it is opened again if the pipe fails
        if self._pipe is not None:
            return file  # a second app of this process has a file of its own
        self._announce(options)
        self._pipe = LogPipe(file, *self._fds)
        return self._pipe

    def take_over(self) -> None:
        """Write to the file without the supervisor, which has died."""
        for handler in handlers():
            if handler.target is self._pipe:
                handler.call(self._pipe.take_over)


# --- the supervisor's end ---------------------------------------------------------------------


class PipeReader:
    """Copies the lines of one worker from its pipe to a handler."""

    def __init__(self, fd: int, handler: LineHandler) -> None:
        self.fd = fd
        self.is_open = True
        self._handler = handler
        self._unfinished = b""

    def copy(self) -> bool:
        """Copy what is in the pipe, at most `_CHUNK_BYTES`; return False at its end."""
        data = os.read(self.fd, _CHUNK_BYTES)
        self._write(data)
        return bool(data)

    def close(self) -> None:
        """Copy the rest, and close the pipe."""
        if self.is_open:
            # Processes that a dead worker has forked may keep their end open.
            self._write(read_all(self.fd))
            if self._unfinished:
                self._write(b"\n")
            os.close(self.fd)
            self.is_open = False

    def _write(self, data: bytes) -> None:
        lines, line_feed, self._unfinished = (self._unfinished + data).rpartition(b"\n")
        if line_feed:
            self._handler.write(lines + line_feed)


class LogWriter:
    """Writes the log file for all workers, on a thread that starts with the first worker that logs
    to a file.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wakeup_fd, self._waker_fd = os.pipe()
        self._selector.register(self._wakeup_fd, selectors.EVENT_READ, None)
        self._handlers: dict[str, LineHandler] = {}
        self._jobs: collections.deque[cabc.Callable[[], object]] = collections.deque()
        self._thread: threading.Thread | None = None
        self._is_stopping = False

    def handler_for(self, options: LogOptions) -> LineHandler:
        """Return the handler for the log file that a worker has announced."""
        assert options.file is not None
        handler = self._handlers.get(options.file)
        if handler is None:
            file = SharedLogFile(
                options.file,
                max_bytes=options.max_bytes,
                backup_count=options.backup_count,
            )
            handler = self._handlers[options.file] = LineHandler(file)
            handler.setFormatter(make_formatter(options.format or "text"))
        return handler

    def read(self, fd: int, options: LogOptions) -> PipeReader:
        """Read a worker's pipe from now on, and close it at its end."""
        reader = PipeReader(fd, self.handler_for(options))
        self._do(partial(self._selector.register, fd, selectors.EVENT_READ, reader))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)
            self._thread.start()
        return reader

    def finish(self, reader: PipeReader) -> None:
        """Read the rest of the pipe of a worker that has died, and close it."""
        self._do(partial(self._close, reader))

    def reopen(self) -> list[str]:
        """Open the log files again when the next line is written. Return their paths."""
        for handler in self._handlers.values():
            handler.call(t.cast("SharedLogFile", handler.target).reopen)
        return list(self._handlers)

    def stop(self) -> None:
        """Write what the workers have sent, and end the thread. All workers have died."""
        if self._thread is not None:
            self._do(self._close_all)
            self._thread.join(BLOCK_S)
        self._selector.close()
        os.close(self._wakeup_fd)
        os.close(self._waker_fd)

    # --- on the thread --------------------------------------------------------------------

    def _do(self, job: cabc.Callable[[], object]) -> None:
        self._jobs.append(job)
        os.write(self._waker_fd, b"x")

    def _run(self) -> None:
        while not self._is_stopping:
            for key, _ in self._selector.select():
                if key.data is None:
                    os.read(self._wakeup_fd, 1)
                    self._jobs.popleft()()
                elif key.data.is_open and not key.data.copy():
                    self._close(key.data)

    def _close(self, reader: PipeReader) -> None:
        if reader.is_open:
            self._selector.unregister(reader.fd)
            reader.close()

    def _close_all(self) -> None:
        for key in list(self._selector.get_map().values()):
            if key.data is not None:
                self._close(key.data)
        self._is_stopping = True
