"""BentoML: a service of one worker whose API is batchable.

Settings, and why:
* `batchable=True` with the common batch size; its dispatcher learns the wait. The API takes a list,
  so a request contains a list of one;
* `max_latency_ms` far above the actual latency: beyond it the dispatcher answers 503;
* photographs as one multipart file each (`Annotated[Path, ContentType]`: it writes the upload to a
  file); the tensor as a NumPy array, parsed by BentoML, or as a .npy file; none of them batched;
* access log, metrics and traces off (BENTOML_CONFIG_OPTIONS), uvloop and httptools installed.
"""

from __future__ import annotations

import pathlib
import typing as t

import bentoml
import numpy as np

from peers import work

Answer = dict[str, float]


def answers(pairs: work.Pairs) -> list[Answer]:
    return [{"label": label, "score": score} for label, score in pairs]


batched = bentoml.api(
    batchable=True, max_batch_size=work.BATCH, max_latency_ms=30_000, route="/predict"
)


@bentoml.service(workers=work.REPLICAS, traffic={"timeout": 30})
class Service:
    def __init__(self) -> None:
        self.model = work.load()

    if work.NAME == "photo":

        @bentoml.api(route="/predict")
        def predict(
            self, x: t.Annotated[pathlib.Path, bentoml.validators.ContentType("image/*")]
        ) -> Answer:
            return answers(self.model([work.decode(x.read_bytes())]))[0]

    elif work.NAME == "tensor":

        @bentoml.api(route="/predict")
        def predict(
            self, x: t.Annotated[np.ndarray, bentoml.validators.DType("float32")]
        ) -> Answer:
            return answers(self.model(x))[0]

        @bentoml.api(route="/predict-file")
        def predict_file(self, x: pathlib.Path) -> Answer:
            return answers(self.model(np.load(x)))[0]

    elif work.NAME == "alone":

        @bentoml.api(route="/predict")
        def predict(self, x: list[float]) -> Answer:
            return answers(self.model([x]))[0]

    elif work.NAME == "fake":

        @batched
        def predict(self, x: list[float]) -> list[Answer]:
            return answers(self.model(x))

    else:

        @batched
        def predict(self, x: list[list[float]]) -> list[Answer]:
            return answers(self.model(x))
