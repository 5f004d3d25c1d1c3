"""The app of the commands in docs/models.md, which send arrays and tables."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

import numpy as np
from msgspec import Struct

from carboy import Carboy
from carboy.models import DataFrame, Tensor

app = Carboy(__name__)
app.config.from_project()

Photo = t.Annotated[np.ndarray, Tensor["float32", 3, "h", "w"]]


class Flower(Struct):
    length: float


@app.model("/depth")
def depth(photo: Photo) -> t.Annotated[np.ndarray, Tensor["float32", "h", "w"]]:
    return photo[0]


@app.model("/sentiment")
def sentiment(text: str) -> float:
    return float(len(text))


@app.model("/transcribe")
def transcribe(speech: bytes) -> str:
    return f"{len(speech)} bytes"


@app.model("/price")
def price(rows: DataFrame[Flower]) -> DataFrame:
    return rows.assign(price=rows["length"] * 2)


@app.model("/story")
class Story:
    def predict(self, prompt: str) -> cabc.Iterator[str]:
        yield from prompt.split()
