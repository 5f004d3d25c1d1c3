"""gunicorn with dirty arbiters: a Flask app whose views call model processes ("dirty workers").

Settings, and why:
* `gthread` with 32 threads: the client of dirty workers blocks its thread for the whole call;
* the body is handed on as bytes and decoded by the dirty worker: its protocol writes bytes as they
  are, and a list of numbers item by item; so both processes also share the work of decoding;
* one thread per dirty worker, the default. There are no batches.
gunicorn has a C parser (gunicorn_h1c), found automatically.
"""

from __future__ import annotations

import io
import typing as t

import flask
import numpy as np
import orjson
from gunicorn.dirty import DirtyApp, get_dirty_client

from peers import work

app = flask.Flask(__name__)


class Dirty(DirtyApp):
    def init(self) -> None:
        self.model = work.load()

    def __call__(self, action: str, body: bytes) -> bytes:
        label, score = work.one(self.model, value(body))
        return orjson.dumps({"label": label, "score": score})

    def close(self) -> None: ...


def value(body: bytes) -> t.Any:
    if work.NAME == "photo":
        return work.decode(body)
    if work.NAME == "tensor":
        if body.startswith(b"\x93NUMPY"):
            return np.load(io.BytesIO(body))
        return np.asarray(orjson.loads(body)["x"], dtype=np.float32)
    return orjson.loads(body)["x"]


@app.post("/predict")
def predict() -> flask.Response:
    body = flask.request.get_data(cache=False)
    answer = get_dirty_client().execute("peers.gunicorn:Dirty", "predict", body)
    return flask.Response(answer, mimetype="application/json")
