"""The app of tests/deployed/servers, and what concerns only a web server in front of it."""

from __future__ import annotations

import fcntl
import os
import time
import typing as t
from collections.abc import Iterator
from pathlib import Path

from app import app
from simple_websocket import ConnectionClosed, Server

from carboy import Blueprint, Response, request

HERE = Path(__file__).parent
# Each request that reaches the app is a line of this file.
RECORD = HERE / "record.txt"

admin = Blueprint("admin", __name__, static_folder="pictures", static_url_path="/pictures")
app.register_blueprint(admin, url_prefix="/admin")


class Recorded:
    """A middleware that writes down the requests for /case, before they are answered."""

    def __init__(self, application: t.Any) -> None:
        self.application = application

    def __call__(self, environ: dict[str, t.Any], start_response: t.Any) -> t.Any:
        if environ["PATH_INFO"].startswith(("/case/", "/hidden/", "/next/")):
            with RECORD.open("a") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.write(f"{environ['PATH_INFO']}\n")
        return self.application(environ, start_response)


app.wsgi_app = Recorded(app.wsgi_app)


@app.route("/<any(case, hidden, next):kind>/<name>", methods=["GET", "POST", "PUT"])
def case(kind: str, name: str):
    return f"{kind} {name} {len(request.get_data())}"


@app.get("/headers")
def headers():
    return {"raw_uri": request.environ.get("RAW_URI"), "headers": dict(request.headers)}


@app.get("/path/<path:rest>")
def path(rest: str):
    return {"path": request.path, "rest": rest}


@app.get("/long")
def long():
    """A page that is worth compressing."""
    return "<p>word</p>\n" * 2000


@app.get("/secure")
def secure():
    """A response with security headers of the app."""
    return Response(
        "secure",
        headers={
            "Strict-Transport-Security": "max-age=60",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Content-Security-Policy": "default-src 'self'",
            "Referrer-Policy": "same-origin",
        },
    )


@app.get("/times")
def times() -> t.Iterator[float]:
    """Yield ten times, one each 20 ms, each when it is that time."""
    for _ in range(10):
        yield time.time()
        time.sleep(0.02)


@app.get("/plain-times")
def plain_times():
    """The same in plain Flask, which says nothing of the stream to proxies."""

    def lines() -> Iterator[str]:
        for each in times():
            yield f"{each!r}\n"

    return lines(), {"Content-Type": "text/plain"}


@app.model("/words", concurrency=8)
def words(count: int) -> Iterator[float]:
    for _ in range(count):
        yield time.time()
        time.sleep(0.02)


@app.get("/endless/<name>")
def endless(name: str):
    """Stream until the client has left, then create a file."""

    def lines() -> Iterator[str]:
        try:
            while True:
                yield "line\n" * 100
                time.sleep(0.02)
        finally:
            (HERE / name).touch()

    return lines(), {"Content-Type": "text/plain"}


@app.get("/nap/<float:seconds>")
def nap(seconds: float):
    time.sleep(seconds)
    return "awake"


@app.model("/ponder", batch=1, concurrency=8, deadline_s=20)
def ponder(seconds: float) -> str:
    time.sleep(seconds)
    return "thought"


@app.route("/chat", websocket=True)
def chat():
    """Send each message back, in capital letters; a message `pid` is answered by the process."""
    ws = Server.accept(request.environ)
    try:
        while True:
            message = ws.receive(timeout=60)
            if message == "bye":
                ws.close(4000, "bye")
            elif message == "pid":
                ws.send(str(os.getpid()))
            elif message is not None:
                ws.send(message.upper())
    except ConnectionClosed:
        return ""
