"""The same rows on FastAPI. Views are `async def`, which is faster if nothing blocks."""

from __future__ import annotations

import typing as t

import fastapi
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates
from starlette.middleware.sessions import SessionMiddleware

from . import shapes

app = fastapi.FastAPI()
_templates = Jinja2Templates(directory=shapes.TEMPLATES)
# Sessions and hooks are on a mounted app, so that only the row with them pays for them.
account = fastapi.FastAPI()
account.add_middleware(SessionMiddleware, secret_key=shapes.SECRET)


@account.middleware("http")
async def hooks(request: fastapi.Request, call_next: t.Any) -> fastapi.Response:
    request.state.bench = "yes"
    response: fastapi.Response = await call_next(request)
    response.headers["X-Bench"] = request.state.bench
    return response


@account.get("/me", response_class=HTMLResponse)
async def me(request: fastapi.Request) -> str:
    return str(request.session["user"])


@account.get("/login", response_class=HTMLResponse)
async def login(request: fastapi.Request) -> str:
    request.session["user"] = shapes.USER
    return "welcome"


@app.get("/", response_class=HTMLResponse)
async def text() -> str:
    return shapes.TEXT


@app.get("/items/{item_id}")
async def item(item_id: int) -> dict[str, t.Any]:
    return {"id": item_id, "name": f"item {item_id}"}


@app.post("/echo")
async def echo(request: fastapi.Request) -> t.Any:
    return await request.json()


@app.post("/upload")
async def upload(
    image: fastapi.UploadFile,
    title: t.Annotated[str, fastapi.Form()],
    note: t.Annotated[str, fastapi.Form()],
) -> dict[str, t.Any]:
    return {"title": title, "note": note, "bytes": len(await image.read())}


@app.get("/page", response_class=HTMLResponse)
async def page(request: fastapi.Request) -> t.Any:
    return _templates.TemplateResponse(request, "page.html", shapes.PAGE)


app.mount("/", account)
