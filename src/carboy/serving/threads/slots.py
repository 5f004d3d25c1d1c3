"""Limit how many views run at the same time. Further requests wait in a queue, without a thread."""

from __future__ import annotations

import typing as t
from _thread import allocate_lock
from collections import OrderedDict
from itertools import count
from threading import Thread

from ..log import logger

if t.TYPE_CHECKING:
    import collections.abc as cabc

    Job = cabc.Callable[..., object]
    _Call = tuple[Job, tuple[t.Any, ...]]


class ViewSlots:
    """Runs jobs (calls of views) on the calling threads, at most `most` jobs at a time.
    Thread-safe.

    A slot is the permission to run one job. A job that gets no slot waits in a queue, whose length
    is limited by the number of connections. A thread that has finished a job also runs the next
    one. The methods that may put a job into the queue then return its place there, with which
    `cancel` removes it.

    Slow jobs are those that read the body of a request while it arrives, and so wait for the
    client. A quarter of the slots is never used for them (if there is more than one slot), so that
    slow clients cannot stop all views.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._most_slow = max(1, most - max(1, most // 4))
        self._busy = self._busy_slow = 0
        # Two queues of waiting jobs. Each job has a number (its place), counted across both queues,
        # so that the job that has waited longest can be found.
        self._waiting: OrderedDict[int, _Call] = OrderedDict()
        self._waiting_slow: OrderedDict[int, _Call] = OrderedDict()
        self._places = count()
        self._lock = allocate_lock()

    @property
    def full(self) -> bool:
        """Whether a new job would have to wait in the queue."""
        return self._busy >= self._most

    @property
    def busy(self) -> int:
        """How many jobs are running."""
        return self._busy

    @property
    def waiting(self) -> int:
        """How many jobs wait for a slot."""
        return len(self._waiting) + len(self._waiting_slow)

    def run(self, job: Job, *args: t.Any) -> int | None:
        """Run a job now on the calling thread; if no slot is free, put it into the queue and
        return its place.
        """
        lock = self._lock
        lock.acquire()  # PERF: `with lock` would take 0.15 us longer, a call of `_enter` 0.05 us
        if self._busy >= self._most:
            self._waiting[place := next(self._places)] = job, args
            lock.release()
            return place
        self._busy += 1
        lock.release()
        self._work(job, args)
        return None

    def run_slow(self, job: Job, *args: t.Any) -> int | None:
        """Run a slow job (one that waits for its client) now on the calling thread; if no slot is
        free for it, put it into the queue and return its place.
        """
        with self._lock:
            if self._busy >= self._most or self._busy_slow >= self._most_slow:
                self._waiting_slow[place := next(self._places)] = job, args
                return place
            self._busy += 1
            self._busy_slow += 1
        self._work(job, args, is_slow=True)
        return None

    def hand_over(self, job: Job, *args: t.Any) -> int | None:
        """Run a job on a new thread; if no slot is free, put it into the queue and return its
        place. Returns at once.
        """
        with self._lock:
            if self._busy >= self._most:
                self._waiting[place := next(self._places)] = job, args
                return place
            self._busy += 1
        try:
            Thread(target=self._work, args=(job, args), name="views", daemon=True).start()
        except BaseException:
            with self._lock:
                self._busy -= 1
            raise
        return None

    def cancel(self, place: int) -> tuple[t.Any, ...] | None:
        """Remove a waiting job from the queue and return its arguments; None if it waits no longer,
        because it was begun or cancelled.
        """
        with self._lock:
            call = self._waiting.pop(place, None) or self._waiting_slow.pop(place, None)
        return None if call is None else call[1]

    def _work(self, job: Job, args: tuple[t.Any, ...], is_slow: bool = False) -> None:
        lock = self._lock
        while True:
            try:
                job(*args)
            # An exception must not end this loop: the slot of the job would stay occupied for ever,
            # and waiting jobs would not be run.
            except BaseException:  # noqa: BLE001
                logger.exception("error while serving")
            lock.acquire()
            if is_slow:
                self._busy_slow -= 1
            if self._waiting_slow and self._is_slow_next():
                is_slow = True
                self._busy_slow += 1
                _, (job, args) = self._waiting_slow.popitem(last=False)
            elif self._waiting:
                is_slow = False
                _, (job, args) = self._waiting.popitem(last=False)
            else:
                self._busy -= 1
                lock.release()
                return
            lock.release()

    def _is_slow_next(self) -> bool:
        """Whether the job that has waited longest is a slow one (it waits for its client), and a
        slot is free for it.
        """
        if self._busy_slow >= self._most_slow:
            return False
        return not self._waiting or next(iter(self._waiting_slow)) < next(iter(self._waiting))
