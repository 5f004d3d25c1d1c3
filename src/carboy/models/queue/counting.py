"""What one model has done so far, in numbers. Cheap: counts only, added up per batch."""

from __future__ import annotations

import typing as t
from bisect import bisect_left

# Upper bounds of the latency counts, 1-2.5-5 as Prometheus has them; a last count is for the rest.
BOUNDS_S = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)


class Statistics(t.NamedTuple):
    """A copy of the counts at one moment.

    `answered` came back from `predict`, `failed` of them with an exception. `refused` found the
    model full, stuck or closed; `expired` missed their deadline; `cancelled` were given up by
    whoever asked. `batch_sizes` counts batches by their size, `latencies` answers by the first of
    `bounds_s` that is not shorter (waiting included), one more for the longer ones.
    """

    answered: int
    failed: int
    refused: int
    expired: int
    cancelled: int
    batches: int
    batch_sizes: dict[int, int]
    bounds_s: tuple[float, ...]
    latencies: tuple[int, ...]
    waited_s: float  # in the queue, all answers together
    computed_s: float  # in predict, all batches together
    waiting: int
    computing: int
    stuck: bool


class Counts:
    """Written under the scheduler's lock."""

    __slots__ = (
        "answered",
        "batch_sizes",
        "cancelled",
        "computed_s",
        "expired",
        "failed",
        "latencies",
        "refused",
        "waited_s",
    )

    def __init__(self) -> None:
        self.answered = self.failed = self.refused = self.expired = self.cancelled = 0
        self.batch_sizes: dict[int, int] = {}
        self.latencies = [0] * (len(BOUNDS_S) + 1)
        self.waited_s = self.computed_s = 0.0

    def batch(self, size: int, took_s: float) -> None:
        self.batch_sizes[size] = self.batch_sizes.get(size, 0) + 1
        self.computed_s += took_s

    def answer(self, waits_s: list[float], *, failed: int, took_s: float) -> None:
        """Those of one batch: how long each has waited, and how many of them failed."""
        self.answered += len(waits_s)
        self.failed += failed
        self.waited_s += sum(waits_s)
        latencies = self.latencies
        for waited_s in waits_s:
            latencies[bisect_left(BOUNDS_S, waited_s + took_s)] += 1

    def copy(self, *, waiting: int, computing: int, stuck: bool) -> Statistics:
        return Statistics(
            answered=self.answered,
            failed=self.failed,
            refused=self.refused,
            expired=self.expired,
            cancelled=self.cancelled,
            batches=sum(self.batch_sizes.values()),
            batch_sizes=dict(sorted(self.batch_sizes.items())),
            bounds_s=BOUNDS_S,
            latencies=tuple(self.latencies),
            waited_s=self.waited_s,
            computed_s=self.computed_s,
            waiting=waiting,
            computing=computing,
            stuck=stuck,
        )
