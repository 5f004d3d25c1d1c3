"""Two networks in ONNX Runtime: one classifies a shape, one returns a picture.

python train.py                  once; writes shapes.onnx and edges.onnx
carboy --app app.py run          http://127.0.0.1:5000/shapes and /edges: pages to try them
"""

from __future__ import annotations

from pathlib import Path

import drawing
import numpy as np
import onnxruntime
import PIL.Image
from msgspec import Struct

from carboy import Carboy, redirect
from carboy.models import Image

app = Carboy(__name__)
app.config["STRICT_HEADERS"] = True


def session(name: str) -> onnxruntime.InferenceSession:
    path = Path(__file__).with_name(f"{name}.onnx")
    if not path.exists():
        raise FileNotFoundError(f"{path.name} is not there yet: run `python train.py` first")
    # Batches and workers use all cores; threads inside a small network cost more than they save.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options)


class Shape(Struct):
    """What it most likely is, and how likely each shape is."""

    label: str
    probabilities: dict[str, float]


STAR = drawing.draw("star", np.random.default_rng(5))


@app.model("/shapes", batch=32, example=STAR)
class Shapes:
    """Which shape is on the picture: circle, cross, heart, square, star or triangle?

    Send a picture, or draw one: filled or in outline, in any two colours.
    """

    def __init__(self) -> None:
        self.network = session("shapes")
        self.labels = self.network.get_modelmeta().custom_metadata_map["labels"].split(",")

    def predict(self, picture: list[Image]) -> list[Shape]:
        """Run the network once for up to 32 requests."""
        seen = np.stack([drawing.see(each) for each in picture])
        (chances,) = self.network.run(None, {"pictures": seen})
        return [self.answer(each) for each in chances]

    def answer(self, chances: np.ndarray) -> Shape:
        likely = dict(zip(self.labels, chances.round(4).tolist(), strict=True))
        return Shape(max(likely, key=likely.__getitem__), likely)


@app.model("/edges")
class Edges:
    """Where a picture changes: its edges, dark on white, as a picture."""

    def __init__(self) -> None:
        self.network = session("edges")

    def predict(self, picture: Image) -> Image:
        picture.thumbnail((1024, 1024))
        grey = np.asarray(picture.convert("L"), dtype=np.float32) / 255
        (edges,) = self.network.run(None, {"picture": grey[None, None]})
        return PIL.Image.fromarray(np.uint8(255 * (1 - edges[0, 0])))


@app.get("/")
def index():
    return redirect("/shapes")
