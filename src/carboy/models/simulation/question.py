"""What `carboy models simulate` is asked: a load, and what is served otherwise than declared."""

from __future__ import annotations

import dataclasses
import typing as t

if t.TYPE_CHECKING:
    from .costcurve import CostCurve


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A load, and how the model is served. None stands for what the model declares, or for what is
    measured.

    Attributes:
        rps: requests per second that arrive by chance; None with `replay`.
        burst: how many of them arrive at the same moment.
        requests: how many of them are simulated; None is 50,000.
        replay: the path of an access log whose requests arrive again; "-" for stdin.
        speed: how much faster they arrive.
        seed: the source of chance.
        workers, replicas, concurrency, batch, wait, deadline, queue, cost, http: the attributes of
            a `ServingPlan`; times in seconds. A `deadline` of infinity is no limit. `http` is 0 if
            it is None.
        memory: the memory of a process that holds the model, in bytes.
        p99: the time in which 99 % of the requests must be answered, in seconds; None if that is
            not asked.
    """

    rps: float | None = None
    burst: int = 1
    requests: int | None = None
    replay: str | None = None
    speed: float = 1.0
    seed: int = 1
    workers: int = 1
    replicas: int | None = None
    concurrency: int | None = None
    batch: int | None = None
    wait: float | t.Literal["auto"] | None = None
    deadline: float | None = None
    queue: int | None = None
    cost: CostCurve | None = None
    http: float | t.Literal["measured"] | None = None
    memory: int | None = None
    p99: float | None = None
