"""The same rows on Falcon (WSGI). Falcon has no sessions: itsdangerous signs the cookie."""

from __future__ import annotations

import typing as t

import falcon
import itsdangerous
import jinja2

from . import shapes

_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(shapes.TEMPLATES), autoescape=True, auto_reload=False
)
_signer = itsdangerous.URLSafeTimedSerializer(shapes.SECRET, salt="session")


class Text:
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = falcon.MEDIA_HTML
        resp.text = shapes.TEXT


class Item:
    def on_get(self, req: falcon.Request, resp: falcon.Response, item_id: int) -> None:
        resp.media = {"id": item_id, "name": f"item {item_id}"}


class Echo:
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.media = req.get_media()


class Upload:
    def on_post(self, req: falcon.Request, resp: falcon.Response) -> None:
        answer: dict[str, object] = {}
        for part in req.get_media():
            if part.filename is None:
                answer[part.name] = part.text
            else:
                answer["bytes"] = len(part.stream.read())
        resp.media = answer


class Page:
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = falcon.MEDIA_HTML
        resp.text = _templates.get_template("page.html").render(shapes.PAGE)


def _before(req: falcon.Request, resp: falcon.Response, resource: object, params: t.Any) -> None:
    cookie = req.cookies.get("session")
    req.context.session = _signer.loads(cookie, max_age=86400) if cookie else {}
    req.context.bench = "yes"


def _after(req: falcon.Request, resp: falcon.Response, resource: object) -> None:
    resp.set_header("X-Bench", req.context.bench)


@falcon.before(_before)
@falcon.after(_after)
class Me:
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = falcon.MEDIA_HTML
        resp.text = req.context.session["user"]


class Login:
    def on_get(self, req: falcon.Request, resp: falcon.Response) -> None:
        resp.content_type = falcon.MEDIA_HTML
        resp.text = "welcome"
        resp.set_cookie("session", _signer.dumps({"user": shapes.USER}), secure=False)


def make() -> falcon.App:
    app = falcon.App()
    app.req_options.media_handlers[falcon.MEDIA_MULTIPART] = falcon.media.MultipartFormHandler()
    app.add_route("/", Text())
    app.add_route("/items/{item_id:int}", Item())
    app.add_route("/echo", Echo())
    app.add_route("/upload", Upload())
    app.add_route("/page", Page())
    app.add_route("/me", Me())
    app.add_route("/login", Login())
    return app


app = make()
