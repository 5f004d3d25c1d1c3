"""Draw plots from the results that the other programs write with --json.

    python bench/plot.py RESULTS_FOLDER IMAGES_FOLDER

The SVG has no background and only colours that are legible on white and on black, because a
README is shown on both, and an image cannot know on which.
"""

from __future__ import annotations

import html
import json
import pathlib
import sys
import typing as t

INK, FAINT = "#7d8590", "#7d859055"
OURS, PEER, FLOOR = "#2f9e6e", "#8b95a3", "#b8893c"
# Two panels side by side, each with names, bars, and two columns of figures.
PANEL, BETWEEN = 434, 24
NAME, BAR, FIGURE = 160, 142, 66
LINE, THICK, HEAD = 18, 12, 40


class Bar(t.NamedTuple):
    name: str
    share: float  # of the full width, up to 1
    figures: tuple[str, str]


class Panel(t.NamedTuple):
    title: str
    columns: tuple[str, str]
    bars: list[Bar]

    @property
    def height(self) -> int:
        return HEAD + LINE * len(self.bars)


class Drawing:
    """An SVG of panels in two columns, with notes below."""

    def __init__(self, title: str, panels: list[Panel], notes: list[str]) -> None:
        self._title = title
        self._lines: list[str] = []
        y = 0
        for i in range(0, len(panels), 2):
            pair = panels[i : i + 2]
            for panel, x in zip(pair, (0, PANEL + BETWEEN), strict=False):
                self._panel(panel, x, y)
            y += max(panel.height for panel in pair) + 8
        y += 6
        for note in notes:
            y += 16
            self._text(0, y, note, size=11)
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
        ours = bar.name.startswith("carboy")
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

    def svg(self) -> str:
        width, body = 2 * PANEL + BETWEEN, "\n".join(self._lines)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {self._height}"'
            f' width="{width}" height="{self._height}" role="img"'
            ' font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">\n'
            f"<title>{html.escape(self._title)}</title>\n{body}\n</svg>\n"
        )


def where(data: dict[str, t.Any]) -> str:
    machine = data["machine"]
    return f"{machine['python']}, {machine['cores']} x {machine['cpu']}, {data['made']}"


def overhead(data: dict[str, t.Any]) -> Drawing:
    """Draw the time in the framework per request, each row relative to Flask's."""
    titles = {"carboy": "carboy", "falcon": "Falcon", "flask": "Flask"}
    panels = []
    for row in data["rows"]:
        net = row["net_ns"]
        if not {"carboy", "flask"} <= net.keys():
            continue
        shares = {name: net[name] / net["flask"] for name in net}
        shares["carboy"] = row["ratio"]["median"]  # as in the README's table
        bars = [
            Bar(title, min(shares[name], 1), (f"{net[name] / 1000:.1f}", _ratio(shares[name])))
            for name, title in titles.items()
            if name in net
        ]
        panels.append(Panel(row["title"], ("µs", "to Flask"), bars))
    return Drawing(
        "Time in the framework per request: carboy, Falcon, Flask",
        panels,
        ["Processor time per request in process, less a bare callable's. Shorter is better.",
         where(data)],
    )  # fmt: skip


def _ratio(share: float) -> str:
    if share >= 1:
        return f"{share:.2g}"
    return f"1/{1 / share:.1f}" if share > 0.1 else f"1/{1 / share:.0f}"


def serve(data: dict[str, t.Any]) -> Drawing:
    """Draw the requests per second of each server, each row relative to the fastest."""
    note = "a bare callable shows what the server alone can do"
    return _served(data, "Requests per second, served", note)


def models(data: dict[str, t.Any]) -> Drawing:
    """Draw the predictions per second of each server, each row relative to the fastest."""
    note = "the same weights everywhere, each peer at its best documented settings"
    return _served(data, "Predictions per second over HTTP", note)


def _served(data: dict[str, t.Any], title: str, note: str) -> Drawing:
    panels = []
    for row in data["rows"]:
        servers = sorted(row["servers"].items(), key=lambda item: -item[1]["requests_per_s"])
        most = servers[0][1]["requests_per_s"]
        bars = []
        for name, found in servers:
            rate = found["requests_per_s"]
            bars.append(Bar(name, rate / most, (f"{rate:,.0f}", f"{found['p99_ms']:.1f}")))
        panels.append(Panel(row["title"], ("requests/s", "p99 ms"), bars))
    return Drawing(
        title, panels, [f"{data['how']}. Longer is better; {note}.", where(data)]
    )  # fmt: skip


def main(results: pathlib.Path, images: pathlib.Path) -> None:
    images.mkdir(parents=True, exist_ok=True)
    for name, draw in {"overhead": overhead, "serve": serve, "models": models}.items():
        source = results / f"{name}.json"
        if source.exists():
            target = images / f"{name}.svg"
            target.write_text(draw(json.loads(source.read_text())).svg())
            print(target)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: plot.py RESULTS_FOLDER IMAGES_FOLDER")
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
