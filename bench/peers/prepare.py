"""Train the models that the peers serve, once, and write them with the requests and expected
results.

    BENCH_HOME=FOLDER python -m peers.prepare

Runs in carboy's environment of bench/models.py, which has `onnx` to write the network.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import pathlib
import typing as t

import joblib
import numpy as np
import onnx
from PIL import Image
from sklearn import datasets, ensemble, linear_model

HOME = pathlib.Path(os.environ["BENCH_HOME"])
SIDE = 224
# How many different requests there are for each model. The first is that of the measurements; the
# others show that a server does not mix answers up.
EXAMPLES = 4


def scikit() -> list[np.ndarray]:
    images, labels = datasets.load_digits(return_X_y=True)
    images = images.astype(np.float32)
    # Pixels are 0 to 16; the regression converges when they are scaled.
    joblib.dump(linear_model.LogisticRegression(max_iter=1000).fit(images / 16, labels),
                HOME / "digits.joblib")  # fmt: skip
    forest = ensemble.RandomForestClassifier(n_estimators=100, random_state=0)
    joblib.dump(forest.fit(images / 16, labels), HOME / "forest.joblib")
    return list(images[7 : 7 + EXAMPLES] / 16)


def net() -> None:
    """Return a network of two convolutions, a mean and ten scores: small, so that the server's
    share shows.
    """
    random = np.random.default_rng(0)
    weights = {
        "w1": random.normal(0, 0.1, (16, 3, 7, 7)),
        "w2": random.normal(0, 0.1, (32, 16, 3, 3)),
        "w3": random.normal(0, 0.3, (32, 10)),
    }
    node = onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [
            node("Conv", ["x", "w1"], ["a"], strides=[4, 4], pads=[3, 3, 3, 3]),
            node("Relu", ["a"], ["b"]),
            node("Conv", ["b", "w2"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
            node("Relu", ["c"], ["d"]),
            node("GlobalAveragePool", ["d"], ["e"]),
            node("Flatten", ["e"], ["f"]),
            node("MatMul", ["f", "w3"], ["g"]),
            node("Softmax", ["g"], ["y"], axis=1),
        ],
        "net",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 10])],
        [onnx.numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, HOME / "net.onnx")


def photo(left: int) -> bytes:
    picture = Image.fromarray(datasets.load_sample_image("china.jpg"))
    height = picture.height
    square = picture.crop((left, 0, left + height, height))
    out = io.BytesIO()
    square.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(out, "JPEG", quality=86)
    return out.getvalue()


def answers(inputs: dict[str, list[t.Any]]) -> dict[str, list[list[float]]]:
    """Return label and score of each example, by the name of its model."""
    found = {}
    for name, examples in inputs.items():
        os.environ["BENCH_MODEL"] = name
        work = importlib.reload(importlib.import_module("peers.work"))
        model = work.load()
        found[name] = [list(work.one(model, value)) for value in examples]
    return found


def main() -> None:
    HOME.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("BENCH_MODEL", "digits")
    rows = scikit()
    net()
    photos = [photo(40 * i) for i in range(EXAMPLES)]
    work = importlib.import_module("peers.work")
    pictures = [work.decode(jpeg) for jpeg in photos]
    inputs: dict[str, list[t.Any]] = {
        "alone": rows,
        "digits": rows,
        "forest": rows,
        "fake": [21 + i for i in range(EXAMPLES)],
        "photo": pictures,
        "tensor": [picture[None] for picture in pictures],
    }
    # As a client writes it: float32 values that `tolist` has converted to double, with all digits.
    for i in range(EXAMPLES):
        (HOME / f"photo-{i}.jpg").write_bytes(photos[i])
        (HOME / f"digits-{i}.json").write_text(json.dumps(rows[i].tolist()))
        (HOME / f"fake-{i}.json").write_text(json.dumps(float(inputs["fake"][i])))
        (HOME / f"tensor-{i}.json").write_text(json.dumps(inputs["tensor"][i].tolist()))
        np.save(HOME / f"tensor-{i}.npy", inputs["tensor"][i])
    (HOME / "answers.json").write_text(json.dumps(answers(inputs)))
    sizes = {path.name: path.stat().st_size for path in sorted(HOME.iterdir())}
    print(json.dumps(sizes))


if __name__ == "__main__":
    main()
