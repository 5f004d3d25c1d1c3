"""A plan: how a model is served, as far as it decides about latency and throughput."""

from __future__ import annotations

import dataclasses
import typing as t

if t.TYPE_CHECKING:
    from .costcurve import CostCurve


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServingPlan:
    """How a model is served.

    Attributes:
        cost: how long `predict` takes.
        workers: the number of web workers. Each has a queue of its own.
        replicas: the number of processes that compute for all workers; None if each worker
            computes itself.
        concurrency: how many batches each worker computes at the same time, without replicas.
        batch: the largest number of inputs in a batch.
        wait_s: how long the oldest input of a batch waits for others, in seconds, or "auto".
        deadline_s: the longest time from arrival to result, in seconds; None is no limit.
        queue: the largest number of inputs that wait in each worker.
        http_s: how long a web worker is busy with one request apart from `predict`, in seconds:
            half of it before the request waits in the queue, half of it to respond.
    """

    cost: CostCurve
    workers: int = 1
    replicas: int | None = None
    concurrency: int = 1
    batch: int = 1
    wait_s: float | t.Literal["auto"] = 0
    deadline_s: float | None = 30.0
    queue: int = 1024
    http_s: float = 0.0

    @property
    def parallel(self) -> int:
        """How many batches are computed at the same time, at most."""
        return self.workers * self.concurrency if self.replicas is None else self.replicas

    @property
    def copies(self) -> int:
        """How many processes hold the model in memory."""
        return self.workers if self.replicas is None else self.replicas

    @property
    def capacity_per_s(self) -> float:
        """How many requests per second are computed if all batches are full."""
        return self.parallel * self.batch / self.cost.of(self.batch)

    @property
    def web_capacity_per_s(self) -> float:
        """How many requests per second the web workers can read and answer."""
        return self.workers / self.http_s if self.http_s else float("inf")
