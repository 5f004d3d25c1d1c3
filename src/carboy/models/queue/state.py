"""Who waits, who computes, and what becomes of each. No thread and no clock.

The scheduler's state: the caller holds the lock and brings the time. A ticket that waits leaves in
one of these ways, and is settled once:

    admit --> waits --> take --> computes --> answer
                |                   `-- expire: 504, its result is dropped
                |-- expire: 503, was never computed
                |-- withdraw: cancelled
                `-- abandon, or all places hang: 503

A place is taken by `take` or `enter` and given back by `vacate`. One whose batch has not come back
when the last deadline of it is over is stuck; when all are, nothing is admitted until one returns.
"""

from __future__ import annotations

import math
import typing as t

from ...errors import (
    ClosedError,
    CrashError,
    DeadlineError,
    QueuedTooLongError,
    QueueFullError,
    StuckError,
)

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from ...errors import UnavailableError
    from .batcher import Batcher
    from .counting import Counts
    from .stream import Rest
    from .ticket import Ticket

# A Retry-After beyond this helps nobody.
_LONGEST_RETRY_S = 60


class Place:
    """Where a batch computes: on a worker's thread, or on a caller's own."""

    __slots__ = ("limit_s", "rest", "size", "started_s", "stuck", "thread", "tickets")

    def __init__(self) -> None:
        self.tickets: list[Ticket] = []  # whose answers are still to come
        self.size = 0
        self.started_s = 0.0
        self.limit_s = math.inf  # when it is stuck: after the last deadline of its batch
        self.stuck = False
        self.thread = 0  # that computes, where it is a worker's
        self.rest: Rest | None = None  # of an answer that is given item by item


class Ledger:
    """Args as of `Scheduler`; all methods are called under its lock."""

    def __init__(
        self,
        batcher: Batcher[Ticket],
        counts: Counts,
        *,
        owner: str,
        deadline_s: float | None,
        concurrency: int,
    ) -> None:
        self.waiting = batcher
        self.computing: list[Place] = []
        self.items = 0  # that they compute
        self.stuck = 0  # of them
        self.closed = False
        self.counts = counts
        self._owner = owner
        self._deadline_s = deadline_s
        self._concurrency = concurrency
        self._gates: list[t.Any] = []  # of those who wait until nothing is left

    # --- coming and leaving --------------------------------------------------------------------

    def admit(self, ticket: Ticket, now_s: float, *, beyond: bool) -> None:
        """Let it wait. Raises UnavailableError."""
        if self.closed or self.stuck >= self._concurrency:
            raise self.refusal()
        if not self.waiting.offer(ticket, now_s, beyond=beyond):
            raise self.refusal(full=True)

    def admit_all(self, tickets: list[Ticket], now_s: float) -> list[Ticket | UnavailableError]:
        """Let those wait that may; the others get their refusal."""
        taken = 0
        if not self.closed and self.stuck < self._concurrency:
            taken = self.waiting.offer_all(tickets, now_s)
        if taken == len(tickets):
            return t.cast("list[Ticket | UnavailableError]", tickets)
        full = taken > 0 or not (self.closed or self.hangs)
        return [*tickets[:taken], *(self.refusal(full=full) for _ in tickets[taken:])]

    def refusal(self, *, full: bool = False) -> ClosedError | StuckError | QueueFullError:
        """Why nothing is admitted just now."""
        self.counts.refused += 1
        if self.closed:
            return ClosedError(f"{self._owner} is being closed. Send it again.")
        if not full:
            return StuckError(
                f"{self._owner} hangs: a prediction has not come back within its deadline.",
                retry_after_s=_retry_s(self._deadline_s or _LONGEST_RETRY_S),
            )
        return QueueFullError(
            f"{self._owner} has {len(self.waiting)} predictions waiting, and no room for more.",
            retry_after_s=self._clears_s(),
        )

    def withdraw(self, ticket: Ticket, value: BaseException, now_s: float) -> None:
        """Settle one that waits or computes; it was not settled before."""
        _settle(ticket, value, now_s)
        if not ticket.batch_size:
            self.waiting.withdraw()

    def abandon(self, now_s: float) -> list[Ticket]:
        """Refuse all that wait."""
        left = list(self.waiting)
        for ticket in left:
            self.withdraw(ticket, self.refusal(), now_s)
        return left

    # --- computing -----------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        return len(self.computing) < self._concurrency

    @property
    def hangs(self) -> bool:
        """Whether every place is stuck."""
        return self.stuck >= self._concurrency

    def take(self, place: Place, now_s: float) -> list[Ticket]:
        """Give a place what is due, if anything is left; returns those that came too late."""
        batch, late = self.waiting.take(now_s)
        for ticket in late:
            self._expire(ticket, now_s, begun=False)
        if batch:
            size, limit_s = len(batch), 0.0
            for ticket in batch:
                ticket.batch_size = size
                ticket.began_s = now_s
                limit_s = max(limit_s, ticket.deadline_s)
            place.tickets = batch
            place.limit_s = limit_s
            self._occupy(place, size, now_s)
        return late

    def enter(self, now_s: float) -> Place:
        """A place for one item without ticket and deadline."""
        place = Place()
        self._occupy(place, 1, now_s)
        return place

    def _occupy(self, place: Place, size: int, now_s: float) -> None:
        place.size = size
        place.started_s = now_s
        self.computing.append(place)
        self.items += size

    def answer(self, place: Place, values: list[t.Any], now_s: float) -> list[Ticket]:
        """Settle a batch; those that were settled meanwhile keep what they have."""
        started_s = place.started_s
        done: list[Ticket] = []
        waits_s: list[float] = []
        failed = 0
        for ticket, value in zip(place.tickets, values, strict=True):
            if ticket.settled:
                continue
            if isinstance(value, BaseException):
                failed += 1
                value = _contained(value)  # noqa: PLW2901
            # PERF: `_settle` in place, 0.1 us per item.
            ticket.settled = True
            ticket.value = value
            ticket.item = None
            ticket.ended_s = now_s
            done.append(ticket)
            waits_s.append(started_s - ticket.arrived_s)
        self.counts.answer(waits_s, failed=failed, took_s=now_s - started_s)
        place.tickets = []
        return done

    def vacate(self, place: Place, now_s: float) -> None:
        self.computing.remove(place)
        self.items -= place.size
        place.rest = None
        if place.stuck:
            place.stuck = False
            self.stuck -= 1
        took_s = now_s - place.started_s
        self.counts.batch(place.size, took_s)
        self.waiting.finished(now_s, size=place.size, took_s=took_s, computing=self.items)
        self.open_gates()

    # --- deadlines -----------------------------------------------------------------------------

    def expire(self, now_s: float) -> tuple[list[Ticket], list[Place]]:
        """Settle all that are late, and find the places that hang from now on."""
        expired, hanging = [], []
        for ticket in list(self.waiting):
            if ticket.deadline_s <= now_s:
                self._expire(ticket, now_s, begun=False)
                self.waiting.withdraw()
                expired.append(ticket)
        for place in self.computing:
            for ticket in place.tickets:
                if ticket.deadline_s <= now_s and not ticket.settled:
                    self._expire(ticket, now_s, begun=True)
                    expired.append(ticket)
            if place.limit_s <= now_s and not place.stuck:
                place.stuck = True
                self.stuck += 1
                hanging.append(place)
                if place.rest is not None:
                    self.counts.expired += 1
        if self.hangs:
            # They could only wait for their own deadline; elsewhere they may be served.
            expired += self.abandon(now_s)
            self.open_gates()
        return expired, hanging

    def next_limit_s(self) -> float:
        """When `expire` has something to do again."""
        return min(self._limits_s(), default=math.inf)

    def _limits_s(self) -> cabc.Iterator[float]:
        for ticket in self.waiting:
            yield ticket.deadline_s
        for place in self.computing:
            if not place.stuck:
                yield place.limit_s
            for ticket in place.tickets:
                if not ticket.settled:
                    yield ticket.deadline_s

    def _expire(self, ticket: Ticket, now_s: float, *, begun: bool) -> None:
        self.counts.expired += 1
        allowed = f"{ticket.deadline_s - ticket.arrived_s:g} s"
        late: DeadlineError | QueuedTooLongError
        if begun:
            late = DeadlineError(f"{self._owner} did not answer within {allowed}.")
        else:
            late = QueuedTooLongError(
                f"{self._owner} did not come to this prediction within {allowed}.",
                retry_after_s=self._clears_s(),
            )
        _settle(ticket, late, now_s)

    def _clears_s(self) -> int:
        return _retry_s(self.waiting.clears_s(concurrency=self._concurrency))

    # --- the end -------------------------------------------------------------------------------

    def close(self, gate: t.Any) -> None:
        """Admit nothing more; the gate opens when all that can be answered has been."""
        self.closed = True
        self._gates.append(gate)
        self.open_gates()

    def open_gates(self) -> None:
        if self._gates and not len(self.waiting) and len(self.computing) == self.stuck:
            for gate in self._gates:
                gate.release()
            self._gates.clear()


def _contained(exc: BaseException) -> Exception:
    """What was meant to end a thread or the program ends one prediction."""
    if isinstance(exc, Exception):
        return exc
    crash = CrashError(f"predict raised {type(exc).__qualname__}: {exc}")
    crash.__cause__ = exc
    return crash


def _settle(ticket: Ticket, value: t.Any, now_s: float) -> None:
    ticket.settled = True
    ticket.value = value
    ticket.item = None
    ticket.ended_s = now_s


def _retry_s(seconds: float) -> int:
    return max(1, min(_LONGEST_RETRY_S, math.ceil(seconds)))
