"""Let a deadline pass at a chosen moment, independent of the machine's speed."""

from __future__ import annotations

import time
import typing as t

if t.TYPE_CHECKING:
    from carboy.models.queue.scheduler import Scheduler
    from carboy.models.queue.ticket import Ticket


def let_pass(scheduler: Scheduler, *tickets: Ticket) -> None:
    """Let the deadlines of these tickets pass now, and the deadline of a stream's next item.

    With a short deadline instead, a busy machine might reach it before `predict` begins. The
    tickets
    need a distant deadline: the deadline thread does not watch tickets without one.
    """
    with scheduler._lock:
        now_s = time.monotonic()
        for ticket in tickets:
            ticket.deadline_s = now_s
        for place in scheduler._ledger.computing:
            place.limit_s = max((ticket.deadline_s for ticket in place.tickets), default=now_s)
        scheduler._guard.wake()
