"""How long a batch waits for company: not at all, a fixed time, or what pays.

Arithmetic only: no clock, no thread. All times are seconds on the caller's clock. A wait answers
one question, `leaves_s`: with so many waiting, when should they leave if nobody else comes?
"""

from __future__ import annotations

import math
import typing as t
from collections import deque

# Weight that what was seen keeps per new batch, and per new arrival. The first follows a model that
# warms up within some 50 batches, the second a change of the load within some 200 arrivals.
_KEEP_COST = 0.98
_KEEP_ARRIVALS = 1 - 1 / 200
# Gaps between arrivals are counted in buckets from 4 us to 3.6 s, three for two octaves.
_FINEST_S = 4e-6
_BUCKETS = 30
_EDGES_S = tuple(_FINEST_S * 2 ** (i / 1.5) for i in range(_BUCKETS))
# The size of the crowd is what was reached in 3 of 4 of the last 16 batches: the largest would be
# two bursts that met by chance.
_CROWDS = 16
_CROWD_RANK = 0.75
# With batches of one size only, how much of their time is taken to be per item. Low is curious: it
# lets batches grow once, and then it is known.
_PRIOR_SHARE = 0.3
# Those who wait are also held up by the newcomer's own time. Counted for each of them, clients in
# step (closed loops) would never meet in one batch; at nothing, a small burst is held too long. The
# root is between the two, and was the best of a dozen forms tried on the loads of test_pacing.py.
_NEWCOMER_WEIGHT = 0.5


class Wait(t.Protocol):
    """When a batch that is not full leaves."""

    def arrived(self, now_s: float, *, in_flight: int) -> None:
        """One more is there; `in_flight` are waiting or being computed, this one included."""

    def finished(self, now_s: float) -> None:
        """A batch was answered."""

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
        doubt = 0.02 * size_mean * size_mean
        highest = time_mean / size_mean
        slope = (covariance + doubt * highest * _PRIOR_SHARE) / (variance + doubt)
        self.per_item_s = min(max(slope, 0.0), highest)
        self.fixed_s = time_mean - self.per_item_s * size_mean

    def of(self, size: int) -> float:
        return self.fixed_s + self.per_item_s * size


class FixedWait:
    """The oldest waits so long and no longer; 0 is "whatever is there"."""

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s

    def arrived(self, now_s: float, *, in_flight: int) -> None:
        """Does not matter."""

    def finished(self, now_s: float) -> None:
        """Does not matter."""

    def leaves_s(self, now_s: float, *, waiting: int, oldest_s: float) -> float:
        return oldest_s + self._wait_s


class AdaptiveWait:
    """Wait for the next arrival while that pays, as the recent arrivals tell.

    An item that comes in time saves its neighbours a batch, the fixed cost; waiting delays those
    who are there. So a batch of n is held for up to x seconds if

        P(one comes within x) * (fixed - per_item * sqrt(n) / 2)
            >  (n + 1) * E[time until then, at most x]

    for some x, and for the x at which the difference is largest. P is a survival curve of the time
    since the last event, one curve after an arrival and one after a batch's answer: clients who
    ask again as soon as they are answered show in the second, bursts in the first, and arrivals by
    chance in neither, for them it is seldom worth it. Nobody is waited for once as many are there
    as there usually are, and in total never longer than the fixed cost.

    tests/models/test_pacing.py holds this against no wait and the best of eight fixed ones.
    """

    def __init__(self, cost: Cost) -> None:
        self._cost = cost
        self._curves = (_Curve(), _Curve())  # after an arrival; after an answer
        self._after = self._curves[0]
        self._event_s = -math.inf
        self._free_s = -math.inf
        self._crowds: deque[int] = deque(maxlen=_CROWDS)
        self._largest = 0
        self._crowd = 0

    def arrived(self, now_s: float, *, in_flight: int) -> None:
        self._after.arrived(now_s - self._event_s)
        self._after, self._event_s = self._curves[0], now_s
        self._largest = max(self._largest, in_flight)

    def finished(self, now_s: float) -> None:
        self._after.cut_off(now_s - self._event_s)
        self._after, self._event_s = self._curves[1], now_s
        self._free_s = now_s
        self._crowds.append(self._largest)
        self._largest = 0
        ranked = sorted(self._crowds)
        self._crowd = ranked[int(_CROWD_RANK * (len(ranked) - 1))]

    def leaves_s(self, now_s: float, *, waiting: int, oldest_s: float) -> float:
        if waiting >= self._crowd:
            return now_s
        patience_s = self._cost.fixed_s - (now_s - max(oldest_s, self._free_s))
        newcomer_s = _NEWCOMER_WEIGHT * self._cost.per_item_s * math.sqrt(waiting)
        gain_s = self._cost.fixed_s - newcomer_s
        if patience_s <= 0 or gain_s <= 0:
            return now_s
        return now_s + self._after.best_wait_s(
            now_s - self._event_s, at_most_s=patience_s, gain_s=gain_s, delayed=waiting + 1
        )


class _Curve:
    """How long it takes until the next arrival, counted with fading weights.

    A gap that an answer cuts off says only that nothing came until then (Kaplan and Meier, 1958:
    https://doi.org/10.1080/01621459.1958.10501452).
    """

    def __init__(self) -> None:
        self._came = [0.0] * _BUCKETS
        self._cut = [0.0] * _BUCKETS
        # PERF: a growing weight for the new instead of fading 60 counts at each arrival.
        self._weight = 1.0

    def arrived(self, gap_s: float) -> None:
        self._came[_bucket(gap_s)] += self._next_weight()

    def cut_off(self, gap_s: float) -> None:
        self._cut[_bucket(gap_s)] += self._next_weight()

    def _next_weight(self) -> float:
        self._weight /= _KEEP_ARRIVALS
        if self._weight > 1e12:
            self._came = [count / self._weight for count in self._came]
            self._cut = [count / self._weight for count in self._cut]
            self._weight = 1.0
        return self._weight

    def best_wait_s(
        self, since_s: float, *, at_most_s: float, gain_s: float, delayed: int
    ) -> float:
        """The wait that is worth most, `since_s` after the last event; 0 if none is worth it."""
        first = _bucket(since_s)
        at_risk = sum(self._came[first:]) + sum(self._cut[first:])
        nobody, spent_s, until_s = 1.0, 0.0, 0.0
        best, best_wait_s = 0.0, 0.0
        for i in range(first, _BUCKETS):
            end_s = max(0.0, _EDGES_S[i] - since_s)
            if end_s > at_most_s or at_risk <= 1e-12 * self._weight:
                break
            hazard = min(1.0, self._came[i] / max(at_risk - self._cut[i] / 2, 1e-300))
            at_risk -= self._came[i] + self._cut[i]
            spent_s += nobody * (end_s - until_s) * (1 - hazard / 2)
            nobody *= 1 - hazard
            worth = (1 - nobody) * gain_s - delayed * spent_s
            if worth > best:
                best, best_wait_s = worth, end_s
            until_s = end_s
        return best_wait_s


def _bucket(gap_s: float) -> int:
    if gap_s < _FINEST_S:
        return 0
    if gap_s >= _EDGES_S[-1]:
        return _BUCKETS - 1
    return min(_BUCKETS - 1, int(math.log2(gap_s / _FINEST_S) * 1.5) + 1)
