"""The Flask program: one source for Flask and for carboy, which must behave the same.

Two app objects, because "no hooks" and "hooks" are different rows: `make_plain` and `make_hooked`.
`make` joins them for the servers, where a blueprint's hook applies only to that blueprint's view.
"""

from __future__ import annotations

import types
import typing as t

from . import shapes


def make_plain(web: types.ModuleType, import_name: str = __name__) -> t.Any:
    """Text, JSON, echo, upload and page; no hooks."""
    app = web.Flask(import_name)

    @app.route("/")
    def text() -> str:
        return shapes.TEXT

    @app.route("/items/<int:item_id>")
    def item(item_id: int) -> dict[str, object]:
        return {"id": item_id, "name": f"item {item_id}"}

    @app.post("/echo")
    def echo() -> t.Any:
        return web.jsonify(web.request.get_json())

    @app.post("/upload")
    def upload() -> dict[str, object]:
        form, image = web.request.form, web.request.files["image"]
        return {"title": form["title"], "note": form["note"], "bytes": len(image.read())}

    @app.route("/page")
    def page() -> str:
        return web.render_template("page.html", **shapes.PAGE)

    return app


def add_session(web: types.ModuleType, app: t.Any, hooks_on: t.Any) -> None:
    """Add a login, and a view that reads the session between a before and an after hook."""
    app.secret_key = shapes.SECRET

    @hooks_on.before_request
    def before() -> None:
        web.g.bench = "yes"

    @hooks_on.after_request
    def after(response: t.Any) -> t.Any:
        response.headers["X-Bench"] = web.g.bench
        return response

    @hooks_on.route("/me")
    def me() -> str:
        return web.session["user"]

    @hooks_on.route("/login")
    def login() -> str:
        web.session["user"] = shapes.USER
        return "welcome"


def make_hooked(web: types.ModuleType) -> t.Any:
    """The session row only, with its hooks on the app."""
    app = web.Flask(__name__)
    add_session(web, app, app)
    return app


def make(web: types.ModuleType) -> t.Any:
    """All rows in one app, for the servers."""
    app = make_plain(web)
    account = web.Blueprint("account", __name__)
    add_session(web, app, account)
    app.register_blueprint(account)
    return app
