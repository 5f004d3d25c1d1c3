"""Ray Serve: a proxy, a controller and one replica, in a cluster of this machine only.

Settings, and why:
* RAY_SERVE_THROUGHPUT_OPTIMIZED=1 (its documentation on performance), in the environment of the
  catalogue;
* `max_ongoing_requests=1024`: the default of 5 would limit batches to 5;
* `batch_wait_timeout_s=0`: waiting requests leave at once, and more collect while it computes;
* the batch runs on a thread for the fake device, which would otherwise block the replica's loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import typing as t

import numpy as np
import orjson
import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from peers import work

WAIT_S = float(os.environ.get("BENCH_WAIT_S", "0"))
ONGOING = int(os.environ.get("BENCH_ONGOING", "1024"))


@serve.deployment(
    num_replicas=1, max_ongoing_requests=ONGOING, ray_actor_options={"num_cpus": 1},
    logging_config={"enable_access_log": False, "log_level": "WARNING"},
)  # fmt: skip
class Predict:
    def __init__(self) -> None:
        self.model = work.load()

    @serve.batch(max_batch_size=work.BATCH, batch_wait_timeout_s=WAIT_S)
    async def run(self, inputs: list[t.Any]) -> work.Pairs:
        if work.NAME == "fake":
            return await asyncio.to_thread(self.model, inputs)
        return self.model(inputs)

    async def __call__(self, request: Request) -> Response:
        body = await request.body()
        if work.NAME == "tensor":
            pair = work.one(self.model, np.asarray(orjson.loads(body)["x"], dtype=np.float32))
        elif work.NAME == "alone":
            pair = work.one(self.model, orjson.loads(body)["x"])
        elif work.NAME == "photo":
            pair = await self.run(work.decode(body))
        else:
            pair = await self.run(orjson.loads(body)["x"])
        answer = orjson.dumps({"label": pair[0], "score": pair[1]})
        return Response(answer, media_type="application/json")


if __name__ == "__main__":
    ray.init(
        num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20,
        _node_ip_address="127.0.0.1", _temp_dir=os.environ["BENCH_TEMP"],
        logging_level=logging.WARNING, log_to_driver=False,
    )  # fmt: skip
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Predict.bind(), route_prefix="/predict")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
