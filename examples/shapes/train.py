"""Make the two networks, in ONNX: `python train.py`, a quarter of a minute.

`shapes.onnx` is convolutional. Its filters are frequent small patches of the drawings (k-means);
their
responses in 8 x 8 fields go to two layers that scikit-learn trains. `edges.onnx` is a fixed filter,
Sobel's.

Nothing is downloaded: the drawings are made by `drawing.py`.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from pathlib import Path

import drawing
import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from sklearn.cluster import MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.image import extract_patches_2d
from sklearn.neural_network import MLPClassifier

HERE = Path(__file__).resolve().parent
DRAWINGS, HELD_BACK = 6000, 1000
FILTERS, PATCH, FIELD = 16, 5, 4


def main(arguments: list[str]) -> None:
    code = (HERE / "train.py").read_bytes() + (HERE / "drawing.py").read_bytes()
    recipe = hashlib.sha256(code).hexdigest()
    if "--force" not in arguments and all(is_fresh(name, recipe) for name in ("shapes", "edges")):
        print("shapes.onnx and edges.onnx are up to date.")
        return
    sides = (1, 1, "h", "w")
    save("edges", recipe, build(edges(), picture=sides, edges=sides))

    chance, names = np.random.default_rng(7), list(drawing.SHAPES)
    labels = np.arange(DRAWINGS) % len(names)
    pictures = np.stack([drawing.see(drawing.draw(names[label], chance)) for label in labels])
    looking = look(filters(pictures[:1000], chance))
    found = run(looking, pictures)

    network = MLPClassifier((64,), alpha=1e-3, max_iter=20, random_state=7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 20 iterations are enough here
        network.fit(found[HELD_BACK:], labels[HELD_BACK:])
    accuracy = network.score(found[:HELD_BACK], labels[:HELD_BACK])
    seen = ("n", *pictures.shape[1:])
    whole = build(looking + decide(network), pictures=seen, chances=("n", len(names)))
    save("shapes", recipe, whole, labels=",".join(names))
    print(f"shapes.onnx: {accuracy:.1%} of {HELD_BACK} held-back drawings right.")


# A network is a list of steps; each step reads the output of the previous one.
Step = tuple[str, dict[str, object], list[np.ndarray]]


def filters(pictures: np.ndarray, chance: np.random.Generator) -> np.ndarray:
    """Return frequent patches of drawings as filters. Array (FILTERS, 1, PATCH, PATCH)."""
    cut = [
        extract_patches_2d(picture[0], (PATCH, PATCH), max_patches=40, random_state=number)
        for number, picture in enumerate(pictures)
    ]
    patches = np.concatenate(cut).reshape(-1, PATCH * PATCH)
    patches -= patches.mean(axis=1, keepdims=True)
    length = np.linalg.norm(patches, axis=1, keepdims=True)
    patches = (patches / np.maximum(length, 1e-6))[length[:, 0] > 1]  # leave out plain paper
    centres = MiniBatchKMeans(FILTERS, random_state=7, n_init=1).fit(patches).cluster_centers_
    centres -= centres.mean(axis=1, keepdims=True)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    return centres.reshape(FILTERS, 1, PATCH, PATCH)


def look(kernels: np.ndarray) -> list[Step]:
    """Return each filter's response in each field. Dark on light equals light on dark."""
    return [
        ("Conv", {}, [kernels]),
        ("Abs", {}, []),
        ("MaxPool", {"kernel_shape": [FIELD, FIELD], "strides": [FIELD, FIELD]}, []),
        ("Flatten", {}, []),
    ]


def decide(network: MLPClassifier) -> list[Step]:
    """Return the two layers that scikit-learn trained."""
    (first, second), (first_bias, second_bias) = network.coefs_, network.intercepts_
    return [
        ("Gemm", {}, [first, first_bias]),
        ("Relu", {}, []),
        ("Gemm", {}, [second, second_bias]),
        ("Softmax", {"axis": 1}, []),
    ]


def edges() -> list[Step]:
    """Return the steepness of the brightness, 0 to 1: Sobel's filters, across and down."""
    across = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]]) / 4
    sides: dict[str, object] = {"pads": [1, 1, 1, 1]}
    return [
        ("Conv", sides, [np.stack([across, across.T])[:, None]]),
        ("ReduceL2", {"keepdims": 1}, [np.array([1])]),
        ("Clip", {}, [np.array(0.0), np.array(1.0)]),
    ]


def build(steps: list[Step], **sides: tuple[int | str, ...]) -> onnx.ModelProto:
    """Return the ONNX of a list of steps. The first keyword names the input and its shape, then the
    output.
    """
    given, output = sides
    taken, nodes, weights = given, [], []
    for number, (operator, attributes, arrays) in enumerate(steps):
        names = [f"{operator}_{number}_{n}" for n in range(len(arrays))]
        for each, array in zip(names, arrays, strict=True):
            kept = array if array.dtype.kind == "i" else array.astype(np.float32)
            weights.append(numpy_helper.from_array(kept, each))
        made = output if number == len(steps) - 1 else f"step_{number}"
        nodes.append(helper.make_node(operator, [taken, *names], [made], **attributes))
        taken = made
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in sides.items()
    ]
    graph = helper.make_graph(nodes, "network", ends[:1], ends[1:], weights)
    # Versions that each ONNX Runtime of recent years supports.
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(steps: list[Step], pictures: np.ndarray) -> np.ndarray:
    """Run exactly the network that is served."""
    model = build(steps, pictures=("n", *pictures.shape[1:]), found=("n", "found"))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"pictures": pictures})[0]


def save(name: str, recipe: str, model: onnx.ModelProto, **properties: str) -> None:
    """Write beside, then rename: a server that starts meanwhile never reads half a file."""
    helper.set_model_props(model, {"recipe": recipe, **properties})
    onnx.checker.check_model(model, full_check=True)
    unfinished = HERE / f"{name}.part"
    onnx.save(model, unfinished)
    unfinished.replace(HERE / f"{name}.onnx")


def is_fresh(name: str, recipe: str) -> bool:
    try:
        properties = onnx.load(HERE / f"{name}.onnx").metadata_props
    except Exception:  # noqa: BLE001 - missing or cut short: make it again
        return False
    return any(each.key == "recipe" and each.value == recipe for each in properties)


if __name__ == "__main__":
    main(sys.argv[1:])
