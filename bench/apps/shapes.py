"""The six requests of the benchmark, and their expected responses.

Every program that compares frameworks sends these and checks the responses once before it measures,
so that no peer is fast by doing less.
"""

from __future__ import annotations

import collections.abc as cabc
import dataclasses
import json
import pathlib
import random

SECRET = "only-for-the-benchmark-0123456789"
TEXT = "Hello, World!"
USER = "ada"
TEMPLATES = pathlib.Path(__file__).parent / "templates"
PAGE: dict[str, object] = {
    "title": "Flowers",
    "flowers": [{"name": f"flower <{i}>", "petals": i} for i in range(5)],
}
ECHO: dict[str, object] = {
    "name": "iris",
    "tags": ["a", "b", "c"],
    "size": {"petal": [1.4, 0.2], "sepal": [5.1, 3.5]},
    "known": True,
}
# Random bytes, since a picture is compressed and no parser may rely on text. Seeded, so that every
# run sends the same.
IMAGE = random.Random(0).randbytes(20_000)
BOUNDARY = "----benchmark7MA4YWxkTrZu0gW"

CheckBody = cabc.Callable[[bytes], bool]


@dataclasses.dataclass(frozen=True)
class Shape:
    """A request and its expected response.

    `target` is the largest share of Flask's time that carboy may take; None means that only the
    order of
    peers counts. `login` sends a GET of /login first, and uses its cookie.
    """

    key: str
    title: str
    path: str
    mimetype: str
    check: CheckBody
    target: float | None
    method: str = "GET"
    body: bytes = b""
    content_type: str = ""
    login: bool = False
    headers: tuple[tuple[str, str], ...] = ()


def _json_is(expected: object) -> CheckBody:
    def check(body: bytes) -> bool:
        return bool(json.loads(body) == expected)

    return check


def _page_is_whole(body: bytes) -> bool:
    text = body.decode()
    items = text.count("<li>") == 5 and "<h1>Flowers</h1>" in text
    return items and "flower &lt;4&gt;: 4" in text and text.rstrip().endswith("</html>")


def multipart(
    fields: cabc.Mapping[str, str],
    name: str,
    filename: str,
    data: bytes,
    content_type: str = "image/jpeg",
) -> bytes:
    """Return a form with text fields and one file, as a browser writes it."""
    out = bytearray()
    for key, value in fields.items():
        out += f"--{BOUNDARY}\r\n".encode()
        out += f'Content-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
    out += f"--{BOUNDARY}\r\n".encode()
    out += f'Content-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'.encode()
    out += f"Content-Type: {content_type}\r\n\r\n".encode()
    out += data + f"\r\n--{BOUNDARY}--\r\n".encode()
    return bytes(out)


SHAPES: tuple[Shape, ...] = (
    Shape(
        key="text",
        title="text view, no hooks",
        path="/",
        mimetype="text/html",
        check=lambda body: body == TEXT.encode(),
        target=1 / 20,
    ),
    Shape(
        key="json",
        title="JSON view with one <int:>",
        path="/items/42",
        mimetype="application/json",
        check=_json_is({"id": 42, "name": "item 42"}),
        target=1 / 12,
    ),
    Shape(
        key="post",
        title="JSON POST echo",
        method="POST",
        path="/echo",
        body=json.dumps(ECHO).encode(),
        content_type="application/json",
        mimetype="application/json",
        check=_json_is(ECHO),
        target=1 / 10,
    ),
    Shape(
        key="session",
        title="session read + before + after hook",
        path="/me",
        login=True,
        headers=(("X-Bench", "yes"),),
        mimetype="text/html",
        check=lambda body: body == USER.encode(),
        target=1 / 6,
    ),
    Shape(
        key="upload",
        title="20 kB image upload (multipart)",
        method="POST",
        path="/upload",
        body=multipart({"title": "Iris", "note": "from a meadow"}, "image", "iris.jpg", IMAGE),
        content_type=f"multipart/form-data; boundary={BOUNDARY}",
        mimetype="application/json",
        check=_json_is({"title": "Iris", "note": "from a meadow", "bytes": len(IMAGE)}),
        target=1 / 5,
    ),
    Shape(
        key="template",
        title="template page, beyond template.render",
        path="/page",
        mimetype="text/html",
        check=_page_is_whole,
        target=1 / 10,
    ),
)
BY_KEY = {shape.key: shape for shape in SHAPES}
