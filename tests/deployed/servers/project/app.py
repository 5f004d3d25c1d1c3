"""The app that the tests run under each server, behind each web server, and in containers: a model,
uploads, streams, a session, static files.

`train.py` writes the model's file, once.
"""

from __future__ import annotations

import hashlib
import os
import time
import typing as t
from pathlib import Path

import numpy as np
from msgspec import Meta, Struct

from carboy import Carboy, abort, redirect, render_template, request, session, url_for
from carboy.models import Image, InputError

app = Carboy(__name__)
app.secret_key = os.environ.get("SECRET_KEY", "of tests only: 0b5e7c9d41f2a836")
app.config["MAX_CONTENT_LENGTH"] = 64 << 20

FULL = 16  # the ink of a full cell
Ink = t.Annotated[float, Meta(ge=0, le=FULL)]
Pixels = t.Annotated[list[Ink], Meta(min_length=64, max_length=64)]


class Digit(Struct):
    digit: int
    probability: float


# By this variable, tests let other processes compute: `carboy models serve`.
REPLICAS = int(os.environ.get("DIGITS_REPLICAS", "0")) or None


@app.model("/digits", batch=8, example=[0] * 64, replicas=REPLICAS)
class Digits:
    """Which handwritten digit is it? 8 x 8 numbers from 0 to 16, or a picture, dark on light."""

    def __init__(self) -> None:
        with np.load(Path(__file__).with_name("digits.npz")) as file:
            self.weights, self.bias = file["weights"], file["bias"]

    def predict(self, image: list[Image | Pixels]) -> list[Digit]:
        scores = np.stack([pixels(each) for each in image]) @ self.weights + self.bias
        chances = np.exp(scores - scores.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        return [Digit(int(row.argmax()), round(float(row.max()), 4)) for row in chances]


def pixels(image: t.Any) -> np.ndarray:
    if isinstance(image, list):
        return np.asarray(image, dtype=np.float64)
    grey = np.asarray(image.convert("L").resize((8, 8)), dtype=np.float64)
    return (FULL - grey * FULL / 255).ravel()


# ------------------------------------------------------------------------------- pages and errors


@app.get("/")
def index():
    return render_template("index.html", name=request.args.get("name", "world"))


@app.get("/pid")
def pid():
    return str(os.getpid())


@app.get("/hello/<name>")
def hello(name: str):
    return {"name": name, "query": request.args.to_dict(flat=False)}


@app.get("/seen")
def seen():
    """What the app sees of the request's address, and of a header with a list and a comma."""
    return {
        "url": request.url,
        "base": request.script_root,
        "host": request.host,
        "client": request.remote_addr,
        "list": request.headers.getlist("X-List"),
    }


@app.get("/elsewhere")
def elsewhere():
    return redirect(url_for("hello", name="you"))


@app.get("/cookies")
def cookies():
    response = app.make_response("two")
    response.set_cookie("a", "1")
    response.set_cookie("b", "2", path="/", httponly=True, samesite="Lax")
    return response


@app.route("/status/<int:status>", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
def status(status: int):
    return ("", status) if status < 400 else abort(status)


@app.get("/broken")
def broken():
    raise RuntimeError("a secret of the inside")


@app.get("/big")
def big():
    return b"0123456789abcdef" * 65536  # 1 MiB


# -------------------------------------------------------------------------------- bodies, uploads


@app.post("/echo")
def echo():
    return {
        "type": request.content_type,
        "length": request.content_length,
        "sha256": hashlib.sha256(request.get_data()).hexdigest(),
    }


@app.post("/json")
def json():
    return {"received": request.json}


@app.post("/small")
def small():
    """Take 1,000 bytes at most."""
    request.max_content_length = 1000
    return {"length": len(request.get_data())}


@app.post("/unread")
def unread():
    """Answer without having read the body."""
    return "unread"


@app.post("/upload")
def upload():
    file = request.files["file"]
    digest = hashlib.sha256()
    while part := file.read(1 << 16):
        digest.update(part)
    return {
        "name": file.filename,
        "type": file.mimetype,
        "sha256": digest.hexdigest(),
        "title": request.form.get("title"),
    }


# ------------------------------------------------------------------------------------------ streams


@app.get("/stream")
def stream():
    """Yield two lines. With `?until=PATH`, the second one when that file exists, so that a client
    can prove that it got the first line before the second was made.
    """
    file = request.args.get("until")

    def lines() -> t.Iterator[str]:
        yield "first\n"
        deadline = time.monotonic() + 20
        while file is not None and not os.path.exists(file):
            if time.monotonic() > deadline:
                yield "the file did not appear\n"
                return
            time.sleep(0.01)
        yield "second\n"

    return lines(), {"Content-Type": "text/plain; charset=utf-8"}


@app.get("/failing-stream")
def failing_stream():
    """Fail after the first line: the client must not take the body for a complete one."""

    def lines() -> t.Iterator[str]:
        yield "first\n"
        raise RuntimeError("a secret of the inside")

    return lines(), {"Content-Type": "text/plain; charset=utf-8"}


# ------------------------------------------------------------------------------------------ session


@app.post("/login")
def login():
    session["name"] = request.form["name"]
    return redirect(url_for("whoami"), 303)


@app.get("/whoami")
def whoami():
    return session.get("name", "nobody")


@app.post("/logout")
def logout():
    session.clear()
    return "", 204


@app.post("/refused")
def refused():
    raise InputError("not like this")
