"""The queue in front of a model, as those who ask see it.

    submit --> ledger: waits --> workers: take, compute, answer --> notify
                  |
                  +------------> deadlines: settles what is late, in the queue or in `predict`

What leaves when is `batching`'s to decide, what a failure means `isolation`'s, who is told what
`ledger`'s; the threads are those of `workers` and `deadlines`. One lock is held for microseconds by
all of them; `run` and the callbacks of tickets are called outside it.
"""

from __future__ import annotations

import os
import typing as t
import weakref
from _thread import allocate_lock, get_ident
from threading import main_thread
from time import monotonic

from ...errors import CancelledError, ClosedError
from .batcher import Batcher
from .counting import Counts, Statistics
from .deadlines import Guard
from .state import Ledger
from .threads import Workers
from .ticket import Ticket, notify
from .waking import FOR_EVER, closed_gate

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from ...errors import UnavailableError
    from .ticket import OnDone

UNSET: t.Final[t.Any] = type("Unset", (), {"__repr__": lambda self: "UNSET"})()


class Scheduler:
    """Batches for one model. All methods are thread-safe.

    Args:
        run: computes a list of items; returns as many results, or raises.
        owner: what messages call the model.
        batch: largest batch.
        wait_s: how long the oldest waits for company, or "auto".
        deadline_s: until the answer, where `submit` says nothing else; None is no limit.
        queue: most items that wait.
        concurrency: most batches that compute at the same time.
    """

    def __init__(
        self,
        run: cabc.Callable[[list[t.Any]], t.Any],
        *,
        owner: str,
        batch: int = 1,
        wait_s: float | t.Literal["auto"] = 0,
        deadline_s: float | None = None,
        queue: int = 1024,
        concurrency: int = 1,
    ) -> None:
        self.owner = owner
        self.deadline_s = deadline_s
        self.concurrency = concurrency
        self._run = run
        self._options: dict[str, t.Any] = {
            "max_size": batch,
            "wait_s": wait_s,
            "max_waiting": queue,
        }
        self._counts = Counts()
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        """Nothing waits, no thread exists; also in the child of a fork, where it is true."""
        owner, concurrency = self.owner, self.concurrency
        self._lock = lock = allocate_lock()
        self._ledger = Ledger(
            Batcher[Ticket](**self._options),
            self._counts,
            owner=owner,
            deadline_s=self.deadline_s,
            concurrency=concurrency,
        )
        self._guard = Guard(self._ledger, lock, owner=owner)
        self._workers = Workers(
            self._ledger, self._guard, lock, self._run, owner=owner, concurrency=concurrency
        )

    def submit(
        self,
        item: t.Any,
        *,
        deadline_s: float | None = UNSET,
        on_done: OnDone | None = None,
        beyond: bool = False,
    ) -> Ticket:
        """Let an item wait for its turn.

        Args:
            item: for `run`.
            deadline_s: seconds from now until the answer; None is no limit.
            on_done: called with a list of settled tickets, once per batch, from the thread that
                computed it (from the one that cancels, or that watches deadlines, for tickets that
                end so); must return soon and not raise. Without it, one thread may `wait`.
            beyond: also when the queue is full, for who bounds himself and waits anyway.

        Raises:
            UnavailableError: the queue is full, `predict` hangs, or the model is closing.
        """
        if deadline_s is UNSET:
            deadline_s = self.deadline_s
        now_s = monotonic()
        ticket = Ticket(
            item,
            arrived_s=now_s,
            deadline_s=None if deadline_s is None else now_s + deadline_s,
            on_done=on_done,
        )
        with self._lock:
            self._ledger.admit(ticket, now_s, beyond=beyond)
            self._workers.wake_for(now_s)
            if ticket.deadline_s < self._guard.wakes_s:
                self._guard.wake_by(ticket.deadline_s)
        return ticket

    def submit_all(
        self, items: cabc.Sequence[tuple[t.Any, t.Any]], *, on_done: OnDone, wakes: bool = True
    ) -> list[Ticket | UnavailableError]:
        """Let items that came together wait together: each a ticket, or why it cannot wait.

        Args:
            items: each with the `client` of its ticket.
            on_done: as of `submit`; its tickets may be settled before this returns.
            wakes: wake who computes them; if not, the caller goes on with `compute_quickly`.
        """
        now_s = monotonic()
        deadline_s = None if self.deadline_s is None else now_s + self.deadline_s
        tickets = [
            Ticket(item, arrived_s=now_s, deadline_s=deadline_s, on_done=on_done, client=client)
            for item, client in items
        ]
        with self._lock:
            begun = self._ledger.admit_all(tickets, now_s)
            if wakes:
                self._workers.wake_for(now_s)
            if deadline_s is not None and deadline_s < self._guard.wakes_s:
                self._guard.wake_by(deadline_s)
        return begun

    def compute_quickly(self, limit_s: float) -> None:
        """Let what waits be computed: on the calling thread if that takes less than `limit_s`.

        So it does if the batches so far did, nobody else computes, and it is due; to wake another
        thread would take as long. Then `on_done` is called from here.
        """
        self._workers.compute_quickly(limit_s)

    def call(self, item: t.Any, *, deadline_s: float | None = None) -> t.Any:
        """Compute one item and wait for it; raises what it failed with.

        Without a deadline and with nobody else there, on the caller's own thread: 11 us less, and
        a debugger or Ctrl-C finds it there. With a deadline always on a worker, because a thread
        that is inside `predict` cannot give its caller an answer in time.
        """
        if deadline_s is None:
            place = self._workers.enter()
            if place is not None:
                return self._workers.compute_here(place, item)
        ticket = self.ask(item, deadline_s=deadline_s)
        try:
            return ticket.result()
        finally:
            del ticket  # else the exception's traceback keeps the item, and they each other

    def ask(self, item: t.Any, *, deadline_s: float | None = UNSET) -> Ticket:
        """Compute one item on a worker and wait for it: a ticket that is settled.

        Raises what `submit` raises; `result()` of the ticket gives or raises the rest.
        """
        ticket = self.submit(item, deadline_s=deadline_s)
        if self._options["max_size"] > 1:
            # Not the main thread: Ctrl-C may come to it at any moment, and others would sleep on.
            ticket.carries = get_ident() != main_thread().ident
        try:
            ticket.wait()
        except BaseException:  # Ctrl-C in the main thread; what gevent throws into any
            if not self.cancel(ticket) and ticket.carries:
                ticket.wait()  # it is being woken, and wakes others
            raise
        return ticket

    def cancel(self, ticket: Ticket) -> bool:
        """Give a ticket up; what has not begun to compute never will. False: it was settled."""
        with self._lock:
            if ticket.settled:
                return False
            self._counts.cancelled += 1
            gone = CancelledError(f"{self.owner}: the prediction was cancelled.")
            self._ledger.withdraw(ticket, gone, monotonic())
        notify([ticket])
        return True

    def close(self, timeout_s: float | None = None) -> bool:
        """Refuse what comes, compute what waits, and return when that is done.

        False: it was not done within `timeout_s`, or `predict` hangs; what was left is answered
        with `ClosedError`.
        """
        gate = closed_gate()
        with self._lock:
            self._ledger.close(gate)
            self._workers.wake_all()
        drained = gate.acquire(timeout=FOR_EVER if timeout_s is None else timeout_s)
        with self._lock:
            left = self._ledger.abandon(monotonic())
            streams = [place.rest for place in self._ledger.computing if place.rest is not None]
            self._guard.wake()
            drained = drained and not self._ledger.computing
        notify(left)
        for rest in streams:
            rest.fail(ClosedError(f"{self.owner} is being closed."))
        return drained

    @property
    def stuck(self) -> bool:
        """Whether every batch that may compute hangs past its deadline."""
        return self._ledger.hangs

    @property
    def has_caller(self) -> bool:
        """Whether the calling thread is inside `run` already."""
        return self._workers.has_caller

    def statistics(self) -> Statistics:
        with self._lock:
            return self._counts.copy(
                waiting=len(self._ledger.waiting),
                computing=self._ledger.items,
                stuck=self.stuck,
            )


def _begin_anew() -> None:
    """The child of a fork has none of its parent's threads, and perhaps a lock that one held."""
    for scheduler in list(_all):
        scheduler._begin()


_all: weakref.WeakSet[Scheduler] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
