"""The same rows on BlackSheep. It has sessions; templates use Jinja directly, as its own do."""

from __future__ import annotations

import typing as t

import jinja2
from blacksheep import Application, Request, Response, get, html, json, post

from . import shapes

app = Application()
app.use_sessions(shapes.SECRET)
_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(shapes.TEMPLATES), autoescape=True, auto_reload=False
)


def hooked(view: t.Any) -> t.Any:
    """Run hooks before and after the only view that has them."""

    async def around(request: Request) -> Response:
        request.scope["bench"] = "yes"
        response: Response = await view(request)
        response.add_header(b"X-Bench", request.scope["bench"].encode())
        return response

    return around


@get("/")
async def text() -> Response:
    return html(shapes.TEXT)


@get("/items/{item_id}")
async def item(item_id: int) -> Response:
    return json({"id": item_id, "name": f"item {item_id}"})


@post("/echo")
async def echo(request: Request) -> Response:
    return json(await request.json())


@post("/upload")
async def upload(request: Request) -> Response:
    form = t.cast(dict[str, t.Any], await request.form())
    image = form["image"][0]
    data = image.data if isinstance(image.data, bytes) else await image.read()
    return json({"title": form["title"], "note": form["note"], "bytes": len(data)})


@get("/page")
async def page() -> Response:
    return html(_templates.get_template("page.html").render(shapes.PAGE))


@get("/me")
@hooked
async def me(request: Request) -> Response:
    return html(request.session["user"])


@get("/login")
async def login(request: Request) -> Response:
    request.session["user"] = shapes.USER
    return html("welcome")
