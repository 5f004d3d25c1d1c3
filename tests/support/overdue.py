"""Let a deadline pass at a chosen moment, independent of the machine's speed."""

from __future__ import annotations

import time
import typing as t

if t.TYPE_CHECKING:
    from carboy.models.queue import PredictionQueue
    from carboy.models.queue.ticket import Ticket


def let_pass(queue: PredictionQueue, *tickets: Ticket) -> None:
    """Let the deadlines of these tickets pass now, and the deadline of a stream's next item.

    With a short deadline instead, a busy machine might reach it before `predict` begins. The
    tickets need a distant deadline: the deadline thread does not watch tickets without one.
    """
    with queue._lock:
        now_s = time.monotonic()
        for ticket in tickets:
            ticket.deadline_s = now_s
        for slot in queue._state.computing:
            if slot.waits_for:
                continue
            slot.limit_s = max((ticket.deadline_s for ticket in slot.tickets), default=now_s)
        queue._deadlines.wake()


def let_computing_pass(queue: PredictionQueue) -> None:
    """Let the deadlines of all tickets that are being computed pass now."""
    let_pass(queue, *(ticket for slot in queue._state.computing for ticket in slot.tickets))
