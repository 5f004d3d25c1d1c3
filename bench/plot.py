"""Draw the README's plots from what the other programs wrote with --json.

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
WIDTH, BAR, GAP = 760, 15, 5
LABEL, VALUE = 176, 150


class Drawing:
    """Lines of SVG, from the top down."""

    def __init__(self, title: str) -> None:
        self.y = 0
        self._lines: list[str] = []
        self._title = title

    def text(self, x: float, words: str, *, size: int = 12, anchor: str = "start",
             bold: bool = False, colour: str = INK) -> None:  # fmt: skip
        weight = ' font-weight="600"' if bold else ""
        self._lines.append(
            f'<text x="{x:.1f}" y="{self.y}" font-size="{size}" text-anchor="{anchor}"'
            f' fill="{colour}"{weight}>{html.escape(words)}</text>'
        )

    def heading(self, words: str) -> None:
        self.y += 30
        self.text(0, words, size=13, bold=True)
        self.y += 9

    def note(self, words: str) -> None:
        self.y += 18
        self.text(0, words, size=11)

    def bar(self, name: str, share: float, value: str) -> None:
        """One bar: `share` of the full width."""
        colour = OURS if name.startswith("carboy") else FLOOR if "bare" in name else PEER
        full = WIDTH - LABEL - VALUE
        self.y += BAR + GAP
        middle = self.y - 3
        length = max(1.5, full * share)
        self._lines.append(
            f'<rect x="{LABEL}" y="{middle - BAR + 4}" width="{full}" height="{BAR}"'
            f' rx="2" fill="{FAINT}" opacity=".35"/>'
            f'<rect x="{LABEL}" y="{middle - BAR + 4}" width="{length:.1f}" height="{BAR}"'
            f' rx="2" fill="{colour}"/>'
        )
        ours = name.startswith("carboy")
        ink = OURS if ours else INK
        self.text(LABEL - 8, name, anchor="end", bold=ours, colour=ink)
        self.text(LABEL + full + 8, value, bold=ours, colour=ink)

    def svg(self) -> str:
        height = self.y + 14
        body = "\n".join(self._lines)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
            f' width="{WIDTH}" height="{height}" role="img"'
            ' font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">\n'
            f"<title>{html.escape(self._title)}</title>\n{body}\n</svg>\n"
        )


def where(data: dict[str, t.Any]) -> str:
    machine = data["machine"]
    return f"{machine['python']}, {machine['cores']} x {machine['cpu']}, {data['made']}"


def overhead(data: dict[str, t.Any]) -> Drawing:
    """Time in the framework per request, each row to Flask's."""
    drawing = Drawing("Time in the framework per request: carboy, Falcon, Flask")
    drawing.y = -12
    titles = {"carboy": "carboy", "falcon": "Falcon", "flask": "Flask"}
    for row in data["rows"]:
        net = row["net_ns"]
        if not {"carboy", "flask"} <= net.keys():
            continue
        drawing.heading(row["title"])
        for name, title in titles.items():
            if name in net:
                share = net[name] / net["flask"]
                times = f"   1/{1 / share:.1f}" if name != "flask" else ""
                drawing.bar(title, min(share, 1), f"{net[name] / 1000:.1f} us{times}")
    drawing.note(
        "Processor time per request in process, less a bare callable's. Shorter is better."
    )
    drawing.note(where(data))
    return drawing


def serve(data: dict[str, t.Any]) -> Drawing:
    """Requests per second of each server, each shape to the quickest."""
    drawing = Drawing("Requests per second, served")
    drawing.y = -12
    for row in data["rows"]:
        drawing.heading(row["title"])
        servers = sorted(row["servers"].items(), key=lambda item: -item[1]["requests_per_s"])
        most = servers[0][1]["requests_per_s"]
        for name, found in servers:
            rate = found["requests_per_s"]
            drawing.bar(name, rate / most, f"{rate:,}/s   p99 {found['p99_ms']:.1f} ms")
    drawing.note(f"{data['how']}. Longer is better.")
    drawing.note(where(data))
    return drawing


def main(results: pathlib.Path, images: pathlib.Path) -> None:
    images.mkdir(parents=True, exist_ok=True)
    for name, draw in {"overhead": overhead, "serve": serve}.items():
        source = results / f"{name}.json"
        if source.exists():
            target = images / f"{name}.svg"
            target.write_text(draw(json.loads(source.read_text())).svg())
            print(target)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: plot.py RESULTS_FOLDER IMAGES_FOLDER")
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
