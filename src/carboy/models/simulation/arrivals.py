"""When simulated requests arrive: seconds on a virtual clock, in ascending order."""

from __future__ import annotations

import typing as t
from array import array
from itertools import accumulate, repeat
from random import Random

if t.TYPE_CHECKING:
    from collections import abc as cabc


def chance(seed: int) -> Random:
    """Return a source of chance that draws the same numbers for the same seed."""
    return Random(seed)  # noqa: S311  # no secret


def chance_arrivals(
    rate_per_s: float, count: int, random: Random, *, burst: int = 1
) -> cabc.Sequence[float]:
    """Return the arrivals of many independent clients: a Poisson process.

    Args:
        rate_per_s: the mean number of requests per second.
        count: the number of requests.
        random: the source of chance.
        burst: how many requests arrive at the same moment. The moments are a Poisson process.
    """
    gap = random.expovariate
    moments = accumulate(map(gap, repeat(rate_per_s / burst, -(-count // burst))))
    if burst == 1:
        return array("d", moments)
    return array("d", [moment for moment in moments for _ in range(burst)][:count])


def replayed_arrivals(times_s: cabc.Iterable[float], *, speed: float = 1.0) -> cabc.Sequence[float]:
    """Return recorded arrivals, beginning at 0.

    Args:
        times_s: the recorded times in seconds, in any order.
        speed: by how much the arrivals are faster than they were.
    """
    ordered = sorted(times_s)
    return array("d", [(each - ordered[0]) / speed for each in ordered])
