"""Models for tests of replicas in other processes. Both the test and the replica import them."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import os
import pathlib
import signal
import sys
import time
import typing as t
import uuid
from collections import abc as cabc

import msgspec
import numpy as np
import pydantic
from polling import wait_until

from carboy import Carboy, Image, Tensor, Upload
from carboy.models import DataFrame, InputError

app = Carboy(__name__)


class Flower(msgspec.Struct):
    width: float
    seen: dt.datetime
    tags: set[str] = set()


class Pet(pydantic.BaseModel):
    name: str
    born: dt.date


class Color(enum.Enum):
    RED = "red"


class OwnError(Exception):
    def __init__(self, code: int, *, hint: str) -> None:
        super().__init__(code)
        self.hint = hint


@app.model("/same-array", replicas=1)
def same_array(x: Tensor["float32", ...]) -> Tensor["float32", ...]:
    return x


@app.model("/pid", batch=8, replicas=1)
def pid(x: list[int]) -> list[int]:
    return [os.getpid()] * len(x)


@app.model("/echo", batch=8, replicas=1, deadline_s=2.0)
class Echo:
    """Answers a number with itself, or does what the number asks for."""

    def predict(self, x: list[int]) -> list[int]:
        for each in x:
            _act(each)
        return x


def _act(x: int) -> None:
    match x:
        case -1:
            raise ValueError("minus one")
        case -2:
            os.kill(os.getpid(), signal.SIGKILL)
        case -3:
            time.sleep(3600)
        case -4:
            os._exit(0)
        case -5:
            raise OwnError(5, hint="five")
        case -6:
            raise InputError.at("$.x", expected="a positive number", got="-6")
        case -7:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        case -8:
            sys.exit("over")
        case -9:
            print("garbage", flush=True)


@app.model("/texts", batch=4, replicas=1)
def texts(x: list[int]) -> list[str]:
    """Answers with texts of these lengths."""
    return [each * "x" for each in x]


@app.model("/once", replicas=1)
def once(path: str) -> str:
    """Dies in the first process that computes it."""
    mark = pathlib.Path(path)
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


@app.model("/until", batch=4, replicas=1)
def until(path: list[str]) -> list[int]:
    """Computes until a file exists."""
    for each in path:
        pathlib.Path(f"{each}.begun").touch()
        wait_until(lambda each=each: pathlib.Path(each).exists())
    return [os.getpid()] * len(path)


@app.model("/stacked", batch=8, replicas=1)
class Stacked:
    def predict(self, x: Tensor["float32", "n", "w"]) -> Tensor["float32", "n", "w"]:
        assert x.flags.writeable
        x *= 2
        return x


@app.model("/keeper", batch=8, replicas=1)
class Keeper:
    """Keeps a view of its first input, and answers with that one."""

    def __init__(self) -> None:
        self.first: t.Any = None

    def predict(self, x: Tensor["float32", "n", "w"]) -> Tensor["float32", "n", "w"]:
        if self.first is None:
            self.first = x[:1]
        return np.repeat(self.first, len(x), axis=0)


@app.model("/records", batch=8, replicas=1)
def records(flower: list[Flower], n: list[int | None]) -> list[Flower]:
    for each in flower:
        assert type(each) is Flower, each
    return [
        Flower(a.width * (n_ or 1), a.seen, {*a.tags, "x"}) for a, n_ in zip(flower, n, strict=True)
    ]


@app.model("/pet", replicas=1)
def pet(animal: Pet) -> Pet:
    return Pet(name=animal.name.upper(), born=animal.born + dt.timedelta(days=1))


class Mixture(msgspec.Struct):
    when: dt.date
    price: decimal.Decimal
    key: uuid.UUID
    color: Color
    data: bytes
    weights: Tensor["float64", "n"]


@app.model("/mixture", replicas=1)
def mixture(x: Mixture) -> Mixture:
    return msgspec.structs.replace(x, weights=x.weights + 1)


@app.model("/picture", replicas=1)
def picture(image: Image) -> Image:
    return image.transpose(0)


@app.model("/size", replicas=1)
def size_of(file: Upload) -> list[t.Any]:
    return [file.name, file.media_type, len(file.read())]


@app.model("/table", batch=4, replicas=1)
def table(rows: DataFrame) -> DataFrame:
    return rows.assign(total=rows.sum(axis=1, numeric_only=True))


@app.model("/undeclared", batch=4, replicas=1)
def undeclared(x: list[float]) -> t.Any:
    return [object() if each == 0 else np.float32(each) for each in x]


@app.model("/chunks", replicas=1)
def chunks(n: int, size: int) -> cabc.Iterator[bytes]:
    for i in range(n):
        yield bytes([i]) * size


@app.model("/counted", replicas=1, deadline_s=5.0)
def counted(n: int, path: str = "") -> cabc.Iterator[int]:
    """Yields numbers; writes how many were produced when it is closed."""
    made = 0
    try:
        for i in range(n):
            if i == 13:
                raise ValueError("thirteen")
            if i == 7 and path == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            made += 1
            yield i
    finally:
        if path:
            pathlib.Path(path).write_text(str(made))
