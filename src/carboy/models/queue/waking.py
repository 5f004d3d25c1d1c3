"""How a thread sleeps until there is work, or until a moment that it knows. Nothing polls."""

from __future__ import annotations

import threading
import typing as t
from _thread import allocate_lock

# A thread that had nothing to do for so long ends; the next item starts another in 0.1 ms.
IDLE_S = 30.0
FOR_EVER: t.Final = -1  # as `acquire` of a lock says it


class Bell:
    """Wakes the one thread that waits on it; rings before the wait count once."""

    __slots__ = ("_lock", "_rung")

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()
        self._rung = False

    def ring(self) -> None:
        """Under the scheduler's lock."""
        if not self._rung:
            self._rung = True
            self._lock.release()

    def silence(self) -> bool:
        """Whether it was rung since the last time. Under the scheduler's lock."""
        rung, self._rung = self._rung, False
        if rung:
            self._lock.acquire(blocking=False)  # when the wait had timed out at that very moment
        return rung

    def wait(self, timeout_s: float) -> None:
        self._lock.acquire(True, timeout_s if timeout_s < threading.TIMEOUT_MAX else FOR_EVER)


def closed_gate() -> t.Any:
    """A lock to wait on once: `acquire` returns when another thread has released it."""
    gate = allocate_lock()
    gate.acquire()
    return gate
