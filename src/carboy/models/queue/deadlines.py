"""The thread that tells those who wait that their time is over, though nothing else happens.

It sleeps until the next deadline; with deadlines of one length, it wakes once in that time.
"""

from __future__ import annotations

import logging
import math
import threading
import typing as t
from time import monotonic

from ...errors import DeadlineError
from . import waking
from .ticket import notify
from .waking import Bell

if t.TYPE_CHECKING:
    from .state import Ledger, Place

_logger = logging.getLogger("carboy.models")
# Of the stack of a thread that hangs: the innermost, where the reason is.
_FRAMES = 5


class Guard:
    """Begins with the first deadline, and ends after half a minute without one."""

    def __init__(self, ledger: Ledger, lock: t.Any, *, owner: str) -> None:
        self.wakes_s = math.inf
        self._ledger = ledger
        self._lock = lock
        self._owner = owner
        self._bell: Bell | None = None

    def wake_by(self, deadline_s: float) -> None:
        """Look at that time, which is earlier than `wakes_s`. Under the lock."""
        self.wakes_s = deadline_s
        if self._bell is None:
            self._bell = Bell()
            threading.Thread(
                target=self._watch, args=(self._bell,), name=f"{self._owner} deadlines", daemon=True
            ).start()
        else:
            self._bell.ring()

    def wake(self) -> None:
        """Look now. Under the lock."""
        if self._bell is not None:
            self._bell.ring()

    def _watch(self, bell: Bell) -> None:
        while True:
            with self._lock:
                rung = bell.silence()
                now_s = monotonic()
                expired, hanging = self._ledger.expire(now_s)
                self.wakes_s = self._ledger.next_limit_s()
                nothing = self.wakes_s == math.inf
                over = nothing and (self._ledger.closed or not rung)
                if over:
                    self._bell = None
            notify(expired)
            for place in hanging:
                rest = place.rest
                if rest is not None:
                    rest.fail(DeadlineError(f"{self._owner} did not give the next item in time."))
                self._tell(place)
                rest = None
            if over:
                return
            # Not kept over the sleep: tickets hold answers, and the answers' memory.
            del expired, hanging
            bell.wait(waking.IDLE_S if nothing else max(0.0, self.wakes_s - now_s))

    def _tell(self, place: Place) -> None:
        """Whoever looks at the log wants to know where it hangs; nobody else can say so."""
        import sys
        import traceback

        frame = sys._current_frames().get(place.thread)
        lines = traceback.format_stack(frame, limit=_FRAMES) if frame else ["  unknown"]
        _logger.error(
            "%s hangs: predict has not come back within its deadline. Until it does, requests"
            " that need its place are refused. It is at:\n%s",
            self._owner,
            "".join(lines).rstrip(),
        )
