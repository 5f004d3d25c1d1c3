"""A log file that several processes may write to at once, and that is rotated without loss.

Each write takes a lock on the file (flock), checks that the file is still the one at the path, and
appends whole lines. So the processes need not know of each other: before it writes the next line, a
process notices that another one has rotated the file, that logrotate has moved it, or that somebody
has removed it. The lock is on the log file itself, because a lock file would remain beside it.

A process that waits too long for the lock writes without it: lines that are appended by one system
call do not mix, and a log must not stop a server.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import stat
import time
import typing as t
from itertools import pairwise, takewhile

from .boundedwrite import BLOCK_S, BoundedWriter, may_block, open_for_itself
from .handlers import STDERR, Notice

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .handlers import LineTarget

try:
    from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock

    HAS_LOCKS = True
except ImportError:  # Windows: only one process may write to a file that is rotated
    HAS_LOCKS = False

# How many seconds after a failed write the file is tried again.
RETRY_S = 1.0
# How long to wait for the lock. A process holds it for some microseconds, so that one which holds
# it longer than this is probably stopped, by a debugger or by the freezer of a container.
LOCK_S = 5.0
# The first and the longest pause between two attempts to get the lock. (flock(2) can wait for the
# lock itself, but not for a limited time.)
_PAUSES_S = (0.0001, 0.005)
# If another process does not release the lock, lines are written without it for this many seconds.
# If a rotation fails, the next one is tried after as many seconds.
SKIP_S = 10.0
# The permissions of a new file and of its folder. Logs contain addresses of clients, and what
# programs write about them: users outside of the group of the file do not read them.
_MODE, _FOLDER_MODE = 0o640, 0o750
# O_NONBLOCK is among the flags, because opening a named pipe would otherwise wait until some
# program reads it.
_FLAGS = os.O_WRONLY | os.O_APPEND
for _name in ("O_CLOEXEC", "O_NONBLOCK", "O_BINARY"):
    _FLAGS |= getattr(os, _name, 0)


_OWN_DESCRIPTOR = re.compile(r"/dev/(stdout|stderr)|(?:/dev|/proc/self)/fd/(\d+)")

_MOVED = "another program has moved or removed the log file {}: a new one begins"


def fitting(data: bytes, room: int) -> int:
    """Return the length of the whole lines at the start of `data` that fit into `room` bytes."""
    return len(data) if len(data) <= room else data.rfind(b"\n", 0, max(room, 0)) + 1


def descriptor_named_by(path: str) -> int | None:
    """Return the descriptor of this process that a path names, as /dev/stdout does; or None."""
    found = _OWN_DESCRIPTOR.fullmatch(path)
    if found is None:
        return None
    name, number = found.groups()
    return int(number) if number else ("stdout", "stderr").index(name) + 1


class SharedLogFile:
    """A log file that several processes may write to, as a target of `LineHandler`.

    Lines that cannot be written, because the disk is full for example, go to `fallback`, which is
    stderr by default, so that no line is lost.

    Args:
        path: an absolute path. It may also be that of a device, or a name of one of the process's
            own descriptors, such as /dev/stdout. Those are never rotated.
        max_bytes: the size that the file does not exceed; 0 for no limit. If the next line does not
            fit, the file is renamed to `path.1`, after `path.1` has been renamed to `path.2`, and
            so on.
        backup_count: how many renamed files are kept; at least 1.
        clock: returns the current time in seconds.
    """

    def __init__(
        self,
        path: str,
        *,
        max_bytes: int = 0,
        backup_count: int = 1,
        fallback: LineTarget | None = None,
        clock: cabc.Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._backup_count = backup_count
        self._fallback = fallback or STDERR
        self._clock = clock
        self._own_descriptor = descriptor_named_by(path)
        self._fd = -1
        self._pid = 0
        self._is_regular = True
        # Writes the lines if the path is that of a pipe or a device, whose reader may stop; None
        # for a regular file.
        self._writer: BoundedWriter | None = None
        self._notices: list[Notice] = []
        self._failed = False
        self._retry_at_s = self._lock_at_s = self._rotate_at_s = -float("inf")
        self._diverted = 0

    def check(self) -> None:
        """Check that the file can be opened, and leave it open. The file and its folder are created
        if they do not exist, but not the folder that contains that folder.

        Raises:
            OSError: the file cannot be opened.
        """
        if self._fd < 0:
            self._open()

    def write(self, data: bytes) -> cabc.Sequence[Notice]:
        if self._failed and self._clock() < self._retry_at_s:
            self._divert(data)
            return self._take_notices()
        try:
            while data:
                data = data[self._write_some(data) :]
            if self._failed:
                self._recover()
        except OSError as exc:
            self._fail(exc)
            self._divert(data)
        return self._take_notices()

    def close(self) -> None:
        if self._fd >= 0:
            # A forked process shares the descriptor and its lock with the parent process, which may
            # be writing: only the process that has opened the file may unlock it.
            if self._pid == os.getpid():
                self._unlock()
            os.close(self._fd)
        self._fd = -1

    def reopen(self) -> cabc.Sequence[Notice]:
        """Close the file. The next line opens it again, without the pause that follows a failed
        write.
        """
        self.close()
        self._retry_at_s = -float("inf")
        return ()

    # --- writing ----------------------------------------------------------------------------

    def _write_some(self, data: bytes) -> int:
        """Write the lines at the start of `data` that fit into the file; if no line fits, rotate
        the file.

        Returns:
            How many bytes have been written; 0 after a rotation.
        """
        is_locked = self._open_locked()
        try:
            size = os.fstat(self._fd).st_size
            count = len(data)
            may_rotate = is_locked if HAS_LOCKS else self._is_regular
            if self._max_bytes and may_rotate and self._clock() >= self._rotate_at_s:
                count = fitting(data, self._max_bytes - size)
                if not count and not size:
                    count = data.index(b"\n") + 1  # the line alone is longer than the limit
            if count:
                return self._append(data[:count], size, is_locked)
            self._rotate()
            return 0
        finally:
            if is_locked:
                self._unlock()

    def _append(self, data: bytes, size: int, is_locked: bool) -> int:
        if self._writer is not None:
            return _write_in_time(self._writer, data)
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError:
            if not (written and is_locked):
                raise
            # Remove the part of a line that was written before the disk was full.
            whole = data.rfind(b"\n", 0, written) + 1
            os.ftruncate(self._fd, size + whole)
            if not whole:
                raise
            return whole
        return written

    def _rotate(self) -> None:
        """Rename the file and its backups, and create the next file."""
        mode = stat.S_IMODE(os.fstat(self._fd).st_mode)
        if not HAS_LOCKS:
            self.close()  # Windows does not rename an open file
        names = [self.path, *self._backups()]
        if len(names) <= self._backup_count:
            names.append(f"{self.path}.{len(names)}")
        try:
            for old, new in reversed(list(pairwise(names))):
                os.replace(old, new)
        except OSError as exc:
            self._rotate_at_s = self._clock() + SKIP_S
            self._note(
                logging.ERROR,
                f"the log file {self.path} cannot be rotated ({exc.strerror}) and grows beyond"
                " LOG_MAX_BYTES. Allow this user to rename files in its folder",
            )
            return
        fd = os.open(self.path, _FLAGS | os.O_CREAT, _MODE)
        if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
            # The new file gets the mode of the renamed one, which its owner may have made private.
            with contextlib.suppress(OSError):  # fails if the file belongs to another user
                os.chmod(self.path, mode)
        # Closing the renamed file releases its lock, for which the other processes wait. It is
        # closed only now, because they must find the new file at the path.
        self.close()
        self._use(fd)

    def _backups(self) -> list[str]:
        """Return the paths of the renamed files, the newest first."""
        paths = (f"{self.path}.{n + 1}" for n in range(self._backup_count))
        return list(takewhile(os.path.exists, paths))

    # --- opening and locking ------------------------------------------------------------------

    def _open_locked(self) -> bool:
        """Open the file that is at the path now, and lock it.

        Returns:
            Whether the file is locked. A device is not locked, nor is a file on a file system
            without locks, or one that another process keeps locked.
        """
        before: os.stat_result | None = None
        while True:
            if self._fd < 0 or self._pid != os.getpid():
                self.close()
                self._open()
            is_locked = self._is_regular and self._lock()
            if self._is_at_path():
                if before is not None and not self._is_rotated(before):
                    self._note(logging.INFO, _MOVED.format(self.path))
                return is_locked
            before = before or os.fstat(self._fd)
            self.close()

    def _open(self) -> None:
        if self._own_descriptor is not None:
            self._use_own(self._own_descriptor)
            return
        try:
            fd = os.open(self.path, _FLAGS)
        except FileNotFoundError:
            # Only the last folder of the path is created: if more folders are missing, the path is
            # probably misspelt.
            with contextlib.suppress(FileExistsError):
                os.mkdir(os.path.dirname(self.path), _FOLDER_MODE)
            fd = os.open(self.path, _FLAGS | os.O_CREAT, _MODE)
        self._use(fd)

    def _use(self, fd: int) -> None:
        self._fd, self._pid = fd, os.getpid()
        self._is_regular = stat.S_ISREG(os.fstat(fd).st_mode)
        self._writer = BoundedWriter(fd, block_s=BLOCK_S) if may_block(fd) else None

    def _use_own(self, descriptor: int) -> None:
        """Write to a copy of one of the process's own descriptors, such as stdout, instead of
        opening its name, such as /dev/stdout.

        If stdout is redirected to a file, opening the name would begin at the start of that file,
        and other output of the process would overwrite the lines. A pipe or a terminal is opened,
        because only a descriptor of its own can be made non-blocking.
        """
        opened = open_for_itself(descriptor)
        self._use(os.dup(descriptor) if opened == descriptor else opened)
        self._is_regular = False

    def _lock(self) -> bool:
        now_s = self._clock()
        if not HAS_LOCKS or now_s < self._lock_at_s:
            return False
        pause_s, longest_s = _PAUSES_S
        end_s = now_s + LOCK_S
        while now_s < end_s:
            try:
                flock(self._fd, LOCK_EX | LOCK_NB)
            except BlockingIOError:
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, longest_s)
                now_s = self._clock()
            except OSError as exc:
                self._do_without_lock(exc)
                return False
            else:
                return True
        self._lock_at_s = now_s + SKIP_S
        self._note(
            logging.WARNING,
            f"another process has locked the log file {self.path} for {LOCK_S:g} s, and may be"
            " stopped. Lines are written without the lock, and the file is not rotated",
        )
        return False

    def _do_without_lock(self, exc: OSError) -> None:
        self._lock_at_s = float("inf")
        if self._max_bytes:
            self._note(
                logging.WARNING,
                f"the file system of the log file {self.path} has no locks ({exc.strerror}), so the"
                " file is not rotated. Put it elsewhere, or let logrotate rotate it",
            )

    def _unlock(self) -> None:
        if HAS_LOCKS and self._is_regular:
            try:
                flock(self._fd, LOCK_UN)
            except OSError:
                pass  # this file system has no locks

    def _is_at_path(self) -> bool:
        """Return whether the file that is open is still the one at the path."""
        if self._own_descriptor is not None:
            return True
        try:
            return os.path.samestat(os.fstat(self._fd), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _is_rotated(self, before: os.stat_result) -> bool:
        """Return whether another process has rotated the file that `before` describes: it is a
        backup, or it may have been removed as the oldest backup.

        While the file at the path is locked, no other process renames backups.
        """
        if not self._max_bytes:
            return False
        names = set(map(os.path.basename, self._backups()))
        with os.scandir(os.path.dirname(self.path)) as entries:
            backups = [each.inode() for each in entries if each.name in names]
        return before.st_ino in backups or len(backups) >= self._backup_count

    # --- failures -----------------------------------------------------------------------------

    def _note(self, level: int, text: str) -> None:
        self._notices.append(Notice(level, text))

    def _take_notices(self) -> cabc.Sequence[Notice]:
        notices, self._notices = self._notices, []
        return notices

    def _fail(self, exc: OSError) -> None:
        # After a timeout, the file stays open: its `_writer` knows that nobody reads the file, and
        # does not wait for a reader again.
        if not isinstance(exc, TimeoutError):
            self.close()
        self._retry_at_s = self._clock() + RETRY_S
        if not self._failed:
            self._failed, self._diverted = True, 0
            self._note(
                logging.ERROR,
                f"the log file {self.path} cannot be written ({exc.strerror}): its lines go to"
                " stderr until it can",
            )

    def _recover(self) -> None:
        self._failed = False
        self._note(
            logging.WARNING,
            f"the log file {self.path} is written again: {self._diverted} lines went to stderr",
        )

    def _divert(self, data: bytes) -> None:
        self._diverted += data.count(b"\n")
        self._notices += self._fallback.write(data)


def _write_in_time(writer: BoundedWriter, data: bytes) -> int:
    """Write the lines at the start of `data` for which a pipe or device has room in time. Return
    their length in bytes.

    Raises:
        TimeoutError: there is no room for the first line.
    """
    rest = writer.write(data)
    if len(rest) == len(data):
        raise TimeoutError(errno.ETIMEDOUT, f"nobody has read it for {BLOCK_S:g} s")
    return len(data) - len(rest)
