"""Decide which waiting items (predictions) form the next batch, and when.

Pure arithmetic without clock, thread or lock: the caller passes the time. Each item leaves the
queue once, in the order of arrival, at most `max_size` per batch. A batch leaves out items that
were settled (cancelled or expired) or have missed their deadline. It also leaves out items that
would miss their deadline while they are computed, if later items would not: otherwise each item of
a long queue would be computed just too late. `waiting` decides how long a batch waits.
"""

from __future__ import annotations

import math
import typing as t
from collections import deque

from .waiting import AdaptiveWait, FixedWait

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from .waiting import Wait

# Use no estimate of durations before this many batches were computed: a model's first batches are
# its slowest.
_UNKNOWN_BATCHES = 4
# The weight of past batches is multiplied by this for each new batch. So if a model becomes faster,
# as it warms up, the estimate of a batch's duration is accurate after some 50 batches.
_DECAY = 0.98
# If all batches so far had the same size, it is unknown how the duration depends on the size. This
# share of the duration is then assumed to grow with the size. A low share lets batches grow, after
# which the true share can be measured.
_PRIOR_SHARE = 0.3
# How much the assumption `_PRIOR_SHARE` counts: as much as measured batches whose sizes vary by a
# tenth. The sizes of a busy model's batches vary that much, close to the largest batch, and for
# these sizes the estimate must be accurate.
_PRIOR_WEIGHT = 0.01
# A batch that takes more than this many times its estimate is an outlier, and counts as if it had
# taken just that. Otherwise a single pause (of a virtual machine, a device, or a process that was
# stopped) would distort the estimate for hundreds of batches. But if there was an outlier shortly
# before (`_DECAY`), the model itself may be slow, so that the duration counts as it is.
_OUTLIER_FACTOR = 4.0
# A batch may take longer than estimated. So before its estimated duration is compared with the
# deadlines of its items, it is multiplied by this factor.
_MARGIN = 1.25


class Waiting(t.Protocol):
    """A waiting item (prediction), with the attributes that the batcher reads."""

    arrived_s: float
    deadline_s: float  # infinity if the item has no deadline
    settled: bool


T = t.TypeVar("T", bound=Waiting)


class DueItems(t.NamedTuple, t.Generic[T]):
    """A batch to compute, and the items that were left out because their deadline has passed or
    will pass before the batch is finished.
    """

    batch: list[T]
    late: list[T]


class Cost:
    """Estimates how long a batch of n items takes to compute: `fixed_s + per_item_s * n`."""

    def __init__(self) -> None:
        self.fixed_s = self.per_item_s = 0.0
        #: Whether enough batches were recorded to rely on the estimate.
        self.is_known = False
        self._weight = self._sizes = self._times = self._squares = self._products = 0.0
        #: How many outliers there were; older ones count less.
        self._outliers = 0.0

    def record(self, size: int, took_s: float) -> None:
        """Record the size and duration of a batch, and fit a line to all records by least squares.
        Older batches weigh less.
        """
        decay = _DECAY
        longest_s = _OUTLIER_FACTOR * (self.fixed_s + self.per_item_s * size)
        self._outliers *= decay
        if took_s > longest_s > 0 and self.is_known:
            self._outliers += 1
            if self._outliers < 2:
                took_s = longest_s
        self._weight = self._weight * decay + 1
        self._sizes = self._sizes * decay + size
        self._times = self._times * decay + took_s
        self._squares = self._squares * decay + size * size
        self._products = self._products * decay + size * took_s
        size_mean, time_mean = self._sizes / self._weight, self._times / self._weight
        variance = self._squares / self._weight - size_mean * size_mean
        covariance = self._products / self._weight - size_mean * time_mean
        prior_weight = _PRIOR_WEIGHT * size_mean * size_mean
        highest = time_mean / size_mean
        slope = (covariance + prior_weight * highest * _PRIOR_SHARE) / (variance + prior_weight)
        self.per_item_s = min(max(slope, 0.0), highest)
        self.fixed_s = time_mean - self.per_item_s * size_mean
        self.is_known = self._weight > _UNKNOWN_BATCHES

    def of(self, size: int) -> float:
        return self.fixed_s + self.per_item_s * size


class Batcher(t.Generic[T]):
    """A queue of items that leave in batches. Times are seconds on the caller's clock.

    Args:
        max_size: the largest number of items in a batch.
        wait_s: how long the oldest item waits for others to join its batch; 0 never waits, "auto"
            waits as long as that raises the throughput.
        max_waiting: the largest number of waiting items.
        streams: whether the result of an item is a stream. Its deadline is that of the first part
            of the stream, of which the duration of the whole stream says nothing.
    """

    def __init__(
        self,
        *,
        max_size: int,
        wait_s: float | t.Literal["auto"] = 0,
        max_waiting: int,
        streams: bool = False,
    ) -> None:
        self.max_size = max_size
        self.max_waiting = max_waiting
        self._streams = streams
        self.cost = Cost()
        self._wait: Wait = (
            AdaptiveWait(self.cost, max_size=max_size) if wait_s == "auto" else FixedWait(wait_s)
        )
        # PERF: with `wait_s=0` the calls of `_wait` are skipped, which saves 0.3 us per item.
        self._waits = wait_s != 0
        self._queue: deque[T] = deque()
        # How many items in `_queue` are settled (cancelled or expired) and not removed yet.
        self._settled = 0

    def __len__(self) -> int:
        """Return how many items wait."""
        return len(self._queue) - self._settled

    def __iter__(self) -> t.Iterator[T]:
        return (item for item in self._queue if not item.settled)

    def offer(self, item: T, now_s: float, *, ignore_limit: bool = False) -> bool:
        """Queue an item. Returns False if the queue is full.

        Args:
            item: the item.
            now_s: the current time.
            ignore_limit: queue the item even if the queue is full.
        """
        if len(self._queue) - self._settled >= self.max_waiting and not ignore_limit:
            return False
        self._queue.append(item)
        if self._waits:
            self._wait.arrived(now_s)
        return True

    def offer_round(self, items: cabc.Sequence[T], now_s: float) -> int:
        """Queue items that arrived together, up to the queue's limit; returns how many were
        queued.
        """
        room = self.max_waiting - len(self._queue) + self._settled
        admitted = items if len(items) <= room else items[: max(0, room)]
        if self._waits:
            self._wait.arrived(now_s, len(admitted))
        self._queue.extend(admitted)
        return len(admitted)

    def withdraw(self) -> None:
        """Record that a waiting item was settled (cancelled or expired), so that it enters no
        batch.
        """
        self._settled += 1
        self._remove_settled()

    def take_all(self) -> list[T]:
        """Remove and return all items that wait."""
        waiting = list(self)
        self._queue.clear()
        self._settled = 0
        return waiting

    def _remove_settled(self) -> None:
        """Remove items that have ended (expired or cancelled) when they are most of the queue.

        They accumulate while a slow batch is computed: nothing is taken from the queue then.
        """
        if self._settled * 2 > len(self._queue):
            self._queue = deque(item for item in self._queue if not item.settled)
            self._settled = 0

    def due_s(self, now_s: float) -> float | None:
        """Return when the next batch should leave the queue; a time up to `now_s` means now; None
        if nothing waits.

        The result is valid until the next `offer`.
        """
        waiting = len(self._queue) - self._settled
        if not waiting:
            return None
        if waiting >= self.max_size or not self._waits:
            return now_s
        oldest = next(iter(self))
        leaves_s = self._wait.leaves_s(now_s, waiting=waiting, oldest_s=oldest.arrived_s)
        # The oldest item must not miss its deadline because the batch waits to become larger.
        return min(leaves_s, oldest.deadline_s - self.cost.of(waiting))

    def _is_quick(self, now_s: float, limit_s: float) -> bool:
        """Return whether a batch is due now and is expected to take less than `limit_s`."""
        size, cost = min(len(self._queue) - self._settled, self.max_size), self.cost
        if not (size and cost.is_known and cost.fixed_s + cost.per_item_s * size < limit_s):
            return False
        if not self._waits:
            return True
        due_s = self.due_s(now_s)
        return due_s is not None and due_s <= now_s

    def take(self, now_s: float, *, within_s: float = math.inf) -> DueItems[T]:
        """Remove and return the oldest items, at most `max_size`, even if the batch is not due yet.

        Args:
            within_s: if given, return items only if the batch is due and is expected to take less
                time.
        """
        batch: list[T] = []
        if within_s != math.inf and not self._is_quick(now_s, within_s):
            return DueItems(batch, [])
        late: list[T] = []
        queue, cost = self._queue, self.cost
        ends_s = now_s  # when the batch, if it begins now, is expected to end
        if queue and cost.is_known and not self._streams:
            size = min(len(queue) - self._settled, self.max_size)
            ends_s += _MARGIN * (cost.fixed_s + cost.per_item_s * size)
            if queue[-1].deadline_s <= ends_s:
                # Even the newest item, whose deadline is usually the latest, will probably be late.
                # Do not leave out all items, but only those whose deadline has passed.
                ends_s = now_s
        while queue and len(batch) < self.max_size:
            item = queue.popleft()
            if item.settled:
                self._settled -= 1
            elif item.deadline_s <= ends_s:
                late.append(item)
            else:
                batch.append(item)
        if self._settled:
            self._remove_settled()
        return DueItems(batch, late)

    def finished(self, now_s: float, *, size: int, took_s: float, computing: int = 0) -> int:
        """Record a finished batch; returns how many items wait.

        Args:
            size: the number of items in the batch.
            took_s: the duration of the batch.
            computing: the number of items that are still being computed.
        """
        waiting = len(self._queue) - self._settled
        self.cost.record(size, took_s)
        if self._waits:
            self._wait.finished(now_s, size=size, in_flight=waiting + computing + size)
        return waiting

    def drain_s(self, *, concurrency: int = 1) -> float:
        """Estimate in how many seconds all waiting items will be computed."""
        batches = math.ceil(len(self) / self.max_size)
        return math.ceil(batches / concurrency) * self.cost.of(self.max_size)
