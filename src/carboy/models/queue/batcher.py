"""Who leaves in the next batch, and when. Arithmetic only.

No clock, no thread, no lock: the scheduler brings the time and calls from one thread at a time.
Items leave in the order in which they came, each once, at most `max_size` together. An item that
was settled meanwhile (cancelled, answered otherwise) or is late does not leave at all.
"""

from __future__ import annotations

import math
import typing as t
from collections import deque

from .waiting import AdaptiveWait, Cost, FixedWait

if t.TYPE_CHECKING:
    from .waiting import Wait


class Waiting(t.Protocol):
    """What the batcher reads of an item."""

    arrived_s: float
    deadline_s: float  # infinite: none
    settled: bool  # nobody waits for it any more


T = t.TypeVar("T", bound=Waiting)


class Taken(t.NamedTuple, t.Generic[T]):
    """A batch to compute, and who came too late for it and wants to be told."""

    batch: list[T]
    late: list[T]


class Batcher(t.Generic[T]):
    """Decide when a batch leaves. Times are seconds on the caller's clock.

    Args:
        max_size: items that leave together at most.
        wait_s: how long the oldest waits for company; 0 is whatever is there, "auto" is what pays.
        max_waiting: above it `offer` refuses.
    """

    def __init__(
        self, *, max_size: int, wait_s: float | t.Literal["auto"] = 0, max_waiting: int
    ) -> None:
        self.max_size = max_size
        self.max_waiting = max_waiting
        self.cost = Cost()
        self._wait: Wait = (
            AdaptiveWait(self.cost, max_size=max_size) if wait_s == "auto" else FixedWait(wait_s)
        )
        # PERF: no call into the wait where there is none, 0.3 us per item.
        self._waits = wait_s != 0
        self._queue: deque[T] = deque()
        self._settled = 0  # of those in the queue

    def __len__(self) -> int:
        """How many wait."""
        return len(self._queue) - self._settled

    def __iter__(self) -> t.Iterator[T]:
        return (item for item in self._queue if not item.settled)

    def offer(self, item: T, now_s: float, *, beyond: bool = False) -> bool:
        """Let it wait. False: there are too many already, and it was not taken.

        Args:
            item: what waits.
            now_s: the time.
            beyond: take it also when there are too many.
        """
        if len(self._queue) - self._settled >= self.max_waiting and not beyond:
            return False
        self._queue.append(item)
        if self._waits:
            self._wait.arrived(now_s)
        return True

    def offer_all(self, items: list[T], now_s: float) -> int:
        """Let items that came together wait, as many as there is room for; how many those are."""
        room = self.max_waiting - len(self)
        taken = items if len(items) <= room else items[: max(0, room)]
        if self._waits:
            for _ in taken:
                self._wait.arrived(now_s)
        self._queue.extend(taken)
        return len(taken)

    def withdraw(self) -> None:
        """One of those who wait was settled, and will not leave."""
        self._settled += 1
        self._sweep()

    def _sweep(self) -> None:
        """Forget the settled when they are the most; a queue behind a slow batch piles them up."""
        if self._settled * 2 > len(self._queue):
            self._queue = deque(item for item in self._queue if not item.settled)
            self._settled = 0

    def due_s(self, now_s: float) -> float | None:
        """When to `take`: now or earlier is at once; None while nothing waits.

        Holds until the next `offer`.
        """
        waiting = len(self)
        if not waiting:
            return None
        if waiting >= self.max_size or not self._waits:
            return now_s
        oldest = next(iter(self))
        leaves_s = self._wait.leaves_s(now_s, waiting=waiting, oldest_s=oldest.arrived_s)
        # Company is not worth missing the deadline for.
        return min(leaves_s, oldest.deadline_s - self.cost.of(waiting))

    def take(self, now_s: float) -> Taken[T]:
        """The oldest, at most `max_size`. Whether to is `due_s`'s to say."""
        batch: list[T] = []
        late: list[T] = []
        queue = self._queue
        while queue and len(batch) < self.max_size:
            item = queue.popleft()
            if item.settled:
                self._settled -= 1
            elif item.deadline_s <= now_s:
                late.append(item)
            else:
                batch.append(item)
        if self._settled:
            self._sweep()
        return Taken(batch, late)

    def finished(self, now_s: float, *, size: int, took_s: float, computing: int = 0) -> None:
        """A batch of `size` was answered, `took_s` after it had left; others are `computing`."""
        self.cost.record(size, took_s)
        if self._waits:
            self._wait.finished(now_s, size=size, in_flight=len(self) + computing + size)

    def is_quick(self, limit_s: float) -> bool:
        """Whether those who wait are expected to take less than `limit_s`, after some batches."""
        return self.cost.known and self.cost.of(min(len(self), self.max_size)) < limit_s

    def clears_s(self, *, concurrency: int = 1) -> float:
        """About how long until those who wait now have been answered."""
        batches = math.ceil(len(self) / self.max_size)
        return math.ceil(batches / concurrency) * self.cost.of(self.max_size)
