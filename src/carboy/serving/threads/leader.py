"""The threads of a server, of which one at a time waits for what comes.

Where sixteen threads wait, each event wakes another one, which must first get the interpreter's
lock from the last: 45 us of the processor for a text view that takes 16 us when one thread does it
all (on two cores; the more there are, the worse). So one thread leads: it alone waits, and does
what the events ask for. The others are parked. When the leader is about to wait for something else,
it steps aside, and a follower leads.

The threads are granian's, which call `lead` with each event, or those of `front`, which `serve`.

Whether a view will wait is not known beforehand, but from experience: `Habits`. One that has not
waited so far is done by the leader. Should it wait after all, a monitor lets a follower lead.

    waits for events, or at work --parked: another leads--> at its gate
                                 <--the other steps aside--
                                 --steps aside: a follower leads--> waits for something
                                 <--is done--

Source: Schmidt et al., "Leader/Followers", in Pattern-Oriented Software Architecture 2 (2000).
"""

from __future__ import annotations

import threading
import typing as t
from _thread import allocate_lock, get_ident
from time import sleep

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .timing import View

# A leader that is not done after one to two of these is taken to wait.
TICK_S = 0.02
# When one view waits, others do as a rule, since what they wait for is the same: a database that
# is slow just now. Each would keep all others for so long.
ALERT_TICK_S = 0.004
ALERT_TICKS = 50


class Member:
    """One of the threads.

    Attributes:
        aside: it does not lead, though it is not parked.
        at_work: it does what an event asks for.
        gate: at which it is parked.
        returns: it must go back to granian before it may be parked.
        seen: its turns when the monitor looked last.
        turns: how much it has begun.
        view: which it does while it leads.
    """

    __slots__ = ("aside", "at_work", "gate", "returns", "seen", "turns", "view")

    def __init__(self) -> None:
        self.aside = self.at_work = self.returns = False
        self.turns = self.seen = 0
        self.view: View | None = None
        self.gate: t.Any = allocate_lock()
        self.gate.acquire()


class Crew:
    """Who leads. Thread-safe.

    A thread that joins never leaves: granian must keep its threads. While there are parked ones,
    one leads; with none left, whoever has the threads starts more, up to a limit.
    """

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._members: dict[int, Member] = {}
        # Those neither aside nor parked. Held by `_lock`, as are `aside` and `_parked`.
        self._leading = 0
        self._parked: list[Member] = []
        self._monitor_sleeps = False
        self._monitor_gate: t.Any = allocate_lock()
        self._monitor_gate.acquire()
        self._alert = 0
        self._more: cabc.Callable[[], object] | None = None

    def start(self, more: cabc.Callable[[], object] | None = None) -> None:
        """Watch the leaders from now on. `more` is called when nobody is left who could lead."""
        self._more = more
        threading.Thread(target=self._monitor, name="crew", daemon=True).start()

    def serve(self, turn: cabc.Callable[[Member], object]) -> t.NoReturn:
        """The life of a thread that is not granian's: it takes turns whenever it leads."""
        me = Member()
        with self._lock:
            self._members[get_ident()] = me
            parked = self._leading > 0
            if parked:
                self._parked.append(me)
            else:
                self._leading = 1
        if parked:
            me.gate.acquire()
        while True:
            turn(me)
            me.at_work = False
            if me.aside or self._leading > 1:
                self._end(me)

    def begin(self, me: Member) -> None:
        """Something has come, after the leader has waited for it."""
        me.turns += 1
        me.at_work = True
        if self._monitor_sleeps:
            self._wake_monitor()

    def lead(self, work: cabc.Callable[..., object], *args: t.Any) -> None:
        """Do what an event asks for, on one of granian's threads."""
        me = self._members.get(get_ident()) or self._join()
        if me.at_work:  # an event within an event: parked, it would keep the outer one
            work(*args)
            return
        me.turns += 1
        me.returns = False
        me.at_work = True
        if self._monitor_sleeps:
            self._wake_monitor()
        try:
            work(*args)
        except BaseException:
            me.returns = True  # or the engine would not learn of it
            raise
        finally:
            me.at_work = False
            if me.aside or self._leading > 1:
                self._end(me)

    def step_aside(self) -> None:
        """The calling thread may wait for something now: let another lead."""
        me = self.me()
        if me is not None:
            self.relieve(me)

    def must_return(self) -> None:
        """Granian waits for the calling thread, or for what it holds: a body, an answer."""
        me = self.me()
        if me is not None:
            me.returns = True

    def me(self) -> Member | None:
        """The calling thread, if it is one of these."""
        return self._members.get(get_ident())

    def relieve(self, member: Member) -> None:
        """Let another lead in the place of the calling one, which may wait."""
        if member.aside:
            return
        with self._lock:
            follower = self._set_aside(member)
        self._let_lead(follower)

    def _let_lead(self, follower: Member | None) -> None:
        if follower is not None:
            follower.gate.release()
        elif self._more is not None and not self._leading:
            self._more()

    def _join(self) -> Member:
        with self._lock:
            me = self._members[get_ident()] = Member()
            self._leading += 1
        return me

    def _end(self, me: Member) -> None:
        """Lead again, or be parked if another does."""
        with self._lock:
            if me.aside:
                me.aside = False
                self._leading += 1
            if self._leading <= 1 or me.returns:
                return
            self._leading -= 1
            self._parked.append(me)
        me.gate.acquire()

    def _set_aside(self, member: Member) -> Member | None:
        """Returns who leads now, and must be let through its gate; None: nobody new."""
        if member.aside:
            return None
        member.aside = True
        self._leading -= 1
        if self._leading or not self._parked:
            return None
        self._leading += 1
        return self._parked.pop()

    # --- a leader that waits -------------------------------------------------------------------

    def look(self) -> bool:
        """Relieve those that do what they did at the last look; whether anything happened since."""
        stirs = False
        for member in list(self._members.values()):
            if member.turns != member.seen:
                member.seen = member.turns
                stirs = True
            elif member.at_work and not member.aside:
                self._relieve_stuck(member)
                stirs = True
        return stirs

    def _relieve_stuck(self, member: Member) -> None:
        with self._lock:
            # It may have ended since, and be parked. If it ends just now, it is back in the queue
            # beside a follower, until its next turn.
            if not member.at_work or member.turns != member.seen:
                return
            view = member.view
            follower = self._set_aside(member)
        self._let_lead(follower)
        if view is not None:
            view.waits()
        self._alert = ALERT_TICKS

    def _wake_monitor(self) -> None:
        with self._lock:
            if not self._monitor_sleeps:
                return
            self._monitor_sleeps = False
        self._monitor_gate.release()

    def _monitor(self) -> None:
        """Nothing polls while nothing happens: it sleeps until the next event then."""
        while True:
            sleep(ALERT_TICK_S if self._alert else TICK_S)
            if self._alert:
                self._alert -= 1
            if self.look():
                continue
            with self._lock:
                self._monitor_sleeps = True
            if self.look():  # an event came by, and saw it awake
                self._wake_monitor()
            self._monitor_gate.acquire()
