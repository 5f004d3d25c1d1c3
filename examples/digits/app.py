"""Which digit is it? A model behind a URL, and a page on which to draw for it.

python train.py                  once; writes digits.joblib
carboy --app app.py run          http://127.0.0.1:5000/
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import joblib
import numpy as np
import picture
from msgspec import Meta, Struct

from carboy import Carboy, render_template
from carboy.models import Image, ImageOptions, InputError

app = Carboy(__name__)
# The page loads nothing from other hosts, and runs only the script that has its nonce. It shows the
# picture that is being sent (blob:).
app.config["STRICT_HEADERS"] = {"Content-Security-Policy": {"img-src": "blob:"}}

# `picture` looks at the transparency, and at all 16 bits of a scan.
Picture = Annotated[Image, ImageOptions(mode="as-sent")]
Ink = Annotated[float, Meta(ge=0, le=picture.FULL)]
Pixels = Annotated[list[Ink], Meta(min_length=64, max_length=64)]


class Digit(Struct):
    """The recognised digit, its probability, and the 8 x 8 numbers that the network has seen."""

    digit: int
    probability: float
    probabilities: list[float]
    seen: list[int]


@app.model("/digits", batch=32)
class Digits:
    """Which digit is on the picture?

    Send a picture of one handwritten digit, dark on light or light on dark, or 64 numbers from
    0 to 16: the ink in each cell of an 8 x 8 grid, row by row.
    """

    def __init__(self) -> None:
        path = Path(__file__).with_name("digits.joblib")
        if not path.exists():
            raise FileNotFoundError(f"{path.name} is not there yet: run `python train.py` first")
        self.network = joblib.load(path)["network"]

    def predict(self, image: list[Picture | Pixels]) -> list[Digit]:
        """Classify up to 32 pictures in one call: the network takes little longer for 32 than
        for one.
        """
        seen = [self.see(each) for each in image]
        readable = [grid for grid in seen if not isinstance(grid, InputError)]
        chances = iter(self.network.predict_proba(np.stack(readable)) if readable else ())
        # A picture that cannot be read gets an error as its result; the others get theirs.
        return [
            grid if isinstance(grid, InputError) else answer(grid, next(chances)) for grid in seen
        ]

    def see(self, image: Image | Pixels) -> np.ndarray | InputError:
        """Return 64 numbers from 0 to 1."""
        if isinstance(image, list):
            return np.asarray(image, dtype=np.float32) / picture.FULL
        try:
            return picture.see(image).reshape(64) / picture.FULL
        except picture.NoInkError as exc:
            return InputError(str(exc))


def answer(seen: np.ndarray, chances: np.ndarray) -> Digit:
    best = int(chances.argmax())
    return Digit(
        digit=best,
        probability=round(float(chances[best]), 4),
        probabilities=chances.astype(float).round(4).tolist(),
        seen=(seen * picture.FULL).round().astype(int).tolist(),
    )


@app.get("/")
def index() -> str:
    return render_template("index.html")
