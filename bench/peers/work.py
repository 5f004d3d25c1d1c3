"""The computation that every peer does: the same weights, read from files that `prepare.py` wrote.

Each peer's program converts its request to an input of `load(...)`, calls it with a list of inputs,
and
writes the returned pairs in its own format. Only NumPy, scikit-learn, ONNX Runtime and Pillow are
required, which every peer's environment has in the same versions.
"""

from __future__ import annotations

import collections.abc as cabc
import fcntl
import io
import mmap
import os
import pathlib
import struct
import threading
import time
import typing as t

import numpy as np

HOME = pathlib.Path(os.environ.get("BENCH_HOME", "."))
# The model that this server serves: one server per model, so that memory and start time are of one
# model.
NAME = os.environ.get("BENCH_MODEL", "digits")
# The largest batch, the same for all peers that have batches. The tensor is one whole input;
# `alone` is the digits for one client, where each peer is fastest without batches.
BATCH = {"alone": 1, "digits": 32, "forest": 32, "fake": 64, "photo": 16, "tensor": 1}[NAME]
BATCH = int(os.environ.get("BENCH_BATCH", BATCH))
# How many models the app has (bench/scaling.py): the others are copies at /predict-2 and so on.
MODELS = int(os.environ.get("BENCH_MODELS", "1"))
SIDE = 224

# How many processes compute, at peers that have such processes (bench/replicas.py).
REPLICAS = int(os.environ.get("BENCH_REPLICAS", "1"))

FAKE_FIXED_S, FAKE_ITEM_S = 0.005, 0.0002

Pairs = list[tuple[int, float]]
Model = cabc.Callable[[cabc.Sequence[t.Any]], Pairs]


def load() -> Model:
    """Return the model: a function from a list (or an array) of inputs to a pair of label and score
    for each.
    """
    return _counted({
        "alone": lambda: _scikit("digits.joblib"),
        "digits": lambda: _scikit("digits.joblib"),
        "forest": lambda: _scikit("forest.joblib"),
        "fake": _fake,
        "photo": _net,
        "tensor": _net,
    }[NAME]())  # fmt: skip


def one(model: Model, value: t.Any) -> tuple[int, float]:
    """Return the result of one input. A tensor is a batch of one already."""
    return model(value if NAME == "tensor" else [value])[0]


def pixels(picture: t.Any) -> np.ndarray:
    """Convert a PIL picture to float32 of shape (3, 224, 224), 0 to 1."""
    return np.asarray(picture, dtype=np.float32).transpose(2, 0, 1) / np.float32(255)


def decode(jpeg: bytes) -> np.ndarray:
    from PIL import Image

    return pixels(Image.open(io.BytesIO(jpeg)))


def _scikit(file: str) -> Model:
    import joblib

    model = joblib.load(HOME / file)

    def predict(rows: cabc.Sequence[t.Any]) -> Pairs:
        scores = model.predict_proba(np.asarray(rows, dtype=np.float32))
        return list(zip(scores.argmax(1).tolist(), scores.max(1).tolist(), strict=True))

    return predict


def _fake() -> Model:
    """A device that computes one batch at a time, and whose caller waits without the GIL."""
    device = threading.Lock()

    def predict(numbers: cabc.Sequence[t.Any]) -> Pairs:
        with device:
            time.sleep(FAKE_FIXED_S + FAKE_ITEM_S * len(numbers))
        return [(int(number), number * 2.0) for number in numbers]

    return predict


def _net() -> Model:
    import onnxruntime as ort

    options = ort.SessionOptions()
    # One thread each, because server, load and this model share two cores.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(HOME / "net.onnx", options, ["CPUExecutionProvider"])

    def predict(pictures: cabc.Sequence[t.Any]) -> Pairs:
        # n pictures of (3, h, w), or one array of (n, 3, h, w), which is not copied.
        batch = np.asarray(pictures, dtype=np.float32)
        (scores,) = session.run(None, {"x": batch})
        return list(zip(scores.argmax(1).tolist(), scores.max(1).tolist(), strict=True))

    return predict


def _counted(model: Model) -> Model:
    """Count calls and items in two numbers of a mapped file, where bench/models.py can read
    them. Each copy of a model has two numbers of its own, because copies in several processes
    count at the same time.
    """
    path = os.environ.get("BENCH_COUNTS")
    if not path:
        return model
    numbers = struct.Struct("qq")
    with pathlib.Path(path).open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        at = file.seek(0, os.SEEK_END)
        file.write(bytes(numbers.size))
        file.flush()
        fcntl.flock(file, fcntl.LOCK_UN)  # not by closing it: the map keeps a copy of it open
        counts = mmap.mmap(file.fileno(), 0)

    def predict(inputs: cabc.Sequence[t.Any]) -> Pairs:
        calls, items = numbers.unpack_from(counts, at)
        numbers.pack_into(counts, at, calls + 1, items + len(inputs))
        return model(inputs)

    return predict
