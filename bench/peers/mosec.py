"""mosec: a Rust server in front of Python processes.

Settings, and why:
* processes of one stage; encoding the result is part of it (`Worker.serialize`);
* `deserialize` and `serialize` by orjson: the documentation leaves the format to the worker, and
  the default is the slower json;
* `max_wait_time=1`, the minimum (0 means the default of 10 ms);
* `capacity` and `timeout` above the number and time of waiting requests; a request of 3 MB is
  within its limit.
"""

from __future__ import annotations

import io
import os
import typing as t

import mosec
import numpy as np
import orjson

from peers import work


class Worker(mosec.Worker):
    def __init__(self) -> None:
        super().__init__()
        self.model = work.load()

    def deserialize(self, data: bytes) -> t.Any:
        if work.NAME == "photo":
            return work.decode(data)
        if work.NAME == "tensor":
            if data.startswith(b"\x93NUMPY"):
                return np.load(io.BytesIO(data))
            return np.asarray(orjson.loads(data)["x"], dtype=np.float32)
        return orjson.loads(data)["x"]

    def serialize(self, data: tuple[int, float]) -> bytes:
        return orjson.dumps({"label": data[0], "score": data[1]})


class Batched(Worker):
    def forward(self, data: list[t.Any]) -> work.Pairs:
        return self.model(data)


class Single(Worker):
    def forward(self, data: t.Any) -> tuple[int, float]:
        return work.one(self.model, data)


if __name__ == "__main__":
    server = mosec.Server()
    if work.BATCH > 1:
        server.append_worker(
            Batched,
            num=work.REPLICAS,
            max_batch_size=work.BATCH,
            max_wait_time=int(os.environ.get("BENCH_WAIT_MS", "1")),
            route="/predict",
        )
    else:
        server.append_worker(Single, num=work.REPLICAS, route="/predict")
    server.run()
