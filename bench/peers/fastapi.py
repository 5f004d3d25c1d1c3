"""FastAPI by hand: the model in the process, on uvicorn with uvloop and httptools.

`async def` views that compute at once: no thread, no queue, no batch, which is fastest for models
of a
millisecond. `def` views, on FastAPI's 40 threads, are used for the fake device, whose wait would
otherwise block the loop. The body is read as bytes and parsed by orjson, without a check of its
shape;
peers that check do more.
"""

from __future__ import annotations

import io
import typing as t

import fastapi
import numpy as np
import orjson

from peers import work

app = fastapi.FastAPI(openapi_url=None)
model = work.load()


def answer(inputs: t.Any) -> fastapi.Response:
    label, score = model(inputs)[0]
    return fastapi.Response(
        orjson.dumps({"label": label, "score": score}), media_type="application/json"
    )


def inputs(body: bytes) -> t.Any:
    if work.NAME == "photo":
        return [work.decode(body)]
    if work.NAME == "tensor":
        if body.startswith(b"\x93NUMPY"):
            return np.load(io.BytesIO(body))
        return np.asarray(orjson.loads(body)["x"], dtype=np.float32)
    return [orjson.loads(body)["x"]]


if work.NAME == "fake":

    @app.post("/predict")
    def predict(x: t.Annotated[float, fastapi.Body(embed=True)]) -> fastapi.Response:
        return answer([x])

else:
    others = [work.load() for _ in range(1, work.MODELS)]

    @app.post("/predict-{number}")
    async def predict_other(number: int, request: fastapi.Request) -> fastapi.Response:
        label, score = others[number - 2](inputs(await request.body()))[0]
        return fastapi.responses.JSONResponse({"label": label, "score": score})

    @app.post("/predict")
    async def predict(request: fastapi.Request) -> fastapi.Response:
        return answer(inputs(await request.body()))
