"""Train the classifier on scikit-learn's handwritten digits: `python train.py`.

1,797 scans are few, and neat. Each is therefore also bent, rotated, thickened and thinned, through
the same steps that a drawing goes through when it is served (`picture.py`). A quarter of the scans
is held back and used to measure the result.

The model is written beside this file, and kept as long as neither the code nor scikit-learn has
changed; `--force` trains anyway.
"""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import picture
import sklearn
import strokes
from PIL import Image, ImageFilter
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

HERE = Path(__file__).resolve().parent
MODEL = HERE / "digits.joblib"
# Twice of each takes three times as long, for half a percent more digits.
VARIANTS = 3
WRITTEN = 3000
EPOCHS = 15
SEED = 7


def main(arguments: list[str]) -> None:
    recipe = fingerprint()
    if "--force" not in arguments and is_fresh(recipe):
        print(f"{MODEL.name} is up to date.")
        return
    began = time.monotonic()
    bundle = load_digits()
    train_x, test_x, train_y, test_y = train_test_split(
        bundle.images, bundle.target, test_size=0.25, random_state=SEED, stratify=bundle.target
    )
    features, labels = augment(train_x, train_y)
    network = fit(features, labels)
    accuracy = network.score(test_x.reshape(-1, 64) / picture.FULL, test_y)
    save({"recipe": recipe, "network": network, "accuracy": accuracy})
    took = time.monotonic() - began
    print(f"{MODEL.name}: {accuracy:.1%} of {len(test_y)} held-back digits right, {took:.0f} s.")


def fingerprint() -> str:
    """Return a hash of everything that the model depends on."""
    code = b"".join((HERE / name).read_bytes() for name in ("train.py", "picture.py", "strokes.py"))
    return hashlib.sha256(code + sklearn.__version__.encode()).hexdigest()


def is_fresh(recipe: str) -> bool:
    try:
        return bool(joblib.load(MODEL)["recipe"] == recipe)
    except Exception:  # noqa: BLE001 - missing, cut short, or from another version: train again
        return False


def save(model: dict[str, object]) -> None:
    """Write beside, then rename: a server that starts meanwhile never reads half a file."""
    unfinished = MODEL.with_suffix(".part")
    joblib.dump(model, unfinished, compress=3)
    unfinished.replace(MODEL)


def augment(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each scan, variants of it, and pen strokes."""
    random = np.random.default_rng(SEED)
    features, digits = [image.ravel() for image in images], list(labels)
    for number, (image, label) in enumerate(zip(images, labels, strict=True), 1):
        features += [distort(image, random).ravel() for _ in range(VARIANTS)]
        digits += [label] * VARIANTS
        progress("bending scans", number, len(images))
    for number in range(WRITTEN):
        features.append(picture.see(strokes.write(number % 10, random)).ravel())
        digits.append(number % 10)
        progress("writing strokes", number + 1, WRITTEN)
    return np.asarray(features, dtype=np.float32) / picture.FULL, np.asarray(digits)


def distort(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return one variant: rotated, sheared, stretched, with a thicker or thinner pen."""
    big = Image.fromarray((image / picture.FULL * 255).astype(np.uint8))
    big = big.resize((64, 64), Image.Resampling.BICUBIC)
    angle, shear = np.deg2rad(random.uniform(-14, 14)), random.uniform(-0.25, 0.25)
    wide, high = random.uniform(0.65, 1.15), random.uniform(0.85, 1.1)
    cos, sin = np.cos(angle), np.sin(angle)
    # Pillow maps from the result back to the source, about the middle of a canvas with a margin.
    a, b = cos / wide, (sin + shear) / wide
    d, e = -sin / high, cos / high
    middle = 48
    inverse = (a, b, 32 - a * middle - b * middle, d, e, 32 - d * middle - e * middle)
    turned = big.transform((96, 96), Image.Transform.AFFINE, inverse, Image.Resampling.BILINEAR)
    level = random.uniform(0.25, 0.62) * 255
    pen = turned.point(lambda value: min(255, max(0, (value - level) * 6 + 128)))
    if random.random() < 0.3:
        pen = pen.filter(
            ImageFilter.MinFilter(3) if random.random() < 0.5 else ImageFilter.MaxFilter(5)
        )
    try:
        return picture.blocks(picture.centre(picture.cut(np.asarray(pen, dtype=np.float32) / 255)))
    except picture.NoInkError:  # thinned until nothing was left
        return image


def fit(features: np.ndarray, labels: np.ndarray) -> MLPClassifier:
    """Train a small network: 100 microseconds per prediction, and calibrated probabilities."""
    network = MLPClassifier((100,), alpha=1e-3, learning_rate_init=3e-3, random_state=SEED)
    # Matrices so small take twice as long on two threads, which mostly wait for each other.
    with threadpool_limits(1, user_api="blas"):
        for epoch in range(1, EPOCHS + 1):
            network.partial_fit(features, labels, classes=np.arange(10))
            progress("training", epoch, EPOCHS)
    return network


def progress(what: str, done: int, total: int) -> None:
    """Show a bar on a terminal, a few lines in a log."""
    if sys.stdout.isatty():
        if done * 100 // total != (done - 1) * 100 // total:
            full = 30 * done // total
            end = "\n" if done == total else ""
            print(f"\r{what:>16} [{'#' * full}{'.' * (30 - full)}]", end=end, flush=True)
    elif done * 4 // total != (done - 1) * 4 // total:
        print(f"{what}: {done} of {total}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
