"""The same rows on Robyn, which is its own server: `python -m apps.robyn_app PORT THREADS`.

Robyn has no sessions: itsdangerous signs the cookie. Its hooks are set per endpoint, so that only
the
row with them pays for them.
"""

from __future__ import annotations

import sys

# Robyn parses the command line of the process, and must not see these options.
_PORT, _THREADS = (*sys.argv[1:], "0", "1")[:2]
sys.argv[1:] = ["--processes", "1", "--workers", _THREADS, "--log-level", "WARN"]

import itsdangerous  # noqa: E402
import jinja2  # noqa: E402
from robyn import Headers, Request, Response, Robyn  # noqa: E402

from . import shapes  # noqa: E402

app = Robyn(__file__)
_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(shapes.TEMPLATES), autoescape=True, auto_reload=False
)
_signer = itsdangerous.URLSafeTimedSerializer(shapes.SECRET, salt="session")


def _html(text: str) -> Response:
    return Response(200, Headers({"Content-Type": "text/html; charset=utf-8"}), text)


@app.get("/")
async def text() -> Response:
    return _html(shapes.TEXT)


@app.get("/items/:item_id")
async def item(request: Request) -> dict[str, object]:
    item_id = int(request.path_params["item_id"])
    return {"id": item_id, "name": f"item {item_id}"}


@app.post("/echo")
async def echo(request: Request) -> object:
    return request.json()


@app.post("/upload")
async def upload(request: Request) -> dict[str, object]:
    form, (image,) = request.form_data, request.files.values()
    return {"title": form["title"], "note": form["note"], "bytes": len(image)}


@app.get("/page")
async def page() -> Response:
    return _html(_templates.get_template("page.html").render(shapes.PAGE))


@app.before_request("/me")
async def before(request: Request) -> Request:
    request.headers.set("bench", "yes")
    return request


@app.after_request("/me")
async def after(response: Response) -> Response:
    response.headers.set("X-Bench", "yes")
    return response


@app.get("/me")
async def me(request: Request) -> Response:
    cookie = (request.headers.get("cookie") or "").partition("session=")[2]
    return _html(_signer.loads(cookie, max_age=86400)["user"])


@app.get("/login")
async def login() -> Response:
    answer = _html("welcome")
    answer.headers.set("Set-Cookie", "session=" + _signer.dumps({"user": shapes.USER}) + "; Path=/")
    return answer


if __name__ == "__main__":
    app.start(host="127.0.0.1", port=int(_PORT))
