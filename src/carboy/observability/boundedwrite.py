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

# How long lines wait until a pipe or terminal has room for them. Meanwhile the thread holds the
# lock of the log handler, and all other threads that log wait for that lock.
BLOCK_S = 5.0
# How many bytes are written at once. If `poll` reports room in a pipe, that many bytes fit
# (PIPE_BUF), and the system does not mix them with the bytes of other processes.
_PIECE_BYTES = getattr(select, "PIPE_BUF", 512)


def may_block(fd: int) -> bool:
    """Return whether to write to `fd` with `BoundedWriter`: a write may wait for a reader, because
    `fd` is no regular file, and this system has `poll`, which can limit the wait.
    """
    return hasattr(select, "poll") and not stat.S_ISREG(os.fstat(fd).st_mode)


def open_for_itself(fd: int) -> int:
    """Open the pipe or terminal of `fd` once more, as a non-blocking descriptor, and return that;
    return `fd` if the system cannot do so.

    Setting O_NONBLOCK on `fd` itself would also make it non-blocking for the other programs that
    share it.
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
    """Writes lines to a pipe, a terminal or a socket, and waits a limited time for room in it.

    Args:
        fd: the descriptor, preferably a non-blocking one. If it is blocking, `poll` says before
            each write whether there is room, but another process may fill the room before the
            write, which then blocks.
        block_s: how long lines may wait for room.
        piece_bytes: at most how many bytes are written at once.

    Attributes:
        owed: the rest of a line whose beginning has been written. The next `write` begins with it.
        is_stalled: whether the last `write` did not find room in time for all of its lines. The
            next `write` does not wait then.
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
            The lines for which there was no room in time.

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
        # If a line is partly written, its rest is kept in `owed`, and not returned as a line
        # without room: only this descriptor can complete the line.
        line_end = max(len(self.owed), whole.rfind(b"\n", 0, sent) + 1)
        if sent > line_end:
            line_end = whole.index(b"\n", sent) + 1
        self.owed = whole[sent:line_end]
        self.is_stalled = sent < len(whole)
        return whole[line_end:]

    def _piece(self, data: bytes, start: int) -> bytes:
        """Return the bytes of `data` to write next, from `start` on: whole lines if a line fits
        into `piece_bytes`, else a part of a line.
        """
        end = start + self._piece_bytes
        if end < len(data):
            end = data.rfind(b"\n", start, end) + 1 or end
        return data[start:end]

    def _has_room(self, end_s: float) -> bool:
        """Wait for room until `end_s`, and return whether there is room. Return True for an error
        of the descriptor too, so that the next write raises it.
        """
        return bool(self._room.poll(max(0.0, end_s - time.monotonic()) * 1000))
