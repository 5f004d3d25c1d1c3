"""Tensors: type checkers see NumPy's array."""

from __future__ import annotations

import typing as t

import numpy as np

from carboy import Carboy
from carboy.models import Tensor, TensorOptions

app = Carboy(__name__)

Photo = t.Annotated[np.ndarray, Tensor["float32", 3, "h", "w"]]
Batch = t.Annotated[np.ndarray, Tensor["float32", "n", 4], TensorOptions(finite=False)]


@app.model("/brightness")
def brightness(photo: Photo) -> float:
    t.assert_type(photo.ndim, int)
    return float(photo.mean())


@app.model("/rows", batch=8)
class Rows:
    def predict(self, rows: Batch) -> t.Annotated[np.ndarray, Tensor["float32", "n"]]:
        return np.zeros(len(rows), "float32")


@app.model("/list", batch=8)
def firsts(photos: list[Photo]) -> list[float]:
    return [float(photo[0, 0, 0]) for photo in photos]
