"""Write DataFrames as JSON, CSV, Parquet and Arrow.

    JSON     records; NaN, NA, NaT and infinity are null, times are ISO 8601
    CSV      UTF-8 with a header, cells as in JSON; a missing value is an empty cell
    Parquet, Arrow stream    if pyarrow is installed

The index is not written: `df.reset_index()` makes it a column. pandas' own writers are not used:
`DataFrame.to_json` rounds numbers to 10 digits and takes twice as long, `to_csv` three times
(bench/tables.py).
"""

from __future__ import annotations

import csv
import io
import typing as t
from importlib.util import find_spec

import msgspec

from ...media import JSON
from ..kind import key_word

if t.TYPE_CHECKING:
    import collections.abc as cabc

CSV: t.Final = "text/csv"
PARQUET: t.Final = "application/vnd.apache.parquet"
ARROW_STREAM: t.Final = "application/vnd.apache.arrow.stream"
ARROW_FILE: t.Final = "application/vnd.apache.arrow.file"


def _cell(value: t.Any) -> t.Any:
    """Convert a cell that msgspec cannot write, such as a NumPy number, to one that it can. Used as
    msgspec's `enc_hook`.
    """
    if hasattr(value, "tolist"):
        return value.tolist()
    word = key_word(value)
    if word is not None:
        return word
    raise NotImplementedError(
        f"The returned table contains a {type(value).__module__}.{type(value).__qualname__},"
        " which has no JSON form. Make it a number, text, bool, date or time."
    )


_encode = msgspec.json.Encoder(enc_hook=_cell).encode


def answer_types() -> tuple[str, ...]:
    """Return the media types in which tables can be sent, the default first."""
    if find_spec("pyarrow") is None:
        return (JSON, CSV)
    return (JSON, CSV, PARQUET, ARROW_STREAM)


def write(frame: t.Any, media_type: str) -> bytes:
    """Encode a DataFrame in one of the media types of `answer_types`.

    Raises:
        ValueError: two columns have the same name.
    """
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"The returned table has two columns {twice!r}. Rename one.")
    if media_type in (PARQUET, ARROW_STREAM):
        return _arrow(frame.set_axis(names, axis=1), media_type)
    columns = [column_values(frame.iloc[:, i]) for i in range(len(names))]
    return _csv(names, columns) if media_type == CSV else _records(names, columns, len(frame))


def column_values(series: t.Any) -> list[t.Any]:
    """Convert the values of a pandas Series to JSON values: None if missing, text for times.

    NaN in float columns is not replaced, because the encoder writes NaN as null.
    """
    kind = series.dtype.kind
    if kind == "f" and isinstance(series.dtype.name, str) and series.dtype.name[:1] == "f":
        return t.cast("list[t.Any]", series.tolist())
    values = t.cast("list[t.Any]", series.tolist())
    if kind in "iu" and not series.hasnans:
        return values
    missing = series.isna()
    if missing.any():
        values = [None if gone else v for v, gone in zip(values, missing.tolist(), strict=True)]
    if kind in "bO" or series.dtype.name in ("str", "string"):
        return values
    return [_time(value) for value in values]


def _time(value: t.Any) -> t.Any:
    """Write a time as ISO 8601. pandas' timestamps keep nanoseconds, which Python's datetimes
    cannot.
    """
    return value.isoformat() if hasattr(value, "isoformat") else value


def _records(names: list[str], columns: list[list[t.Any]], rows: int) -> bytes:
    if not names:
        return _encode([{}] * rows)
    # PERF: rows are written as structs, which are created 9 times as fast as dicts. For few rows
    # dicts are used, because creating a type of struct takes 0.2 ms, as long as writing about 200
    # rows.
    if rows < 200:
        return _encode([dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)])
    row_type = msgspec.defstruct(
        "Row",
        [(f"c{i}", t.Any, msgspec.field(name=name)) for i, name in enumerate(names)],
        gc=False,
    )
    return _encode(list(map(row_type, *columns)))


def _csv(names: list[str], columns: list[list[t.Any]]) -> bytes:
    lines: list[str] = []
    rows = CsvRows(lines.append)
    rows.write_row(names)
    for row in zip(*columns, strict=True):
        rows.write_row(row)
    return "".join(lines).encode()


class CsvRows:
    """Writes rows of CSV. Lines end in a line feed, which Excel and pandas both read.

    Args:
        write_line: called with each line.
    """

    def __init__(self, write_line: cabc.Callable[[str], object]) -> None:
        self._write_line = write_line
        # Carriage returns at line ends are requested, and removed in `write`: before Python 3.13,
        # `csv` quotes a cell with a carriage return only if lines end in one.
        self._writer = csv.writer(self, lineterminator="\r\n")

    def write_row(self, values: cabc.Iterable[t.Any]) -> None:
        self._writer.writerow([csv_cell(value) for value in values])

    def write(self, line: str) -> None:
        """Write one line. `csv.writer` requires an object with this method."""
        self._write_line(f"{line[:-2]}\n")


def csv_cell(value: t.Any) -> t.Any:
    """Convert a value for `csv.writer`: text is not changed, any other value becomes its JSON form.

    NaN and infinity, which are null in JSON, become an empty cell, like all missing values: CSV has
    no form of infinity that all programs read.
    """
    kind = type(value)
    if kind is str or kind is int:
        return value
    if kind is float:
        # NaN and infinity become null. For them, the difference is NaN and not 0.
        return value if value - value == 0 else None
    text = _encode(value)
    return msgspec.json.decode(text) if text[:1] == b'"' or text == b"null" else text.decode()


def _arrow(frame: t.Any, media_type: str) -> bytes:
    import pyarrow as pa

    table = pa.Table.from_pandas(frame, preserve_index=False)
    file = io.BytesIO()
    if media_type == PARQUET:
        import pyarrow.parquet as pq

        pq.write_table(table, file)
    else:
        with pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    return file.getvalue()
