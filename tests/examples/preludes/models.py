"""What the fragments of docs/models.md take for granted: an app, data types, and a net."""

import types
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
import numpy as np
import PIL.Image
from msgspec import Meta, Struct, field

from carboy import Carboy, Image, Tensor
from carboy.models import DataFrame

app = Carboy(__name__)
Pixels = list[float]
net = types.SimpleNamespace(
    predict=lambda inputs: np.zeros(len(inputs), int),
    predict_proba=lambda inputs: np.eye(10)[: len(inputs)],
)
joblib = types.SimpleNamespace(load=lambda name: net)
picture = PIL.Image.new("L", (8, 8))
pictures = [picture, picture]


class Digit(Struct):
    digit: int


class Token(Struct):
    text: str
