"""Which digit is it? A model behind a URL, and a page on which to draw for it.

python train.py                  once; makes digits.joblib
carboy --app app.py run          http://127.0.0.1:5000/
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import joblib
import numpy as np
import picture
from msgspec import Meta, Struct

from carboy import Carboy, Response, render_template
from carboy.models import Image, InputError

app = Carboy(__name__)

Ink = Annotated[float, Meta(ge=0, le=picture.FULL)]
Pixels = Annotated[list[Ink], Meta(min_length=64, max_length=64)]


class Digit(Struct):
    """The answer, how sure it is, and the 8 x 8 numbers it was read from."""

    digit: int
    probability: float
    probabilities: list[float]
    seen: list[int]


@app.model("/digits")
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

    def predict(self, image: Image | Pixels) -> Digit:
        seen = np.asarray(image, dtype=np.float32) if isinstance(image, list) else self.see(image)
        chances = self.network.predict_proba(seen.reshape(1, 64) / picture.FULL)[0].astype(float)
        best = int(chances.argmax())
        return Digit(
            digit=best,
            probability=round(float(chances[best]), 4),
            probabilities=chances.round(4).tolist(),
            seen=seen.ravel().round().astype(int).tolist(),
        )

    def see(self, image: Image) -> np.ndarray:
        try:
            return picture.see(image)
        except picture.NoInkError as exc:
            raise InputError(str(exc)) from exc


@app.get("/")
def index() -> str:
    return render_template("index.html")


@app.after_request
def only_our_own(response: Response) -> Response:
    """The page needs nothing from elsewhere and runs no script but its own file.

    Carboy's page at /docs brings a policy of its own, which stays.
    """
    response.headers.setdefault(
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:;"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
