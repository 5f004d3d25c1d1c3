"""Let a deadline pass when the test wants it, not when the machine has the time."""

from __future__ import annotations

import time
import typing as t

if t.TYPE_CHECKING:
    from carboy.models.queue.scheduler import Scheduler
    from carboy.models.queue.ticket import Ticket


def let_pass(scheduler: Scheduler, *tickets: Ticket) -> None:
    """From now on the deadlines of these are over, and that of a stream's next item.

    With a short deadline instead, a busy machine may let it pass before `predict` begins. They need
    one that is far away: without any, nobody watches.
    """
    with scheduler._lock:
        now_s = time.monotonic()
        for ticket in tickets:
            ticket.deadline_s = now_s
        for place in scheduler._ledger.computing:
            place.limit_s = max((ticket.deadline_s for ticket in place.tickets), default=now_s)
        scheduler._guard.wake()
