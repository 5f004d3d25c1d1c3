"""The app of the tests on one node: models that answer, hang, die and stream."""

import json
import os
import pathlib
import time
from collections.abc import Iterator

import numpy as np

from carboy import Carboy, Tensor
from carboy.models import Golden

app = Carboy(__name__)
small = Carboy("small")
CLOSED = os.environ.get("SHOP_CLOSED", "closed.txt")


@app.get("/")
def home() -> str:
    return "open"


@app.model("/double", batch=8, replicas=(1, 3))
class Double:
    def predict(self, x: list[float]) -> list[float]:
        time.sleep(0.02)
        return [2 * each for each in x]


@app.model("/twice", replicas=2, deadline_s=10)
def twice(x: float) -> float:
    if x == 66.0:
        time.sleep(600)
    if x == 77.0:
        os._exit(7)
    return 2 * x


@small.model("/once", replicas=1, retry=False)
@app.model("/once", replicas=1, retry=False)
def once(x: float) -> int:
    if x == 77.0:
        os._exit(7)
    return os.getpid()


@app.model("/sum", batch=4, replicas=1)
def total(pixels: list[Tensor["float32", ...]]) -> list[float]:
    for each in pixels:
        each[..., 0] = 0  # inputs may be changed, as in a process of the server
    return [float(np.sum(each)) for each in pixels]


@app.model("/count", replicas=1)
def count(n: int) -> Iterator[int]:
    try:
        for i in range(n):
            if i == 40:
                time.sleep(0.01)
            yield i
    finally:
        with open(CLOSED, "a", encoding="utf-8") as file:
            file.write(f"{n}\n")


@app.model("/price", replicas=1, source="versions", example=Golden(2.0, answer=6.0))
class Price:
    def __init__(self, path: pathlib.Path) -> None:
        self.factor = json.loads((path / "version.json").read_text())["factor"]

    def predict(self, x: float) -> float:
        return self.factor * x
