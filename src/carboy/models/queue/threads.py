"""The threads that compute, and the caller's own thread where it may.

A thread begins with the first item and ends after half a minute without one. While one computes,
the next batch gathers: of the threads that have nothing to do, one sleeps until that batch is due,
and the others until they are rung.
"""

from __future__ import annotations

import logging
import math
import threading
import typing as t
from _thread import get_ident
from time import monotonic

from . import waking
from .isolation import isolate
from .state import Place
from .stream import Begun
from .ticket import notify
from .waking import Bell

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from .deadlines import Guard
    from .state import Ledger
    from .stream import Rest
    from .ticket import Ticket

_logger = logging.getLogger("carboy.models")


class _Worker(Place):
    """A thread with a place of its own."""

    __slots__ = ("bell", "leaves_s")

    def __init__(self) -> None:
        super().__init__()
        self.bell = Bell()
        self.leaves_s = math.inf  # while it gathers: when it will wake by itself


class Workers:
    """Those of one model. `run` and the callbacks of tickets are called outside the lock."""

    def __init__(
        self,
        ledger: Ledger,
        guard: Guard,
        lock: t.Any,
        run: cabc.Callable[[list[t.Any]], t.Any],
        *,
        owner: str,
        concurrency: int,
    ) -> None:
        self._ledger = ledger
        self._guard = guard
        self._lock = lock
        self._run = run
        self._owner = owner
        self._concurrency = concurrency
        self._threads = 0
        self._idle: list[_Worker] = []  # asleep until rung
        self._gathering: _Worker | None = None  # asleep until its batch leaves, or about to look
        self._inside: set[int] = set()  # threads that are in `run`

    # --- waking, under the lock ----------------------------------------------------------------

    def wake_for(self, now_s: float) -> None:
        """See to it that somebody takes what waits, as soon as it is due."""
        if not self._ledger.has_room:
            return  # whoever finishes looks
        gathering = self._gathering
        if gathering is not None:
            if gathering.leaves_s != math.inf:
                due_s = self._ledger.waiting.due_s(now_s)
                if due_s is not None and (due_s <= now_s or due_s < gathering.leaves_s):
                    gathering.leaves_s = math.inf
                    gathering.bell.ring()
        elif self._idle:
            self._gathering = worker = self._idle.pop()
            worker.bell.ring()
        elif self._threads < self._concurrency:
            self._threads += 1
            self._gathering = worker = _Worker()
            threading.Thread(
                target=self._work, args=(worker,), name=f"{self._owner} batches", daemon=True
            ).start()

    def wake_all(self) -> None:
        """So that they compute what waits, and end."""
        for worker in self._idle:
            worker.bell.ring()
        self._idle.clear()
        if self._gathering is not None:
            self._gathering.bell.ring()

    # --- a thread's life -----------------------------------------------------------------------

    def _work(self, worker: _Worker) -> None:
        worker.thread = get_ident()
        while self._gather(worker):
            self._compute(worker)

    def _gather(self, worker: _Worker) -> bool:
        """Sleep until there is a batch, and take it. False: this thread is not needed any more."""
        while True:
            with self._lock:
                now_s = monotonic()
                late, sleep_s = self._look(worker, now_s)
            if late:
                notify(late)
            if worker.tickets:
                return True
            if sleep_s is None:
                return False
            if sleep_s > 0:
                worker.bell.wait(sleep_s)

    def _look(self, worker: _Worker, now_s: float) -> tuple[list[Ticket], float | None]:
        """Take what is due, or say how long to sleep; None: end."""
        ledger = self._ledger
        rung = worker.bell.silence()
        if self._gathering is worker:
            self._gathering = None
        waited = worker in self._idle
        if waited:
            self._idle.remove(worker)
        due_s = ledger.waiting.due_s(now_s) if ledger.has_room else None
        if due_s is None:
            if ledger.closed or (waited and not rung):
                self._threads -= 1
                ledger.open_gates()
                return [], None
            self._idle.append(worker)
            return [], waking.IDLE_S
        if due_s > now_s and not ledger.closed:
            if self._gathering is None:
                self._gathering, worker.leaves_s = worker, due_s
                return [], due_s - now_s
            self._idle.append(worker)
            return [], waking.IDLE_S
        worker.leaves_s = math.inf
        late = ledger.take(worker, now_s)
        if worker.tickets and len(ledger.waiting):
            self.wake_for(now_s)
        return late, 0

    def _compute(self, worker: _Worker) -> None:
        me = get_ident()
        self._inside.add(me)
        try:
            values = isolate(self._run_tickets, worker.tickets, wanted=_is_wanted)
        finally:
            self._inside.discard(me)
        if type(values[0]) is Begun:
            self._answer_by_and_by(worker, values.pop())
            return
        with self._lock:
            now_s = monotonic()
            done = self._ledger.answer(worker, values, now_s)
            hung = worker.stuck
            self._ledger.vacate(worker, now_s)
            others_wait = len(self._ledger.waiting) > 0
        notify(done, hurry=others_wait)
        if hung:
            self._tell_back(worker, now_s)

    def _run_tickets(self, tickets: list[Ticket]) -> t.Any:
        return self._run([ticket.item for ticket in tickets])

    # --- answers item by item ------------------------------------------------------------------

    def _answer_by_and_by(self, worker: _Worker, begun: Begun) -> None:
        """Answer now, and keep the place until the last item."""
        rest = begun.rest
        span_s = _span_s(worker.tickets[0])
        with self._lock:
            worker.rest = rest
            worker.limit_s = math.inf
            done = self._ledger.answer(worker, [begun.stream], monotonic())
        if not done:
            rest.abandon()  # cancelled, or too late
        notify(done)
        # Whoever forgets the stream ends it: no reference may stay here.
        del begun, done
        self._finish(worker, rest, span_s)

    def _finish(self, worker: _Worker, rest: Rest, span_s: float) -> None:
        def expect(*, item: bool) -> None:
            """From now on an item is expected within the deadline, or none at all."""
            with self._lock:
                if not worker.stuck:
                    worker.limit_s = monotonic() + span_s if item else math.inf
                    if worker.limit_s < self._guard.wakes_s:
                        self._guard.wake_by(worker.limit_s)

        me = get_ident()
        self._inside.add(me)
        try:
            rest.finish(expect)
        finally:
            self._inside.discard(me)
            with self._lock:
                now_s = monotonic()
                hung = worker.stuck
                self._ledger.vacate(worker, now_s)
            if hung:
                self._tell_back(worker, now_s)

    def _tell_back(self, worker: _Worker, now_s: float) -> None:
        took_s = now_s - worker.started_s
        _logger.warning("%s is back: predict took %.1f s. It is asked again.", self._owner, took_s)

    # --- the caller's own thread ---------------------------------------------------------------

    @property
    def has_caller(self) -> bool:
        """Whether the calling thread is inside `run`, and would wait for itself."""
        return get_ident() in self._inside

    def compute_quickly(self, limit_s: float) -> None:
        """Compute what is due on the calling thread if it has taken less than that so far.

        Else, and for what is left, wake who computes. Outside the lock.
        """
        late, worker = self._take_if_quick(limit_s)
        if late:
            notify(late)
        if worker is not None:
            self._compute(worker)
            with self._lock:
                if len(self._ledger.waiting):
                    self.wake_for(monotonic())

    def _take_if_quick(self, limit_s: float) -> tuple[list[Ticket], _Worker | None]:
        ledger = self._ledger
        with self._lock:
            now_s = monotonic()
            due_s = ledger.waiting.due_s(now_s)
            if due_s is None:
                return [], None
            # With others computing, or waiting to, each batch would be smaller.
            alone = not (ledger.computing or ledger.closed or self._gathering)
            if alone and due_s <= now_s and ledger.waiting.is_quick(limit_s):
                worker = _Worker()
                worker.thread = get_ident()
                late = ledger.take(worker, now_s)
                if worker.tickets:
                    return late, worker
            else:
                late = []
            self.wake_for(now_s)
            return late, None

    def enter(self) -> Place | None:
        """A place for the calling thread to compute on; None while it must wait for its turn."""
        ledger = self._ledger
        with self._lock:
            if ledger.closed or ledger.hangs:
                raise ledger.refusal()
            if not self.has_caller and (len(ledger.waiting) or not ledger.has_room):
                return None
            return ledger.enter(monotonic())

    def compute_here(self, place: Place, item: t.Any) -> t.Any:
        me = get_ident()
        nested = me in self._inside
        self._inside.add(me)
        (value,) = isolate(self._run, [item])
        if not nested:
            self._inside.discard(me)
        with self._lock:
            now_s = monotonic()
            failed = isinstance(value, BaseException)
            self._ledger.counts.answer([0.0], failed=failed, took_s=now_s - place.started_s)
            self._ledger.vacate(place, now_s)
            if len(self._ledger.waiting):
                self.wake_for(now_s)
        if failed:
            raise value
        return value


def _is_wanted(ticket: Ticket) -> bool:
    return not ticket.settled


def _span_s(ticket: Ticket) -> float:
    return ticket.deadline_s - ticket.arrived_s
