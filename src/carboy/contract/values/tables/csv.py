"""Read tables in CSV.

The text is UTF-8, or UTF-16 with a byte-order mark (Excel's "Unicode text"). The delimiter is a
comma, a semicolon or a tab, whichever matches the header best. Quotes inside quotes are doubled. A
first column without a name is pandas' index (`df.to_csv()`) and is removed. Each row must have one
cell per column: a short row is refused, not padded.

Declared columns have their dtypes whatever the text looks like: "007" stays text in a column of
text. An empty cell is a missing value if None is allowed, and an empty string in a column of text.
Undeclared columns have the dtypes that `pandas.read_csv` finds.

There are two readers. pandas' reader is four times as fast, but pads short rows, and its errors do
not say which cell is wrong. It is used for regular text. If it fails, the second reader reads the
same text cell by cell, and its result or error counts. tests/contract/values/test_tables.py
compares both.
"""

from __future__ import annotations

import csv
import decimal
import io
import math
import re
import typing as t

from ....errors import InputError, MalformedInputError
from ...rereading import whole
from .columns import (
    EXACT_FLOAT,
    Column,
    DeclaredColumns,
    as_array,
    check,
    text_dtype,
    undeclared_array,
)
from .json import refuse_duplicate_names
from .sizes import refuse_few, refuse_size, too_large

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from . import TableOptions
    from .columns import Where

# The values of `numpy.dtype.kind` that pandas may infer for a declared column of numbers.
_NUMBERS = {"float": "fi", "int": "i"}
_DELIMITERS = (",", ";", "\t")
# Texts that programs (R, pandas, databases) write for a missing value. They are recognised only in
# columns that allow None, and never in a column of text.
_MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "NULL", "null", "None"})
_EMPTY = frozenset({""})
_WHOLE = re.compile(r"[+-]?[0-9]{1,40}")
_PLAIN_INT = re.compile(r"-?[0-9]+").fullmatch
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_COMMA_NUMBER = re.compile(r"\s*[+-]?([0-9]+(,[0-9]*)?|,[0-9]+)([eE][+-]?[0-9]{1,4})?\s*")
_LARGEST_INT = 2.0**63
# The longest cell, in characters, that module `csv` is told to read. It fits into a C long.
_LONGEST_CELL = 2**31 - 1
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class _Text(t.NamedTuple):
    """The text of a file, its header and its delimiter."""

    text: str
    delimiter: str
    names: list[str]
    #: Whether the first column has no name, because it is the index of a DataFrame.
    has_index: bool
    #: Whether one and a half is written as 1,5; None if the cells must be searched to find out.
    decimal_comma: bool | None


class CsvTables:
    """Reads CSV for one table annotation. Thread-safe."""

    def __init__(self, columns: DeclaredColumns | None, options: TableOptions) -> None:
        self._columns = columns
        self._options = options

    def read(
        self,
        data: bytes | str,
        path: str = "$",
        *,
        delimiter: str = "",
        decimal_comma: bool | None = None,
    ) -> t.Any:
        """Read CSV into a DataFrame.

        Args:
            delimiter: the delimiter if it is known, for example from the media type.
            decimal_comma: whether one and a half is written as 1,5, if `data` is a part of a file;
                None for a whole file, for which `has_decimal_commas` decides.

        Raises:
            InputError: 400 not CSV, 413 too large, 422 columns or values not valid.
        """
        text = data.lstrip("\ufeff") if isinstance(data, str) else decode(data)
        if not text.strip():
            raise MalformedInputError(
                "The table is empty. Send a header line with the names of the columns, then rows."
            )
        if "\0" in text:
            raise MalformedInputError("This is not CSV: the text contains a NUL character.")
        if "\n" not in text:
            # Accept a carriage return as the end of a line, as classic Mac OS wrote.
            text = text.replace("\r", "\n")
        table = self._inspect(text, path, delimiter)._replace(decimal_comma=decimal_comma)
        # pandas is not used if the decimal sign is a comma: it would read 1.234 as a number,
        # although the point separates thousands, and 1,5 as text.
        frame = None if decimal_comma else self._read_with_pandas(table, path)
        if frame is None:
            frame = self._read_cells(table, path)
        refuse_few(len(frame), self._options, path)
        return frame

    def _inspect(self, text: str, path: str, delimiter: str) -> _Text:
        wanted = () if self._columns is None else self._columns.names
        delimiter = delimiter or delimiter_of(text, wanted)
        names = _header(text, delimiter)
        has_index = len(names) > 1 and not names[0]
        named = names[1:] if has_index else names
        # Check the number of columns before the rows are read. How many rows there are is not yet
        # known, so one is assumed.
        refuse_size(1, len(names), self._options, path)
        for i, name in enumerate(names):
            if not name and not (has_index and i == 0):
                raise InputError.at(path, expected="a name for each column in the first line",
                                    got=f"none for column {i + 1} of {len(names)}")  # fmt: skip
        refuse_duplicate_names(named, path)
        if self._columns is not None:
            self._columns.choose(named, path)
        return _Text(text, delimiter, names, has_index, decimal_comma=None)

    # --- reading by pandas ---------------------------------------------------------------------

    def _read_with_pandas(self, table: _Text, path: str) -> t.Any:
        """Read by pandas' CSV reader. Return None if a row is shorter or longer than the header, or
        a cell is not valid; `_read_cells` then finds the cause.
        """
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
                # Columns of numbers get no dtype: with one, pandas would read "true" as 1.0.
                "dtype": {c.name: text_dtype() for c in came if c.sort not in _NUMBERS},
                "usecols": [c.name for c in came] if declared.drops else None,
                "keep_default_na": False,
                "na_values": {c.name: [""] for c in came if c.sort in _NUMBERS},
            }

        def read(**more: t.Any) -> t.Any:
            return pd.read_csv(
                io.BytesIO(data), sep=table.delimiter, names=table.names, header=0,
                index_col=False, low_memory=False, **options, **more,
            )  # fmt: skip

        try:
            frame = read()
            may_differ = declared is None and table.delimiter == ";" and b"," in data
            with_commas = read(decimal=",") if may_differ else None
        except (ValueError, OverflowError):
            return None if declared is not None else self._ambiguous(path)
        if len(frame) != rows:
            return None if declared is not None else self._ambiguous(path)
        if declared is None:
            if with_commas is not None:
                frame = _with_decimal_commas(frame, with_commas, path)
            large = _large_integers(frame)
            if large:
                texts = read(dtype=dict.fromkeys(large, text_dtype()))
                frame = frame.assign(**{name: _with_all_digits(texts[name]) for name in large})
            return _finite(frame.iloc[:, 1:] if table.has_index else frame, path)
        return self._of_frame(declared, frame, rows)

    def _count(self, table: _Text, data: bytes, path: str) -> int | None:
        """Count the rows of a file; None if a row has more or fewer cells than the header."""
        width = len(table.names)
        if b'"' not in data:
            found = _regular_rows(data, table.delimiter, width)
            if found is not None:
                refuse_size(found, width, self._options, path)
                return found
            if self._columns is not None:
                return None
        # Count by `_rows`: if a row has fewer or more cells than the header, it raises an error
        # that names the row.
        return sum(1 for _ in self._rows(table, path))

    @staticmethod
    def _ambiguous(path: str) -> t.NoReturn:
        raise InputError.at(
            path, expected="a CSV table", got="text that can be read in several ways"
        )

    def _of_frame(self, declared: DeclaredColumns, frame: t.Any, rows: int) -> t.Any:
        """Convert the columns that pandas has read to the declared dtypes; None if a value is not
        valid.
        """
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
                    arrays[column.name] = _cells(column, values.tolist(), _no_path)
        except InputError:
            return None
        return declared.frame(arrays, rows)

    # --- reading cell by cell ------------------------------------------------------------------

    def _rows(self, table: _Text, path: str) -> cabc.Iterator[list[str]]:
        """Yield the rows after the header. Raises InputError for a row that has another length than
        the header.
        """
        width = len(table.names)
        most = min(self._options.max_rows, self._options.max_cells // width)
        text = io.StringIO(table.text, newline="")
        reader = csv_reader(text, delimiter=table.delimiter)
        try:
            for i, row in enumerate((row for row in reader if row), -1):
                if i >= most:
                    raise too_large(path, f"at most {most:,} rows of {width} columns", "more")
                if len(row) != width:
                    raise InputError.at(
                        f"{path}[{i}]",
                        expected=f"{width} cells, as in the header",
                        got=f"{len(row)}",
                        hint=f"See line {reader.line_num}; the delimiter is {table.delimiter!r}.",
                    )
                if i >= 0:
                    yield row
        except csv.Error as exc:
            raise MalformedInputError(
                f"The CSV cannot be read: {exc} (line {reader.line_num})."
            ) from exc

    def _read_cells(self, table: _Text, path: str) -> t.Any:
        declared = self._columns
        # This method is only called if columns are declared: without any, `_read_with_pandas`
        # raises an error instead of returning None.
        assert declared is not None
        rows = list(self._rows(table, path))
        columns: dict[str, cabc.Sequence[str]] = (
            dict(zip(table.names, zip(*rows, strict=True), strict=True)) if rows else {}
        )

        def where(i: int, name: str) -> str:
            return f"{path}[{i}].{name}"

        commas = table.decimal_comma
        if commas is None:
            commas = table.delimiter == ";" and has_decimal_commas(declared, table.names, rows)
        arrays = {}
        for column in declared.columns:
            if column.name in table.names:
                cells = columns.get(column.name, ())
                if commas and column.sort in _NUMBERS:
                    cells = _with_points(cells, column.name, where)
                arrays[column.name] = _cells(column, cells, where)
        return declared.frame(arrays, len(rows))


def _regular_rows(data: bytes, delimiter: str, width: int) -> int | None:
    """Count the rows of a text without quotes; None if a line does not have `width` cells.

    PERF: 1.1 ms for 10,000 rows of 10 cells; the csv module takes 14 ms for the same check.
    """
    import numpy as np

    characters = np.frombuffer(data, dtype="uint8")
    ends = np.append(np.flatnonzero(characters == ord("\n")), len(characters))
    marks = np.flatnonzero(characters == ord(delimiter))
    cells = np.diff(np.searchsorted(marks, ends), prepend=0)
    lengths = np.diff(ends, prepend=-1) - 1
    # A line that contains only a carriage return counts as blank, like an empty line.
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


def csv_reader(lines: cabc.Iterable[str], *, delimiter: str = ",", strict: bool = True) -> t.Any:
    """Return a `csv.reader` that reads cells of any length.

    Module `csv` refuses cells of more than 131,072 characters, as a review or an article has. That
    limit is one of the whole process, so raising it concerns other code, too; what carboy reads is
    limited by the size of a request.
    """
    if csv.field_size_limit() < _LONGEST_CELL:
        csv.field_size_limit(_LONGEST_CELL)
    return csv.reader(lines, delimiter=delimiter, strict=strict)


def delimiter_of(text: str, wanted: cabc.Collection[str]) -> str:
    """Return the delimiter that splits the header into the most names in `wanted`; if several do,
    the one that gives the most names.
    """

    def fit(delimiter: str) -> tuple[int, int]:
        names = _header(text, delimiter)
        return len(set(wanted) & set(names)), len(names)

    return max(_DELIMITERS, key=fit)


def decode(data: bytes) -> str:
    """Decode the bytes of a CSV file to text.

    Raises:
        MalformedInputError: the text is neither UTF-8 nor UTF-16 with a byte-order mark.
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
    """Return whether all numbers are within the column's bounds and finite. NaN is accepted if
    missing values are allowed.
    """
    import numpy as np

    if column.bounds is None:
        return False
    if column.sort == "float":
        odd = ~np.isfinite(values)
        if odd.any() and (not column.optional or np.isinf(values).any()):
            return False
    tests = {"ge": np.less, "gt": np.less_equal, "le": np.greater, "lt": np.greater_equal}
    # Look for values outside the bounds instead of checking that all are inside, because any
    # comparison with NaN is false.
    return not any(bool(tests[name](values, bound).any()) for name, bound in column.bounds.items())


def _header(text: str, delimiter: str) -> list[str]:
    reader = csv_reader(_lines(text), delimiter=delimiter, strict=False)
    try:
        row: list[str] = next((row for row in reader if row), [])
    except csv.Error as exc:
        raise MalformedInputError(f"The CSV cannot be read: {exc} (line 1).") from exc
    return [name.strip() for name in row]


def _cells(column: Column, cells: cabc.Sequence[t.Any], where: Where) -> t.Any:
    """Convert the texts of a column to its declared type. In CSV people write numbers and times in
    other forms than in JSON.
    """
    values: cabc.Sequence[t.Any] = cells
    text = column.sort == "text"
    if column.optional:
        gone = _EMPTY if text else _MISSING
        values = [None if cell in gone else cell for cell in cells]
    # Lax conversion is for columns of numbers only: for times, msgspec would read the text
    # "20240229" as a number, and that number as seconds since 1970.
    lax = column.sort in ("float", "int", "bool")
    if column.sort == "int" and any(cell and not _PLAIN_INT(cell) for cell in values):
        # Rewrite cells such as "9007199254740993.0", which msgspec would read as a float, so that
        # the last digit would be lost.
        values = [_as_in_json(column, cell) for cell in values]
    try:
        found = check(column, values, where, lax=lax)
    except InputError:
        if text:
            raise
        # PERF: cells are rewritten only if they are not valid as they are, because rewriting takes
        # ten times as long.
        values = [_as_in_json(column, cell) for cell in values]
        found = check(column, values, where, lax=lax)
    return as_array(column, found, where)


def _as_in_json(column: Column, cell: str | None) -> str | None:
    """Rewrite a cell as JSON would have it: no plus sign, no leading zeros, no date without a
    time.
    """
    if cell is None:
        return None
    cell = cell.strip()
    if column.sort in _NUMBERS:
        if _WHOLE.fullmatch(cell):
            return str(int(cell))
        if _NUMBER.fullmatch(cell):
            return _decimal(cell) if column.sort == "int" else _float(cell)
    elif column.sort == "moment" and _DAY.fullmatch(cell):
        return f"{cell}T00:00:00"
    return cell


def _float(cell: str) -> str:
    number = float(cell)
    return repr(number) if math.isfinite(number) else cell


def _decimal(cell: str) -> str:
    """Rewrite "5.0" as "5" without a conversion to float, which has only 53 bits for the digits."""
    number = whole(decimal.Decimal(cell))
    return cell if number is None else str(number)


def has_decimal_commas(
    declared: DeclaredColumns, names: cabc.Sequence[str], rows: cabc.Iterable[cabc.Sequence[str]]
) -> bool:
    """Return whether decimals in a CSV file that is delimited by semicolons are written with a
    comma.

    Excel writes such files in countries with a decimal comma. One such number decides for the whole
    file: where the comma is the decimal sign, a point separates thousands, so that 1.234 means
    1234.
    """
    numbers = [
        i
        for i, name in enumerate(names)
        if name in declared.by_name and declared.by_name[name].sort in _NUMBERS
    ]
    return any("," in row[i] for row in rows for i in numbers if i < len(row))


def _with_points(cells: cabc.Sequence[str], name: str, where: Where) -> list[str]:
    """Replace decimal commas by points in the cells of a column. Raises InputError for a cell with
    a point, which might separate thousands.
    """
    for i, cell in enumerate(cells):
        if "." in cell and _NUMBER.fullmatch(cell.strip()):
            raise _point_beside_commas(cell, where(i, name))
    return [cell.replace(",", ".") if _COMMA_NUMBER.fullmatch(cell) else cell for cell in cells]


def _point_beside_commas(cell: str, path: str) -> InputError:
    return InputError.at(
        path,
        expected="a number with a decimal comma, as elsewhere in this table",
        got=cell[:40],
        hint="A point may separate thousands in it. Write numbers without such separators.",
    )


def _with_decimal_commas(points: t.Any, commas: t.Any, path: str) -> t.Any:
    """Choose between two readings of a file without declared columns: with decimal points or
    commas.

    Args:
        points: the table as read with decimal points (1.5).
        commas: the table as read with decimal commas (1,5).

    Raises:
        InputError: each reading finds numbers that the other one reads as text.
    """

    def only_in(one: t.Any, other: t.Any) -> list[str]:
        return [n for n in one if one[n].dtype.kind in "if" and other[n].dtype.kind not in "if"]

    if not only_in(commas, points):
        return points
    for name in only_in(points, commas):
        i, cell = next((i, str(each)) for i, each in enumerate(commas[name]) if "." in str(each))
        raise _point_beside_commas(cell, f"{path}[{i}].{name}")
    return commas


def _large_integers(frame: t.Any) -> list[t.Any]:
    """Return the columns of whole numbers with missing values in which a number exceeds 53 bits.

    pandas reads such columns as floats, which have 53 bits, so that digits would be lost.
    """
    floats = [name for name, values in frame.items() if values.dtype.kind == "f"]
    return [name for name in floats if frame[name].hasnans and _are_large_integers(frame[name])]


def _are_large_integers(values: t.Any) -> bool:
    there = values.dropna()
    large = (there.abs() >= EXACT_FLOAT).any()
    return bool(large and ((there % 1 == 0) & (there.abs() < _LARGEST_INT)).all())


def _with_all_digits(texts: t.Any) -> t.Any:
    """Convert a column of texts to Int64 if all are whole numbers; otherwise to floats."""
    missing = texts.isna()
    if not texts[~missing].str.fullmatch(_WHOLE.pattern).all():
        return texts.astype("float64")
    cells = zip(texts, missing, strict=True)
    return undeclared_array([None if gone else int(text) for text, gone in cells])


def _finite(frame: t.Any, path: str) -> t.Any:
    import numpy as np

    for name, values in frame.items():
        if values.dtype.kind == "f":
            infinite = np.isinf(values.to_numpy())
            if infinite.any():
                where = f"{path}[{int(infinite.argmax())}].{name}"
                raise InputError.at(where, expected="a finite number", got="infinity")
    return frame


def _no_path(i: int, name: str) -> str:
    # No error with this path is ever shown: the second reader raises its own error, which names the
    # cell.
    return "$"


def _is_exact(pandas: t.Any) -> bool:
    """Return whether pandas parses floats without a rounding error by default, as since version
    3.1.
    """
    return tuple(map(int, pandas.__version__.split(".")[:2])) >= (3, 1)
