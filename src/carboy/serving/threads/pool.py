"""A pool of threads, one of which leads: it waits for events and handles them."""

from __future__ import annotations

import threading
import typing as t
from _thread import get_ident
from collections import deque
from time import monotonic

from ..log import logger
from .leader import LeaderFollowers

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .leader import PoolThread

# Threads beside those for views: one leads, the others decode large bodies.
SPARE_THREADS = 8
# How long `stop` waits for threads that still run a view, whose clients have disconnected.
JOIN_S = 1.0


class EventLoop(t.Protocol):
    """What the leading thread does, again and again. Exceptions are logged."""

    def poll(self) -> t.Any:
        """Wait for events and return them; None if there is nothing to do."""

    def handle(self, events: t.Any, me: PoolThread) -> object:
        """Handle events on the thread `me`. None: do what is done every now and then."""

    def wake(self) -> object:
        """Make `poll` return. From any thread."""


class LeaderPool(LeaderFollowers):
    """Starts threads when nobody is left who could lead, up to a limit.

    Args:
        views: most views at once.

    Attributes:
        calls: work for the leading thread, in order.
        leader: the identifier of the thread that leads, or led last.
    """

    def __init__(self, views: int) -> None:
        super().__init__()
        self._most = views + SPARE_THREADS
        self._started: list[threading.Thread] = []
        self._loop: EventLoop | None = None
        self._woken = False
        self.leader = 0
        self.calls: deque[cabc.Callable[[], object]] = deque()

    def start(self, loop: EventLoop) -> None:
        """Start the first thread."""
        self._loop = loop
        self.monitor.start()
        self._add_leader()

    def stop(self) -> None:
        """End the threads. Returns when those have ended that run no view, or a second later."""
        super().stop()
        if self._loop is not None:
            self._loop.wake()
        until_s = monotonic() + JOIN_S
        for thread in self._started:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until_s - monotonic()))

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
        except RuntimeError as exc:  # the system allows no more: the next that finishes leads
            with self._lock:
                self._started.remove(thread)
            logger.error("no more than %d threads can be started: %s", len(self._started), exc)

    def _serve(self, loop: EventLoop) -> None:
        me = self.join()
        self.finish(me)  # another may have begun to lead meanwhile
        ident = get_ident()
        while not self._stopping:
            try:
                events = loop.poll()
                if events is not None:
                    me.turns += 1
                    me.at_work = True
                    if self.monitor.asleep:
                        self.monitor.wake()
                self._woken = False
                self.leader = ident
                loop.handle(events, me)
            except BaseException:  # noqa: BLE001  # without a leading thread the server is deaf
                logger.exception("error while serving")
            me.at_work = False
            if me.aside or self._leading > 1:
                self.finish(me)
        self.leave(me)

    # --- the leading thread --------------------------------------------------------------------

    def leads(self) -> bool:
        """Whether the calling thread leads."""
        return get_ident() == self.leader

    def call(self, work: cabc.Callable[[], object]) -> None:
        """Let the leading thread do some work soon. From any thread."""
        self.calls.append(work)
        if self._loop is not None and not self._woken and not self._stopping:
            self._woken = True
            self._loop.wake()
