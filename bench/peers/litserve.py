"""LitServe: FastAPI in front of worker processes.

Settings, and why:
* `fast_queue=True` (ZeroMQ), which its documentation recommends above 100 requests a second;
* one API server, like all peers here;
* `batch_timeout` 1 ms: 0 and 10 ms were not faster for the digits, the forest and the fake device;
* no OpenAPI, no request tracking, no access log.
A file is sent as a form, as in its documentation; the API server extracts the bytes.
"""

from __future__ import annotations

import os
import sys
import typing as t

import litserve
import numpy as np

from peers import work

BATCH_TIMEOUT_S = float(os.environ.get("BENCH_WAIT_S", "0.001"))


class API(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.model = work.load()

    def decode_request(self, request):  # type: ignore[no-untyped-def] - it reads the annotation
        if work.NAME == "photo":
            return work.decode(request["x"].file.read())
        if work.NAME == "tensor":
            if not isinstance(request, dict):  # a form with a .npy file
                return np.load(request["x"].file)
            return np.asarray(request["x"], dtype=np.float32)
        return request["x"]

    def batch(self, inputs: list[t.Any]) -> list[t.Any]:
        return inputs

    def unbatch(self, output: work.Pairs) -> work.Pairs:
        return output

    def predict(self, x: t.Any) -> t.Any:
        return self.model(x) if work.BATCH > 1 else work.one(self.model, x)

    def encode_response(self, output: tuple[int, float]) -> dict[str, float]:
        return {"label": output[0], "score": output[1]}


if __name__ == "__main__":
    batching = {"max_batch_size": work.BATCH, "batch_timeout": BATCH_TIMEOUT_S}
    api = API(**(batching if work.BATCH > 1 else {}))
    server = litserve.LitServer(
        api,
        accelerator="cpu",
        workers_per_device=work.REPLICAS,
        fast_queue=os.environ.get("BENCH_FAST_QUEUE") != "no",
        disable_openapi_url=True,
    )
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False,
        log_level="warning", access_log=False,
    )  # fmt: skip
