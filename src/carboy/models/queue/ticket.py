"""A ticket: one prediction in a model's queue, and the way to wait for its result."""

from __future__ import annotations

import dataclasses
import math
import typing as t
from _thread import allocate_lock

if t.TYPE_CHECKING:
    from collections import abc as cabc
    from contextvars import Context

#: Called once per batch with the settled tickets that have this callback.
Deliver: t.TypeAlias = "cabc.Callable[[list[Ticket]], object]"

FOREVER: t.Final = -1  # `timeout` argument of `lock.acquire`: no limit


def held_lock() -> t.Any:
    """Return a lock that is already held: `acquire` blocks until another thread has released it."""
    lock = allocate_lock()
    lock.acquire()
    return lock


@dataclasses.dataclass(slots=True, eq=False, kw_only=True)
class Ticket:
    """A submitted prediction. Only the queue settles tickets, under its lock.

    Attributes:
        arguments: the arguments of `predict`, by name; None after the ticket is settled.
        deliver: called with the settled ticket. Without it, one thread may call `wait`.
        context: the context in which `predict` runs; None for batches, which have no request.
        deadline_s: on the monotonic clock, as the three times below.
        arrived_s: when the ticket was submitted.
        began_s: when its batch started to compute; 0.0 before.
        ended_s: when the ticket was settled; 0.0 before.
        batch_size: the size of its batch; 0 before the batch starts to compute.
        settled: whether the ticket has its result, its failure, or was cancelled.
        value: the result of `predict`, or the exception that the prediction failed with.
        lock: the lock on which `wait` blocks; None with `deliver`.
        wakes_others: whether the thread in `wait` may wake the waiters of other tickets.
        others: tickets whose waiters are woken by the waiter of this one.
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
    # PERF: a round trip between two threads takes 7 us with raw locks, 6 with two SimpleQueues
    # (which cannot deliver several tickets), 24 with a ThreadPoolExecutor, 84 with Condition.
    lock: t.Any = None
    wakes_others: bool = False
    others: list[Ticket] | None = None

    def make_waitable(self) -> None:
        """Prepare the ticket for `wait`. Call this before the ticket is submitted."""
        self.lock = held_lock()

    def wait(self) -> None:
        """Block until the ticket is settled. For one thread, once; only without `deliver`."""
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
        """Return the result, or raise the failure. The ticket must be settled."""
        if isinstance(self.value, BaseException):
            raise self.value
        return self.value
