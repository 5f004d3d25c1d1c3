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
    exception if it failed; `batch_size` is 0 until it is taken to be computed. Only the scheduler
    settles, under its lock; `notify` comes after. `arrived_s`, `began_s` and `ended_s` are on the
    monotonic clock, the last two 0.0 until it is taken to be computed, and until it is settled.
    """

    __slots__ = (
        "arrived_s",
        "batch_size",
        "began_s",
        "deadline_s",
        "ended_s",
        "item",
        "lock",
        "on_done",
        "settled",
        "value",
    )

    def __init__(
        self, item: t.Any, *, arrived_s: float, deadline_s: float | None, on_done: OnDone | None
    ) -> None:
        self.item = item
        self.arrived_s = arrived_s
        self.deadline_s = math.inf if deadline_s is None else deadline_s
        self.on_done = on_done
        self.settled = False
        self.value: t.Any = None
        self.batch_size = 0
        self.began_s = 0.0
        self.ended_s = 0.0
        # PERF: there and back between two threads, bare: 7 us with raw locks as gates, 6 with two
        # SimpleQueues (which cannot hold several for one batch), 24 with a ThreadPoolExecutor, 84
        # with Condition and Event. Whoever gets a call needs no gate.
        self.lock = None
        if on_done is None:
            self.lock = allocate_lock()
            self.lock.acquire()

    def wait(self) -> None:
        """Until it is settled. For one thread, once; only without `on_done`."""
        assert self.lock is not None
        self.lock.acquire()

    def result(self) -> t.Any:
        """What `predict` returned for it; raises what it failed with. Only when settled."""
        if isinstance(self.value, BaseException):
            raise self.value
        return self.value


def notify(tickets: cabc.Iterable[Ticket]) -> None:
    """Wake those who wait, one call for all that share an `on_done`. Not under a lock."""
    called: dict[OnDone, list[Ticket]] = {}
    for ticket in tickets:
        if ticket.lock is not None:
            ticket.lock.release()
        else:
            called.setdefault(t.cast("OnDone", ticket.on_done), []).append(ticket)
    for on_done, theirs in called.items():
        try:
            on_done(theirs)
        except Exception:  # the thread that computes must outlive an event loop that was closed
            _logger.exception("Nobody took the answers of %d predictions", len(theirs))
