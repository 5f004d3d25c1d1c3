"""Which predictions leave together in the next batch, and when.

Arithmetic only: no clock, no thread, no lock; the caller brings the time. Items leave in the order
in which they arrived, each once, at most `max_size` together. An item that was settled meanwhile
(cancelled, expired) does not leave, nor does an item whose deadline has passed.
"""

from __future__ import annotations

import math
import typing as t
from collections import deque

from .waiting import AdaptiveWait, FixedWait

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from .waiting import Wait

# Up to so many batches a cost counts as unknown: a model's first batches are its slowest.
_UNKNOWN_BATCHES = 4
# Weight that past batches keep per new batch: the cost follows a model that warms up within some
# 50 batches.
_KEEP_COST = 0.98
# With batches of one size only, the share of their time that is taken to be per item. A low share
# lets batches grow once, and then the cost is known.
_PRIOR_SHARE = 0.3
# The prior counts as much as sizes that differ by a tenth: as sizes do where the cost is needed
# exactly, in batches that already are nearly as large as they get.
_DOUBT = 0.01


class Waiting(t.Protocol):
    """What the batcher reads of an item."""

    arrived_s: float
    deadline_s: float  # infinite: none
    settled: bool


T = t.TypeVar("T", bound=Waiting)


class DueItems(t.NamedTuple, t.Generic[T]):
    """A batch to compute, and the items that are too late for it."""

    batch: list[T]
    late: list[T]


class Cost:
    """What a batch of n takes, as `fixed_s + per_item_s * n`, learnt from the batches so far."""

    def __init__(self) -> None:
        self.fixed_s = self.per_item_s = 0.0
        #: Whether there were enough batches to trust the two.
        self.is_known = False
        self._weight = self._sizes = self._times = self._squares = self._products = 0.0

    def record(self, size: int, took_s: float) -> None:
        """Draw a line through the recent batches, by least squares with fading weights."""
        keep = _KEEP_COST
        self._weight = self._weight * keep + 1
        self._sizes = self._sizes * keep + size
        self._times = self._times * keep + took_s
        self._squares = self._squares * keep + size * size
        self._products = self._products * keep + size * took_s
        size_mean, time_mean = self._sizes / self._weight, self._times / self._weight
        variance = self._squares / self._weight - size_mean * size_mean
        covariance = self._products / self._weight - size_mean * time_mean
        doubt = _DOUBT * size_mean * size_mean
        highest = time_mean / size_mean
        slope = (covariance + doubt * highest * _PRIOR_SHARE) / (variance + doubt)
        self.per_item_s = min(max(slope, 0.0), highest)
        self.fixed_s = time_mean - self.per_item_s * size_mean
        self.is_known = self._weight > _UNKNOWN_BATCHES

    def of(self, size: int) -> float:
        return self.fixed_s + self.per_item_s * size


class Batcher(t.Generic[T]):
    """Decide when a batch leaves. Times are seconds on the caller's clock.

    Args:
        max_size: most items that leave together.
        wait_s: how long the oldest item waits for others; 0 never waits, "auto" waits while that
            pays.
        max_waiting: most items that wait.
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
        self._settled = 0  # of the items in `_queue`

    def __len__(self) -> int:
        """How many items wait."""
        return len(self._queue) - self._settled

    def __iter__(self) -> t.Iterator[T]:
        return (item for item in self._queue if not item.settled)

    def offer(self, item: T, now_s: float, *, beyond: bool = False) -> bool:
        """Let an item wait. False: too many wait already, and the item was not taken.

        Args:
            item: what waits.
            now_s: the time.
            beyond: take the item also when too many wait.
        """
        if len(self._queue) - self._settled >= self.max_waiting and not beyond:
            return False
        self._queue.append(item)
        if self._waits:
            self._wait.arrived(now_s)
        return True

    def offer_round(self, items: cabc.Sequence[T], now_s: float) -> int:
        """Let items that arrived together wait; returns how many found room: the first of them."""
        room = self.max_waiting - len(self._queue) + self._settled
        admitted = items if len(items) <= room else items[: max(0, room)]
        if self._waits:
            for _ in admitted:
                self._wait.arrived(now_s)
        self._queue.extend(admitted)
        return len(admitted)

    def withdraw(self) -> None:
        """One of the waiting items was settled, and will not leave."""
        self._settled += 1
        self._sweep()

    def _sweep(self) -> None:
        """Drop settled items when they are the most; a queue behind a slow batch piles them up."""
        if self._settled * 2 > len(self._queue):
            self._queue = deque(item for item in self._queue if not item.settled)
            self._settled = 0

    def due_s(self, now_s: float) -> float | None:
        """When to `take`: now or earlier means at once; None while nothing waits.

        The answer holds until the next `offer`.
        """
        waiting = len(self._queue) - self._settled
        if not waiting:
            return None
        if waiting >= self.max_size or not self._waits:
            return now_s
        oldest = next(iter(self))
        leaves_s = self._wait.leaves_s(now_s, waiting=waiting, oldest_s=oldest.arrived_s)
        # Company is not worth missing the deadline for.
        return min(leaves_s, oldest.deadline_s - self.cost.of(waiting))

    def _is_quick(self, now_s: float, limit_s: float) -> bool:
        """Whether a batch is due now and is expected to take less than `limit_s`."""
        size, cost = min(len(self._queue) - self._settled, self.max_size), self.cost
        if not (size and cost.is_known and cost.fixed_s + cost.per_item_s * size < limit_s):
            return False
        if not self._waits:
            return True
        due_s = self.due_s(now_s)
        return due_s is not None and due_s <= now_s

    def take(self, now_s: float, *, within_s: float = math.inf) -> DueItems[T]:
        """The oldest items, at most `max_size`, whether or not `due_s` has come.

        With `within_s`, none unless they are due now and are expected to take less.
        """
        batch: list[T] = []
        if within_s != math.inf and not self._is_quick(now_s, within_s):
            return DueItems(batch, [])
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
        return DueItems(batch, late)

    def finished(self, now_s: float, *, size: int, took_s: float, computing: int = 0) -> int:
        """Learn from a batch that is done, `took_s` after it left; `computing` items still are.

        Returns how many items wait.
        """
        waiting = len(self._queue) - self._settled
        self.cost.record(size, took_s)
        if self._waits:
            self._wait.finished(now_s, size=size, in_flight=waiting + computing + size)
        return waiting

    def clears_s(self, *, concurrency: int = 1) -> float:
        """About how long until all items that wait now are done."""
        batches = math.ceil(len(self) / self.max_size)
        return math.ceil(batches / concurrency) * self.cost.of(self.max_size)
