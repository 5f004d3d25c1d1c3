"""How long a batch waits for more items: not at all, a fixed time, or as long as it raises
throughput.

Pure arithmetic without clock or thread; all times are seconds on the caller's clock. A `Wait`
computes when a batch leaves if nothing else arrives. The batcher decides what is in the batch.
"""

from __future__ import annotations

import math
import typing as t
from bisect import bisect_right
from collections import deque

if t.TYPE_CHECKING:
    from .batcher import Cost

# Past observations are multiplied by these weights for each new one. So after a change of load, the
# estimate of when clients send their next request is accurate again after some 32 batches, and the
# estimate of the gaps between arrivals after some 200 arrivals.
_RETURNS_DECAY = 1 - 1 / 32
_GAPS_DECAY = 1 - 1 / 200
# Times are counted in a histogram. The edges of its buckets go from 4 us to 2.6 s, each 1.6 times
# the one before; a last bucket counts longer times.
_EDGES_S = tuple(4e-6 * 2 ** (i / 1.5) for i in range(30))
_BUCKETS = len(_EDGES_S) + 1
# The usual number of items in flight is the upper quartile of the last 16 batches. The maximum
# would be too high: two bursts may have coincided.
_IN_FLIGHT_SAMPLES = 16
_IN_FLIGHT_QUANTILE = 0.75
# A wait for clients' next requests must promise 2 % more throughput; a smaller gain may be chance.
_WORTHWHILE = 1.02
# If at least this share of the clients is expected to join a batch (0.97), the batch leaves when
# the last client has joined, before the wait ends: on average after 0.8 of the wait, because the
# wait is an edge of the histogram. The estimate counts half of that gain (0.9), because the number
# of clients varies.
_ALL_JOINED, _EARLY_SHARE = 0.97, 0.9
# A new item also delays the waiting items by its own computing time. If the cost of a wait included
# that delay for each of them, bursts would often be split; without the delay, small bursts would
# wait too long. The square root lies between, and was the best of a dozen formulas for the
# simulated loads in test_waiting.py.
_NEWCOMER_WEIGHT = 0.5


class Wait(t.Protocol):
    """Decides how long a batch that is not full waits for more items before it leaves the queue."""

    def arrived(self, now_s: float, count: int = 1) -> None:
        """Record the arrival of `count` items. Items that arrive together have the same time."""

    def finished(self, now_s: float, *, size: int, in_flight: int) -> None:
        """Record a finished batch.

        Args:
            size: the number of items in the batch.
            in_flight: the number of items that were waiting or computing, including the batch.
        """

    def leaves_s(self, now_s: float, *, waiting: int, oldest_s: float) -> float:
        """Return the time at which the batch should leave the queue; up to `now_s` means at once.
        Called after each arrival.
        """


class FixedWait:
    """Lets the oldest item wait for a fixed time before its batch leaves; 0 means not at all."""

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s

    def arrived(self, now_s: float, count: int = 1) -> None:
        """Do nothing, because a fixed wait does not depend on arrivals."""

    def finished(self, now_s: float, *, size: int, in_flight: int) -> None:
        """Do nothing, because a fixed wait does not depend on the batches before it."""

    def leaves_s(self, now_s: float, *, waiting: int, oldest_s: float) -> float:
        return oldest_s + self._wait_s


class AdaptiveWait:
    """Lets a batch wait while recent arrivals suggest that more items will join it soon.

    Suppose that clients send the next request after each response. Without waiting they fall into
    two groups: one group is computed while the other gathers. So after a batch, the next one waits
    for the time that promises most throughput (`_Returns`). In a burst, each arrival makes another
    one likely: after an arrival, the batch waits for the next while that is worth the delay
    (`_Gaps`). Random arrivals have neither pattern, and waiting for them seldom pays.

    A batch leaves at once when it has as many items as are usually in flight. No wait is longer
    than the fixed cost of a batch, because a larger batch cannot save more time than that.
    tests/models/queue/test_waiting.py compares this with fixed waits.
    """

    def __init__(self, cost: Cost, *, max_size: int) -> None:
        self._cost = cost
        self._max_size = max_size
        self._gaps = _Gaps()
        self._returns = _Returns()
        self._in_flight: deque[int] = deque(maxlen=_IN_FLIGHT_SAMPLES)
        self._usual_in_flight = 0
        self._free_s = -math.inf  # when the last batch ended
        self._held_until_s = -math.inf
        # When the latest item arrived, if that was after the end of the last batch.
        self._arrival_s = -math.inf
        # The time of the latest arrivals, and how many items arrived at that time. Items with the
        # same time are evaluated together.
        self._round_s = math.nan
        self._round = 0

    def arrived(self, now_s: float, count: int = 1) -> None:
        # PERF: items that arrive at the same time are counted, which takes 0.1 us, and evaluated
        # together, which takes 0.7 us.
        if now_s != self._round_s:
            self._end_round()
            self._round_s = now_s
        self._round += count

    def _end_round(self) -> None:
        if not self._round:
            return
        now_s = self._round_s
        self._returns.record_arrivals(now_s - self._free_s, self._round)
        if self._arrival_s >= self._free_s:
            self._gaps.record(now_s - self._arrival_s)
        self._arrival_s = now_s
        self._round_s, self._round = math.nan, 0

    def finished(self, now_s: float, *, size: int, in_flight: int) -> None:
        self._end_round()
        if self._arrival_s >= self._free_s:
            self._gaps.record_censored(now_s - self._arrival_s)
        self._free_s, self._arrival_s = now_s, -math.inf
        self._in_flight.append(in_flight)
        ranked = sorted(self._in_flight)
        self._usual_in_flight = ranked[int(_IN_FLIGHT_QUANTILE * (len(ranked) - 1))]
        self._returns.record_batch(size)
        best_s = self._returns.best_wait_s(
            self._cost, clients=self._usual_in_flight, max_size=self._max_size
        )
        self._held_until_s = now_s + best_s

    def leaves_s(self, now_s: float, *, waiting: int, oldest_s: float) -> float:
        self._end_round()
        if waiting >= self._usual_in_flight:
            return now_s
        if self._held_until_s > now_s:
            return self._held_until_s
        since_s = now_s - self._arrival_s
        left_s = self._cost.fixed_s - (now_s - max(oldest_s, self._free_s))
        newcomer_s = _NEWCOMER_WEIGHT * self._cost.per_item_s * math.sqrt(waiting)
        gain_s = self._cost.fixed_s - newcomer_s
        if left_s <= 0 or gain_s <= 0 or since_s == math.inf:
            return now_s
        return now_s + self._gaps.best_wait_s(
            since_s, at_most_s=left_s, gain_s=gain_s, delayed=waiting + 1
        )


class _Returns:
    """Estimates which share of a batch's clients have sent their next request after a given time.

    Older batches count less.
    """

    def __init__(self) -> None:
        self._arrivals = [0.0] * _BUCKETS
        self._batch_items = 0.0
        self._last_size = 0

    def record_arrivals(self, after_s: float, count: int) -> None:
        """Record that `count` requests arrived `after_s` seconds after the end of the last
        batch.
        """
        self._arrivals[bisect_right(_EDGES_S, after_s)] += count

    def record_batch(self, size: int) -> None:
        """Record a finished batch of `size` items. Further arrivals count as next requests of the
        clients of this batch, and no longer of the batch before.
        """
        self._batch_items = (self._batch_items + self._last_size) * _RETURNS_DECAY
        self._arrivals = [count * _RETURNS_DECAY for count in self._arrivals]
        self._last_size = size

    def best_wait_s(self, cost: Cost, *, clients: int, max_size: int) -> float:
        """Return the wait after each batch that promises the highest throughput, in seconds.

        Let r be the share of a batch's clients that send their next request within a wait of x.
        They join the next batch, together with the clients that missed the last one. So c clients
        form batches of c / (2 - r) items. A batch of s items takes x + fixed + per_item * s
        seconds. Without a wait there are two groups of c / 2 clients; for random arrivals r is so
        small that not waiting is best.
        """
        if not self._batch_items or clients >= 2 * max_size:
            return 0.0
        fixed_s, per_item_s = cost.fixed_s, cost.per_item_s
        size = clients / 2
        best, best_wait_s = _WORTHWHILE * size / (fixed_s + per_item_s * size), 0.0
        arrivals, most = 0.0, min(clients, max_size)
        for wait_s, count in zip(_EDGES_S, self._arrivals, strict=False):
            # A longer wait would take more time than the fixed cost of a batch, and a larger batch
            # cannot save more than that.
            if wait_s > fixed_s:
                break
            if not count:
                continue
            arrivals += count
            size = min(max_size, clients / (2 - min(1.0, arrivals / self._batch_items)))
            waited_s = wait_s * _EARLY_SHARE if size > _ALL_JOINED * most else wait_s
            per_s = size / (waited_s + fixed_s + per_item_s * size)
            if per_s > best:
                best, best_wait_s = per_s, wait_s
        return best_wait_s


class _Gaps:
    """Estimates the time from one arrival to the next; older gaps count less.

    If a batch ends before the next arrival, the gap is censored: only its minimum length is known
    (Kaplan and Meier, 1958: https://doi.org/10.1080/01621459.1958.10501452).
    """

    def __init__(self) -> None:
        self._observed = [0.0] * _BUCKETS
        self._censored = [0.0] * _BUCKETS
        # PERF: older gaps must count less. So the weight of new gaps grows with each arrival, which
        # costs less than reducing the 60 counts of the histogram.
        self._weight = 1.0

    def record(self, gap_s: float) -> None:
        self._count(self._observed, gap_s)

    def record_censored(self, gap_s: float) -> None:
        self._count(self._censored, gap_s)

    def _count(self, counts: list[float], gap_s: float) -> None:
        self._weight = weight = self._weight / _GAPS_DECAY
        counts[bisect_right(_EDGES_S, gap_s)] += weight
        if weight > 1e12:
            for each in (self._observed, self._censored):
                each[:] = [count / weight for count in each]
            self._weight = 1.0

    def best_wait_s(
        self, since_s: float, *, at_most_s: float, gain_s: float, delayed: int
    ) -> float:
        """Return how much longer a batch should wait, `since_s` after the last arrival; 0 for not
        at all.

        Args:
            gain_s: the time that an arrival saves, because it needs no batch of its own.
            delayed: how many items wait meanwhile.

        An arrival in time saves a separate batch, so a wait of at most x is worth

            P(an arrival within x) * gain_s - delayed * E[time until that arrival, at most x]
        """
        first = bisect_right(_EDGES_S, since_s)
        at_risk = sum(self._observed[first:]) + sum(self._censored[first:])
        survival, waited_s, until_s = 1.0, 0.0, 0.0
        best, best_wait_s = 0.0, 0.0
        for i in range(first, len(_EDGES_S)):
            end_s = max(0.0, _EDGES_S[i] - since_s)
            if end_s > at_most_s or at_risk <= 1e-12 * self._weight:
                break
            hazard = min(1.0, self._observed[i] / max(at_risk - self._censored[i] / 2, 1e-300))
            at_risk -= self._observed[i] + self._censored[i]
            waited_s += survival * (end_s - until_s) * (1 - hazard / 2)
            survival *= 1 - hazard
            worth = (1 - survival) * gain_s - delayed * waited_s
            if worth > best:
                best, best_wait_s = worth, end_s
            until_s = end_s
        return best_wait_s
