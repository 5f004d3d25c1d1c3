"""Tokens: how the processes that need a prediction share the replicas of a model without a process
between them, as the programs that GNU make starts share its jobs (jobserver).

Each version of a model has one pipe. A replica writes a token into it whenever it can take another
batch: when it has loaded the model, and at the end of each batch or shortly before (`tokentimer`).
A thread that has a batch to compute reads a token from the pipe, and with it gets the right to send
one batch to that replica. The kernel is the queue: readers that wait get the tokens in the order in
which they began to wait, whichever process they belong to, and no replica is idle while a batch
waits.

    bytes 0-3   the identifier of the replica: of one process, and never used again
    bytes 4-7   the serial number of the token, counted by the replica

A replica accepts a batch only with the serial number of its latest token. If a process dies with a
token in its hand, the supervisor tells the replicas to write new ones (`renew`); whoever sends a
batch with the old number is told to take another token.

The pipe is in packet mode where the system has it (`O_DIRECT`): then one read returns what one
write has written, so that other bytes, which the code of a model may write by mistake, do not
displace the tokens behind them.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import typing as t

_TOKEN = struct.Struct("<II")
_PACKETS = getattr(os, "O_DIRECT", 0)
_SERIALS = 2**32
# At most how many tokens are read to find that of a preferred replica.
_MOST_READ = 8
# The largest pipe that Linux allows by default (/proc/sys/fs/pipe-max-size).
_PIPE_BYTES = 2**20


class Token(t.NamedTuple):
    """The right to send one batch to a replica."""

    replica: int
    serial: int


def make_pipe() -> tuple[int, int]:
    """Return the reading and the writing end of a pipe for tokens. A read blocks until there is a
    token; a write does not block.
    """
    if not hasattr(os, "pipe2"):  # macOS
        reading, writing = os.pipe()
    else:
        reading, writing = os.pipe2(os.O_CLOEXEC | _PACKETS)
        _enlarge(writing)
    os.set_blocking(writing, False)
    return reading, writing


def _enlarge(fd: int) -> None:
    """Let a pipe hold more tokens: in packet mode each takes a page, so that it would hold 16."""
    import fcntl

    if hasattr(fcntl, "F_SETPIPE_SZ"):
        # The system refuses a larger pipe if the pipes of this user take too much memory already.
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


class TokenReader:
    """The reading end of the pipe, which is closed when nothing refers to this object any more: a
    thread that waits in `take` cannot be interrupted.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._unblocked_fd = _open_unblocked(fd)
        #: Tokens that could not be put back into the pipe.
        self._kept: list[Token] = []

    def __del__(self) -> None:
        os.close(self._fd)
        if self._unblocked_fd is not None:
            os.close(self._unblocked_fd)

    def fileno(self) -> int | None:
        """Return the descriptor that is readable when `try_take` should be called; None if the
        system has none.
        """
        return self._unblocked_fd

    def take(self, preferred: int | None = None) -> Token | None:
        """Wait for a token and return it. Returns None if nobody can write into the pipe any more,
        because the version of the model has no replicas.

        Args:
            preferred: the replica whose token is returned if several are in the pipe.
        """
        return self._prefer(self._kept_token() or _read(self._fd), preferred)

    def try_take(self, preferred: int | None = None) -> Token | None:
        """Return a token; None if nobody can write into the pipe any more.

        Args:
            preferred: as for `take`.

        Raises:
            BlockingIOError: there is no token at the moment.
        """
        if self._unblocked_fd is None:
            raise BlockingIOError
        return self._prefer(self._kept_token() or _read(self._unblocked_fd), preferred)

    def _kept_token(self) -> Token | None:
        with contextlib.suppress(IndexError):
            return self._kept.pop()
        return None

    def _prefer(self, token: Token | None, preferred: int | None) -> Token | None:
        """Return the token of a replica if it is in the pipe, too, and put the given one back."""
        if token is None or preferred in (None, token.replica) or self._unblocked_fd is None:
            return token
        try:
            # Open for a moment only: while it is, nobody learns that all replicas have ended.
            writing = _open_writing(self._fd)
        except OSError:  # no descriptor is left
            return token
        read = [token]
        try:
            while read[-1].replica != preferred and len(read) < _MOST_READ:
                read.append(t.cast("Token", _read(self._unblocked_fd)))
        except BlockingIOError:
            pass
        chosen = read.pop(-1 if read[-1].replica == preferred else 0)
        try:
            while read:
                os.write(writing, _TOKEN.pack(*read[0]))
                del read[0]
        except BlockingIOError:  # replicas have filled the pipe meanwhile
            self._kept += read
        finally:
            os.close(writing)
        return chosen


def _read(fd: int) -> Token | None:
    while data := os.read(fd, _TOKEN.size):
        if len(data) == _TOKEN.size:
            return Token(*_TOKEN.unpack(data))
    return None


def _open_unblocked(fd: int) -> int | None:
    """Open the reading end of a pipe once more, so that reading from it does not block. Whether
    reading blocks is a property of the open file, and all clients of the replicas share this one.
    Returns None if the system has no /proc.
    """
    try:
        return _open_again(fd, os.O_RDONLY)
    except OSError:
        return None


def _open_writing(fd: int) -> int:
    """Open the writing end of a pipe, of which the reading end is given."""
    from fcntl import F_GETFL, F_SETFL, fcntl

    writing = _open_again(fd, os.O_WRONLY)
    # Linux refuses this flag when a pipe is opened.
    fcntl(writing, F_SETFL, fcntl(writing, F_GETFL) | _PACKETS)
    return writing


def _open_again(fd: int, flags: int) -> int:
    return os.open(f"/proc/self/fd/{fd}", flags | os.O_NONBLOCK | os.O_CLOEXEC)


class NoTokens:
    """In the place of a `TokenWriter`: takes a batch with any serial number, because whoever sends
    batches to this replica has another way to share it. Thread-safe.
    """

    is_late = False

    def __init__(self) -> None:
        self._is_over = False

    def write(self) -> None: ...

    def renew(self) -> None: ...

    def retry(self) -> None: ...

    def use(self, serial: int) -> bool:
        return not self._is_over

    def end(self) -> None:
        """Take no batches from now on."""
        self._is_over = True


class TokenWriter:
    """Writes the tokens of one replica. Thread-safe.

    Args:
        fd: the writing end of the pipe. It does not block.
        replica: the identifier of the replica.

    Attributes:
        is_late: whether the valid token could not be written yet, because the pipe is full.
    """

    def __init__(self, fd: int, replica: int) -> None:
        self._fd = fd
        self._replica = replica
        self._lock = threading.Lock()
        self._latest = 0
        self._valid = 0
        self._is_over = False
        self.is_late = False

    def write(self) -> None:
        """Write a token, because the replica can take a batch, unless there is a valid one."""
        with self._lock:
            if not (self._is_over or self._valid):
                self._write_new()

    def renew(self) -> None:
        """Write a new token if there is a valid one, which becomes void."""
        with self._lock:
            if self._valid:
                self._write_new()

    def retry(self) -> None:
        """Write the valid token now, if the pipe was full before."""
        with self._lock:
            if self._valid and self.is_late:
                self._write()

    def use(self, serial: int) -> bool:
        """Return whether a batch with this serial number may be computed. The number is valid
        once.
        """
        with self._lock:
            if not serial or serial != self._valid:
                return False
            self._valid = 0
            return True

    def end(self) -> None:
        """Let no token be valid from now on."""
        with self._lock:
            self._is_over, self._valid, self.is_late = True, 0, False

    def _write_new(self) -> None:
        self._latest = self._valid = self._latest % (_SERIALS - 1) + 1
        self._write()

    def _write(self) -> None:
        try:
            os.write(self._fd, _TOKEN.pack(self._replica, self._valid))
        except BlockingIOError:
            self.is_late = True
        except BrokenPipeError:  # no client has the reading end, and the supervisor has died
            self.is_late = False
        else:
            self.is_late = False
