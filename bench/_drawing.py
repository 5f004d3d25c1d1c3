"""Draw SVG files of panels: bars, or lines over an axis.

The SVG has no background and only colours that are legible on white and on black, because a
README is shown on both, and an image cannot know on which.
"""

from __future__ import annotations

import html
import itertools
import math
import textwrap
import typing as t

INK, FAINT = "#7d8590", "#7d859055"
OURS, PEER, FLOOR = "#2f9e6e", "#8b95a3", "#b8893c"
# The lines of peers, by their number. Dashes tell them apart without colours.
LINES = (PEER, FLOOR, "#6f8fd0", "#b06fb5", "#c46a5a")
DASHES = ("", "6 3", "2 3", "8 3 2 3", "10 4")
# Two panels side by side, each with names, bars, and two columns of figures.
PANEL, BETWEEN = 434, 24
NAME, BAR, FIGURE = 160, 142, 66
LINE, THICK, HEAD = 18, 12, 40
# Characters in a line of a note.
NOTE = 145


class Bar(t.NamedTuple):
    name: str
    share: float  # of the full width, up to 1
    figures: tuple[str, str]
    ours: bool = False


class Line(t.NamedTuple):
    name: str
    points: list[tuple[float, float]]
    """Positions on the axis, and values; all above 0."""


class Chart(t.NamedTuple):
    """Lines over an axis, the first of which is ours; both axes are logarithmic."""

    title: str
    x_title: str
    y_title: str
    lines: list[Line]
    height: int = 240


class Panel(t.NamedTuple):
    """Bars with their names, and two columns of figures."""

    title: str
    columns: tuple[str, str]
    bars: list[Bar]

    @property
    def height(self) -> int:
        return HEAD + LINE * len(self.bars)


class Drawing:
    """An SVG of panels in two columns, with notes below."""

    def __init__(self, title: str, panels: t.Sequence[Panel | Chart], notes: list[str]) -> None:
        self._title = title
        self._lines: list[str] = []
        y = 0
        for i in range(0, len(panels), 2):
            pair = panels[i : i + 2]
            for panel, x in zip(pair, (0, PANEL + BETWEEN), strict=False):
                (self._panel if isinstance(panel, Panel) else self._chart)(panel, x, y)
            y += max(panel.height for panel in pair) + 8
        y += 6
        for line in itertools.chain(*(textwrap.wrap(note, NOTE) for note in notes)):
            y += 16
            self._text(0, y, line, size=11)
        self._height = y + 8

    def _text(self, x: float, y: float, words: str, *, size: int = 12, anchor: str = "start",
              bold: bool = False, colour: str = INK) -> None:  # fmt: skip
        weight = ' font-weight="600"' if bold else ""
        self._lines.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
            f' fill="{colour}"{weight}>{html.escape(words)}</text>'
        )

    def _panel(self, panel: Panel, x: float, y: float) -> None:
        first, second = (x + NAME + BAR + FIGURE * n for n in (1, 2))
        self._text(x, y + 18, panel.title, size=13, bold=True)
        for at, column in zip((first, second), panel.columns, strict=True):
            self._text(at, y + 34, column, size=10, anchor="end")
        y += HEAD
        for bar in panel.bars:
            self._bar(bar, x, y)
            y += LINE

    def _bar(self, bar: Bar, x: float, y: float) -> None:
        ours = bar.ours
        fill = OURS if ours else FLOOR if "bare" in bar.name else PEER
        ink = OURS if ours else INK
        left, base = x + NAME, y + 10
        for width, paint in ((BAR, f'{FAINT}" opacity=".35'), (max(1.5, BAR * bar.share), fill)):
            self._lines.append(
                f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{THICK}" rx="2"'
                f' fill="{paint}"/>'
            )
        self._text(left - 8, base, bar.name, anchor="end", bold=ours, colour=ink)
        for n, figure in enumerate(bar.figures, 1):
            at = left + BAR + FIGURE * n
            self._text(at, base, figure, anchor="end", bold=ours, colour=ink)

    def _chart(self, chart: Chart, x: float, y: float) -> None:
        self._text(x, y + 18, chart.title, size=13, bold=True)
        self._text(x, y + 34, f"{chart.y_title} by {chart.x_title}", size=10)
        left, right, top, bottom = x + 44, x + PANEL - 116, y + HEAD + 4, y + chart.height - 24
        scale_x = _scale([at for line in chart.lines for at, _ in line.points], left, right)
        scale_y = _scale([v for line in chart.lines for _, v in line.points], bottom, top)
        for at in sorted({at for line in chart.lines for at, _ in line.points}):
            self._text(scale_x(at), bottom + 16, _number(at), size=10, anchor="middle")
            self._stroke([(scale_x(at), bottom), (scale_x(at), bottom + 4)], INK, "")
        for value in _ticks([v for line in chart.lines for _, v in line.points]):
            self._text(left - 6, scale_y(value) + 3, _number(value), size=10, anchor="end")
            self._stroke([(left, scale_y(value)), (right, scale_y(value))], FAINT, "")
        ends = []
        for number, line in reversed(list(enumerate(chart.lines))):  # ours is drawn last
            ours = number == 0
            colour = OURS if ours else LINES[(number - 1) % len(LINES)]
            points = [(scale_x(at), scale_y(value)) for at, value in line.points]
            self._stroke(points, colour, "" if ours else DASHES[number % len(DASHES)], width=2)
            ends.append((points[-1][1], line.name, colour, ours))
        for (_, name, colour, ours), label_y in zip(
            sorted(ends), _apart([end[0] for end in sorted(ends)], 13), strict=True
        ):
            self._text(right + 8, label_y + 4, name, size=11, bold=ours, colour=colour)

    def _stroke(
        self, points: list[tuple[float, float]], colour: str, dashes: str, width: float = 1
    ) -> None:
        along = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        self._lines.append(
            f'<polyline points="{along}" fill="none" stroke="{colour}"'
            f' stroke-width="{width:g}"{dashed}/>'
        )

    def svg(self) -> str:
        width, body = 2 * PANEL + BETWEEN, "\n".join(self._lines)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {self._height}"'
            f' width="{width}" height="{self._height}" role="img"'
            ' font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">\n'
            f"<title>{html.escape(self._title)}</title>\n{body}\n</svg>\n"
        )


def _scale(values: list[float], start: float, end: float) -> t.Callable[[float], float]:
    """Return a function from a value to its place on a logarithmic axis."""
    low, high = math.log(min(values)), math.log(max(values))
    span = (high - low) or 1.0
    return lambda value: start + (end - start) * (math.log(value) - low) / span


def _ticks(values: list[float]) -> list[float]:
    """Return two to eight round values within the range of some values, or its ends."""
    low, high = min(values), max(values)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 2, 5), (1, 2, 3, 4, 5, 6, 8), tuple(n / 10 for n in range(10, 100))):
        found = [step * 10.0**power for power in powers for step in steps]
        found = [each for each in found if low <= each <= high]
        if len(found) > 1:
            return found[:: math.ceil(len(found) / 8)]
    return [low, high] if high > low else [low]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _apart(places: list[float], gap: float) -> list[float]:
    """Move sorted places down so that they are at least so far apart."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap) if moved else place)
    return moved
