"""A thread that looks every few milliseconds whether a leader is stuck, while there is work."""

from __future__ import annotations

import threading
import typing as t
from _thread import allocate_lock
from time import sleep

if t.TYPE_CHECKING:
    import collections.abc as cabc

# A leader that is still in the same turn after one to two of these is taken to wait.
TICK_S = 0.02
# After a leader was found stuck, others probably wait for the same: a database that is slow just
# now. Each would delay all other requests for one long tick.
ALERT_TICK_S = 0.004
ALERT_TICKS = 50


class Monitor:
    """Calls `look` until that returns False, then sleeps until it is woken. Thread-safe.

    Attributes:
        asleep: `wake` is to be called when something happens.
    """

    def __init__(self, look: cabc.Callable[[], bool]) -> None:
        self._look = look
        self._alert = 0
        self._lock = allocate_lock()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._wakeup: t.Any = allocate_lock()
        self._wakeup.acquire()
        self.asleep = False

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="carboy-monitor", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Returns when it has ended."""
        self._stopping = True
        self.wake()
        if self._thread is not None:
            self._thread.join()

    def wake(self) -> None:
        with self._lock:
            if not self.asleep:
                return
            self.asleep = False
        self._wakeup.release()

    def alert(self) -> None:
        """Look more often for a while."""
        self._alert = ALERT_TICKS

    def _run(self) -> None:
        while not self._stopping:
            sleep(ALERT_TICK_S if self._alert else TICK_S)
            if self._alert:
                self._alert -= 1
            if self._look():
                continue
            with self._lock:
                self.asleep = True
            if self._look() or self._stopping:  # either happened before `asleep` was set
                self.wake()
            self._wakeup.acquire()
