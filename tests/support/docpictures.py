"""The pictures of the documentation that are drawn from data: docs/img/*.svg.

`python tests/support/docpictures.py` writes them anew; a test compares them. The states of versions
are those of the table in the code. Boxes stand on a grid; an arrow goes from border to border.
The colours follow the scheme of the page (light or dark).
"""

from __future__ import annotations

import html
import pathlib
import typing as t

from carboy.models.versions.versionstate import NEXT

IMAGES = pathlib.Path(__file__).resolve().parents[2] / "docs" / "img"

WIDTH, HEIGHT = 206, 54  # of a box
STEP_X, STEP_Y = 310, 110  # of the grid
MARGIN = 14

STYLE = """
  svg { color-scheme: light dark; }
  text { font: 14px system-ui, sans-serif; fill: #1b1f24; text-anchor: middle; }
  .note { font-size: 12px; fill: #4b5563; }
  .label { font-size: 12px; fill: #374151; stroke: #fff; stroke-width: 4px; paint-order: stroke; }
  rect { fill: #eef2f7; stroke: #64748b; }
  line { stroke: #64748b; stroke-width: 1.5px; }
  marker path { fill: #64748b; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e5e7eb; }
    .note { fill: #b6bec9; }
    .label { fill: #d1d5db; stroke: #131416; }
    rect { fill: #1f2733; stroke: #94a3b8; }
    line { stroke: #94a3b8; }
    marker path { fill: #94a3b8; }
  }
"""


_HEAD = (
    '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8"'
    ' orient="auto"><path d="M0 0 8 4 0 8z"/></marker>'
)


class Box(t.NamedTuple):
    x: float
    y: float
    title: str
    note: str = ""


class Arrow(t.NamedTuple):
    start: str
    end: str
    label: str = ""


class Picture(t.NamedTuple):
    title: str
    boxes: t.Mapping[str, Box]
    arrows: t.Sequence[Arrow]


# Where the states stand in the picture. A new state needs a place.
_PLACES = {
    "loading": (1, 0),
    "failed": (2, 0),
    "canary": (0, 1),
    "shadow": (0, 2),
    "serving": (2, 1.5),
    "draining": (1, 3),
}
_NOTES = {
    "loading": "beside the version that is served",
    "serving": "computes predictions",
    "canary": "computes a share of them",
    "shadow": "answers are compared, not sent",
    "draining": "computes what it has accepted",
    "failed": "until its files change",
}


def version_states() -> Picture:
    boxes = {state: Box(*_PLACES[state], state, _NOTES[state]) for state in NEXT}
    arrows = [
        Arrow(state, after, event)
        for state, found in NEXT.items()
        for after, event in found.items()
    ]
    return Picture("The states of a version in one process", boxes, arrows)


def processes() -> Picture:
    return Picture(
        "The processes of carboy serve",
        {
            "clients": Box(0, 0.5, "clients", "or nginx, Apache, Caddy"),
            "kernel": Box(1, 0.5, "listening sockets", "the kernel chooses a worker"),
            "worker 1": Box(2, 0, "worker 1", "leader, views, queues"),
            "worker 2": Box(2, 1, "worker 2", "the same"),
            "replica": Box(3, 0.5, "replica", "a model with replicas="),
            "supervisor": Box(3, 1.5, "supervisor", "starts and replaces the others"),
        },
        [
            Arrow("clients", "kernel"),
            Arrow("kernel", "worker 1"),
            Arrow("kernel", "worker 2"),
            Arrow("worker 1", "replica", "batches"),
            Arrow("worker 2", "replica", "batches"),
            Arrow("supervisor", "worker 2"),
            Arrow("supervisor", "replica"),
        ],
    )


def request() -> Picture:
    return Picture(
        "The way of a request to a view",
        {
            "server": Box(0, 0, "HTTP server", "one thread polls the sockets"),
            "parser": Box(1, 0, "connection, parser", "limits, timeouts"),
            "gateway": Box(2, 0, "WSGI gateway", "here, or on another thread"),
            "dispatch": Box(2, 1, "dispatch", "fast path, or step by step"),
            "routing": Box(1, 1, "routing", "URL to rule and arguments"),
            "binding": Box(0, 1, "binding", "request to typed arguments"),
            "view": Box(0, 2, "your view", "with hooks around it"),
            "response": Box(1, 2, "response", "result to bytes"),
            "socket": Box(2, 2, "socket", "written without blocking"),
        },
        [
            Arrow("server", "parser", "bytes"),
            Arrow("parser", "gateway", "exchange"),
            Arrow("gateway", "dispatch", "environ"),
            Arrow("dispatch", "routing"),
            Arrow("routing", "binding"),
            Arrow("binding", "view"),
            Arrow("view", "response"),
            Arrow("response", "socket"),
        ],
    )


def prediction() -> Picture:
    return Picture(
        "The way of a prediction",
        {
            "server": Box(0, 0, "HTTP server", "reads the body"),
            "decode": Box(1, 0, "types of predict", "bytes to a value, or a 4xx"),
            "queue": Box(2, 0, "queue", "waits without a thread"),
            "batch": Box(2, 1, "batch", "at most batch=, after wait_ms="),
            "predict": Box(1, 1, "your predict", "on a thread of the model"),
            "replica": Box(1, 2, "replica", "the same, in its own process"),
            "encode": Box(0, 1, "response", "result to bytes"),
            "late": Box(3, 0, "503, 504", "queue full, deadline passed"),
        },
        [
            Arrow("server", "decode"),
            Arrow("decode", "queue", "ticket"),
            Arrow("queue", "late"),
            Arrow("queue", "batch"),
            Arrow("batch", "predict"),
            Arrow("batch", "replica", "shared memory"),
            Arrow("predict", "encode"),
            Arrow("replica", "encode"),
        ],
    )


PICTURES: dict[str, t.Callable[[], Picture]] = {
    "prediction": prediction,
    "processes": processes,
    "request": request,
    "version-states": version_states,
}


def _center(box: Box) -> tuple[float, float]:
    return MARGIN + WIDTH / 2 + box.x * STEP_X, MARGIN + HEIGHT / 2 + box.y * STEP_Y


def _border(box: Box, towards: Box) -> tuple[float, float]:
    """Return where the line from the centre of a box to that of another leaves the box."""
    (x, y), (to_x, to_y) = _center(box), _center(towards)
    across, down = to_x - x, to_y - y
    sides = [WIDTH / 2 / abs(across)] if across else []
    sides += [HEIGHT / 2 / abs(down)] if down else []
    share = min(sides)
    return x + across * share, y + down * share


def _arrow(picture: Picture, arrow: Arrow) -> tuple[str, str]:
    """Return the line of an arrow, and its label."""
    start, end = picture.boxes[arrow.start], picture.boxes[arrow.end]
    (x1, y1), (x2, y2) = _border(start, end), _border(end, start)
    place = f'x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}"'
    line = f'  <line {place} marker-end="url(#head)"/>'
    if not arrow.label:
        return line, ""
    x, y = (x1 + x2) / 2, (y1 + y2) / 2 + 4
    return line, f'  <text class="label" x="{x:.0f}" y="{y:.0f}">{html.escape(arrow.label)}</text>'


def _box(box: Box) -> str:
    x, y = _center(box)
    place = f'x="{x - WIDTH / 2:.0f}" y="{y - HEIGHT / 2:.0f}"'
    lines = [f'  <rect {place} width="{WIDTH}" height="{HEIGHT}" rx="8"/>']
    title_y = y - 3 if box.note else y + 5
    lines.append(f'  <text x="{x:.0f}" y="{title_y:.0f}">{html.escape(box.title)}</text>')
    if box.note:
        note = html.escape(box.note)
        lines.append(f'  <text class="note" x="{x:.0f}" y="{y + 15:.0f}">{note}</text>')
    return "\n".join(lines)


def svg(picture: Picture) -> str:
    width = max(box.x for box in picture.boxes.values()) * STEP_X + WIDTH + 2 * MARGIN
    height = max(box.y for box in picture.boxes.values()) * STEP_Y + HEIGHT + 2 * MARGIN
    drawn = [_arrow(picture, arrow) for arrow in picture.arrows]
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"  <title>{html.escape(picture.title)}</title>",
            f"  <style>{STYLE}  </style>",
            f"  {_HEAD}",
            *(line for line, _ in drawn),
            *map(_box, picture.boxes.values()),
            *(label for _, label in drawn if label),
            "</svg>\n",
        ]
    )


def main() -> None:
    for name, make in PICTURES.items():
        (IMAGES / f"{name}.svg").write_text(svg(make()), encoding="utf-8")


if __name__ == "__main__":
    main()
