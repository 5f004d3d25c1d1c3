"""What the fragments of the README take for granted."""

import typing as t

import joblib
from msgspec import Meta, Struct

from carboy import Image

Pixels = t.Annotated[list[float], Meta(min_length=64, max_length=64)]


class Digit(Struct):
    digit: int


class Flower(Struct):
    name: str
