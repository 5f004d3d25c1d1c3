"""How long a batch waits for company: not at all, a fixed time, or what pays.

Arithmetic only: no clock, no thread. All times are seconds on the caller's clock. A wait answers
one question, `leaves_s`: with so many waiting, when should they leave if nobody else comes?
"""

from __future__ import annotations

import math
import typing as t
from bisect import bisect_right
from collections import deque

# Before these a cost is taken for unknown: a model's first batches are its slowest.
_KNOWN_BATCHES = 4
# Weight that what was seen keeps per new batch, and per new gap between arrivals: the costs follow
# a model that warms up within some 50 batches, the others a change of the load within some 32
# batches or 200 arrivals.
_KEEP_COST = 0.98
_KEEP_RETURNS = 1 - 1 / 32
_KEEP_GAPS = 1 - 1 / 200
# Times are counted in buckets, three for two octaves, that end at 4 us to 2.6 s; one more is for
# what takes longer.
_EDGES_S = tuple(4e-6 * 2 ** (i / 1.5) for i in range(30))
_BUCKETS = len(_EDGES_S) + 1
# The size of the crowd is what was reached in 3 of 4 of the last 16 batches: the largest would be
# two bursts that met by chance.
_CROWDS = 16
_CROWD_RANK = 0.75
# Returns are waited for only if that promises so much more throughput: below it, what was learnt
# may be chance.
_WORTHWHILE = 1.02
# A batch that all have reached leaves before the end of its bucket, in the middle on average, which
# is at 0.8 of it. Half of that: how many come varies.
_FULL, _LEAVES_EARLIER = 0.97, 0.9
# With batches of one size only, how much of their time is taken to be per item. Low is curious: it
# lets batches grow once, and then it is known.
_PRIOR_SHARE = 0.3
# It counts as much as sizes that differ by a tenth: as they do where it is needed exactly, in
# batches that already are nearly as large as they get.
_DOUBT = 0.01
# Those who wait are also held up by the newcomer's own time. Counted for each of them, a burst
# would often be cut in two; at nothing, a small one is held too long. The root is between the two,
# and was the best of a dozen forms tried on the loads of test_pacing.py.
_NEWCOMER_WEIGHT = 0.5


class Wait(t.Protocol):
    """When a batch that is not full leaves."""

    def arrived(self, now_s: float) -> None:
        """One more is there. Those that are offered together have the same time."""

    def finished(self, now_s: float, *, size: int, in_flight: int) -> None:
        """A batch was answered; with it, so many were waiting or being computed."""

    def leaves_s(self, now_s: float, *, waiting: int, oldest_s: float) -> float:
        """When to leave; now or earlier: at once. Asked again after each arrival."""


class Cost:
    """What a batch of n takes, as `fixed_s + per_item_s * n`, from the batches so far."""

    def __init__(self) -> None:
        self.fixed_s = self.per_item_s = 0.0
        self._weight = self._sizes = self._times = self._squares = self._products = 0.0

    def record(self, size: int, took_s: float) -> None:
        """A line through the recent batches, by least squares whose weights fade."""
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

    @property
    def known(self) -> bool:
        """Whether there were some batches."""
        return self._weight > _KNOWN_BATCHES

    def of(self, size: int) -> float:
        return self.fixed_s + self.per_item_s * size


class FixedWait:
    """The oldest waits so long and no longer; 0 is "whatever is there"."""

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s

    def arrived(self, now_s: float) -> None:
        """Does not matter."""

    def finished(self, now_s: float, *, size: int, in_flight: int) -> None:
        """Does not matter."""

    def leaves_s(self, now_s: float, *, waiting: int, oldest_s: float) -> float:
        return oldest_s + self._wait_s


class AdaptiveWait:
    """Wait while that pays, as the recent arrivals tell: for a crowd to return, and for a burst.

    Clients that ask again after they are answered fall into two groups if nobody waits: one is
    computed, the other gathers. After an answer a batch is therefore held for the time that
    promises most throughput (`_Returns`). A burst is a matter of latency: after an arrival, a batch
    is held for the next one while that is worth the delay (`_Gaps`). Arrivals by chance show in
    neither, for them it is seldom worth it.

    Nobody is waited for once as many are there as there usually are, and neither wait is longer
    than the fixed cost, which is all that can be saved.

    tests/models/queue/test_waiting.py holds this against no wait and the best of eight fixed ones.
    """

    def __init__(self, cost: Cost, *, max_size: int) -> None:
        self._cost = cost
        self._max_size = max_size
        self._gaps = _Gaps()
        self._returns = _Returns()
        self._crowds: deque[int] = deque(maxlen=_CROWDS)
        self._crowd = 0
        self._free_s = -math.inf  # when the last batch was answered
        self._held_until_s = -math.inf
        self._arrival_s = -math.inf  # the last one since then
        # The arrivals of one moment, which are counted when it is over.
        self._round_s = math.nan
        self._round = 0

    def arrived(self, now_s: float) -> None:
        # PERF: all but the first of a round cost 0.1 us instead of 0.7.
        if now_s != self._round_s:
            self._end_round()
            self._round_s = now_s
        self._round += 1

    def _end_round(self) -> None:
        if not self._round:
            return
        now_s = self._round_s
        self._returns.came(now_s - self._free_s, self._round)
        if self._arrival_s >= self._free_s:
            self._gaps.ended(now_s - self._arrival_s)
        self._arrival_s = now_s
        self._round_s, self._round = math.nan, 0

    def finished(self, now_s: float, *, size: int, in_flight: int) -> None:
        self._end_round()
        if self._arrival_s >= self._free_s:
            self._gaps.cut_off(now_s - self._arrival_s)
        self._free_s, self._arrival_s = now_s, -math.inf
        self._crowds.append(in_flight)
        ranked = sorted(self._crowds)
        self._crowd = ranked[int(_CROWD_RANK * (len(ranked) - 1))]
        self._returns.answered(size)
        best_s = self._returns.best_wait_s(self._cost, crowd=self._crowd, max_size=self._max_size)
        self._held_until_s = now_s + best_s

    def leaves_s(self, now_s: float, *, waiting: int, oldest_s: float) -> float:
        self._end_round()
        if waiting >= self._crowd:
            return now_s
        if self._held_until_s > now_s:
            return self._held_until_s
        since_s = now_s - self._arrival_s
        patience_s = self._cost.fixed_s - (now_s - max(oldest_s, self._free_s))
        newcomer_s = _NEWCOMER_WEIGHT * self._cost.per_item_s * math.sqrt(waiting)
        gain_s = self._cost.fixed_s - newcomer_s
        if patience_s <= 0 or gain_s <= 0 or since_s == math.inf:
            return now_s
        return now_s + self._gaps.best_wait_s(
            since_s, at_most_s=patience_s, gain_s=gain_s, delayed=waiting + 1
        )


class _Returns:
    """Which share of those who were answered is back so soon, counted with fading weights."""

    def __init__(self) -> None:
        self._came = [0.0] * _BUCKETS
        self._answered = 0.0
        self._last = 0

    def came(self, after_s: float, count: int) -> None:
        """So many asked, so long after the last batch was answered."""
        self._came[bisect_right(_EDGES_S, after_s)] += count

    def answered(self, size: int) -> None:
        """A batch was; what came since the one before it is complete."""
        self._answered = (self._answered + self._last) * _KEEP_RETURNS
        self._came = [count * _KEEP_RETURNS for count in self._came]
        self._last = size

    def best_wait_s(self, cost: Cost, *, crowd: int, max_size: int) -> float:
        """The wait after an answer with which, if it were always made, most would be answered.

        Let a share r of those answered be back within a wait of x. They leave in the next batch,
        with those who were not back in time for the last. So a crowd of c leaves in batches of
        s = c / (2 - r), one every x + fixed + per_item * s. With no wait these are two groups of
        c / 2; for arrivals by chance r is so small that no wait is better.
        """
        if not self._answered or crowd >= 2 * max_size:
            return 0.0
        fixed_s, per_item_s = cost.fixed_s, cost.per_item_s
        size = crowd / 2
        best, best_wait_s = _WORTHWHILE * size / (fixed_s + per_item_s * size), 0.0
        came, most = 0.0, min(crowd, max_size)
        for wait_s, count in zip(_EDGES_S, self._came, strict=False):
            if wait_s > fixed_s:  # even two groups that became one would not make up for it
                break
            if not count:
                continue
            came += count
            size = min(max_size, crowd / (2 - min(1.0, came / self._answered)))
            spent_s = wait_s * _LEAVES_EARLIER if size > _FULL * most else wait_s
            per_s = size / (spent_s + fixed_s + per_item_s * size)
            if per_s > best:
                best, best_wait_s = per_s, wait_s
        return best_wait_s


class _Gaps:
    """How long it takes from an arrival until the next, counted with fading weights.

    A gap that an answer cuts off says only that nothing came until then (Kaplan and Meier, 1958:
    https://doi.org/10.1080/01621459.1958.10501452).
    """

    def __init__(self) -> None:
        self._ended = [0.0] * _BUCKETS
        self._cut = [0.0] * _BUCKETS
        # PERF: a growing weight for the new instead of fading 60 counts at each arrival.
        self._weight = 1.0

    def ended(self, gap_s: float) -> None:
        self._count(self._ended, gap_s)

    def cut_off(self, gap_s: float) -> None:
        self._count(self._cut, gap_s)

    def _count(self, counts: list[float], gap_s: float) -> None:
        self._weight = weight = self._weight / _KEEP_GAPS
        counts[bisect_right(_EDGES_S, gap_s)] += weight
        if weight > 1e12:
            for each in (self._ended, self._cut):
                each[:] = [count / weight for count in each]
            self._weight = 1.0

    def best_wait_s(
        self, since_s: float, *, at_most_s: float, gain_s: float, delayed: int
    ) -> float:
        """The wait that is worth most, `since_s` after the last arrival; 0 if none is worth it.

        One that comes in time saves the others a batch; a wait of up to x is worth

            P(one comes within x) * gain_s - delayed * E[time until then, at most x]
        """
        first = bisect_right(_EDGES_S, since_s)
        at_risk = sum(self._ended[first:]) + sum(self._cut[first:])
        nobody, spent_s, until_s = 1.0, 0.0, 0.0
        best, best_wait_s = 0.0, 0.0
        for i in range(first, len(_EDGES_S)):
            end_s = max(0.0, _EDGES_S[i] - since_s)
            if end_s > at_most_s or at_risk <= 1e-12 * self._weight:
                break
            hazard = min(1.0, self._ended[i] / max(at_risk - self._cut[i] / 2, 1e-300))
            at_risk -= self._ended[i] + self._cut[i]
            spent_s += nobody * (end_s - until_s) * (1 - hazard / 2)
            nobody *= 1 - hazard
            worth = (1 - nobody) * gain_s - delayed * spent_s
            if worth > best:
                best, best_wait_s = worth, end_s
            until_s = end_s
        return best_wait_s
