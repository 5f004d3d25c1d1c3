"""Flask by hand: the model in the process, on gunicorn's gthread worker.

32 threads: enough that a wait (the fake device) blocks no other request. orjson parses the body,
gunicorn[fast]'s parser is installed, keep-alive is longer than a measurement.
"""

from __future__ import annotations

import io
import typing as t

import flask
import numpy as np
import orjson

from peers import work

app = flask.Flask(__name__)
model = work.load()


def inputs(body: bytes) -> t.Any:
    if work.NAME == "photo":
        return [work.decode(body)]
    if work.NAME == "tensor":
        if body.startswith(b"\x93NUMPY"):
            return np.load(io.BytesIO(body))
        return np.asarray(orjson.loads(body)["x"], dtype=np.float32)
    return [orjson.loads(body)["x"]]


@app.post("/predict")
def predict() -> flask.Response:
    label, score = model(inputs(flask.request.get_data(cache=False)))[0]
    return flask.Response(
        orjson.dumps({"label": label, "score": score}), mimetype="application/json"
    )


others = [work.load() for _ in range(1, work.MODELS)]


@app.post("/predict-<int:number>")
def predict_other(number: int) -> flask.Response:
    label, score = others[number - 2](inputs(flask.request.get_data(cache=False)))[0]
    return flask.jsonify(label=label, score=score)
