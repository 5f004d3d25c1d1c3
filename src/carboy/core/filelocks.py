"""Locks on open files (`flock`) that end with a block, also if a process is forked meanwhile."""

from __future__ import annotations

import contextlib
import os
import typing as t

try:
    from fcntl import LOCK_EX, LOCK_UN, flock

    HAS_LOCKS: t.Final = True
except ImportError:  # Windows has no `flock`
    HAS_LOCKS: t.Final = False  # type: ignore[misc]

if t.TYPE_CHECKING:
    from collections import abc as cabc


@contextlib.contextmanager
def locked(fd: int) -> cabc.Iterator[None]:
    """Hold the lock on an open file; wait until no other process holds it. Do nothing on systems
    without `flock`.

    Raises:
        OSError: the file system has no locks.
    """
    if HAS_LOCKS:
        flock(fd, LOCK_EX)
    with unlocking(fd):
        yield


@contextlib.contextmanager
def unlocking(fd: int) -> cabc.Iterator[None]:
    """Release the lock on an open file when the block ends.

    To close the file is not enough: a process that was forked meanwhile has the same file open, and
    so it would hold the lock until it ends. The forked process itself, if it leaves the block,
    releases nothing, because its parent may still need the lock.
    """
    pid = os.getpid()
    try:
        yield
    finally:
        if HAS_LOCKS and os.getpid() == pid:
            flock(fd, LOCK_UN)
