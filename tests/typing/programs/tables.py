"""Tables: for a type checker `DataFrame` and `DataFrame[Person]` are pandas' class."""

from __future__ import annotations

import typing as t

import msgspec
import pandas as pd

from carboy import Carboy
from carboy.models import DataFrame, TableOptions

app = Carboy(__name__)


class Person(msgspec.Struct):
    age: t.Annotated[int, msgspec.Meta(ge=0)]


@app.model("/risk", batch=32)
class Risk:
    def predict(self, people: DataFrame[Person]) -> DataFrame:
        return people.head()


@app.model("/rows")
def rows(table: t.Annotated[pd.DataFrame, TableOptions(columns=Person, others="drop")]) -> int:
    return len(table)


def by_hand(table: pd.DataFrame) -> DataFrame[Person]:
    return table


rows(by_hand(pd.DataFrame({"age": [30]})))
