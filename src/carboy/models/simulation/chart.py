"""Draw what a study has found: as an SVG picture, and as lines for a terminal.

The SVG has no background, and colours that are legible on white and on black.
"""

from __future__ import annotations

import dataclasses
import html
import math
import typing as t

from .arrivals import chance, chance_arrivals
from .costcurve import show_duration, show_rate
from .simulator import simulate

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from .outcome import Outcome
    from .plan import ServingPlan

# The loads of the curve, as shares of what the plan can compute, and the requests of each point.
_LOADS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0, 1.1)
_REQUESTS = 10_000
_SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
_INK, _FAINT = "#7d8590", "#7d859050"
_MEDIAN, _TAIL = "#2f9e6e", "#c07a2c"
_WIDTH, _PANEL_WIDTH, _PANEL_HEIGHT = 720, 300, 180
_LEFT, _TOP = 56, 30
# How many bars of batch sizes are drawn; more sizes are joined.
_BARS = 16
_CELLS = 40


class LoadPoint(t.NamedTuple):
    """How a plan answers one load."""

    rate_per_s: float
    outcome: Outcome


def load_curve(plan: ServingPlan, *, seed: int) -> list[LoadPoint]:
    """Simulate a plan under loads from idle to more than it can compute, which arrive by chance."""
    most_per_s = min(plan.capacity_per_s, plan.web_capacity_per_s)
    points = []
    for share in _LOADS:
        rate_per_s = share * most_per_s
        arrivals_s = chance_arrivals(rate_per_s, _REQUESTS, chance(seed))
        points.append(LoadPoint(rate_per_s, simulate(plan, arrivals_s, seed=seed)))
    return points


# --- for a terminal ------------------------------------------------------------------------------


def bars(outcome: Outcome) -> cabc.Iterator[str]:
    """Yield lines with bars: the latencies, and the sizes of batches."""
    if not outcome.latencies_s:
        return
    yield ""
    longest_s = outcome.latency_s(1.0)
    for name, share in _SHARES.items():
        seconds = outcome.latency_s(share)
        yield f"{name:>9}  {_bar(seconds / longest_s)} {show_duration(seconds)}"
    yield ""
    sizes = _joined_sizes(outcome)
    most = max(number for _, number in sizes)
    total = sum(number for _, number in sizes)
    for name, number in sizes:
        yield f"{'batch ' + name:>9}  {_bar(number / most)} {number / total:.1%}"


def _bar(share: float) -> str:
    cells = share * _CELLS
    return "█" * int(cells) + ("▌" if cells % 1 >= 0.5 else "")


def _joined_sizes(outcome: Outcome) -> list[tuple[str, int]]:
    """Return the number of batches by size, or by ranges of sizes if there are many."""
    largest = max(outcome.batch_sizes)
    step = -(-largest // _BARS)
    found = []
    for first in range(1, largest + 1, step):
        last = min(first + step - 1, largest)
        number = sum(outcome.batch_sizes.get(size, 0) for size in range(first, last + 1))
        found.append((str(first) if first == last else f"{first}-{last}", number))
    return found


# --- SVG -----------------------------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class _Scale:
    """Maps values to pixels, by their logarithms if `is_log`."""

    low: float
    high: float
    from_px: float
    to_px: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.is_log:
            value, low, high = math.log(max(value, low)), math.log(low), math.log(high)
        share = (value - low) / (high - low)
        return self.from_px + min(1.0, max(0.0, share)) * (self.to_px - self.from_px)

    def ticks(self) -> list[float]:
        """Return about five round numbers."""
        if self.is_log:
            ticks = [
                factor * 10.0**power
                for power in range(math.floor(math.log10(self.low)), 4)
                for factor in (1, 2, 5)
            ]
            ticks = [each for each in ticks if self.low * 0.999 <= each <= self.high * 1.001]
            return ticks if len(ticks) <= 8 else ticks[::3]
        raw = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(each * power for each in (1, 2, 5, 10) if each * power >= raw)
        return [i * step for i in range(int(self.high / step) + 1)]


class _Picture:
    """An SVG picture that is being drawn."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def text(
        self, x: float, y: float, words: str, *, anchor: str = "start", colour: str = _INK,
        size: int = 11, bold: bool = False,
    ) -> None:  # fmt: skip
        weight = ' font-weight="600"' if bold else ""
        self._parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
            f' fill="{colour}"{weight}>{html.escape(words)}</text>'
        )

    def line(
        self, points: cabc.Iterable[tuple[float, float]], colour: str, style: str = ""
    ) -> None:
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(f'<polyline points="{joined}" fill="none" stroke="{colour}"{style}/>')

    def rectangle(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        self._parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
            f' fill="{colour}"/>'
        )

    def finish(self, title: str, height: int) -> str:
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img"'
            f' font-family="system-ui, sans-serif"><title>{html.escape(title)}</title>\n'
            + "\n".join(self._parts)
            + "\n</svg>\n"
        )


def svg(title: str, notes: cabc.Sequence[str], outcome: Outcome, curve: list[LoadPoint]) -> str:
    """Return an SVG picture: latency by load, latencies, and sizes of batches.

    Args:
        title: what was simulated.
        notes: lines below the title.
        outcome: that of the load that was asked for.
        curve: what the plan does under other loads.
    """
    picture = _Picture()
    picture.text(0, 16, title, size=14, bold=True)
    for i, note in enumerate(notes):
        picture.text(0, 36 + 16 * i, note)
    top = 36 + 16 * len(notes)
    _draw_curve(picture, top, outcome, curve)
    lower = top + _TOP + _PANEL_HEIGHT + 50
    _draw_latencies(picture, lower, outcome)
    _draw_sizes(picture, lower, outcome)
    return picture.finish(title, lower + _TOP + _PANEL_HEIGHT + 40)


def _draw_curve(picture: _Picture, top: float, outcome: Outcome, curve: list[LoadPoint]) -> None:
    points = [each for each in curve if each.outcome.latencies_s]
    picture.text(0, top + 14, "Latency by load (requests per second)", bold=True)
    if not points:
        return
    times_s = [each.outcome.latency_s(share) for each in points for share in (0.5, 0.99)]
    most_per_s = max(outcome.offered_per_s, *(each.rate_per_s for each in curve))
    bottom = top + _TOP + _PANEL_HEIGHT
    x = _Scale(0, most_per_s * 1.02, _LEFT, _WIDTH - 40)
    y = _Scale(min(times_s) / 1.3, max(times_s) * 1.3, bottom, top + _TOP, is_log=True)
    _draw_axes(picture, x, y, bottom)
    for name, share, colour in (("p50", 0.5, _MEDIAN), ("p99", 0.99, _TAIL)):
        line = [(x(each.rate_per_s), y(each.outcome.latency_s(share))) for each in points]
        picture.line(line, colour, ' stroke-width="2"')
        picture.text(line[-1][0] + 5, line[-1][1] + 4, name, colour=colour)
    asked = x(outcome.offered_per_s)
    picture.line([(asked, bottom), (asked, top + _TOP)], _INK, ' stroke-dasharray="4 4"')
    picture.text(asked, top + _TOP - 4, show_rate(outcome.offered_per_s), anchor="middle")


def _draw_axes(picture: _Picture, x: _Scale, y: _Scale, bottom: float) -> None:
    for tick in y.ticks():
        picture.line([(x.from_px, y(tick)), (x.to_px, y(tick))], _FAINT)
        picture.text(x.from_px - 6, y(tick) + 4, show_duration(tick), anchor="end")
    for tick in x.ticks():
        picture.text(x(tick), bottom + 16, f"{tick:g}", anchor="middle")


def _draw_latencies(picture: _Picture, top: float, outcome: Outcome) -> None:
    picture.text(0, top + 14, "Latency of the share of the results", bold=True)
    if not outcome.latencies_s:
        return
    names = list(_SHARES)
    bottom = top + _TOP + _PANEL_HEIGHT
    y = _Scale(0, outcome.latency_s(1.0) * 1.1, bottom, top + _TOP)
    step = (_PANEL_WIDTH - _LEFT) / len(names)
    for tick in y.ticks():
        picture.line([(_LEFT, y(tick)), (_PANEL_WIDTH, y(tick))], _FAINT)
        picture.text(_LEFT - 6, y(tick) + 4, show_duration(tick) if tick else "0", anchor="end")
    for i, (name, share) in enumerate(_SHARES.items()):
        value, left = y(outcome.latency_s(share)), _LEFT + i * step
        colour = _MEDIAN if share < 0.9 else _TAIL
        picture.rectangle(left + 6, value, step - 12, bottom - value, colour)
        picture.text(left + step / 2, bottom + 16, name, anchor="middle")


def _draw_sizes(picture: _Picture, top: float, outcome: Outcome) -> None:
    left = _WIDTH - _PANEL_WIDTH
    picture.text(left, top + 14, "Inputs in a batch (share of the batches)", bold=True)
    if not outcome.batch_sizes:
        return
    sizes = _joined_sizes(outcome)
    total = sum(number for _, number in sizes)
    bottom = top + _TOP + _PANEL_HEIGHT
    y = _Scale(0, max(number for _, number in sizes) / total * 1.1, bottom, top + _TOP)
    step = _PANEL_WIDTH / len(sizes)
    for i, (name, number) in enumerate(sizes):
        value = y(number / total)
        picture.rectangle(left + i * step + 1, value, step - 2, bottom - value, _MEDIAN)
        if i % (-(-len(sizes) // 8)) == 0:
            picture.text(left + (i + 0.5) * step, bottom + 16, name, anchor="middle")
        if number == max(each for _, each in sizes):
            share = f"{number / total:.0%}"
            picture.text(left + (i + 0.5) * step, value - 4, share, anchor="middle")
