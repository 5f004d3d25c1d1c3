"""Tables in text: CSV as people have it.

UTF-8, or UTF-16 with its mark (Excel's "Unicode text"); a byte order mark is no part of the first
name. Cells are parted by a comma, a semicolon or a tab: by what fits the header best. Quotes are
doubled inside quotes. A first column without a name is pandas' index (`df.to_csv()`) and is left
out. Each row has a cell for each column: a short row is refused, not filled up.

Declared columns have their dtypes, whatever the text looks like: "007" stays text in a column of
text. An empty cell is a missing value where None is allowed, and empty text in a column of text.
Undeclared columns are what `pandas.read_csv` makes of them.

There are two readers. pandas' own is four times as quick, but fills short rows, and says little of
a cell that does not fit. So it reads what is regular; all else is read again, cell by cell, by the
second one, whose word is final. tests/contract/values/test_tables.py holds the two equal.
"""

from __future__ import annotations

import csv
import io
import math
import re
import typing as t

from ....errors import InputError, MalformedInputError
from .columns import Column, DeclaredColumns, as_array, check, text_dtype
from .json import refuse_twice
from .sizes import refuse_few, refuse_size, too_large

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from . import TableOptions

# Columns that pandas recognises, and the kinds of dtypes that it may have found.
_NUMBERS = {"float": "fi", "int": "i"}
_DELIMITERS = (",", ";", "\t")
# What programs write for a value that is not there: R, pandas, databases. Only where None is
# allowed, and never in a column of text.
_MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "NULL", "null", "None"})
_EMPTY = frozenset({""})
_WHOLE = re.compile(r"[+-]?[0-9]{1,40}")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class _Text(t.NamedTuple):
    """A file that was looked at: its header, and how its cells are parted."""

    text: str
    delimiter: str
    names: list[str]
    has_index: bool  # a first column without a name


class CsvTables:
    """Reads one type of table."""

    def __init__(self, columns: DeclaredColumns | None, options: TableOptions) -> None:
        self._columns = columns
        self._options = options

    def read(self, data: bytes | str, path: str = "$", *, tabs: bool = False) -> t.Any:
        """Read a DataFrame.

        Args:
            tabs: the media type says that cells are parted by tabs.

        Raises:
            InputError: 400, 413, 422.
        """
        text = data.lstrip("\ufeff") if isinstance(data, str) else decode(data)
        if not text.strip():
            raise MalformedInputError(
                "The table is empty. Send a header line with the names of the columns, then rows."
            )
        if "\0" in text:
            raise MalformedInputError("This is no CSV: the text holds a NUL character.")
        if "\n" not in text:
            text = text.replace("\r", "\n")  # as the first Macs ended lines, and some programs do
        table = self._look_at(text, path, tabs=tabs)
        frame = self._read_quickly(table, path)
        if frame is None:
            frame = self._read_cells(table, path)
        refuse_few(len(frame), self._options, path)
        return frame

    def _look_at(self, text: str, path: str, *, tabs: bool) -> _Text:
        wanted = () if self._columns is None else self._columns.names
        delimiter = "\t" if tabs else delimiter_of(text, wanted)
        names = _header(text, delimiter)
        has_index = len(names) > 1 and not names[0]
        named = names[1:] if has_index else names
        for i, name in enumerate(names):
            if not name and not (has_index and i == 0):
                raise InputError.at(path, expected="a name for each column in the first line",
                                    got=f"none for column {i + 1} of {len(names)}")  # fmt: skip
        refuse_twice(named, path)
        if self._columns is not None:
            self._columns.choose(named, path)
        # The shortest row has a delimiter for each cell but one.
        refuse_size(1, len(names), self._options, path)
        return _Text(text, delimiter, names, has_index)

    # --- by pandas -----------------------------------------------------------------------------

    def _read_quickly(self, table: _Text, path: str) -> t.Any:
        """Return None if the text is not regular enough, or a cell does not fit."""
        import pandas as pd

        declared = self._columns
        data = table.text.encode()
        rows = self._count(table, data, path)
        if rows is None:
            return None
        options: dict[str, t.Any] = {} if _is_exact(pd) else {"float_precision": "round_trip"}
        if declared is not None:
            came = [c for c in declared.columns if c.name in table.names]
            options |= {
                # Numbers without: if they were declared, pandas would take "true" for 1.0.
                "dtype": {c.name: text_dtype() for c in came if c.sort not in _NUMBERS},
                "usecols": [c.name for c in came] if declared.drops else None,
                "keep_default_na": False,
                "na_values": {c.name: [""] for c in came if c.sort in _NUMBERS},
            }
        try:
            frame = pd.read_csv(
                io.BytesIO(data), sep=table.delimiter, names=table.names, header=0,
                index_col=False, low_memory=False, **options,
            )  # fmt: skip
        except (ValueError, OverflowError):
            return None if declared is not None else self._undeclared_misfit(path)
        if len(frame) != rows:
            return None if declared is not None else self._undeclared_misfit(path)
        if declared is None:
            return _finite(frame.iloc[:, 1:] if table.has_index else frame, path)
        return self._of_frame(declared, frame, rows)

    def _count(self, table: _Text, data: bytes, path: str) -> int | None:
        """Count rows; None if one has not as many cells as the header."""
        width = len(table.names)
        if b'"' not in data:
            found = _regular_rows(data, table.delimiter, width)
            if found is not None:
                refuse_size(found, width, self._options, path)
                return found
            if self._columns is not None:
                return None
        return sum(1 for _ in self._rows(table, path))  # which refuses the short row

    @staticmethod
    def _undeclared_misfit(path: str) -> t.NoReturn:
        raise InputError.at(path, expected="a CSV table", got="text that is read in several ways")

    def _of_frame(self, declared: DeclaredColumns, frame: t.Any, rows: int) -> t.Any:
        """Apply declared dtypes and bounds; None if a value does not fit."""
        arrays: dict[str, t.Any] = {}
        try:
            for column in declared.columns:
                if column.name not in frame:
                    continue
                values = frame[column.name]
                if column.sort in _NUMBERS:
                    if values.dtype.kind not in _NUMBERS[column.sort] or not within(column, values):
                        return None
                    arrays[column.name] = values.astype(column.dtype)
                elif column.type is str:
                    arrays[column.name] = values
                else:
                    arrays[column.name] = _cells(column, values.tolist(), ",", _nowhere)
        except InputError:
            return None
        return declared.frame(arrays, rows)

    # --- cell by cell --------------------------------------------------------------------------

    def _rows(self, table: _Text, path: str) -> cabc.Iterator[list[str]]:
        """Return the rows without the header, each as long as the header."""
        width = len(table.names)
        most = min(self._options.max_rows, self._options.max_cells // width)
        text = io.StringIO(table.text, newline="")
        reader = csv.reader(text, delimiter=table.delimiter, strict=True)
        try:
            for i, row in enumerate((row for row in reader if row), -1):
                if i >= most:
                    raise too_large(path, f"at most {most:,} rows of {width} columns", "more")
                if len(row) != width:
                    raise InputError.at(
                        f"{path}[{i}]",
                        expected=f"{width} cells, as in the header",
                        got=f"{len(row)}",
                        hint=f"That is line {reader.line_num}, parted by {table.delimiter!r}.",
                    )
                if i >= 0:
                    yield row
        except csv.Error as exc:
            raise MalformedInputError(
                f"The CSV cannot be read: {exc} (line {reader.line_num})."
            ) from exc

    def _read_cells(self, table: _Text, path: str) -> t.Any:
        declared = self._columns
        assert declared is not None  # the other way refuses what it cannot read
        rows = list(self._rows(table, path))
        columns = dict(zip(table.names, zip(*rows, strict=True), strict=True)) if rows else {}
        arrays = {
            column.name: _cells(
                column, columns.get(column.name, ()), table.delimiter,
                lambda i, name: f"{path}[{i}].{name}",
            )
            for column in declared.columns
            if column.name in table.names
        }  # fmt: skip
        return declared.frame(arrays, len(rows))


def _regular_rows(data: bytes, delimiter: str, width: int) -> int | None:
    """Count the rows of a text without quotes, if each line has as many cells.

    PERF: 1.1 ms for 10,000 rows of 10 cells; the csv module takes 14 for the same certainty.
    """
    import numpy as np

    characters = np.frombuffer(data, dtype="uint8")
    ends = np.append(np.flatnonzero(characters == ord("\n")), len(characters))
    marks = np.flatnonzero(characters == ord(delimiter))
    cells = np.diff(np.searchsorted(marks, ends), prepend=0)
    lengths = np.diff(ends, prepend=-1) - 1
    # A blank line may have a carriage return.
    blank = lengths == 0
    blank[:-1] |= (lengths[:-1] == 1) & (characters[ends[:-1] - 1] == ord("\r"))
    if (cells[~blank] != width - 1).any():
        return None
    return int((~blank).sum()) - 1


def _lines(text: str) -> cabc.Iterator[str]:
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end


def delimiter_of(text: str, wanted: cabc.Collection[str]) -> str:
    """Return the delimiter that finds the most wanted names, else the most names."""

    def fit(delimiter: str) -> tuple[int, int]:
        names = _header(text, delimiter)
        return len(set(wanted) & set(names)), len(names)

    return max(_DELIMITERS, key=fit)


def decode(data: bytes) -> str:
    """Decode the text of a file.

    Raises:
        MalformedInputError: it is in neither UTF-8 nor marked UTF-16.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        name, encoding = "UTF-16", "utf-16"
    else:
        name, encoding = "UTF-8", "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise MalformedInputError(
            f"The CSV is not {name}: byte {data[exc.start : exc.start + 1].hex()} in line {line}."
            " Save it as 'CSV UTF-8', or write it with encoding='utf-8'."
        ) from None


def within(column: Column, values: t.Any) -> bool:
    """Return whether all numbers are finite (or, where allowed, missing) and in bounds."""
    import numpy as np

    if column.bounds is None:
        return False
    if column.sort == "float":
        odd = ~np.isfinite(values)
        if odd.any() and (not column.optional or np.isinf(values).any()):
            return False
    tests = {"ge": np.less, "gt": np.less_equal, "le": np.greater, "lt": np.greater_equal}
    # Compared in the other direction, so that a missing value is not outside.
    return not any(bool(tests[name](values, bound).any()) for name, bound in column.bounds.items())


def _header(text: str, delimiter: str) -> list[str]:
    reader = csv.reader(_lines(text), delimiter=delimiter)
    try:
        row = next((row for row in reader if row), [])
    except csv.Error as exc:
        raise MalformedInputError(f"The CSV cannot be read: {exc} (line 1).") from exc
    return [name.strip() for name in row]


def _cells(
    column: Column,
    cells: cabc.Sequence[t.Any],
    delimiter: str,
    where: cabc.Callable[[int, str], str],
) -> t.Any:
    """Convert texts to the declared type, written as in JSON or as people write."""
    values: cabc.Sequence[t.Any] = cells
    text = column.sort == "text"
    if column.optional:
        gone = _EMPTY if text else _MISSING
        values = [None if cell in gone else cell for cell in cells]
    try:
        found = check(column, values, where, lax=not text)
    except InputError:
        if text:
            raise
        # PERF: only now; it takes ten times as long as all the rest.
        values = [_as_in_json(column, cell, delimiter) for cell in values]
        found = check(column, values, where, lax=True)
    return as_array(column, found, where)


def _as_in_json(column: Column, cell: str | None, delimiter: str) -> str | None:
    """Translate what people write into what JSON has."""
    if cell is None:
        return None
    cell = cell.strip()
    if column.sort in ("float", "int"):
        if _WHOLE.fullmatch(cell):
            return str(int(cell))
        if delimiter == ";" and "," in cell and "." not in cell:
            # Where a comma is the decimal point, Excel parts cells by semicolons.
            cell = cell.replace(",", ".")
        if _NUMBER.fullmatch(cell):
            number = float(cell)
            if math.isfinite(number):
                return repr(number)
    elif column.sort == "moment" and _DAY.fullmatch(cell):
        return f"{cell}T00:00:00"
    return cell


def _finite(frame: t.Any, path: str) -> t.Any:
    import numpy as np

    for name, values in frame.items():
        if values.dtype.kind == "f":
            infinite = np.isinf(values.to_numpy())
            if infinite.any():
                where = f"{path}[{int(infinite.argmax())}].{name}"
                raise InputError.at(where, expected="a finite number", got="infinity")
    return frame


def _nowhere(i: int, name: str) -> str:
    return "$"  # the second reader finds the place


def _is_exact(pandas: t.Any) -> bool:
    """Return whether pandas reads numbers exactly by default, as 3.1 and newer do."""
    return tuple(map(int, pandas.__version__.split(".")[:2])) >= (3, 1)
