"""At most so many views at once; further requests wait without a thread."""

from __future__ import annotations

import typing as t
from _thread import allocate_lock
from collections import deque
from threading import Thread

from ..log import logger

if t.TYPE_CHECKING:
    import collections.abc as cabc

    Job = cabc.Callable[..., object]


class Slots:
    """Runs jobs on the threads that bring them, and none of them beside `most` others.

    A job that finds all slots taken waits in line; whoever finishes takes the first from there, so
    a thread that brings one job may run many. Thread-safe. The line is as long as there are
    connections, which the engine bounds.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._busy = 0
        self._line: deque[tuple[Job, tuple[t.Any, ...]]] = deque()
        self._lock = allocate_lock()

    @property
    def full(self) -> bool:
        """Whether a job would have to wait in line just now."""
        return self._busy >= self._most

    def run(self, job: Job, *args: t.Any) -> None:
        """Run a job now, or leave it in line and return."""
        if self._enter(job, args):
            self._work(job, args)

    def hand_over(self, job: Job, *args: t.Any) -> None:
        """The same on a new thread, for one that has other things to do."""
        if self._enter(job, args):
            try:
                Thread(target=self._work, args=(job, args), name="views", daemon=True).start()
            except BaseException:
                with self._lock:
                    self._busy -= 1
                raise

    def _enter(self, job: Job, args: tuple[t.Any, ...]) -> bool:
        lock = self._lock
        lock.acquire()  # PERF: `with` takes 0.15 us longer
        free = self._busy < self._most
        if free:
            self._busy += 1
        else:
            self._line.append((job, args))
        lock.release()
        return free

    def _work(self, job: Job, args: tuple[t.Any, ...]) -> None:
        lock = self._lock
        while True:
            try:
                job(*args)
            except BaseException:  # noqa: BLE001  # the slot would be lost, and those in line
                logger.exception("error while serving")
            lock.acquire()
            if not self._line:
                self._busy -= 1
                lock.release()
                return
            job, args = self._line.popleft()
            lock.release()
