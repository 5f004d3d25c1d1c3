"""The queue in front of a model: predictions wait here, in batches, until a thread computes them.

    submit --> state: waits --> threads: take, compute, settle --> deliver
                 |
                 +------------> deadline thread: settles what is late

    __init__   what callers see: submit, cancel, close, statistics
    ticket     one prediction
    state      what waits, what computes, and how each ends         no clock, no thread
    batcher    which predictions leave together, and when           no clock, no thread
    waiting    how long a batch waits for more predictions          no clock, no thread
    threads    the threads that compute and deliver, and one for deadlines
    calls      from a batch to calls of `predict`, and back
    stream     results that come item by item

One lock is held for microseconds by all of them; `predict` and the callbacks of tickets are called
outside the lock. Where a batch computes is decided by a `Replica` (`carboy.models.replicas`).
"""

from __future__ import annotations

import math
import os
import typing as t
import weakref
from _thread import allocate_lock, get_ident
from contextvars import copy_context
from functools import partial
from threading import main_thread
from time import monotonic

from carboy.errors import CancelledError, ClosedError

from .batcher import Batcher
from .calls import in_context
from .state import Counts, QueueState, Statistics
from .threads import BatchThreads, DeadlineThread, deliver
from .ticket import FOREVER, Ticket, held_lock

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from ..replicas import Replica
    from .calls import Arguments, Compute
    from .ticket import Deliver

UNSET: t.Final[t.Any] = type("Unset", (), {"__repr__": lambda self: "UNSET"})()


class PredictionQueue:
    """The queue of one model. All methods are thread-safe.

    Args:
        replica: computes the batches.
        owner: what messages call the model.
        batch: largest batch.
        wait_s: how long the oldest prediction waits for others, or "auto".
        deadline_s: seconds from `submit` until the result, unless `submit` says otherwise; None is
            no limit.
        queue: most predictions that wait.
        concurrency: most batches that compute at the same time.
        streams: `predict` gives its result item by item.
    """

    def __init__(
        self,
        replica: Replica,
        *,
        owner: str,
        batch: int = 1,
        wait_s: float | t.Literal["auto"] = 0,
        deadline_s: float | None = None,
        queue: int = 1024,
        concurrency: int = 1,
        streams: bool = False,
    ) -> None:
        self.owner = owner
        self.deadline_s = deadline_s
        self.concurrency = concurrency
        self._replica = replica
        self._batch = batch
        self._streams = streams
        self._make_batcher = partial(
            Batcher[Ticket], max_size=batch, wait_s=wait_s, max_waiting=queue
        )
        self._counts = Counts()
        self.open()
        _all.add(self)

    def open(self) -> None:
        """Begin anew, with nothing waiting and no thread: after `close`, and after a fork."""
        owner, concurrency = self.owner, self.concurrency
        self._lock = lock = allocate_lock()
        self._state = state = QueueState(
            self._make_batcher(),
            self._counts,
            owner=owner,
            deadline_s=self.deadline_s,
            concurrency=concurrency,
        )
        self._deadlines = DeadlineThread(state, lock, owner=owner)
        self._threads = BatchThreads(
            state,
            self._deadlines,
            lock,
            self._replica,
            owner=owner,
            concurrency=concurrency,
            streams=self._streams,
        )

    # --- without waiting -----------------------------------------------------------------------

    def submit(
        self,
        arguments: Arguments,
        *,
        deadline_s: float | None = UNSET,
        deliver: Deliver | None = None,
        beyond: bool = False,
    ) -> Ticket:
        """Let a prediction wait for its turn.

        Args:
            arguments: of `predict`, by name.
            deadline_s: seconds from now until the result; None is no limit.
            deliver: called with a list of settled tickets, once per batch, from the thread that
                computed it (or from the thread that cancels, or that watches deadlines); must
                return soon and not raise. Without it, one thread may call `wait` of the ticket.
            beyond: also when the queue is full, for callers with a bound of their own.

        Raises:
            UnavailableError: the queue is full, `predict` hangs, or the model is closing.
        """
        if deadline_s is UNSET:
            deadline_s = self.deadline_s
        now_s = monotonic()
        ticket = Ticket(arguments=arguments, arrived_s=now_s, deliver=deliver)
        if deadline_s is not None:
            ticket.deadline_s = now_s + deadline_s
        if deliver is None:
            ticket.make_waitable()
        if self._batch == 1:  # a batch belongs to no request, and sees none
            ticket.context = copy_context()
        with self._lock:
            self._state.admit(ticket, now_s, beyond=beyond)
            try:
                self._threads.wake_for(now_s)
                if ticket.deadline_s < self._deadlines.wakes_s:
                    self._deadlines.wake_by(ticket.deadline_s)
            except RuntimeError as exc:  # the system starts no more threads
                self._state.withdraw(ticket, exc, now_s)
                raise
        return ticket

    def submit_round(self, tickets: cabc.Sequence[Ticket], *, quick_s: float = 0.0) -> None:
        """Let predictions that arrived together wait together.

        Every ticket is delivered, perhaps before this returns: tickets for which there is no room
        are settled by an `UnavailableError`.

        Args:
            tickets: made by the caller, with `arguments` and `deliver`; without batches with the
                `context` as well, if it is not the calling thread's.
            quick_s: compute on the calling thread what is expected to take less time; to wake
                another thread would take as long.
        """
        now_s = monotonic()
        deadline_s = math.inf if self.deadline_s is None else now_s + self.deadline_s
        for ticket in tickets:
            ticket.arrived_s = now_s
            ticket.deadline_s = deadline_s
            if self._batch == 1 and ticket.context is None:
                ticket.context = copy_context()
        slot = None
        with self._lock:
            settled = self._state.admit_round(tickets, now_s)
            try:
                if deadline_s < self._deadlines.wakes_s:
                    self._deadlines.wake_by(deadline_s)
                slot, late = self._threads.take_if_quick(now_s, quick_s)
            except RuntimeError as exc:  # the system starts no more threads
                late = [ticket for ticket in tickets if not ticket.settled]
                for ticket in late:
                    self._state.withdraw(ticket, exc, now_s)
        if settled or late:
            deliver(settled + late)
        if slot is not None:
            self._threads.compute(slot)

    # --- waiting -------------------------------------------------------------------------------

    def submit_and_wait(self, arguments: Arguments, *, deadline_s: float | None = UNSET) -> Ticket:
        """Submit a prediction and sleep until its ticket is settled.

        Raises what `submit` raises; `result()` of the ticket returns or raises the rest.
        """
        ticket = self.submit(arguments, deadline_s=deadline_s)
        if self._batch > 1:
            # Not the main thread: Ctrl-C may come to it at any moment, and others would sleep on.
            ticket.wakes_others = get_ident() != main_thread().ident
        try:
            ticket.wait()
        except BaseException:  # Ctrl-C in the main thread; what gevent throws into any
            if not self.cancel(ticket) and ticket.wakes_others:
                ticket.wait()  # it is being woken, and wakes others
            raise
        return ticket

    def run(self, arguments: Arguments, *, deadline_s: float | None = UNSET) -> t.Any:
        """Compute a prediction and wait for it; returns the result, or raises the failure.

        Without a deadline, and while the queue is empty, on the caller's own thread: 11 us less,
        and a debugger or Ctrl-C finds it there. With a deadline always on another thread, because a
        thread that is inside `predict` cannot return to its caller in time.
        """
        if deadline_s is UNSET:
            deadline_s = self.deadline_s
        threads = self._threads
        if self._streams:
            if threads.has_caller:  # `predict` calls itself, and would wait for its own slot
                return self._replica.compute([arguments])[0]
        elif deadline_s is None and (slot := threads.enter()) is not None:
            compute: Compute = self._replica.compute
            if self._batch == 1:
                compute = in_context(copy_context(), compute)
            return threads.compute_here(slot, compute, arguments)
        ticket = self.submit_and_wait(arguments, deadline_s=deadline_s)
        try:
            return ticket.result()
        finally:
            del ticket  # the traceback of a failure would keep it, and it the failure

    # --- ending --------------------------------------------------------------------------------

    def cancel(self, ticket: Ticket) -> bool:
        """Give a ticket up; unless its batch computes already, it never will.

        The ticket is delivered from this thread. False: it was settled before.
        """
        with self._lock:
            if ticket.settled:
                return False
            self._counts.cancelled += 1
            cancelled = CancelledError(f"{self.owner}: the prediction was cancelled.")
            self._state.withdraw(ticket, cancelled, monotonic())
        deliver([ticket])
        return True

    def close(self, timeout_s: float | None = None) -> bool:
        """Refuse what arrives, compute what waits, and return when that is done.

        False: it was not done within `timeout_s`, or `predict` hangs; what was left is settled by a
        `ClosedError`.
        """
        closer = held_lock()
        with self._lock:
            self._state.close(closer)
            self._threads.wake_all()
        drained = closer.acquire(timeout=FOREVER if timeout_s is None else timeout_s)
        with self._lock:
            left = self._state.abandon(monotonic())
            writers = [s.writer for s in self._state.computing if s.writer is not None]
            self._deadlines.wake()
            drained = drained and not self._state.computing
        deliver(left)
        for writer in writers:
            writer.fail(ClosedError(f"{self.owner} is being closed."))
        return drained

    # --- looking -------------------------------------------------------------------------------

    @property
    def stuck(self) -> bool:
        """Whether every batch that may compute hangs past its deadline."""
        return self._state.is_stuck

    def statistics(self) -> Statistics:
        """Counts since the model was first used."""
        with self._lock:
            return self._counts.copy(
                waiting=len(self._state.waiting),
                computing=self._state.computing_items,
                stuck=self.stuck,
            )


def _open_all() -> None:
    """The child of a fork has none of its parent's threads, and perhaps a lock that one held."""
    for queue in list(_all):
        queue.open()


_all: weakref.WeakSet[PredictionQueue] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_open_all)
