"""Leader/followers: of the threads of a server one at a time waits for events.

Where sixteen threads wait, each event wakes another one, which must first get the interpreter's
lock from the last: 45 us of the processor for a text view that takes 16 us when one thread does it
all (on two cores; the more there are, the worse). So one thread leads: it alone waits, and handles
the events. The followers are parked. When the leader is about to wait for something else, it steps
aside, and a follower leads.

Whether a view will wait is not known beforehand, but learnt (`timing`). The leader runs the views
that have not waited so far. Should one wait after all, the monitor lets a follower lead.

    leads: waits for events, or handles one --another leads--> parked
      |                 ^                                        |
      | steps aside     | is done, and nobody leads              | the leader steps aside
      v                 |                                        v
    aside: works, and may wait --is done, and another leads--> parked --> leads

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
        aside: it neither leads nor is parked.
        at_work: it handles an event.
        seen: its `turns` when the monitor looked last.
        turns: how many pieces of work it has begun.
        view: the timing of the view that it runs while it leads.
        wakeup: a lock that it waits for while it is parked.
    """

    __slots__ = ("aside", "at_work", "seen", "turns", "view", "wakeup")

    def __init__(self) -> None:
        self.aside = self.at_work = False
        self.turns = self.seen = 0
        self.view: ViewTiming | None = None
        self.wakeup: t.Any = allocate_lock()
        self.wakeup.acquire()


class LeaderFollowers:
    """Decides which thread leads. Thread-safe.

    While any thread is parked, one leads. `_add_leader` is called when nobody leads and nobody is
    parked.
    """

    thread_class: type[PoolThread] = PoolThread

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._members: dict[int, PoolThread] = {}
        # Threads that are neither aside nor parked. Guarded by `_lock`, as are `aside`, `_parked`
        # and `_stopping`.
        self._leading = 0
        self._parked: list[PoolThread] = []
        self._stopping = False
        self.monitor = Monitor(self.look)

    @property
    def leading(self) -> int:
        """How many threads lead: 1, or for a moment 2 or 0."""
        return self._leading

    @property
    def parked(self) -> int:
        """How many threads are parked."""
        return len(self._parked)

    @property
    def threads(self) -> list[PoolThread]:
        return list(self._members.values())

    # --- who leads -----------------------------------------------------------------------------

    def me(self) -> PoolThread | None:
        """Return the calling thread, if it belongs to the pool."""
        return self._members.get(get_ident())

    def join(self) -> PoolThread:
        """Add the calling thread, which leads from now on, perhaps beside another."""
        with self._lock:
            me = self._members[get_ident()] = self.thread_class()
            self._leading += 1
        return me

    def leave(self, me: PoolThread) -> None:
        """Remove the calling thread."""
        with self._lock:
            del self._members[get_ident()]
            self._leading -= not me.aside

    def step_aside(self) -> None:
        """Let another thread lead: the calling one may wait for something now."""
        me = self.me()
        if me is not None:
            self.relieve(me)

    def relieve(self, thread: PoolThread) -> None:
        """Let another thread lead instead of this one."""
        if thread.aside:
            return
        with self._lock:
            follower = self._set_aside(thread)
        self._promote(follower)

    def finish(self, me: PoolThread, *, parks: bool = True) -> None:
        """Let the calling thread lead again, or park it while another leads."""
        with self._lock:
            if me.aside:
                me.aside = False
                self._leading += 1
            if self._leading <= 1 or not parks or self._stopping:
                return
            self._leading -= 1
            self._parked.append(me)
        me.wakeup.acquire()

    def _set_aside(self, thread: PoolThread) -> PoolThread | None:
        """Return the parked thread that leads now, for `_promote`."""
        if thread.aside:
            return None
        thread.aside = True
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
        """Nobody leads: the next thread that finishes does, unless a pool can start another."""

    def stop(self) -> None:
        """Let no thread be parked any more, and end the monitor."""
        with self._lock:
            self._stopping = True
            parked, self._parked = self._parked, []
            self._leading += len(parked)
        for thread in parked:
            thread.wakeup.release()
        self.monitor.stop()

    # --- views ---------------------------------------------------------------------------------

    def run_view(self, view: ViewTiming, work: cabc.Callable[..., object], *args: t.Any) -> None:
        """Run the work of a view on the calling thread: as leader, if it is known not to wait."""
        me = self._members.get(get_ident())
        if me is None:
            work(*args)
            return
        if view.is_quick():
            me.turns += 1
            me.view = view
        else:
            self.relieve(me)
        is_sampled = view.is_sampled()
        if is_sampled:
            began_s, used_s = perf_counter(), thread_time()
        try:
            work(*args)
        finally:
            me.view = None
            if is_sampled:
                took_s = perf_counter() - began_s
                view.note(took_s, took_s - (thread_time() - used_s))

    # --- leaders that wait ---------------------------------------------------------------------

    def look(self) -> bool:
        """Relieve threads that are in the same turn as at the last look.

        Returns:
            Whether anything has happened since; the monitor sleeps if not.
        """
        active = False
        for thread in self.threads:
            if thread.turns != thread.seen:
                thread.seen = thread.turns
                active = True
            elif thread.at_work and not thread.aside:
                self.relieve_stuck(thread)
                active = True
        return active

    def relieve_stuck(self, thread: PoolThread) -> None:
        """Let another thread lead, unless this one has got on since the last look."""
        with self._lock:
            # If it finishes just now, it goes on beside the follower until its next turn ends.
            if not thread.at_work or thread.turns != thread.seen:
                return
            view = thread.view
            follower = self._set_aside(thread)
        self._promote(follower)
        if view is not None:
            view.waits()
        self.monitor.alert()
