"""Who made this wine? A model of tables: a CSV file in, a table with probabilities out.

python train.py                  once; writes wine.joblib, and unseen.csv to try it with
carboy --app app.py run          http://127.0.0.1:5000/wines and /wine: pages to try them
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import joblib
import pandas as pd
from msgspec import Meta, Struct, structs

from carboy import Carboy, redirect
from carboy.models import DataFrame

app = Carboy(__name__)
app.config["STRICT_HEADERS"] = True

Little = Annotated[float, Meta(ge=0, le=10)]
Some = Annotated[float, Meta(ge=0, le=50)]
Much = Annotated[float, Meta(ge=0, le=3000)]


class Wine(Struct):
    """What a laboratory measured. The fields are the columns of a table of wines."""

    alcohol: Some
    malic_acid: Little
    ash: Little
    alcalinity_of_ash: Some
    magnesium: Much
    total_phenols: Little
    flavanoids: Little
    nonflavanoid_phenols: Little
    proanthocyanins: Little
    color_intensity: Some
    hue: Little
    dilution: Little
    proline: Much


class Maker(Struct):
    """Who most likely made it, and how likely each grower did."""

    grower: str
    probabilities: dict[str, float]


A_WINE = Wine(14.23, 1.71, 2.43, 15.6, 127, 2.8, 3.06, 0.28, 2.29, 5.64, 1.04, 3.92, 1065)


def load() -> object:
    path = Path(__file__).with_name("wine.joblib")
    if not path.exists():
        raise FileNotFoundError(f"{path.name} is not there yet: run `python train.py` first")
    return joblib.load(path)


@app.model("/wines", example=[A_WINE])
class Wines:
    """Who made each of these wines?

    Send a table with a row for each wine, as CSV, JSON, Parquet or Arrow. Back comes a table with
    as many rows: the grower, and the probability of each.
    """

    def __init__(self) -> None:
        self.model = load()

    def predict(self, wines: DataFrame[Wine]) -> DataFrame:
        table = pd.DataFrame(self.model.predict_proba(wines), columns=self.model.classes_)
        table.insert(0, "grower", table.idxmax(axis=1))
        return table.round(4)


@app.model("/wine", batch=64, example=A_WINE)
class OneWine:
    """Who made this wine?

    Send one record. Those that come at the same time are one table to the model.
    """

    def __init__(self) -> None:
        self.model = load()

    def predict(self, wine: list[Wine]) -> list[Maker]:
        table = pd.DataFrame([structs.asdict(each) for each in wine])
        return [self.answer(chances) for chances in self.model.predict_proba(table)]

    def answer(self, chances) -> Maker:
        likely = dict(zip(self.model.classes_, chances.round(4).tolist(), strict=True))
        return Maker(max(likely, key=likely.__getitem__), likely)


@app.get("/")
def index():
    return redirect("/wines")
