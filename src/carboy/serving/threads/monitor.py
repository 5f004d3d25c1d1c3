"""A thread that checks periodically whether the thread that waits for events is blocked. It sleeps
while there is no work.
"""

from __future__ import annotations

import threading
import typing as t
from _thread import allocate_lock
from time import sleep

if t.TYPE_CHECKING:
    import collections.abc as cabc

# Seconds between two checks. A thread that handles the same event at two checks in a row is
# considered blocked, so that it is noticed after one to two intervals.
TICK_S = 0.02
# Seconds between two checks after the thread that waits for events was blocked: further requests
# will probably block too, for example on a slow database, and each would delay all others for a
# whole interval.
ALERT_TICK_S = 0.004
ALERT_TICKS = 50


class Monitor:
    """Calls `check` repeatedly until it returns False, then sleeps until `wake` is called.
    Thread-safe.

    Args:
        check: looks for blocked threads; returns whether there is work, so that it must be called
            again.
        pause: sleeps for a number of seconds between two checks.

    Attributes:
        asleep: whether the monitor sleeps, so that `wake` must be called when an event arrives.
    """

    def __init__(
        self, check: cabc.Callable[[], bool], pause: cabc.Callable[[float], object] = sleep
    ) -> None:
        self._check = check
        self._pause = pause
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
        """Stop the monitor's thread and wait until it has ended."""
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
        """Make the next checks at shorter intervals, because the thread that waits for events was
        blocked.
        """
        self._alert = ALERT_TICKS

    def _run(self) -> None:
        while not self._stopping:
            self._pause(ALERT_TICK_S if self._alert else TICK_S)
            if self._alert:
                self._alert -= 1
            if self._check():
                continue
            with self._lock:
                self.asleep = True
            # Check once more: an event, or a call of `stop`, that came just before `asleep` was set
            # has not woken the monitor.
            if self._check() or self._stopping:
                self.wake()
            self._wakeup.acquire()
