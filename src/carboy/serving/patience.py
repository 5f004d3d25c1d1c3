"""Time limits for what clients do: send a body, read the rest of an answer."""

from __future__ import annotations

import threading
import typing as t
from time import monotonic

from .log import logger

if t.TYPE_CHECKING:
    import collections.abc as cabc

# The shortest limit that anybody has here; after this long, the thread looks again.
SHORTEST_S = 0.05
# How much later than its limit somebody may be given up.
GRAIN_S = 0.005
# Starting a thread takes 0.1 ms, which is much for one prediction.
IDLE_S = 30.0

GiveUp: t.TypeAlias = "cabc.Callable[[], object]"


class Patience:
    """Calls `give_up` of whatever takes too long, once. Thread-safe.

    One thread, which sleeps until the first limit and ends a while after nothing is left. Only what
    is begun and not ended is kept, so that what comes in time costs two turns of a dict.
    """

    def __init__(self) -> None:
        self._limits_s: dict[GiveUp, float] = {}
        self._changed = threading.Condition()
        self._wakes_s = float("inf")
        self._running = False
        self._begun = False  # anything since the thread looked last

    def begin(self, give_up: GiveUp, limit_s: float) -> None:
        """Wait for `end(give_up)` for so many seconds."""
        due_s = monotonic() + limit_s
        self._limits_s[give_up] = due_s
        self._begun = True
        if not self._running or due_s < self._wakes_s:
            self._start(due_s)

    def end(self, give_up: GiveUp) -> bool:
        """Whether it came in time."""
        return self._limits_s.pop(give_up, None) is not None

    def _start(self, due_s: float) -> None:
        with self._changed:
            if not self._running:
                self._running = True
                self._wakes_s = due_s
                threading.Thread(target=self._run, name="patience", daemon=True).start()
            elif due_s < self._wakes_s:
                self._wakes_s = due_s
                self._changed.notify()

    def _run(self) -> None:
        while True:
            now_s = monotonic()
            late = [each for each, due_s in self._limits_s.copy().items() if due_s <= now_s]
            for give_up in late:
                if self.end(give_up):
                    self._call(give_up)
            with self._changed:
                # Who begins while this looks must wake it: it may look past that limit.
                self._wakes_s = float("inf")
                rest = self._limits_s.copy().values()
                if rest:
                    # PERF: under load there is a limit every few microseconds.
                    self._sleep(max(GRAIN_S, min(rest) - monotonic()))
                elif self._begun:
                    # PERF: more will come, and need not wake this thread for it.
                    self._begun = False
                    self._sleep(SHORTEST_S)
                elif not self._sleep(IDLE_S):
                    self._running = False
                    # Somebody may have begun since, and have seen this thread running.
                    if not self._limits_s:
                        return
                    self._running = True

    def _call(self, give_up: GiveUp) -> None:
        try:
            give_up()
        except BaseException:  # noqa: BLE001  # the limits of all others would not be kept
            logger.exception("error while giving up a client")

    def _sleep(self, seconds: float) -> bool:
        """Whether somebody woke it."""
        self._wakes_s = monotonic() + seconds
        return self._changed.wait(seconds)
