"""Models: a class and a function keep their types under the decorator."""

from __future__ import annotations

import typing as t

import msgspec

from carboy import Blueprint, Carboy
from carboy.models import Image, InputError, Model

app = Carboy(__name__)


class Answer(msgspec.Struct):
    label: str
    probability: float


@app.model("/pictures", max_body_bytes=1_000_000)
class Pictures:
    def __init__(self) -> None:
        self.labels = ["cat", "dog"]

    def predict(self, image: Image) -> Answer:
        if image.width < 8:
            raise InputError("The picture is too small.")
        return Answer(self.labels[0], 0.5)


@app.model("/double", name="twice")
def double(numbers: list[float]) -> list[float]:
    return [2 * number for number in numbers]


shop = Blueprint("shop", __name__)


@shop.model("/half", batch=8, wait_ms="auto")
def half(numbers: list[float]) -> list[float]:
    return [number / 2 for number in numbers]


t.assert_type(half([1.0]), list[float])
t.assert_type(Pictures().labels, list[str])
t.assert_type(double([1.0]), list[float])
t.assert_type(app.models["twice"], Model)
