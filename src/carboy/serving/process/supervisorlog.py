"""The supervisor's part of the log: the options that workers send, and the log files."""

from __future__ import annotations

import typing as t

from .. import log

if t.TYPE_CHECKING:
    from .childprocess import ChildProcess
    from .logpipe import LogWriter


class SupervisorLog:
    """Applies the log options of the workers to the supervisor's own log, and writes the lines of
    the workers to the log files.

    `logpipe` is imported only when the first worker logs to a file.
    """

    def __init__(self) -> None:
        self._writer: LogWriter | None = None
        self._warned: set[str] = set()

    def follow(self, process: ChildProcess, values: dict[str, t.Any]) -> None:
        """Apply the log options that a worker process has sent to the supervisor's log, and begin
        to write the lines of the process to the log file, if the options name one. Without a
        descriptor or thread left for that, let the process write them itself.
        """
        try:  # without a descriptor, not even the modules can be read
            self._follow(process, values)
        except (OSError, RuntimeError) as exc:
            process.send("write-log")
            log.logger.error(
                "cannot read the log lines of %s: %s; it writes them to its log file itself",
                *(process, exc),
            )

    def _follow(self, process: ChildProcess, values: dict[str, t.Any]) -> None:
        """Raises OSError or RuntimeError if there is no descriptor or thread left."""
        from ...observability.logoptions import LogOptions
        from .logpipe import LogWriter

        options = LogOptions(**values)
        file_handler = None
        if options.file is not None and process.log_fd is not None:
            self._writer = self._writer or LogWriter()
            process.log_reader = self._writer.read(process.log_fd, options)
            process.log_fd = None
            file_handler = self._writer.handler_for(options)
        log.follow(options, file_handler)

    def warn(self, text: str) -> None:
        """Log a warning of a worker, unless it was logged before: all workers send the same."""
        if text not in self._warned:
            self._warned.add(text)
            log.logger.warning("%s", text)

    def finish(self, process: ChildProcess) -> None:
        """Write the lines that a process has sent before it ended."""
        if self._writer is not None and process.log_reader is not None:
            self._writer.finish(process.log_reader)

    def reopen(self) -> list[str]:
        """Let the log files be opened again before the next line; return their paths."""
        return self._writer.reopen() if self._writer is not None else []

    def stop(self) -> None:
        if self._writer is not None:
            self._writer.stop()
