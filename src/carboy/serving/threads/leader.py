"""The leader/followers pattern: one thread of a server waits for events, while the others sleep.

If 16 threads wait for events, each event wakes another one, which must first acquire the GIL: a
text view takes 45 us of processor time instead of 16 us with one thread (on two cores; more cores
make it worse). So one thread leads: only this thread waits for events and handles them. Before it
does something that may block, it lets another thread (a follower) lead instead.

Measurements (`timing`) show which views block. The leading thread runs the views that have not
blocked so far. If such a view blocks after all, the monitor makes a follower the leading thread.

A thread leads, works aside, or is parked, which means that it sleeps until it must lead:

    leader: waits for events, or handles one --another leads--> parked
      |                 ^                                         |
      | steps aside     | is done, no thread leads                | the leader steps aside
      v                 |                                         v
    aside: works, may block --is done, another thread leads--> parked --> leader

Source: Schmidt et al., "Leader/Followers", in Pattern-Oriented Software Architecture 2 (2000).
"""

from __future__ import annotations

import typing as t
from _thread import allocate_lock, get_ident
from time import perf_counter, thread_time

from .monitor import Monitor

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .timing import ViewTiming


class PoolThread:
    """One thread of a pool.

    Attributes:
        stepped_aside: whether the thread has let another one lead, so that it may block now.
        at_work: whether the thread is handling an event.
        last_turns: the value of `turns` when the monitor last checked.
        turns: how many pieces of work the thread has started. If the number stays the same while
            the thread is at work, the thread is blocked.
        view: the measurements of the view that the thread runs while it leads; None if it runs
            none.
        wakeup: the lock on which the thread sleeps while it is parked (neither leads nor works).
    """

    __slots__ = ("at_work", "last_turns", "stepped_aside", "turns", "view", "wakeup")

    def __init__(self) -> None:
        self.stepped_aside = self.at_work = False
        self.turns = self.last_turns = 0
        self.view: ViewTiming | None = None
        self.wakeup: t.Any = allocate_lock()
        self.wakeup.acquire()


class LeaderFollowers:
    """Decides which thread of a pool leads, that is, waits for events and handles them.
    Thread-safe.

    As long as any thread is parked (sleeps until it must lead), one thread leads. If no thread
    leads and none is parked, `_add_leader` is called to start another one.

    Attributes:
        leader: the identifier of the thread that leads, or that led last; 0 from the moment that
            this thread steps aside until another one takes over.
    """

    def __init__(self) -> None:
        self.leader = 0
        self._lock = allocate_lock()
        self._members: dict[int, PoolThread] = {}
        # How many threads lead (wait for events or handle them). The lock guards this number,
        # `_parked`, `_stopping` and each thread's `stepped_aside`.
        self._leading = 0
        self._parked: list[PoolThread] = []
        self._stopping = False
        self.monitor = Monitor(self.check)

    @property
    def leading(self) -> int:
        """How many threads lead (wait for events or handle them): usually 1, briefly 2 or 0."""
        return self._leading

    @property
    def parked(self) -> int:
        """How many threads are parked: they sleep until they must lead."""
        return len(self._parked)

    @property
    def threads(self) -> list[PoolThread]:
        return list(self._members.values())

    # --- who leads -----------------------------------------------------------------------------

    def current(self) -> PoolThread | None:
        """Return the calling thread; None if it does not belong to the pool."""
        return self._members.get(get_ident())

    def join(self) -> PoolThread:
        """Add the calling thread to the pool, as a leading thread (one that waits for events).

        If another thread leads already, both lead until one of them calls `finish`.
        """
        with self._lock:
            thread = self._members[get_ident()] = PoolThread()
            self._leading += 1
        return thread

    def leave(self, thread: PoolThread) -> None:
        """Remove the calling thread from the pool."""
        with self._lock:
            del self._members[get_ident()]
            self._leading -= not thread.stepped_aside

    def step_aside(self) -> None:
        """If the calling thread leads (waits for events), let another thread lead, because the
        caller may block from now on.
        """
        thread = self.current()
        if thread is not None:
            self.relieve(thread)

    def relieve(self, thread: PoolThread) -> None:
        """Let another thread lead (wait for events) instead of `thread`, which is the calling
        thread, unless that has happened already.
        """
        if thread.stepped_aside:
            return
        # The leading thread may put off work, such as sending responses, to the end of its turn.
        # This thread may block before that, so it is no longer registered as the leading thread.
        if self.leader == get_ident():
            self.leader = 0
        with self._lock:
            follower = self._set_aside(thread)
        self._promote(follower)

    def finish(self, thread: PoolThread) -> None:
        """End the calling thread's work: if another thread leads, it sleeps until it must lead;
        otherwise it leads.
        """
        with self._lock:
            if thread.stepped_aside:
                thread.stepped_aside = False
                self._leading += 1
            if self._leading <= 1 or self._stopping:
                return
            self._leading -= 1
            self._parked.append(thread)
        thread.wakeup.acquire()

    def _set_aside(self, thread: PoolThread) -> PoolThread | None:
        """Record that `thread` leads no longer. Returns the parked thread that the caller must
        wake, so that it leads instead; None if no thread needs to be woken.
        """
        if thread.stepped_aside:
            return None
        thread.stepped_aside = True
        self._leading -= 1
        if self._leading or not self._parked:
            return None
        self._leading += 1
        return self._parked.pop()

    def _promote(self, follower: PoolThread | None) -> None:
        if follower is not None:
            follower.wakeup.release()
        elif not self._leading:
            self._add_leader()

    def _add_leader(self) -> None:
        """Start a thread that leads (waits for events). This base class starts none: the next
        thread that finishes its work leads.
        """

    def stop(self) -> None:
        """Wake all sleeping threads, let none sleep from now on, and stop the monitor."""
        with self._lock:
            self._stopping = True
            parked, self._parked = self._parked, []
            self._leading += len(parked)
        for thread in parked:
            thread.wakeup.release()
        self.monitor.stop()

    # --- views ---------------------------------------------------------------------------------

    def run_view(self, view: ViewTiming, work: cabc.Callable[..., object], *args: t.Any) -> None:
        """Run a view on the calling thread. If the view may block, let another thread wait for
        events in the meantime.
        """
        thread = self._members.get(get_ident())
        if thread is None:
            work(*args)
            return
        # PERF: a view that is known to be quick is usually not measured, because measuring a call,
        # as the lines below do, takes 1 us.
        if view.quick_calls > 0:
            view.quick_calls -= 1
            thread.turns += 1
            thread.view = view
            try:
                work(*args)
            finally:
                thread.view = None
            return
        if view.may_block():
            self.relieve(thread)
        else:
            thread.turns += 1
            thread.view = view
        began_s, used_s = perf_counter(), thread_time()
        try:
            work(*args)
        finally:
            thread.view = None
            took_s = perf_counter() - began_s
            view.record(took_s, took_s - (thread_time() - used_s))

    # --- leaders that wait ---------------------------------------------------------------------

    def check(self) -> bool:
        """Find the leading threads that still handle the same event as at the last check, and let
        other threads wait for events instead.

        Returns:
            Whether any thread was active. If not, the monitor may sleep.
        """
        active = False
        for thread in self.threads:
            if thread.turns != thread.last_turns:
                thread.last_turns = thread.turns
                active = True
            elif thread.at_work and not thread.stepped_aside:
                self.relieve_stuck(thread)
                active = True
        return active

    def relieve_stuck(self, thread: PoolThread) -> None:
        """Let another thread wait for events if `thread` still handles the event that it handled at
        the monitor's last check.
        """
        with self._lock:
            # If `thread` finishes its event at this very moment, two threads wait for events until
            # `thread` has handled one more event.
            if not thread.at_work or thread.turns != thread.last_turns:
                return
            view = thread.view
            follower = self._set_aside(thread)
        self._promote(follower)
        if view is not None:
            view.record_block()
        self.monitor.alert()
