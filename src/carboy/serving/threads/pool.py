"""A pool of threads that take turns in running one event loop: only one runs it at a time.

The module `leader` decides which thread runs the loop; this module starts and stops the threads.
"""

from __future__ import annotations

import threading
import typing as t
import weakref
from _thread import get_ident
from collections import deque
from time import monotonic

from ..log import logger
from .leader import LeaderFollowers

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from carboy.models.replicas.replica import LoopUser

    from .leader import PoolThread

# How many threads a pool may have in addition to those for views: one runs the event loop, the
# others decode large bodies.
SPARE_THREADS = 8
# For how many seconds `stop` waits for threads that still run a view.
JOIN_S = 1.0


class EventLoop(t.Protocol):
    """An event loop for a pool: the thread whose turn it is calls `poll`, then `handle`, again and
    again until the pool stops. Exceptions are logged.
    """

    def poll(self) -> t.Any:
        """Wait for events on the sockets and return them; None if there is nothing to handle."""

    def handle(self, events: t.Any, thread: PoolThread) -> object:
        """Handle events on the calling thread, which is `thread`. If `events` is None, only do
        periodic work, such as closing connections that have timed out.
        """

    def call_when_readable(self, fd: int, call: cabc.Callable[[], object] | None) -> object:
        """Call a function whenever a file descriptor is readable; None ends that. Thread-safe."""

    def wake(self) -> object:
        """Make `poll` return soon if it is waiting. Thread-safe."""


class LeaderPool(LeaderFollowers):
    """A pool that starts another thread whenever none is available to run the event loop, up to a
    limit.

    Args:
        views: how many views may run at the same time.
        apart: how many threads there may be that never run the event loop.

    Attributes:
        calls: functions that the thread that runs the event loop must call, in this order.
    """

    def __init__(self, views: int, apart: int = 0) -> None:
        super().__init__()
        self._most = views + SPARE_THREADS
        self._most_apart = apart
        self._apart: set[threading.Thread] = set()
        self._started: list[threading.Thread] = []
        self._loop: EventLoop | None = None
        self._users: weakref.WeakSet[LoopUser] = weakref.WeakSet()
        self.calls: deque[cabc.Callable[[], object]] = deque()

    def start(self, loop: EventLoop) -> None:
        """Start the first thread of the pool, which runs the event loop."""
        self._loop = loop
        self.monitor.start()
        self._add_leader()

    def stop(self) -> None:
        """Stop the threads. Waits for idle threads, and at most `JOIN_S` seconds for all others."""
        super().stop()
        if self._loop is not None:
            self._loop.wake()
        until_s = monotonic() + JOIN_S
        for thread in [*self._started, *list(self._apart)]:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until_s - monotonic()))
        for user in list(self._users):
            user.loop_ended()

    def _add_leader(self) -> None:
        with self._lock:
            if self._loop is None or self._stopping or len(self._started) >= self._most:
                return
            name = f"carboy-{len(self._started) + 1}"
            args = (self._loop,)
            thread = threading.Thread(target=self._serve, args=args, name=name, daemon=True)
            self._started.append(thread)
        try:
            thread.start()
        # The system allows no more threads; the next thread that finishes its work runs the event
        # loop.
        except RuntimeError as exc:
            with self._lock:
                self._started.remove(thread)
            logger.error("no more than %d threads can be started: %s", len(self._started), exc)

    def _serve(self, loop: EventLoop) -> None:
        thread = self.join()
        self.finish(thread)  # if another thread runs the event loop by now, this thread sleeps
        ident = get_ident()
        while not self._stopping:
            try:
                events = loop.poll()
                if events is not None:
                    thread.turns += 1
                    thread.at_work = True
                    if self.monitor.asleep:
                        self.monitor.wake()
                self.leader = ident
                loop.handle(events, thread)
            # An exception must not end this thread: if no thread ran the event loop, the server
            # would answer no more requests.
            except BaseException:  # noqa: BLE001
                logger.exception("error while serving")
            thread.at_work = False
            if thread.stepped_aside or self._leading > 1:
                self.finish(thread)
        self.leave(thread)

    # --- threads for what takes long -----------------------------------------------------------

    def run_apart(self, work: cabc.Callable[..., object], *args: t.Any) -> bool:
        """Call a function on a new thread, which never runs the event loop. Returns False if there
        are as many such threads as allowed, or the system allows no more.
        """
        thread = threading.Thread(
            target=self._work_apart, args=(work, *args), name="carboy-apart", daemon=True
        )
        with self._lock:
            if self._stopping or len(self._apart) >= self._most_apart:
                return False
            self._apart.add(thread)
        try:
            thread.start()
        except RuntimeError as exc:
            self._apart.discard(thread)
            logger.error("no more than %d threads can be started: %s", len(self._apart), exc)
            return False
        return True

    def _work_apart(self, work: cabc.Callable[..., object], *args: t.Any) -> None:
        try:
            work(*args)
        except BaseException:  # noqa: BLE001  # it is logged as those of all threads of the pool
            logger.exception("error while serving")
        finally:
            self._apart.discard(threading.current_thread())

    # --- the leading thread --------------------------------------------------------------------

    def leads(self) -> bool:
        """Whether the calling thread is the one that runs the event loop."""
        return get_ident() == self.leader

    def call(self, work: cabc.Callable[[], object]) -> None:
        """Let the thread that runs the event loop call a function soon. Return at once.
        Thread-safe.
        """
        self.calls.append(work)
        if self._loop is not None and not self._stopping:
            self._loop.wake()

    @property
    def is_running(self) -> bool:
        """Whether the event loop runs, so that it will call what is passed to `call` and
        `call_when_readable`.
        """
        return self._loop is not None and not self._stopping

    def call_when_readable(self, fd: int, call: cabc.Callable[[], object] | None) -> None:
        """Let the thread that runs the event loop call a function whenever a file descriptor is
        readable; None ends that, and must be passed before the descriptor is closed. Thread-safe.

        Raises:
            OSError: the descriptor cannot be watched, or the event loop has ended. Not for None.
        """
        if self.is_running:
            t.cast("EventLoop", self._loop).call_when_readable(fd, call)
        elif call is not None:
            raise OSError("the event loop has ended")

    def tell_at_end(self, user: LoopUser) -> None:
        """Call `loop_ended` of a user when the event loop has ended. Thread-safe."""
        self._users.add(user)
