"""The pipes through which worker processes send lines to the supervisor process, which writes them
to the log file.

A worker formats its records, and the supervisor writes the bytes. So only one process rotates the
file, and no worker waits for the disk. If the supervisor writes too slowly, so that a pipe is full,
the worker waits for a limited time, and then writes to the file itself. It also does if the
supervisor has no descriptor or thread left to read the pipe, and says so.

    worker       `LogPipe`, the target of its `LineHandler`
    supervisor   `LogWriter`, a thread that reads the pipes of all workers

A worker also keeps the reading end of its own pipe open. So the lines in the pipe are not lost if
the supervisor is killed: the worker then reads them, and writes them and all further lines to the
file.
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

# A worker that has waited for the supervisor for so many seconds logs a warning. A shorter wait is
# normal while the disk is busy.
SAY_S = 1.0
# The least time between two warnings of a worker that it has waited for the supervisor. It is long
# because each warning may have to wait for the supervisor, too.
SAY_AGAIN_S = 10.0
_CHUNK_BYTES = 65536


# --- the worker's end -------------------------------------------------------------------------


class LogPipe:
    """The target of a worker's `LineHandler`: writes log lines to the pipe to the supervisor.

    Args:
        file: the log file itself, to which lines are written if the supervisor does not read them.
        read_fd: the reading end of the pipe, which is read only if the supervisor has died.
        write_fd: the writing end of the pipe.
        block_s: how long a line may wait for room in the pipe.

    Attributes:
        must_take_over: whether to call `take_over` before the next line. Any thread may set it.
    """

    def __init__(
        self, file: LineTarget, read_fd: int, write_fd: int, *, block_s: float = BLOCK_S
    ) -> None:
        self.must_take_over = False
        self._file = file
        self._read_fd = read_fd
        self._block_s = block_s
        self._pid = os.getpid()
        self._is_broken = False
        self._said_at_s = -SAY_AGAIN_S
        os.set_blocking(write_fd, False)
        self._writer = BoundedWriter(write_fd, block_s=block_s, piece_bytes=_CHUNK_BYTES)

    def write(self, data: bytes) -> cabc.Sequence[Notice]:
        if self.must_take_over:
            self.must_take_over = False
            return [*self.take_over(), *self._file.write(data)]
        if self._is_broken or self._pid != os.getpid():
            # The supervisor has died, or this process was forked from the worker. A forked process
            # does not write to the pipe, because its lines could mix with those of the worker.
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
        """Write all further lines to the log file itself, because the supervisor has died, or
        cannot read the pipe. The lines that are still in the pipe are written to the file first.
        """
        if self._is_broken or self._pid != os.getpid():
            return ()
        self._is_broken = True
        left = read_all(self._read_fd) + self._writer.owed
        return self._file.write(left) if left else ()

    def close(self) -> None:
        """Write the rest of a line whose beginning is in the pipe already. The pipe stays open,
        because the worker cannot get another pipe.
        """
        if self._writer.owed and not self._is_broken:
            self._writer.write(b"")


def read_all(fd: int) -> bytes:
    """Return all bytes that are in a pipe, without waiting for more."""
    os.set_blocking(fd, False)
    chunks = []
    try:
        while chunk := os.read(fd, _CHUNK_BYTES):
            chunks.append(chunk)
    except BlockingIOError:
        pass
    return b"".join(chunks)


class WorkerLog:
    """Opens the log file in a worker so that its lines go through the pipe to the supervisor.

    Args:
        read_fd: the reading end of the pipe.
        write_fd: the writing end of the pipe.
        announce: is called with the options of the log before the first line is sent; tells the
            supervisor to which file the lines belong.
    """

    def __init__(
        self, read_fd: int, write_fd: int, announce: cabc.Callable[[LogOptions], object]
    ) -> None:
        self._fds = fds = (read_fd, write_fd)
        self._announce = announce
        self._pipe: LogPipe | None = None
        self._must_take_over = False
        for fd in fds:
            os.set_inheritable(fd, False)  # a program that the app starts does not inherit the pipe

    def open(self, options: LogOptions) -> LineTarget:
        """Return the object to which a handler writes the lines of the log file that the options
        name: the pipe, or the file itself if another log file already uses the pipe.

        Raises:
            ConfigError: the file cannot be opened.
        """
        file = open_directly(options)
        # Opening the file has shown that it can be written. The first write to it opens it again.
        file.close()
        if self._pipe is not None:
            return file  # the pipe is used by the log file of another app in this process
        self._announce(options)
        self._pipe = LogPipe(file, *self._fds)
        self._pipe.must_take_over = self._must_take_over
        return self._pipe

    def take_over(self) -> None:
        """Let this worker write to the log file itself, because the supervisor has died, or cannot
        read the pipe. Thread-safe.
        """
        self._must_take_over = True
        if self._pipe is not None:
            # The loop below finds no handler if `open` has not returned the pipe yet.
            self._pipe.must_take_over = True
        for handler in handlers():
            if handler.target is self._pipe:
                handler.call(self._pipe.take_over)


# --- the supervisor's end ---------------------------------------------------------------------


class PipeReader:
    """Reads the log lines of one worker from its pipe, and passes them to the handler that writes
    the log file.
    """

    def __init__(self, fd: int, handler: LineHandler) -> None:
        self.fd = fd
        self.is_open = True
        self._handler = handler
        self._unfinished = b""

    def copy(self) -> bool:
        """Copy at most `_CHUNK_BYTES` from the pipe to the handler. Return False if nothing more
        can come, because no process has the writing end of the pipe open.
        """
        data = os.read(self.fd, _CHUNK_BYTES)
        self._write(data)
        return bool(data)

    def close(self) -> None:
        """Copy what is still in the pipe to the handler, and close the pipe."""
        if self.is_open:
            # `read_all` does not wait for the end of the pipe, because processes that the worker
            # has forked may keep the writing end open after the worker has died.
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
    """Writes the lines that all workers send to their log files, in the supervisor process.

    A thread does this. It starts when the first worker says that it logs to a file.

    Raises:
        OSError: there is no descriptor left.
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
        """Return the handler that writes the log file that the options of a worker name. All
        workers with the same file share one handler.
        """
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
        """Let the thread read a worker's pipe until its end, write the lines to the log file, and
        close the pipe.

        Args:
            fd: the reading end of the pipe.
            options: the options of the worker's log, which name the file.

        Raises:
            RuntimeError: the system starts no more threads.
        """
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="log writer", daemon=True)
            thread.start()
            self._thread = thread
        reader = PipeReader(fd, self.handler_for(options))
        self._do(partial(self._selector.register, fd, selectors.EVENT_READ, reader))
        return reader

    def finish(self, reader: PipeReader) -> None:
        """Let the thread write what is still in the pipe of a worker that has died, and close the
        pipe.
        """
        self._do(partial(self._close, reader))

    def reopen(self) -> list[str]:
        """Let each log file be opened again before the next line is written, because a program such
        as logrotate has renamed it. Return the paths of the log files.
        """
        for handler in self._handlers.values():
            handler.call(t.cast("SharedLogFile", handler.target).reopen)
        return list(self._handlers)

    def stop(self) -> None:
        """Write what is still in the pipes, and end the thread. Call this when all workers have
        died, because their pipes are closed.
        """
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
