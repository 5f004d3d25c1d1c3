"""The outcome of a simulation: what has become of the requests."""

from __future__ import annotations

import dataclasses
import math
import typing as t

if t.TYPE_CHECKING:
    from collections import abc as cabc


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of a simulation: how many requests were answered, and how fast.

    The counts are of all requests. Latencies, rates and utilisation leave out the first twentieth
    of the requests, during which the queue fills and the batcher has not measured `predict` yet.

    Attributes:
        arrived: the number of requests.
        answered: how many got a result.
        refused: how many were refused because the queue was full, or `predict` hung: 503.
        expired: how many missed their deadline: 503 or 504.
        offered_per_s: arrivals per second.
        answered_per_s: results per second.
        latencies_s: the latencies of the results, from arrival to response, in ascending order.
        batch_sizes: the number of batches by size.
        busy: the share of the time in which `predict` runs, of all that could run.
        web_busy: the share of the time in which the web workers are busy apart from `predict`.
        simulated_s: how much virtual time has passed.
    """

    arrived: int
    answered: int
    refused: int
    expired: int
    offered_per_s: float
    answered_per_s: float
    latencies_s: cabc.Sequence[float]
    batch_sizes: dict[int, int]
    busy: float
    web_busy: float
    simulated_s: float

    def latency_s(self, share: float) -> float:
        """Return the latency that this share of the results does not exceed; infinity if there are
        no results.

        Args:
            share: 0.99 for the 99th percentile.
        """
        latencies_s = self.latencies_s
        if not latencies_s:
            return math.inf
        return latencies_s[max(0, math.ceil(share * len(latencies_s)) - 1)]

    @property
    def shed(self) -> float:
        """The share of the requests that got no result."""
        return (self.refused + self.expired) / self.arrived if self.arrived else 0.0

    @property
    def mean_batch(self) -> float:
        """The mean number of inputs in a batch; 0 without batches."""
        batches = sum(self.batch_sizes.values())
        inputs = sum(size * number for size, number in self.batch_sizes.items())
        return inputs / batches if batches else 0.0

    def to_dict(self) -> dict[str, t.Any]:
        """Return the outcome as plain JSON values; times are in milliseconds."""
        shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
        latency = {name: self.latency_s(share) * 1e3 for name, share in shares.items()}
        return {
            "arrived": self.arrived,
            "answered": self.answered,
            "refused": self.refused,
            "expired": self.expired,
            "offered_per_s": self.offered_per_s,
            "answered_per_s": self.answered_per_s,
            "latency_ms": {k: v if math.isfinite(v) else None for k, v in latency.items()},
            "mean_batch": self.mean_batch,
            "batch_sizes": {str(size): n for size, n in sorted(self.batch_sizes.items())},
            "busy": self.busy,
            "web_busy": self.web_busy,
            "simulated_s": self.simulated_s,
        }
