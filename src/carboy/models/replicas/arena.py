"""Memory that two processes share, for arrays and pictures that are too long for a socket.

One process creates the memory and sends its file descriptor once; then it writes each batch into it
and only sends where the parts are. The memory has no name in the file system, so nothing is left
behind if both processes are killed, and the size of /dev/shm (64 MB in a container) is no limit.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
import tempfile
import typing as t

if t.TYPE_CHECKING:
    from collections import abc as cabc

# Memory is created in multiples of this, so that batches that grow a little fit.
_STEP_BYTES = 2**20
# What `getrefcount` returns for memory to which nothing refers but its `Arena`.
_OWN_REFERENCES = 2


class Arena:
    """Memory that is mapped by the process that writes into it, and by the one that reads it.

    Args:
        fd: the descriptor of the memory. The caller closes it.

    Raises:
        OSError: the memory cannot be mapped.
        ValueError: the memory is empty.

    Attributes:
        memory: all of it.
    """

    def __init__(self, fd: int) -> None:
        self.memory = mmap.mmap(fd, 0)

    def __len__(self) -> int:
        return len(self.memory)

    def view(self, size: int) -> memoryview:
        """Return the first `size` bytes."""
        return memoryview(self.memory)[:size]

    def release(self, views: cabc.Iterable[memoryview]) -> bool:
        """Release views that this process has made. Returns False if another object refers to the
        memory.

        NumPy makes a view of its own, so that `release` does not notice an array. But all views
        hold the mapped memory by one reference, in addition to those of this object and of
        `getrefcount`.
        """
        try:
            for each in views:
                each.release()
        except BufferError:
            return False
        return sys.getrefcount(self.memory) <= _OWN_REFERENCES


def create_shared(size: int) -> int:
    """Return the descriptor of new memory of at least `size` bytes, which the caller closes.

    Raises:
        OSError: there is not so much memory, or no room for a temporary file.
    """
    fd = _create()
    try:
        size = -(-size // _STEP_BYTES) * _STEP_BYTES
        if hasattr(os, "posix_fallocate"):
            # Take the memory now: otherwise the process is killed (SIGBUS) when it writes to a page
            # for which there is no room.
            os.posix_fallocate(fd, 0, size)
        else:
            os.ftruncate(fd, size)
        _seal_size(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _seal_size(fd: int) -> None:
    """Ensure that the memory of another process cannot become shorter while this one reads it."""
    import fcntl  # not at the top: Windows does not have it

    # macOS has no sealing, and a temporary file has no seals.
    if hasattr(fcntl, "F_ADD_SEALS"):
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)


def _create() -> int:
    if hasattr(os, "memfd_create"):
        # The system may be older, or a sandbox may forbid the call.
        with contextlib.suppress(OSError):
            return os.memfd_create("carboy-batch", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
