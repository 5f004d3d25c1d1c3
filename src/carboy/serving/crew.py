"""The engine's threads, of which one at a time waits for what comes.

granian wakes a thread for each event, and any thread that waits will do. Where sixteen wait, each
event wakes another one, which must first get the interpreter's lock from the last: 45 us of the
processor for a text view that takes 16 us when one thread does it all (on two cores; the more there
are, the worse). So one thread leads: it alone waits in granian's queue, and does what the events
ask for. The others are parked. When the leader is about to wait for something else, it steps aside,
and a follower leads.

Whether a view will wait is not known beforehand, but from experience: `Habits`. One that has not
waited so far is done by the leader. Should it wait after all, a monitor lets a follower lead.

Source: Schmidt et al., "Leader/Followers", in Pattern-Oriented Software Architecture 2 (2000).
"""

from __future__ import annotations

import threading
import typing as t
from _thread import allocate_lock, get_ident
from time import sleep

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .habits import View

# A leader that is not done after one to two of these is taken to wait.
TICK_S = 0.02


class Member:
    """One of the threads.

    Attributes:
        aside: it does not lead, though it is not parked.
        view: which it does while it leads.
        gate: at which it is parked.
    """

    __slots__ = ("aside", "gate", "view")

    def __init__(self) -> None:
        self.aside = False
        self.view: View | None = None
        self.gate: t.Any = allocate_lock()
        self.gate.acquire()


class Crew:
    """Who leads. Thread-safe.

    A thread that joins never leaves: the engine must keep its threads.
    """

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._members: dict[int, Member] = {}
        self._leading = 0  # in granian's queue, or at work on what came from there
        self._parked: list[Member] = []
        self._current: Member | None = None
        self._turns = 0
        self._monitor_sleeps = False
        self._monitor_gate: t.Any = None

    def lead(self, work: cabc.Callable[..., object], *args: t.Any) -> None:
        """Do what an event asks for, on one of the engine's threads."""
        me = self._members.get(get_ident()) or self._join()
        self._turns += 1
        self._current = me
        if self._monitor_sleeps:
            self._wake_monitor()
        try:
            work(*args)
        finally:
            if self._current is me:
                self._current = None
            if me.aside:
                with self._lock:
                    me.aside = False
                    self._leading += 1
            if self._leading > 1:
                self._park(me)

    def step_aside(self) -> None:
        """The calling thread may wait for something now: let another lead."""
        me = self.me()
        if me is not None:
            self.relieve(me)

    def me(self) -> Member | None:
        """The calling thread, if it is one of the engine's."""
        return self._members.get(get_ident())

    def _join(self) -> Member:
        with self._lock:
            me = self._members[get_ident()] = Member()
            self._leading += 1
            if self._monitor_gate is None:
                self._monitor_gate = allocate_lock()
                self._monitor_gate.acquire()
                threading.Thread(target=self._monitor, name="crew", daemon=True).start()
        return me

    def _park(self, me: Member) -> None:
        with self._lock:
            if self._leading <= 1:
                return
            self._leading -= 1
            self._parked.append(me)
        me.gate.acquire()

    def relieve(self, member: Member) -> None:
        """Let another lead in the place of one that may wait, or does."""
        with self._lock:
            if member.aside:
                return
            member.aside = True
            self._leading -= 1
            if self._leading or not self._parked:
                return
            follower = self._parked.pop()
            self._leading += 1
        follower.gate.release()

    # --- a leader that waits -------------------------------------------------------------------

    def _wake_monitor(self) -> None:
        with self._lock:
            if not self._monitor_sleeps:
                return
            self._monitor_sleeps = False
        self._monitor_gate.release()

    def _monitor(self) -> None:
        """Nothing polls while nothing happens: it sleeps until the next event then."""
        while True:
            seen = self._turns
            sleep(TICK_S)
            if self._turns != seen:
                continue
            stuck = self._current
            if stuck is not None:
                if not stuck.aside:
                    if stuck.view is not None:
                        stuck.view.waits()
                    self.relieve(stuck)
                continue
            with self._lock:
                self._monitor_sleeps = True
            if self._turns != seen:  # an event came by, and saw it awake
                self._wake_monitor()
            self._monitor_gate.acquire()
