"""A lock on a device that replicas in several processes share.

The kernel frees it when the process ends, however that happens. Whoever waits longest is next: a
process waits for the device with the lock of the queue in its hand, so that a busy one, which has
just released the device, cannot take it again before the one that waits.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

if t.TYPE_CHECKING:
    from collections import abc as cabc


class DeviceLock:
    """The lock on a device. Used by one thread.

    Args:
        path: the file that is locked; it is created if it is missing.
    """

    def __init__(self, path: str) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._device = os.open(path, flags, 0o600)
        self._queue = os.open(f"{path}.queue", flags, 0o600)

    def close(self) -> None:
        os.close(self._device)
        os.close(self._queue)

    @contextlib.contextmanager
    def hold(
        self, waits: cabc.Callable[[], object], begins: cabc.Callable[[], object]
    ) -> cabc.Iterator[None]:
        """Hold the device.

        Args:
            waits: called if another process computes on the device, before this one waits for it.
            begins: called when this process has got the device, after it has waited.
        """
        from fcntl import LOCK_EX, LOCK_UN, flock  # not at the top: Windows does not have it

        # Whatever fails, such as `waits` because the client has died, both locks are released: to
        # release one that is not held does nothing.
        try:
            if not (_try(self._queue) and _try(self._device)):
                flock(self._queue, LOCK_UN)  # others must not have to wait until `waits` returns
                waits()
                flock(self._queue, LOCK_EX)
                flock(self._device, LOCK_EX)
                flock(self._queue, LOCK_UN)
                begins()
            else:
                flock(self._queue, LOCK_UN)
            yield
        finally:
            flock(self._queue, LOCK_UN)
            flock(self._device, LOCK_UN)


def _try(fd: int) -> bool:
    from fcntl import LOCK_EX, LOCK_NB, flock

    try:
        flock(fd, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    return True
