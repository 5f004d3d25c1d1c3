"""A small web application that registers every kind of function."""

from __future__ import annotations

import datetime as dt
import io
import pathlib
import typing as t

from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as BaseResponse

from carboy import (
    Blueprint,
    Carboy,
    Flask,
    Request,
    Response,
    abort,
    current_app,
    flash,
    g,
    jsonify,
    make_response,
    redirect,
    render_template,
    request,
    send_file,
    session,
    stream_with_context,
    url_for,
)
from carboy.config import Config
from carboy.core.routing import Map
from carboy.sessions import SessionMixin
from carboy.views import MethodView

app = Carboy(__name__, static_folder="assets", template_folder="pages")
t.assert_type(app.config, Config)
t.assert_type(app.config["SECRET_KEY"], t.Any)
t.assert_type(app.config.from_prefixed_env(), bool)
t.assert_type(app.permanent_session_lifetime, dt.timedelta)
t.assert_type(app.url_map, Map)
by_its_other_name: Flask = app

shop = Blueprint("shop", __name__, url_prefix="/shop")
shop.static_folder = pathlib.Path("assets")
t.assert_type(shop.has_static_folder, bool)
catalogue: t.IO[str] = app.open_resource("rows.csv", "r")


def body_of(sent: Request, as_text: bool) -> bytes | str:
    return sent.get_data(as_text=as_text)


# -------------------------------------------------------------------------- return values of views


@app.get("/text")
def text() -> str:
    return url_for("shop.item", number=1, _external=True)


@app.post("/object")
def object_() -> dict[str, int]:
    return {"answer": 42}


@app.route("/parts", methods=["GET", "POST"])
def parts() -> tuple[list[str], int, dict[str, str]]:
    return ["a", "b"], 201, {"X-Kind": "list"}


@app.get("/made")
async def made() -> Response:
    response = make_response(jsonify(ok=True), 202)
    t.assert_type(response, Response)
    return response


@app.get("/away")
def away() -> BaseResponse:
    return redirect(url_for("text"))


@app.get("/rows")
def rows() -> Response:
    @stream_with_context
    def produce(count: int) -> t.Iterator[str]:
        yield from map(str, range(count))

    return Response(produce(3), mimetype="text/plain")


@app.get("/picture")
def picture() -> Response:
    return send_file("picture.png", max_age=60)


@shop.get("/<int:number>")
def item(number: int) -> str:
    if number == 0:
        abort(404)
    t.assert_type(number, int)
    return render_template("item.html", number=number)


class Orders(MethodView):
    init_every_request = False

    def get(self) -> list[int]:
        return []

    def delete(self) -> tuple[str, int]:
        return "", 204


shop.add_url_rule("/orders", view_func=Orders.as_view("orders"))
app.register_blueprint(shop, name="second")


# ------------------------------------------------------------------ functions keep their own types


t.assert_type(text(), str)
t.assert_type(object_(), dict[str, int])
t.assert_type(item(1), str)


# ------------------------------------------------------------------------------- objects in a view


@app.get("/seen")
def seen() -> str:
    t.assert_type(request.method, str)
    t.assert_type(request.args.get("page", 1, type=int), int)
    t.assert_type(request.headers.get("X-Token"), str | None)
    t.assert_type(request.endpoint, str | None)
    t.assert_type(request.view_args, dict[str, t.Any] | None)
    t.assert_type(request.get_json(), t.Any)
    t.assert_type(request.get_data(), bytes)
    upload = request.files["picture"]
    t.assert_type(upload.filename, str | None)
    t.assert_type(session, SessionMixin)
    session["seen"] = True
    session.permanent = True
    g.user = "ada"
    t.assert_type(g.no_such_name, t.Any)
    current_app.logger.info("seen by %s", g.user)
    flash("seen")
    return current_app.name


# ------------------------------------------------------------------------- hooks, errors, commands


@app.before_request
def who() -> Response | None:
    return None


@shop.after_request
async def stamp(response: Response) -> Response:
    response.headers["X-Shop"] = "1"
    return response


@app.teardown_request
def leave(error: BaseException | None) -> None: ...


@app.errorhandler(NotFound)
def not_found(error: NotFound) -> tuple[str, int]:
    return error.description or "", 404


@app.errorhandler(500)
def failed(error: Exception) -> str:
    return str(error)


@app.context_processor
def names() -> dict[str, t.Any]:
    return {"shop": shop.name}


@app.template_filter("shout")
def shout(text: str) -> str:
    return text.upper()


@app.cli.command("fill")
def fill() -> None:
    """Fill the shop."""


# ------------------------------------------------------------------------------------------ a test


def test_text() -> None:
    with app.test_client() as client:
        answer = client.post("/object", json={"a": 1}, headers={"X-Token": "t"})
        t.assert_type(answer.status_code, int)
        t.assert_type(answer.text, str)
        t.assert_type(answer.get_data(), bytes)
        with client.session_transaction() as kept:
            t.assert_type(kept, SessionMixin)
    with app.test_request_context("/text", method="GET"):
        t.assert_type(request.path, str)
        t.assert_type(request.get_data(as_text=True), str)
        t.assert_type(request.get_data(True, True), str)
        request.path = "/elsewhere"
        request.stream = io.BytesIO()
    outcome = app.test_cli_runner().invoke(args=["fill"])
    t.assert_type(outcome.exit_code, int)
