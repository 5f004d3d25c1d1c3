"""One prediction on its way: what went in, and where its answer is waited for."""

from __future__ import annotations

import logging
import math
import typing as t
from _thread import allocate_lock

if t.TYPE_CHECKING:
    from collections import abc as cabc

_logger = logging.getLogger("carboy.models")

#: Called once per batch with those of its tickets that were submitted with it.
OnDone: t.TypeAlias = "cabc.Callable[[list[Ticket]], object]"


class Ticket:
    """A prediction that was submitted.

    `settled` says that it has its answer or needs none any more; `value` is the answer, an
    exception if it failed; `batch_size` is 0 until it is taken to be computed; `client` is whoever
    submitted it, for himself. Only the scheduler settles, under its lock; `notify` comes after.
    `arrived_s`, `began_s` and `ended_s` are on the monotonic clock, the last two 0.0 until it is
    taken to be computed, and until it is settled.
    """

    __slots__ = (
        "arrived_s",
        "batch_size",
        "began_s",
        "carries",
        "client",
        "deadline_s",
        "ended_s",
        "item",
        "lock",
        "on_done",
        "settled",
        "value",
        "wakes",
    )

    def __init__(
        self,
        item: t.Any,
        *,
        arrived_s: float,
        deadline_s: float | None,
        on_done: OnDone | None,
        client: t.Any = None,
    ) -> None:
        self.item = item
        self.arrived_s = arrived_s
        self.deadline_s = math.inf if deadline_s is None else deadline_s
        self.on_done = on_done
        self.client = client
        self.settled = False
        self.value: t.Any = None
        self.batch_size = 0
        self.began_s = 0.0
        self.ended_s = 0.0
        # PERF: there and back between two threads, bare: 7 us with raw locks as gates, 6 with two
        # SimpleQueues (which cannot hold several for one batch), 24 with a ThreadPoolExecutor, 84
        # with Condition and Event. Whoever gets a call needs no gate.
        self.lock = None
        #: Whether its thread sleeps until this one is settled, and may then wake others.
        self.carries = False
        self.wakes: list[Ticket] | None = None
        if on_done is None:
            self.lock = allocate_lock()
            self.lock.acquire()

    def wait(self) -> None:
        """Until it is settled. For one thread, once; only without `on_done`."""
        assert self.lock is not None
        self.lock.acquire()
        if self.wakes is not None:
            _wake(self.wakes)
            self.wakes = None

    def result(self) -> t.Any:
        """What `predict` returned for it; raises what it failed with. Only when settled."""
        if isinstance(self.value, BaseException):
            raise self.value
        return self.value


def notify(tickets: list[Ticket], *, hurry: bool = False) -> None:
    """Wake those who wait, one call for all that share an `on_done`. Not under a lock.

    Args:
        tickets: those that were settled.
        hurry: this thread has something better to do: the first who is woken wakes the others.
    """
    if len(tickets) == 1 and tickets[0].lock is not None:
        tickets[0].lock.release()  # PERF: 0.4 us less
        return
    called: dict[OnDone, list[Ticket]] = {}
    waiting: list[Ticket] = []
    for ticket in tickets:
        if ticket.lock is not None:
            waiting.append(ticket)
        else:
            called.setdefault(t.cast("OnDone", ticket.on_done), []).append(ticket)
    if hurry and len(waiting) > 2 and waiting[0].carries:
        # PERF: to wake a thread takes 10 us and more on busy cores; the time between two batches
        # of 32 falls from 5 % to 3 % of a batch of 11 ms (bench/batching.py).
        first, *others = waiting
        first.wakes = others
        waiting = [first]
    _wake(waiting)
    for on_done, theirs in called.items():
        try:
            on_done(theirs)
        except Exception:  # the thread that computes must outlive an event loop that was closed
            _logger.exception("Nobody took the answers of %d predictions", len(theirs))


def _wake(tickets: cabc.Iterable[Ticket]) -> None:
    for ticket in tickets:
        ticket.lock.release()  # type: ignore[union-attr]
