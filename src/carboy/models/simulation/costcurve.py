"""How long `predict` takes for a batch of n inputs: `a + b * n`, given or measured."""

from __future__ import annotations

import dataclasses
import re
import typing as t
from time import perf_counter

if t.TYPE_CHECKING:
    from collections import abc as cabc

# How long a measurement takes, unless `predict` is so slow that its least number of rounds takes
# longer.
_MEASURE_S = 2.0
_LEAST_ROUNDS, _MOST_ROUNDS = 3, 200
# If a line is off by more than this share from a measured time, the cost counts as not linear.
_LINEAR = 0.15
_UNITS_S = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*(us|µs|ms|s)\s*")


@dataclasses.dataclass(frozen=True, slots=True)
class CostCurve:
    """The duration of `predict` for a batch of n inputs: `fixed_s + per_item_s * n` seconds."""

    fixed_s: float
    per_item_s: float = 0.0

    def of(self, size: int) -> float:
        return self.fixed_s + self.per_item_s * size

    def __str__(self) -> str:
        fixed, per_item = show_duration(self.fixed_s), show_duration(self.per_item_s)
        return f"{fixed} + {per_item} per input" if self.per_item_s else fixed


class MeasuredCost(t.NamedTuple):
    """A cost curve that was fitted to measured times.

    Attributes:
        curve: the fitted line.
        times_s: the median of the measured times, by the size of the batch, in seconds.
        residual: by which share the line is off at most, of the time that was measured.
    """

    curve: CostCurve
    times_s: dict[int, float]
    residual: float

    @property
    def is_linear(self) -> bool:
        """Whether the line describes the measured times."""
        return self.residual <= _LINEAR


def parse_duration(text: str) -> float:
    """Convert a duration such as `50ms`, `0.2 s` or `80us` to seconds.

    Raises:
        ValueError: the text is no duration.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError
    return float(match[1]) * _UNITS_S[match[2]]


def show_duration(seconds: float) -> str:
    """Return a duration as a text with its unit, of three digits."""
    for unit, unit_s in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"


def show_rate(per_s: float) -> str:
    """Return a number per second as a text: whole from 100 on, else with three digits."""
    return f"{per_s:.0f}/s" if per_s >= 100 else f"{per_s:.3g}/s"


def parse_cost(text: str) -> CostCurve:
    """Convert `2ms+0.1ms` to a cost curve: 2 ms for a batch, and 0.1 ms for each input.

    Raises:
        ValueError: the text is none, or the cost is 0.
    """
    fixed, plus, per_item = text.partition("+")
    curve = CostCurve(parse_duration(fixed), parse_duration(per_item) if plus else 0.0)
    if not curve.of(1):
        raise ValueError
    return curve


def fit_cost(times_s: cabc.Mapping[int, float]) -> MeasuredCost:
    """Fit a line to measured times by least squares of the relative errors, so that small batches
    count as much as large ones. Neither of its coefficients is negative.

    Args:
        times_s: the time of a batch by its size, in seconds.
    """
    # With the weight 1 / time^2 for each squared error.
    weights = {size: time_s**-2 for size, time_s in times_s.items()}
    total = sum(weights.values())
    size_mean = sum(weights[size] * size for size in times_s) / total
    time_mean = sum(weights[size] * time_s for size, time_s in times_s.items()) / total
    variance = sum(weights[size] * (size - size_mean) ** 2 for size in times_s)
    slope = 0.0
    if variance:
        slope = (
            sum(w * (size - size_mean) * times_s[size] for size, w in weights.items()) / variance
        )
    slope = min(max(slope, 0.0), time_mean / size_mean)
    curve = CostCurve(max(0.0, time_mean - slope * size_mean), slope)
    residual = max(abs(curve.of(size) / time_s - 1) for size, time_s in times_s.items())
    return MeasuredCost(curve, dict(times_s), residual)


def measure_cost(
    compute: cabc.Callable[[list[t.Any]], object], make: cabc.Callable[[], t.Any], *, batch: int
) -> MeasuredCost:
    """Measure how long `predict` takes, in interleaved rounds of all sizes.

    Args:
        compute: computes a batch.
        make: returns an input of a batch. Each is used once, because `predict` may change it.
        batch: the largest size. The others are powers of two.
    """
    from statistics import median

    taken_s: dict[int, list[float]] = {
        size: [] for size in sorted({*(2**i for i in range(batch.bit_length())), batch})
    }
    begun_s, rounds = perf_counter(), -1  # the first round does not count: libraries prepare then
    while rounds < _LEAST_ROUNDS or (
        rounds < _MOST_ROUNDS and perf_counter() - begun_s < _MEASURE_S
    ):
        for size, each in taken_s.items():
            inputs = [make() for _ in range(size)]
            start_s = perf_counter()
            compute(inputs)
            if rounds >= 0:
                each.append(perf_counter() - start_s)
        rounds += 1
    return fit_cost({size: median(each) for size, each in taken_s.items()})
