"""The application of the soak test: each response contains what is unique in its request."""

from __future__ import annotations

import os
import pathlib
import time
import zlib
from collections.abc import Iterator

from contents import words
from msgspec import Struct

from carboy import Carboy, Response, g, jsonify, request, send_file

app = Carboy(__name__)
app.config.update(SECRET_KEY="only for the soak test", LOG_LEVEL="INFO")

# The file that `/file` sends.
FILE = pathlib.Path(os.environ["SOAK_FOLDER"], "sent.bin")


def handled(number: int) -> None:
    """Write the line of the log that the soak test counts."""
    app.logger.info("handled %s", number)


@app.get("/worker")
def worker() -> str:
    return str(os.getpid())


@app.get("/text/<int:number>")
def text(number: int) -> str:
    handled(number)
    return f"text {number}"


@app.get("/json/<int:number>")
def json_(number: int) -> Response:
    handled(number)
    return jsonify(number=number, double=2 * number)


@app.post("/echo/<int:number>")
def echo(number: int) -> Response:
    handled(number)
    return jsonify(number=number, echo=request.get_json())


@app.get("/wait/<int:number>")
def wait(number: int) -> str:
    """Wait as a view does that asks a database. Meanwhile other requests are handled, and none of
    them may change the `g` and `request` of this one.
    """
    g.number = number
    time.sleep(0.05)
    handled(number)
    return f"{g.number} {request.view_args['number']} {request.headers['X-Request-ID']}"


@app.post("/upload/<int:number>")
def upload(number: int) -> Response:
    content = request.files["file"].read()
    handled(number)
    return jsonify(note=request.form["note"], bytes=len(content), crc=zlib.crc32(content))


@app.post("/raw/<int:number>")
def raw(number: int) -> str:
    crc = zlib.crc32(request.get_data())
    handled(number)
    return f"{number} {crc}"


@app.get("/stream/<int:number>")
def stream(number: int) -> Response:
    handled(number)
    return Response((b"%d:%d\n" % (number, line) for line in range(20)), mimetype="text/plain")


@app.get("/page/<int:number>")
def page(number: int) -> Response:
    """Return more than the system buffers for a client that reads slowly."""
    handled(number)
    return Response(words(number, 30_000), mimetype="text/plain")


@app.get("/file/<int:number>")
def file(number: int) -> Response:
    handled(number)
    return send_file(FILE, mimetype="application/octet-stream")


@app.get("/broken/<int:number>")
def broken(number: int) -> str:
    handled(number)
    raise RuntimeError("raised on purpose, for the soak test")


@app.model("/double", batch=32, queue=10_000, example=1)
def double(numbers: list[int]) -> list[int]:
    return [2 * number for number in numbers]


class Step(Struct):
    number: int
    step: int


@app.model("/steps", concurrency=8, queue=10_000, example=1)
def steps(number: int) -> Iterator[Step]:
    for step in range(5):
        yield Step(number, step)
