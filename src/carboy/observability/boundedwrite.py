"""Write lines to a pipe, a terminal or a socket, and do not wait for its reader for ever.

The reader of a log may stop: a pager, a terminal after Ctrl-S, a program that never reads the
stderr of a process that it has started. A write would then block the thread that logs, and all
other threads that log after it.
"""

from __future__ import annotations

import os
import select
import stat
import time

# How long lines wait for room. Meanwhile the thread holds a lock, for which the other threads that
# log wait.
BLOCK_S = 5.0
# `poll` reports room for this many bytes, and they are not mixed with those of other processes.
_PIECE_BYTES = getattr(select, "PIPE_BUF", 512)


def may_block(fd: int) -> bool:
    """Return whether a write may wait for a reader, and this system can limit the wait."""
    return hasattr(select, "poll") and not stat.S_ISREG(os.fstat(fd).st_mode)


def open_for_itself(fd: int) -> int:
    """Return a non-blocking descriptor of the same pipe or terminal, if the system has one to give;
    else `fd`.

    O_NONBLOCK of `fd` itself would also hold for the other programs that share it.
    """
    path = f"/proc/self/fd/{fd}"
    try:
        if stat.S_ISFIFO(os.fstat(fd).st_mode) or os.readlink(path).startswith("/dev/pts/"):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
            return os.open(path, flags)
    except OSError:  # no Linux, or the pipe belongs to another user
        pass
    return fd


class BoundedWriter:
    """Writes lines to a descriptor, and waits for room for a limited time.

    Args:
        fd: the descriptor. If it is blocking, `poll` is asked before each write; another process
            may take the room in between, so that non-blocking descriptors are better.
        block_s: how long lines may wait for room.
        piece_bytes: at most how many bytes are written at once.

    Attributes:
        owed: the rest of a line whose beginning has been written. It is written first.
        is_stalled: whether the last lines found no room in time. The next ones do not wait.
    """

    def __init__(
        self, fd: int, *, block_s: float = BLOCK_S, piece_bytes: int = _PIECE_BYTES
    ) -> None:
        self.fd = fd
        self.owed = b""
        self.is_stalled = False
        self._block_s = block_s
        self._piece_bytes = piece_bytes
        self._is_blocking = os.get_blocking(fd)
        self._room = select.poll()
        self._room.register(fd, select.POLLOUT)

    def write(self, data: bytes) -> bytes:
        """Write whole lines.

        Returns:
            The lines for which there is no room.

        Raises:
            OSError: the descriptor cannot be written.
        """
        end_s = time.monotonic() + (0.0 if self.is_stalled else self._block_s)
        whole = self.owed + data
        sent = 0
        while sent < len(whole) and (not self._is_blocking or self._has_room(end_s)):
            try:
                sent += os.write(self.fd, self._piece(whole, sent))
            except BlockingIOError:
                if time.monotonic() >= end_s or not self._has_room(end_s):
                    break
        # A line of which a part has been written must be continued here and nowhere else.
        line_end = max(len(self.owed), whole.rfind(b"\n", 0, sent) + 1)
        if sent > line_end:
            line_end = whole.index(b"\n", sent) + 1
        self.owed = whole[sent:line_end]
        self.is_stalled = sent < len(whole)
        return whole[line_end:]

    def _piece(self, data: bytes, start: int) -> bytes:
        """Return the next bytes to write: whole lines, if one fits."""
        end = start + self._piece_bytes
        if end < len(data):
            end = data.rfind(b"\n", start, end) + 1 or end
        return data[start:end]

    def _has_room(self, end_s: float) -> bool:
        """Wait for room until `end_s`. Return True for errors too, which the next write raises."""
        return bool(self._room.poll(max(0.0, end_s - time.monotonic()) * 1000))
