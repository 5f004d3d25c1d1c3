"""Tables of 10,000 rows and 10 columns: carboy's readers and writers compared with pandas' own.

    python bench/tables.py [--quick] [--json FILE]

Seven columns of floats with 17 digits, two of integers, one of text. `declared` checks each cell
against the type of its column, and one column against bounds; `any` leaves the dtypes to pandas.
pandas checks nothing: a short row is filled up, and text makes a column of objects. The program
asserts that all readers return the same table.
"""

from __future__ import annotations

import csv
import io
import json
import typing as t
import warnings

import msgspec
import numpy as np
import pandas as pd

import _results
from _measure import Case, arguments, measure, rounds_of
from carboy.contract.values.registry import kind_of
from carboy.models import DataFrame

ROWS = 10_000
PARQUET = "application/vnd.apache.parquet"
STREAM = "application/vnd.apache.arrow.stream"


class Row(msgspec.Struct):
    f0: t.Annotated[float, msgspec.Meta(ge=-100, le=100)]
    f1: float
    f2: float
    f3: float
    f4: float
    f5: float
    f6: float
    i0: t.Annotated[int, msgspec.Meta(ge=0)]
    i1: int
    s: str


def frame() -> pd.DataFrame:
    numbers = np.random.default_rng(0)
    floats = {f"f{i}": numbers.normal(size=ROWS) for i in range(7)}
    whole = {"i0": numbers.integers(0, 100_000, ROWS), "i1": numbers.integers(0, 9, ROWS)}
    return pd.DataFrame({**floats, **whole, "s": numbers.choice(["red", "green", "blue"], ROWS)})


DECLARED, ANY = kind_of(DataFrame[Row]), kind_of(DataFrame)
assert DECLARED is not None
assert ANY is not None
FRAME = frame()
RECORDS = DECLARED.write(FRAME, "application/json")
SPLIT = json.dumps(FRAME.to_dict("split")).encode()
CSV = DECLARED.write(FRAME, "text/csv")
QUOTED = FRAME.to_csv(index=False, quoting=csv.QUOTE_ALL).encode()
PARQUET_BODY = DECLARED.write(FRAME, PARQUET)
ARROW_BODY = DECLARED.write(FRAME, STREAM)


def _pandas_json(body: bytes, **options: t.Any) -> pd.DataFrame:
    return pd.read_json(io.BytesIO(body), **options)


def _stream() -> pd.DataFrame:
    import pyarrow as pa

    return pa.ipc.open_stream(ARROW_BODY).read_all().to_pandas()


# By format; the others are compared with the first.
READERS: dict[str, dict[str, t.Callable[[], pd.DataFrame]]] = {
    "JSON records": {
        "pandas.read_json": lambda: _pandas_json(RECORDS),
        "DataFrame(json.loads())": lambda: pd.DataFrame(json.loads(RECORDS)),
        "declared": lambda: DECLARED.from_json(RECORDS),
        "any": lambda: ANY.from_json(RECORDS),
    },
    "JSON split": {
        "pandas.read_json": lambda: _pandas_json(SPLIT, orient="split"),
        "declared": lambda: DECLARED.from_json(SPLIT),
        "any": lambda: ANY.from_json(SPLIT),
    },
    "CSV": {
        "pandas.read_csv": lambda: pd.read_csv(io.BytesIO(CSV)),
        "declared": lambda: DECLARED.read(CSV),
        "any": lambda: ANY.read(CSV),
    },
    "CSV, all quoted": {
        "pandas.read_csv": lambda: pd.read_csv(io.BytesIO(QUOTED)),
        "declared": lambda: DECLARED.read(QUOTED),
        "any": lambda: ANY.read(QUOTED),
    },
    "Parquet": {
        "pandas.read_parquet": lambda: pd.read_parquet(io.BytesIO(PARQUET_BODY)),
        "declared": lambda: DECLARED.read(PARQUET_BODY),
        "any": lambda: ANY.read(PARQUET_BODY),
    },
    "Arrow stream": {
        "pyarrow, to_pandas": _stream,
        "declared": lambda: DECLARED.read(ARROW_BODY),
        "any": lambda: ANY.read(ARROW_BODY),
    },
}
WRITERS: dict[str, dict[str, t.Callable[[], object]]] = {
    "write JSON records": {
        "DataFrame.to_json, 15 digits": lambda: FRAME.to_json(
            orient="records", double_precision=15
        ),
        "carboy": lambda: ANY.write(FRAME, "application/json"),
    },
    "write CSV": {
        "DataFrame.to_csv": lambda: FRAME.to_csv(index=False),
        "carboy": lambda: ANY.write(FRAME, "text/csv"),
    },
    "write Parquet": {
        "DataFrame.to_parquet": lambda: FRAME.to_parquet(io.BytesIO(), index=False),
        "carboy": lambda: ANY.write(FRAME, PARQUET),
    },
}


def check() -> None:
    for kind, readers in READERS.items():
        for name, read in readers.items():
            # pandas' JSON reader loses some of the last digits.
            exact = kind[:4] != "JSON" or name != "pandas.read_json"
            pd.testing.assert_frame_equal(read(), FRAME, check_exact=exact, rtol=1e-9, atol=0)


def main() -> None:
    options = arguments(__doc__).parse_args()
    versions = ("carboy", "pandas", "pyarrow", "numpy", "msgspec")
    how = f"in process; {ROWS:,} rows of 10 columns"
    record = _results.Record("tables", options, *versions, how=how)
    warnings.simplefilter("ignore")
    check()
    for kind, cases in {**READERS, **WRITERS}.items():
        ours = "carboy" if "carboy" in cases else "declared"
        row = record.row(kind.lower().replace(",", "").replace(" ", "-"), kind, ours=ours)
        calls = [Case(name, call) for name, call in cases.items()]
        row.add_times(measure(calls, rounds=rounds_of(options)))
    record.close()


if __name__ == "__main__":
    main()
