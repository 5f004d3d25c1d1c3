"""The thread that watches the deadlines of one model's predictions.

`state` decides which predictions have expired and which batches hang; this module waits until the
next deadline, delivers the expired ones, and logs where a batch hangs.
"""

from __future__ import annotations

import math
import sys
import threading
import traceback
import typing as t
from time import monotonic

from carboy.core.logmasking import get_masked_logger
from carboy.errors import DeadlineError

from .threads import IDLE_S, WakeEvent, deliver

if t.TYPE_CHECKING:
    from .state import QueueState, Slot

# How many frames of a hanging thread's stack are logged. The innermost frames show why it hangs.
_FRAMES = 5

_logger = get_masked_logger("carboy.models")


class DeadlineThread:
    """Settles predictions when their deadline passes, and detects batches that are computed too
    long.

    The thread sleeps until the next deadline. It starts with the first deadline, and ends after 30
    s without a deadline.
    """

    def __init__(self, state: QueueState, lock: t.Any, *, owner: str) -> None:
        self.wakes_s = math.inf
        self._state = state
        self._lock = lock
        self._owner = owner
        self._event: WakeEvent | None = None

    def watch(self, deadline_s: float) -> None:
        """Let the thread wake up at `deadline_s` if it would sleep longer. Acquires the queue's
        lock.
        """
        with self._lock:
            if deadline_s < self.wakes_s:
                self.wake_by(deadline_s)

    def wake_by(self, deadline_s: float) -> None:
        """Let the thread wake up at `deadline_s`, which is earlier than planned. The caller holds
        the queue's lock.
        """
        if self._event is None:
            event = WakeEvent()
            threading.Thread(
                target=self._watch, args=(event,), name=f"{self._owner} deadlines", daemon=True
            ).start()
            self._event = event
        else:
            self._event.set()
        self.wakes_s = deadline_s

    def wake(self) -> None:
        """Wake the thread now. The caller holds the queue's lock."""
        if self._event is not None:
            self._event.set()

    def _watch(self, event: WakeEvent) -> None:
        while True:
            with self._lock:
                was_woken = event.clear()
                now_s = monotonic()
                expired, hanging = self._state.expire(now_s)
                stuck = [(slot, slot.started_s) for slot in hanging]
                self.wakes_s = self._state.next_limit_s()
                is_idle = self.wakes_s == math.inf
                is_over = is_idle and (self._state.closed or not was_woken)
                if is_over:
                    self._event = None
            deliver(expired)
            for slot, started_s in stuck:
                self._give_up(slot, started_s)
            if is_over:
                return
            # Drop the references to the ended predictions before sleeping, because they keep
            # requests and results in memory.
            del expired, stuck, hanging
            event.wait(IDLE_S if is_idle else max(0.0, self.wakes_s - now_s))

    def _give_up(self, slot: Slot, started_s: float) -> None:
        """End the stream of a batch whose `predict` hangs, and log the stack of its thread."""
        if (writer := slot.writer) is not None:
            writer.fail(DeadlineError(f"{self._owner} did not produce the next item in time."))
        if slot.queue.give_up(slot, started_s):
            return
        frame = sys._current_frames().get(slot.thread)
        lines = traceback.format_stack(frame, limit=_FRAMES) if frame else ["  unknown"]
        _logger.error(
            "%s hangs: predict has not returned for %.3g s, the time of its deadline. Until it"
            " does, requests that need its slot are refused. Its stack:\n%s",
            self._owner,
            monotonic() - started_s,
            "".join(lines).rstrip(),
        )
