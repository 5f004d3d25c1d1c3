r"""Read tables in JSON, in the layouts of pandas, browsers and hand-written clients.

    records   [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    split     {"columns": ["a", "b"], "data": [[1, "x"], [2, "y"]]}     an "index" is ignored
    columns   {"a": [1, 2], "b": ["x", "y"]}
              {"a": {"0": 1, "1": 2}, "b": {"0": "x", "1": "y"}}        output of `df.to_json()`
    text      "a,b\n1,x\n2,y\n"                                         CSV in a JSON string

An object with "columns" and "data" is in the layout "split", unless columns of both names are
declared. A cell is a number, text, true, false or null. If an object has the same key twice the
last one counts, as usual in JSON.
"""

from __future__ import annotations

import json
import operator
import typing as t

import msgspec

from ....errors import InputError
from ... import inputerrors
from ...rereading import reread
from .columns import EXACT_FLOAT, Column, DeclaredColumns, as_array, check, undeclared_array
from .sizes import refuse_few, refuse_size, refuse_too_many_values

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from . import TableOptions

Cell: t.TypeAlias = str | int | float | bool | None
_SPLIT: t.Final = frozenset({"columns", "data", "index", "index_names", "column_names"})
_WANTED: t.Final = "a table: a list of records, or an object of columns"
# An error message lists at most this many columns.
_MAX_COLUMNS = 12


class Split(msgspec.Struct):
    """The layout `orient="split"` of pandas' `to_json`, and its layout "tight", which has more
    keys.
    """

    columns: list[str | int | float | bool]
    data: list[list[Cell]]


_records = msgspec.json.Decoder(list[dict[str, Cell]])
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_split = msgspec.json.Decoder(Split)
_lists = msgspec.json.Decoder(dict[str, list[Cell]])
_dicts = msgspec.json.Decoder(dict[str, dict[str, Cell]])


class JsonTables:
    """Reads JSON for one table annotation. Thread-safe."""

    def __init__(self, columns: DeclaredColumns | None, options: TableOptions) -> None:
        self._columns = columns
        self._options = options
        self._rows: t.Any = None if columns is None else list[_row_type(columns)]  # type: ignore[misc]
        self._decoder = None if columns is None else msgspec.json.Decoder(self._rows)

    def read(self, data: bytes, path: str = "$") -> t.Any:
        """Convert JSON into a DataFrame.

        Raises:
            InputError: 400 not JSON, 413 too large, 422 columns or values not valid.
        """
        refuse_too_many_values(data, self._options, path)
        try:
            frame = self._read(data, path)
        except msgspec.ValidationError as exc:
            refused = inputerrors.mismatch_in_json(exc, data, root=path, kind=self._rows)
            nested = _nested(exc, data, path, self._columns)
            raise nested or _naming_columns(refused, self._columns) from exc
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise inputerrors.malformed(data, exc, root=path) from exc
        refuse_few(len(frame), self._options, path)
        return frame

    def _read(self, data: bytes, path: str) -> t.Any:
        first = data[:64].lstrip()[:1]
        if first == b"[":
            return self._of_records(data, path)
        if first != b"{":
            found = msgspec.json.decode(data)
            raise InputError.at(path, expected=_WANTED, got=inputerrors.describe(found))
        parts = _object.decode(data)
        if self._is_split(parts):
            return self._of_split(data, path)
        starts = {bytes(part)[:1] for part in parts.values()}
        if starts == {b"["}:
            return self._of_lists(_lists.decode(data), path)
        if starts == {b"{"}:
            return self._of_lists(_without_labels(_dicts.decode(data), path), path)
        hint = "One record is a table of one row in a list: [{...}]."
        got = inputerrors.describe(msgspec.json.decode(data))
        raise InputError.at(path, expected=_WANTED, got=got, hint=hint)

    # --- records -------------------------------------------------------------------------------

    def _of_records(self, data: bytes, path: str) -> t.Any:
        if self._decoder is None or self._columns is None:
            return self._of_any_records(_records.decode(data), path)
        # PERF: decoding 10,000 rows of 10 columns takes 19 ms with structs, 27 with dicts, 54 with
        # `pandas.read_json`, 74 with `DataFrame(json.loads(...))` (bench/tables.py).
        try:
            rows = self._decoder.decode(data)
        except msgspec.ValidationError as exc:
            rows = reread(self._decoder.decode, data, exc)
        refuse_size(len(rows), len(self._columns.names), self._options, path)
        arrays = {}
        for i, column in enumerate(self._columns.columns):
            values = list(map(operator.attrgetter(f"c{i}"), rows))
            arrays[column.name] = as_array(column, values, _rows_below(path))
        return self._columns.frame(arrays, len(rows))

    def _of_any_records(self, rows: list[dict[str, Cell]], path: str) -> t.Any:
        names = list(rows[0]) if rows else []
        refuse_size(len(rows), len(names), self._options, path)
        known = set(names)
        # If a row lacks a key, its cell in the column of that name is a missing value.
        if not all(row.keys() == known for row in rows):
            names = list(dict.fromkeys(name for row in rows for name in row))
            refuse_size(len(rows), len(names), self._options, path)
        columns = {name: [row.get(name) for row in rows] for name in names}
        return _undeclared(columns)

    # --- columns -------------------------------------------------------------------------------

    def _is_split(self, parts: cabc.Mapping[str, t.Any]) -> bool:
        if not {"columns", "data"} <= parts.keys() <= _SPLIT:
            return False
        return self._columns is None or not {"columns", "data"} <= self._columns.by_name.keys()

    def _of_split(self, data: bytes, path: str) -> t.Any:
        table = _split.decode(data)
        names = [str(name) for name in table.columns]
        refuse_size(len(table.data), len(names), self._options, path)
        refuse_duplicate_names(names, f"{path}.columns")
        for i, row in enumerate(table.data):
            if len(row) != len(names):
                raise InputError.at(
                    f"{path}.data[{i}]",
                    expected=f"{len(names)} cells, one for each column",
                    got=f"{len(row)}",
                )
        cells: cabc.Iterable[t.Any] = (
            zip(*table.data, strict=True) if table.data else [[]] * len(names)
        )
        columns = dict(zip(names, cells, strict=True))
        return self._of_columns(columns, len(table.data), path, lambda i, name: (
            f"{path}.data[{i}][{names.index(name)}]"
        ))  # fmt: skip

    def _of_lists(self, columns: cabc.Mapping[str, list[Cell]], path: str) -> t.Any:
        rows = max(map(len, columns.values()), default=0)
        refuse_size(rows, len(columns), self._options, path)
        for name, values in columns.items():
            if len(values) != rows:
                raise InputError.at(
                    f"{path}.{name}", expected=f"{rows} values, as in the longest column",
                    got=f"{len(values)}",
                )  # fmt: skip
        return self._of_columns(columns, rows, path, lambda i, name: f"{path}.{name}[{i}]")

    def _of_columns(
        self,
        columns: cabc.Mapping[str, cabc.Sequence[Cell]],
        rows: int,
        path: str,
        where: cabc.Callable[[int, str], str],
    ) -> t.Any:
        declared = self._columns
        if declared is None:
            return _undeclared(columns)
        declared.choose(list(columns), path)
        arrays = {
            column.name: as_array(
                column, check(column, _whole_numbers(column, columns[column.name]), where), where
            )
            for column in declared.columns
            if column.name in columns
        }
        return declared.frame(arrays, rows)


def refuse_duplicate_names(names: cabc.Sequence[str], path: str) -> None:
    """Refuse a table in which two columns have the same name: 422."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError.at(path, expected="each column once", got=f"{name!r} twice")
        seen.add(name)


def _row_type(columns: DeclaredColumns) -> t.Any:
    """Create a Struct type whose fields are the columns of a table, to decode its rows.

    Its attributes are called c0, c1, ... because the name of a column may be any text. PERF:
    `gc=False` keeps the garbage collector from tracking the rows.
    """
    fields: list[t.Any] = []
    for i, column in enumerate(columns.columns):
        named: t.Any = (
            msgspec.field(name=column.name)
            if column.required
            else msgspec.field(name=column.name, default=column.default)
        )
        fields.append((f"c{i}", column.type, named))
    return msgspec.defstruct(
        "Row", fields, forbid_unknown_fields=not columns.drops, gc=False, kw_only=True
    )


def _rows_below(path: str) -> cabc.Callable[[int, str], str]:
    return lambda i, name: f"{path}[{i}].{name}"


def _naming_columns(refused: InputError, declared: DeclaredColumns | None) -> InputError:
    """Return an error that lists the declared columns, if the given error says that a row is not an
    object with these columns; return other errors unchanged.
    """
    for fault in refused.faults:
        unknown = inputerrors.unknown_field(fault)
        if not unknown and fault.expected != "`object`":
            continue
        wanted = "a row: an object with a value by column"
        if declared is not None:
            wanted = f"a row: an object with {_listed(declared, repr)}"
        wanted += f" and without {unknown!r}" if unknown else ""
        return InputError.at(fault.path, expected=wanted, got=fault.got)
    return refused


def _listed(declared: DeclaredColumns, write: cabc.Callable[[str], str]) -> str:
    """Return the names of the columns as one text, for an error message."""
    names = list(map(write, declared.names[:_MAX_COLUMNS]))
    more = ["..."] if len(declared.names) > _MAX_COLUMNS else []
    return ", ".join([*names, *more])


def _nested(
    exc: msgspec.ValidationError, data: bytes, path: str, declared: DeclaredColumns | None
) -> InputError | None:
    """Return an error for the first cell that is a list or an object, which cells must not be.

    msgspec's own error cannot be used: its path has `[...]` in place of the column's name.
    """
    if "[...]" not in str(exc):
        return None
    try:
        found: t.Any = msgspec.json.decode(data)
    # If the JSON is invalid after the cell that msgspec has refused, no better error can be found.
    except (msgspec.DecodeError, RecursionError):
        return None
    names = "..." if declared is None else _listed(declared, json.dumps)
    hint = f'Send {{"columns": [{names}], "data": [[...], ...]}}, or a list of records.'
    for at, row in _members(found):
        for below, cell in _members(row):
            if at == ".data" and isinstance(cell, list):
                wanted = "an object with `columns` beside `data`"
                got = inputerrors.describe(found)
                return InputError.at(path, expected=wanted, got=got, hint=hint)
            if isinstance(cell, (list, dict)):
                return InputError.at(
                    f"{path}{at}{below}",
                    expected="a number, text, true, false or null",
                    got=inputerrors.describe(cell),
                    hint=hint,
                )
    return None


def _members(value: t.Any) -> cabc.Iterator[tuple[str, t.Any]]:
    if isinstance(value, dict):
        yield from ((f".{key}", inner) for key, inner in value.items())
    elif isinstance(value, list):
        yield from ((f"[{i}]", inner) for i, inner in enumerate(value))


def _whole_numbers(column: Column, values: cabc.Sequence[t.Any]) -> cabc.Sequence[t.Any]:
    """Convert 5.0 to 5: both are the same number in JSON, but not for msgspec.

    A number above 2**53 is not converted, so that it is refused: as a float it may have lost its
    last digits.
    """
    if column.sort != "int" or float not in set(map(type, values)):
        return values
    return [
        int(v) if type(v) is float and v.is_integer() and abs(v) < EXACT_FLOAT else v
        for v in values
    ]


def _without_labels(
    columns: cabc.Mapping[str, cabc.Mapping[str, Cell]], path: str
) -> dict[str, list[Cell]]:
    """Convert columns whose values have row labels, `{"a": {"0": 1, "1": 2}}`, to lists of values.
    Raises InputError if two columns have different labels.
    """
    labels = next(iter(columns.values())).keys()
    for name, cells in columns.items():
        if cells.keys() != labels:
            raise InputError.at(
                f"{path}.{name}", expected="the same row labels as in the first column",
                got=inputerrors.describe(dict(cells)),
            )  # fmt: skip
    return {name: [cells[label] for label in labels] for name, cells in columns.items()}


def _undeclared(columns: cabc.Mapping[str, cabc.Sequence[Cell]]) -> t.Any:
    """Build a DataFrame from columns without declared types; pandas infers the dtypes from the
    values.
    """
    import pandas as pd

    return pd.DataFrame({name: undeclared_array(values) for name, values in columns.items()})
