"""carboy: `carboy serve`, one worker, its defaults. A batch never waits, so nothing is set for one
client alone. No `annotations` from the future: the types of a model are read when it is declared.
"""

import typing as t

import msgspec

import carboy
from carboy import Flask
from carboy.contract.tensors import Tensor
from peers import work

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

    @app.model("/predict", batch=32)
    class Digits(Base):
        def predict(self, x: list[Row]) -> list[Answer]:
            return answers(self.model(x))

elif work.NAME == "fake":

    @app.model("/predict", batch=work.BATCH)
    class Fake(Base):
        def predict(self, x: list[float]) -> list[Answer]:
            return answers(self.model(x))

elif work.NAME == "photo":

    @app.model("/predict", batch=work.BATCH)
    class Photo(Base):
        def predict(self, x: list[carboy.Image]) -> list[Answer]:
            return answers(self.model([work.pixels(each) for each in x]))

elif work.NAME == "tensor":

    @app.model("/predict")
    class Net(Base):
        def predict(self, x: Tensor["float32", 1, 3, work.SIDE, work.SIDE]) -> Answer:
            return answers(self.model(x))[0]
