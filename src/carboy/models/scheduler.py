"""The queue in front of a model, and the threads that compute its batches.

What leaves when is `batching`'s to decide, what a failure means `isolation`'s; here are the clock,
the lock and the threads. Nothing polls: a thread sleeps until it is rung, or until the moment that
the batcher named. While a batch computes, the next one gathers; with `concurrency` above 1 several
compute side by side. A thread begins with the first item and ends after half a minute without one.

    submit --> batcher --> a worker: take, compute, settle --> notify
                  |
                  +------> the guard: settles what misses its deadline, in the queue or in `predict`

Everything below `self._lock` takes microseconds; `run` and `notify` are called outside it.
"""

from __future__ import annotations

import math
import os
import threading
import typing as t
import weakref
from _thread import allocate_lock, get_ident
from time import monotonic

from .batching import Batcher
from .counting import Counts, Statistics
from .isolation import isolate
from .refusals import (
    CancelledError,
    ClosedError,
    DeadlineError,
    QueuedTooLongError,
    QueueFullError,
    StuckError,
)
from .tickets import Ticket, notify

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from .tickets import OnDone

UNSET: t.Final[t.Any] = type("Unset", (), {"__repr__": lambda self: "UNSET"})()
# A thread that had nothing to do for so long ends; the next item starts another in 0.1 ms.
_IDLE_S = 30.0
# A Retry-After beyond this helps nobody.
_LONGEST_RETRY_S = 60
_FOR_EVER: t.Final = -1


class _Bell:
    """Wakes the one thread that waits on it; rings before the wait count once."""

    __slots__ = ("_lock", "_rung")

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()
        self._rung = False

    def ring(self) -> None:
        """Under the scheduler's lock."""
        if not self._rung:
            self._rung = True
            self._lock.release()

    def silence(self) -> bool:
        """Whether it was rung since the last time. Under the scheduler's lock."""
        rung, self._rung = self._rung, False
        if rung:
            self._lock.acquire(blocking=False)  # when the wait had timed out at that very moment
        return rung

    def wait(self, timeout_s: float) -> None:
        self._lock.acquire(True, timeout_s if timeout_s < threading.TIMEOUT_MAX else _FOR_EVER)


class _Worker:
    """A thread that computes, or a caller's own thread while it does."""

    __slots__ = ("bell", "leaves_s", "limit_s", "started_s", "stuck", "tickets")

    def __init__(self) -> None:
        self.bell = _Bell()
        self.tickets: list[Ticket] = []
        self.started_s = 0.0
        self.limit_s = math.inf  # when the last deadline of the batch is over
        self.leaves_s = math.inf  # while it gathers: when it will wake by itself
        self.stuck = False


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
        self._lock = allocate_lock()
        self._batcher: Batcher[Ticket] = Batcher(**self._options)
        self._threads = 0
        self._computing: list[_Worker] = []
        self._items = 0  # that they compute
        self._stuck = 0
        self._idle: list[_Worker] = []  # asleep until rung
        self._gathering: _Worker | None = None  # asleep until its batch leaves, or about to look
        self._inside: set[int] = set()  # threads that are in `run`
        self._guard: _Bell | None = None
        self._guard_wakes_s = math.inf
        self._closed = False
        self._drained: list[t.Any] = []  # gates of those who wait for the end

    # --- what callers do -----------------------------------------------------------------------

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
            if self._closed or self._stuck >= self.concurrency:
                raise self._refusal()
            if not self._batcher.offer(ticket, now_s, computing=self._items, beyond=beyond):
                raise self._refusal(full=True)
            self._wake_for(now_s)
            if ticket.deadline_s < self._guard_wakes_s:
                self._wake_guard(ticket.deadline_s)
        return ticket

    def call(self, item: t.Any, *, deadline_s: float | None = None) -> t.Any:
        """Compute one item and wait for it; raises what it failed with.

        Without a deadline and with nobody else there, on the caller's own thread: 11 us less, and
        a debugger or Ctrl-C finds it there. With a deadline always on a worker, because a thread
        that is inside `predict` cannot give its caller an answer in time.
        """
        if deadline_s is None:
            worker = self._enter()
            if worker is not None:
                return self._compute_here(worker, item)
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
        try:
            ticket.wait()
        except BaseException:  # Ctrl-C in the main thread
            self.cancel(ticket)
            raise
        return ticket

    def cancel(self, ticket: Ticket) -> bool:
        """Give a ticket up; what has not begun to compute never will. False: it was settled."""
        with self._lock:
            if ticket.settled:
                return False
            self._counts.cancelled += 1
            self._settle(ticket, CancelledError(f"{self.owner}: the prediction was cancelled."))
            if not ticket.batch_size:
                self._batcher.withdraw()
        notify([ticket])
        return True

    def close(self, timeout_s: float | None = None) -> bool:
        """Refuse what comes, compute what waits, and return when that is done.

        False: it was not done within `timeout_s`, or `predict` hangs; what was left is answered
        with `ClosedError`.
        """
        gate = allocate_lock()
        gate.acquire()
        with self._lock:
            self._closed = True
            self._drained.append(gate)
            for worker in self._idle:
                worker.bell.ring()
            self._idle.clear()
            if self._gathering is not None:
                self._gathering.bell.ring()
            self._open_gates()
        drained = gate.acquire(timeout=_FOR_EVER if timeout_s is None else timeout_s)
        with self._lock:
            left = list(self._batcher)
            for ticket in left:
                self._settle(ticket, self._refusal())
                self._batcher.withdraw()
            if self._guard is not None:
                self._guard.ring()
            drained = drained and not self._computing
        notify(left)
        return drained

    @property
    def stuck(self) -> bool:
        """Whether every batch that may compute hangs past its deadline."""
        return self._stuck >= self.concurrency

    def statistics(self) -> Statistics:
        with self._lock:
            return self._counts.copy(
                waiting=len(self._batcher),
                computing=self._items,
                stuck=self.stuck,
            )

    def _refusal(self, *, full: bool = False) -> ClosedError | StuckError | QueueFullError:
        self._counts.refused += 1
        if self._closed:
            return ClosedError(f"{self.owner} is being closed. Send it again.")
        if not full:
            return StuckError(
                f"{self.owner} hangs: a prediction has not come back within its deadline.",
                retry_after_s=_retry_s(self.deadline_s or _LONGEST_RETRY_S),
            )
        return QueueFullError(
            f"{self.owner} has {len(self._batcher)} predictions waiting, and no room for more.",
            retry_after_s=_retry_s(self._batcher.clears_s(concurrency=self.concurrency)),
        )

    # --- waking, all under the lock ------------------------------------------------------------

    def _wake_for(self, now_s: float) -> None:
        """See to it that somebody takes what waits, as soon as it is due."""
        if len(self._computing) >= self.concurrency:
            return  # whoever finishes looks
        gathering = self._gathering
        if gathering is not None:
            if gathering.leaves_s != math.inf:
                due_s = self._batcher.due_s(now_s)
                if due_s is not None and (due_s <= now_s or due_s < gathering.leaves_s):
                    gathering.leaves_s = math.inf
                    gathering.bell.ring()
        elif self._idle:
            self._gathering = worker = self._idle.pop()
            worker.bell.ring()
        elif self._threads < self.concurrency:
            self._threads += 1
            self._gathering = worker = _Worker()
            threading.Thread(
                target=self._work, args=(worker,), name=f"{self.owner} batches", daemon=True
            ).start()

    def _open_gates(self) -> None:
        if not len(self._batcher) and len(self._computing) == self._stuck:
            for gate in self._drained:
                gate.release()
            self._drained.clear()

    def _settle(self, ticket: Ticket, value: t.Any) -> None:
        ticket.settled = True
        ticket.value = value
        ticket.item = None
        ticket.ended_s = monotonic()

    # --- the workers ---------------------------------------------------------------------------

    def _work(self, worker: _Worker) -> None:
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
        rung = worker.bell.silence()
        if self._gathering is worker:
            self._gathering = None
        waited = worker in self._idle
        if waited:
            self._idle.remove(worker)
        due_s = self._batcher.due_s(now_s) if self._has_room() else None
        if due_s is None:
            if self._closed or (waited and not rung):
                self._threads -= 1
                self._open_gates()
                return [], None
            self._idle.append(worker)
            return [], _IDLE_S
        if due_s > now_s and not self._closed:
            if self._gathering is None:
                self._gathering, worker.leaves_s = worker, due_s
                return [], due_s - now_s
            self._idle.append(worker)
            return [], _IDLE_S
        return self._take(worker, now_s), 0

    def _has_room(self) -> bool:
        return len(self._computing) < self.concurrency

    def _take(self, worker: _Worker, now_s: float) -> list[Ticket]:
        batch, late = self._batcher.take(now_s)
        for ticket in late:
            self._expire(ticket, begun=False)
        if batch:
            self._occupy(worker, batch, now_s)
            if len(self._batcher):
                self._wake_for(now_s)
        return late

    def _occupy(self, worker: _Worker, tickets: list[Ticket], now_s: float) -> None:
        size, limit_s = len(tickets), 0.0
        for ticket in tickets:
            ticket.batch_size = size
            ticket.began_s = now_s
            limit_s = max(limit_s, ticket.deadline_s)
        worker.tickets = tickets
        worker.started_s = now_s
        worker.limit_s = limit_s
        worker.leaves_s = math.inf
        self._computing.append(worker)
        self._items += size

    def _compute(self, worker: _Worker) -> None:
        tickets, me = worker.tickets, get_ident()
        self._inside.add(me)
        try:
            values = isolate(self._run_tickets, tickets, wanted=_is_wanted)
        finally:
            self._inside.discard(me)
        with self._lock:
            done = self._finish(worker, values)
        notify(done)

    def _run_tickets(self, tickets: list[Ticket]) -> t.Any:
        return self._run([ticket.item for ticket in tickets])

    def _finish(self, worker: _Worker, values: list[t.Any]) -> list[Ticket]:
        """Settle a batch; those that were settled meanwhile keep what they have."""
        now_s = monotonic()
        took_s = now_s - worker.started_s
        done = []
        for ticket, value in zip(worker.tickets, values, strict=True):
            if ticket.settled:
                continue
            ticket.settled = True
            ticket.value = value
            ticket.item = None
            ticket.ended_s = now_s
            done.append(ticket)
            self._counts.answer(
                failed=isinstance(value, BaseException),
                waited_s=worker.started_s - ticket.arrived_s,
                took_s=took_s,
            )
        self._vacate(worker, now_s, size=len(values))
        return done

    def _vacate(self, worker: _Worker, now_s: float, *, size: int) -> None:
        worker.tickets = []
        self._computing.remove(worker)
        self._items -= size
        if worker.stuck:
            worker.stuck = False
            self._stuck -= 1
        took_s = now_s - worker.started_s
        self._counts.batch(size, took_s)
        self._batcher.finished(now_s, size=size, took_s=took_s)
        self._open_gates()

    # --- the caller's own thread ---------------------------------------------------------------

    def _enter(self) -> _Worker | None:
        """A place for the calling thread to compute on; None while it must wait for its turn."""
        with self._lock:
            if self._closed or self._stuck >= self.concurrency:
                raise self._refusal()
            # `predict` that calls its own model would wait for itself.
            nested = get_ident() in self._inside
            if not nested and (len(self._batcher) or not self._has_room()):
                return None
            worker = _Worker()
            worker.started_s = monotonic()
            self._computing.append(worker)
            self._items += 1
        return worker

    def _compute_here(self, worker: _Worker, item: t.Any) -> t.Any:
        me = get_ident()
        nested = me in self._inside
        self._inside.add(me)
        (value,) = isolate(self._run, [item])
        if not nested:
            self._inside.discard(me)
        with self._lock:
            now_s = monotonic()
            failed = isinstance(value, BaseException)
            self._counts.answer(failed=failed, waited_s=0, took_s=now_s - worker.started_s)
            self._vacate(worker, now_s, size=1)
            if len(self._batcher):
                self._wake_for(now_s)
        if failed:
            raise value
        return value

    # --- the guard of deadlines ----------------------------------------------------------------

    def _wake_guard(self, deadline_s: float) -> None:
        self._guard_wakes_s = deadline_s
        if self._guard is None:
            self._guard = _Bell()
            threading.Thread(
                target=self._watch,
                args=(self._guard,),
                name=f"{self.owner} deadlines",
                daemon=True,
            ).start()
        else:
            self._guard.ring()

    def _watch(self, bell: _Bell) -> None:
        """Sleep until the next deadline; with deadlines of one length, once in that time."""
        while True:
            with self._lock:
                rung = bell.silence()
                now_s = monotonic()
                expired = self._expire_all(now_s)
                nothing = self._guard_wakes_s == math.inf
                if nothing and (self._closed or not rung):
                    self._guard = None
            notify(expired)
            if self._guard is not bell:
                return
            bell.wait(_IDLE_S if nothing else max(0.0, self._guard_wakes_s - now_s))

    def _expire_all(self, now_s: float) -> list[Ticket]:
        """Settle all that are late, find the workers that hang, and say when to look again."""
        expired = []
        for ticket in list(self._batcher):
            if ticket.deadline_s <= now_s:
                self._expire(ticket, begun=False)
                self._batcher.withdraw()
                expired.append(ticket)
        for worker in self._computing:
            for ticket in worker.tickets:
                if ticket.deadline_s <= now_s and not ticket.settled:
                    self._expire(ticket, begun=True)
                    expired.append(ticket)
            if worker.limit_s <= now_s and not worker.stuck:
                worker.stuck = True
                self._stuck += 1
        if self.stuck:
            # They could only wait for their own deadline; elsewhere they may be served.
            for ticket in list(self._batcher):
                self._settle(ticket, self._refusal())
                self._batcher.withdraw()
                expired.append(ticket)
            self._open_gates()
        self._guard_wakes_s = min(self._deadlines(), default=math.inf)
        return expired

    def _deadlines(self) -> cabc.Iterator[float]:
        for ticket in self._batcher:
            yield ticket.deadline_s
        for worker in self._computing:
            if not worker.stuck:
                yield worker.limit_s
            for ticket in worker.tickets:
                if not ticket.settled:
                    yield ticket.deadline_s

    def _expire(self, ticket: Ticket, *, begun: bool) -> None:
        self._counts.expired += 1
        allowed = f"{ticket.deadline_s - ticket.arrived_s:g} s"
        if begun:
            self._settle(ticket, DeadlineError(f"{self.owner} did not answer within {allowed}."))
            return
        self._settle(
            ticket,
            QueuedTooLongError(
                f"{self.owner} did not come to this prediction within {allowed}.",
                retry_after_s=_retry_s(self._batcher.clears_s(concurrency=self.concurrency)),
            ),
        )


def _is_wanted(ticket: Ticket) -> bool:
    return not ticket.settled


def _retry_s(seconds: float) -> int:
    return max(1, min(_LONGEST_RETRY_S, math.ceil(seconds)))


def _begin_anew() -> None:
    """The child of a fork has none of its parent's threads, and perhaps a lock that one held."""
    for scheduler in list(_all):
        scheduler._begin()


_all: weakref.WeakSet[Scheduler] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
