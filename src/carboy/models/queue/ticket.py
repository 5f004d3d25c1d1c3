"""One prediction in the queue."""

from __future__ import annotations

import dataclasses
import math
import typing as t
from _thread import allocate_lock

if t.TYPE_CHECKING:
    from collections import abc as cabc
    from contextvars import Context

#: Called once per batch with the settled tickets that name this callback.
Deliver: t.TypeAlias = "cabc.Callable[[list[Ticket]], object]"

FOREVER: t.Final = -1  # timeout of `lock.acquire`


def held_lock() -> t.Any:
    """A lock to wait on once: `acquire` returns after another thread has released the lock."""
    lock = allocate_lock()
    lock.acquire()
    return lock


@dataclasses.dataclass(slots=True, eq=False, kw_only=True)
class Ticket:
    """A prediction that was submitted. Only the queue settles tickets, under its lock.

    Attributes:
        arguments: of `predict`, by name; None once the ticket is settled.
        deliver: called with the settled ticket. Without it, one thread calls `wait`.
        context: in which `predict` runs; None for batches, which belong to no request.
        deadline_s: on the monotonic clock, as are the three times below.
        arrived_s: when the ticket was submitted.
        began_s: when its batch began to compute; 0.0 until then.
        ended_s: when the ticket was settled; 0.0 until then.
        batch_size: of its batch; 0 until the batch begins to compute.
        settled: the ticket has its result, or needs none any more.
        value: the result, or the exception that the prediction failed with.
        lock: on which `wait` sleeps; None with `deliver`.
        wakes_others: a thread sleeps until this very ticket is settled, so it may wake others.
        others: tickets whose waiters the waiter of this one wakes.
    """

    arguments: t.Any = None
    deliver: Deliver | None = None
    context: Context | None = None
    deadline_s: float = math.inf
    arrived_s: float = 0.0
    began_s: float = 0.0
    ended_s: float = 0.0
    batch_size: int = 0
    settled: bool = False
    value: t.Any = None
    # PERF: there and back between two threads, bare: 7 us with raw locks, 6 with two SimpleQueues
    # (which cannot hold several for one batch), 24 with a ThreadPoolExecutor, 84 with Condition
    # and Event.
    lock: t.Any = None
    wakes_others: bool = False
    others: list[Ticket] | None = None

    def make_waitable(self) -> None:
        """Allow `wait`. Before the ticket is submitted."""
        self.lock = held_lock()

    def wait(self) -> None:
        """Sleep until the ticket is settled. For one thread, once; only without `deliver`."""
        self.lock.acquire()
        if self.others is not None:
            others, self.others = self.others, None
            for ticket in others:
                ticket.lock.release()

    def settle(self, value: t.Any, now_s: float) -> None:
        self.settled = True
        self.value = value
        self.arguments = None
        self.ended_s = now_s

    def result(self) -> t.Any:
        """What `predict` returned; raises what the prediction failed with. Only when settled."""
        if isinstance(self.value, BaseException):
            raise self.value
        return self.value
