"""Tensors from a body: carboy's reader compared with common code of services, one body at a time.

    python bench/tensors.py [--quick] [--json FILE]

Three inputs, each as Python's `json` writes it: a picture for a network (1 x 3 x 224 x 224 float32,
numbers of 17 digits, as `array.tolist()` gives them), the same as bytes with the colours last, and
64 numbers. carboy's figure includes its whole decoding: body, type, the length of every list, the
range of every number. The others only create an array, with the checks of their libraries:

    json, orjson     loads, then numpy.array
    msgspec          typed lists, then numpy.array
    pydantic         typed lists (FastAPI, LitServe), then numpy.array
    simdjson         its flat buffer, reshaped: the lists themselves are not checked
    fromstring       the brackets removed, then numpy.fromstring

At the end `.npy`, as carboy reads it and as numpy.load does. Peers that are not installed are
skipped.
"""

from __future__ import annotations

import collections.abc as cabc
import functools
import importlib
import io
import json
import typing as t

import msgspec
import numpy as np

import _results
from _measure import Case, arguments, measure, rounds_of
from carboy.contract.bodies import BodyReader
from carboy.contract.signature import read_predict
from carboy.models import Tensor

PEERS = ("numpy", "msgspec", "orjson", "pydantic", "pysimdjson")

Read = cabc.Callable[[bytes], t.Any]


class Body:
    """A request without a server."""

    encoding = ""

    def __init__(self, data: bytes, media_type: str) -> None:
        self._data = data
        self.media_type = self.content_type = media_type

    def raw(self) -> bytes:
        return self._data

    def form(self) -> t.Any:
        raise NotImplementedError


def by_carboy(array: t.Any, media_type: str = "application/json") -> Read:
    def predict(x) -> None: ...

    sides = [f"side{i}" for i in range(array.ndim)]
    predict.__annotations__ = {"x": Tensor[(array.dtype.name, *sides)]}
    decode = BodyReader(read_predict(predict, owner="bench").body, "bench").decode
    return lambda data: decode(Body(data, media_type))["x"]


def readers(record: _results.Record, array: t.Any) -> dict[str, Read]:
    """Return the readers of the installed peers for arrays of this shape."""
    dtype, shape = array.dtype, array.shape
    kind: t.Any = float if dtype.kind == "f" else int
    for _ in shape:
        kind = list[kind]
    typed = msgspec.json.Decoder(kind).decode
    found: dict[str, Read] = {
        "carboy": by_carboy(array),
        "json": lambda data: np.array(json.loads(data), dtype),
        "msgspec": lambda data: np.array(typed(data), dtype),
        "fromstring": lambda data: np.fromstring(
            data.translate(None, b"[]"), dtype, sep=","
        ).reshape(shape),
    }
    for name, module in {
        "orjson": "orjson",
        "pydantic": "pydantic",
        "simdjson": "simdjson",
    }.items():
        try:
            found[name] = _optional(name, importlib.import_module(module), array, kind)
        except ImportError:
            record.leave_out(name, "not installed")
    return found


def _optional(name: str, module: t.Any, array: t.Any, kind: t.Any) -> Read:
    dtype, shape = array.dtype, array.shape
    if name == "orjson":
        return lambda data: np.array(module.loads(data), dtype)
    if name == "pydantic":
        validate = module.TypeAdapter(kind).validate_json
        return lambda data: np.array(validate(data), dtype)
    parser = module.Parser()
    code = "d" if dtype.kind == "f" else "i"
    wide = "f8" if code == "d" else "i8"

    def read(data: bytes) -> t.Any:
        buffer = parser.parse(data).as_buffer(of_type=code)
        return np.frombuffer(buffer, wide).astype(dtype).reshape(shape)

    return read


def inputs() -> dict[str, t.Any]:
    made = np.random.default_rng(0)
    picture = made.random((1, 3, 224, 224), np.float32)
    return {
        "1x3x224x224 float32": picture,
        "224x224x3 uint8": (picture[0].transpose(1, 2, 0) * 255).astype("uint8"),
        "64 float32": made.random(64, np.float32),
    }


def compare(record: _results.Record) -> None:
    for title, array in inputs().items():
        data = json.dumps(array.tolist()).encode()
        ways = readers(record, array)
        for name, read in ways.items():
            if not np.array_equal(read(data), array):
                raise SystemExit(f"{name} reads another array")
        add_row(record, title, ways, data)
    array = inputs()["1x3x224x224 float32"]
    file = io.BytesIO()
    np.save(file, array)
    ways = {
        "carboy": by_carboy(array, "application/x-npy"),
        "numpy.load": lambda data: np.load(io.BytesIO(data), allow_pickle=False),
    }
    add_row(record, "1x3x224x224 float32 as .npy", ways, file.getvalue())


def add_row(record: _results.Record, title: str, ways: dict[str, Read], data: bytes) -> None:
    cases = [Case(name, functools.partial(read, data)) for name, read in ways.items()]
    row = record.row(title.replace(" ", "-"), title)
    row.add_times(measure(cases, rounds=rounds_of(record.options)))


def main() -> None:
    options = arguments(__doc__).parse_args()
    record = _results.Record("tensors", options, "carboy", *PEERS, how="in process")
    compare(record)
    record.close()


if __name__ == "__main__":
    main()
