"""Find the cheapest plan that answers 99 % of the requests within a time."""

from __future__ import annotations

import dataclasses
import math
import typing as t
from bisect import bisect_right

from .simulator import simulate

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from .outcome import Outcome
    from .plan import ServingPlan

#: The share of all requests that must be answered in time.
SHARE = 0.99
# Waits that are tried if no batch size keeps the time without one: "auto", and these shares of it.
_WAIT_SHARES = (0.1, 0.25)
# How many more replicas are tried than would be busy all the time.
_MORE_REPLICAS = 8


class Trial(t.NamedTuple):
    """A plan that was tried.

    Attributes:
        plan: the plan.
        outcome: what became of the requests.
        kept: the share of all requests that were answered in time.
    """

    plan: ServingPlan
    outcome: Outcome
    kept: float

    @property
    def keeps(self) -> bool:
        return self.kept >= SHARE


class SearchResult(t.NamedTuple):
    """The result of a search.

    Attributes:
        best: the cheapest trial that keeps the time: with the fewest replicas, and among those the
            shortest 99th percentile; None if there is none.
        trials: all that were simulated, in order.
        too_small: how many plans were not simulated, because they compute fewer requests per second
            than arrive.
    """

    best: Trial | None
    trials: list[Trial]
    too_small: int

    @property
    def nearest(self) -> Trial:
        """The trial that answered most requests in time. There must be one."""
        return max(self.trials, key=lambda trial: trial.kept)


def cheapest(
    plan: ServingPlan,
    arrivals_s: cabc.Sequence[float],
    limit_s: float,
    *,
    replicas: int | None = None,
    batches: cabc.Sequence[int],
    wait_s: float | t.Literal["auto"] | None = None,
    seed: int = 1,
) -> SearchResult:
    """Find the plan with the fewest replicas that answers 99 % of the requests in time.

    Args:
        plan: everything that is not varied.
        arrivals_s: when requests arrive.
        limit_s: the time within which they must be answered, in seconds.
        replicas: the only number of replicas that is tried; None tries them upwards from the least
            number that can compute all requests.
        batches: the largest sizes of batches that are tried.
        wait_s: the only wait that is tried; None tries 0, then others.
        seed: that of the simulations.
    """
    rate_per_s = len(arrivals_s) / (arrivals_s[-1] or math.inf)
    trials: list[Trial] = []
    too_small = 0
    for number in _numbers(plan, rate_per_s, batches, replicas):
        base = dataclasses.replace(plan, replicas=number)
        able = [
            each
            for size in batches
            if (each := dataclasses.replace(base, batch=size)).capacity_per_s >= rate_per_s
        ]
        too_small += len(batches) - len(able)
        for waits in _waits(limit_s):
            tried = [
                _try(dataclasses.replace(each, wait_s=wait), arrivals_s, limit_s, seed)
                for each in able
                for wait in (waits if wait_s is None else (wait_s,))
            ]
            trials += tried
            if kept := [each for each in tried if each.keeps]:
                best = min(kept, key=lambda trial: trial.outcome.latency_s(SHARE))
                return SearchResult(best, trials, too_small)
            if wait_s is not None:
                break
    return SearchResult(None, trials, too_small)


def _waits(limit_s: float) -> list[list[float | t.Literal["auto"]]]:
    """Return the waits that are tried, and those that are tried if none of them keeps the time."""
    return [[0], ["auto", *(limit_s * share for share in _WAIT_SHARES)]]


def _numbers(
    plan: ServingPlan, rate_per_s: float, batches: cabc.Sequence[int], replicas: int | None
) -> cabc.Iterable[int]:
    if replicas is not None:
        return (replicas,)
    most_per_s = max(size / plan.cost.of(size) for size in batches)
    least = max(1, math.ceil(rate_per_s / most_per_s))
    return range(least, max(2 * least, least + _MORE_REPLICAS) + 1)


def _try(plan: ServingPlan, arrivals_s: cabc.Sequence[float], limit_s: float, seed: int) -> Trial:
    outcome = simulate(plan, arrivals_s, seed=seed)
    latencies_s = outcome.latencies_s
    within = bisect_right(latencies_s, limit_s) / max(1, len(latencies_s))
    return Trial(plan, outcome, within * (1 - outcome.shed))
