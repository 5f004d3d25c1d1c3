"""MLServer: a custom runtime for its V2 protocol.

Settings, and why:
* `max_batch_size` with `max_batch_time`: batches need both. 1 ms, but 5 ms for the forest, which
  gains by it (1.3 times the requests), unlike the others;
* `parallel_workers`, unless replicas are asked for: 0 (the model in the server's process) is faster
  for all but the fake device, which gets its own process by 1 (1.9 times the requests);
* no metrics, no access log (`debug: false`), no gzip; its JSON parser is orjson.
* uvloop below 0.22: with later versions the worker processes of MLServer 1.7 end as they start.
Pictures and .npy files are sent as base64, which its documentation recommends for images in JSON.

    python -m peers.mlserver FOLDER PORT    write the settings, then become `mlserver start FOLDER`
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import pathlib
import socket
import sys

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from peers import work


class Runtime(MLModel):
    async def load(self) -> bool:
        self.model = work.load()
        return True

    def read(self, payload: InferenceRequest) -> list[object] | np.ndarray:
        first = payload.inputs[0]
        if work.NAME == "photo":
            return [work.decode(base64.b64decode(each)) for each in first.data]
        if first.datatype == "BYTES":
            return np.load(io.BytesIO(base64.b64decode(first.data[0])))
        array = NumpyCodec.decode_input(first)
        return array.reshape(-1).tolist() if work.NAME == "fake" else array

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        inputs = self.read(payload)
        if work.NAME == "fake":
            pairs = await asyncio.to_thread(self.model, inputs)
        else:
            pairs = self.model(inputs)
        labels = np.array([[label] for label, _ in pairs])
        scores = np.array([[score] for _, score in pairs])
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                NumpyCodec.encode_output("label", labels),
                NumpyCodec.encode_output("score", scores),
            ],
        )


def write_settings(folder: pathlib.Path, port: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        grpc_port = listener.getsockname()[1]
    settings = {
        "host": "127.0.0.1", "http_port": port, "grpc_port": grpc_port, "debug": False,
        "parallel_workers": int(os.environ.get("BENCH_REPLICAS", work.NAME == "fake")),
        "metrics_endpoint": None, "gzip_enabled": False,
    }  # fmt: skip
    wait_s = 0.005 if work.NAME == "forest" else 0.001
    model = {"name": "model", "implementation": "peers.mlserver.Runtime"}
    if work.BATCH > 1:
        model |= {"max_batch_size": work.BATCH,
                  "max_batch_time": float(os.environ.get("BENCH_WAIT_S", wait_s))}  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))


if __name__ == "__main__":
    home = pathlib.Path(sys.argv[1])
    write_settings(home, int(sys.argv[2]))
    command = [sys.executable, "-m", "mlserver.cli.main", "start", str(home)]
    os.execv(sys.executable, command)
