"""A bare WSGI callable: fixed responses, no routing, no parsing. The minimum for every framework.

It reads the request's body, because a server must transfer it, and ignores it.
"""

from __future__ import annotations

import json
import typing as t

from . import shapes

_HTML = "text/html; charset=utf-8"
_JSON = "application/json"
_ANSWERS: dict[str, tuple[str, bytes]] = {
    "/": (_HTML, shapes.TEXT.encode()),
    "/items/42": (_JSON, json.dumps({"id": 42, "name": "item 42"}).encode()),
    "/echo": (_JSON, json.dumps(shapes.ECHO).encode()),
    "/me": (_HTML, shapes.USER.encode()),
    "/login": (_HTML, b"welcome"),
    "/upload": (
        _JSON,
        json.dumps({"title": "Iris", "note": "from a meadow", "bytes": len(shapes.IMAGE)}).encode(),
    ),
    "/page": (
        _HTML,
        b"<h1>Flowers</h1>"
        + b"<li>flower &lt;4&gt;: 4</li>" * 5
        + b"<p>"
        + b"." * 160
        + b"</p></html>",
    ),
}


def app(environ: dict[str, t.Any], start_response: t.Any) -> list[bytes]:
    if environ["REQUEST_METHOD"] == "POST":
        environ["wsgi.input"].read()
    content_type, body = _ANSWERS[environ["PATH_INFO"]]
    start_response(
        "200 OK",
        [("Content-Type", content_type), ("Content-Length", str(len(body))), ("X-Bench", "yes")],
    )
    return [body]
