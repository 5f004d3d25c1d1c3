"""carboy: `carboy serve`, one worker.

Settings, and why: `wait_ms="auto"` for models with a fixed cost per batch (docs/models.md, "How
long to
wait"; these clients send again as soon as they have their response): compared with 0 it gave 2.8
times
the forest's requests and 1.4 times the digits'. 0 for the photographs and for one client alone,
where
"auto" gained nothing. The rest are defaults. BENCH_REPLICAS asks for replicas of the model.
This file has no `annotations` import from `__future__`: the types of a model are read when it is
declared.
"""

import os
import typing as t

import msgspec

import carboy
from carboy import Flask, Tensor
from peers import work

_BEST = "auto" if work.NAME in {"digits", "forest", "fake"} else "0"
WAIT_MS: t.Any = os.environ.get("BENCH_WAIT_MS", _BEST)
if WAIT_MS != "auto":
    WAIT_MS = float(WAIT_MS)

REPLICAS: dict[str, t.Any] = {}
if "BENCH_REPLICAS" in os.environ:
    REPLICAS["replicas"] = work.REPLICAS

app = Flask(__name__)


@app.route("/")
def index() -> str:
    return "Hello, World!"


class Answer(msgspec.Struct):
    label: int
    score: float


def answers(pairs: work.Pairs) -> list[Answer]:
    return [Answer(label, score) for label, score in pairs]


class Base:
    def __init__(self) -> None:
        self.model = work.load()


Row = t.Annotated[list[float], msgspec.Meta(min_length=64, max_length=64)]

if work.NAME in {"alone", "digits", "forest"}:

    @app.model("/predict", batch=32, wait_ms=WAIT_MS, **REPLICAS)
    class Digits(Base):
        def predict(self, x: list[Row]) -> list[Answer]:
            return answers(self.model(x))

    for number in range(2, work.MODELS + 1):
        name = f"digits{number}"
        app.model(f"/predict-{number}", name=name, batch=32, wait_ms=WAIT_MS, **REPLICAS)(Digits)

elif work.NAME == "fake" and work.BATCH == 1:

    @app.model("/predict", **REPLICAS)
    class FakeOfOne(Base):
        def predict(self, x: float) -> Answer:
            return answers(self.model([x]))[0]

elif work.NAME == "fake":

    @app.model("/predict", batch=work.BATCH, wait_ms=WAIT_MS, **REPLICAS)
    class Fake(Base):
        def predict(self, x: list[float]) -> list[Answer]:
            return answers(self.model(x))

elif work.NAME == "photo":

    @app.model("/predict", batch=work.BATCH, wait_ms=WAIT_MS, **REPLICAS)
    class Photo(Base):
        def predict(self, x: list[carboy.Image]) -> list[Answer]:
            return answers(self.model([work.pixels(each) for each in x]))

elif work.NAME == "tensor":

    @app.model("/predict", **REPLICAS)
    class Net(Base):
        def predict(self, x: Tensor["float32", 1, 3, work.SIDE, work.SIDE]) -> Answer:
            return answers(self.model(x))[0]
