"""Models of each kind of input and result, to be called by the clients of other model servers."""

from __future__ import annotations

import typing as t

import msgspec
import numpy as np

from carboy import Carboy
from carboy.models import Image, InputError, Tensor


class Flower(msgspec.Struct):
    length: float
    width: float = 2.0


class Verdict(msgspec.Struct):
    label: t.Literal["big", "small"]
    area: float
    sides: list[float]
    notes: dict[str, int]


def make_app(*protocols: str, control: bool = False) -> Carboy:
    """Return an app whose models clients can call by the protocols."""
    app = Carboy("wireapp")
    app.config["MODEL_PROTOCOLS"] = list(protocols)
    app.config["MODEL_REPOSITORY_CONTROL"] = control
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @app.model("/net", batch=8)
    class Net:
        version = 7

        def predict(self, image: Tensor["float32", "n", 3, 4, 4]) -> Tensor["float32", "n", 2]:
            return np.stack([image.min((1, 2, 3)), image.max((1, 2, 3))], 1)

    @app.model("/total")
    def total(x: Tensor["float32", "n", 3]) -> Tensor["float32", "n"]:
        return t.cast("Tensor['float32', 'n']", x.sum(1))

    @app.model("/repeat", batch=4)
    def repeat(text: list[str], times: list[int]) -> list[str]:
        return [each * number for each, number in zip(text, times, strict=True)]

    @app.model("/flower", batch=4)
    def flower(flower: list[Flower]) -> list[Verdict | InputError]:
        return [_judge(each) for each in flower]

    @app.model("/picture")
    def picture(image: Image, scale: int = 2) -> dict[str, int]:
        return {"width": image.width * scale}

    @app.model("/fails")
    def fails(x: int) -> int:
        raise RuntimeError("a secret")

    @app.model("/stream")
    def stream(x: int) -> t.Iterator[int]:
        yield x

    return app


def _judge(flower: Flower) -> Verdict | InputError:
    if flower.length < 0:
        return InputError("A flower has a length of 0 or more.")
    area = flower.length * flower.width
    label: t.Literal["big", "small"] = "big" if area > 10 else "small"
    return Verdict(label, area, [flower.length, flower.width], {"petals": 5})


#: What `carboy serve` serves.
app = make_app("v2", control=True)
