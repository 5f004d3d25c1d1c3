"""Read tables of untrusted clients into pandas DataFrames, and write DataFrames.

This module has the names that the authors of apps import. It imports neither pandas nor pyarrow.
Its submodules:

    value     `TableKind`: chooses a reader by content, then by media type
    json      JSON as records, as "split" or as columns
    csv       CSV
    arrow     Arrow and Parquet; `arrowsize` and `parquetsize` compute the unpacked size first
    columns   types and bounds of declared columns
    sizes     limits of a table
    writing   tables as JSON, CSV, Parquet and Arrow
    packedtable  tables for another process

No module unpickles, and none runs or imports anything that a file names.
"""

from __future__ import annotations

import types
import typing as t

# The default limit on rows. A body of 32 MiB (the default limit) has room for about one million
# short rows.
DEFAULT_MAX_ROWS = 1_000_000
# The default limit on columns. pandas handles columns one by one: ten thousand columns take half a
# second, even if empty.
DEFAULT_MAX_COLUMNS = 4096
# The default limit on cells. While a text is parsed, each cell is a Python object of about 60
# bytes, so that this many take 250 MB.
DEFAULT_MAX_CELLS = 4_000_000
# The default limit on the unpacked size of Parquet and Arrow files, which are compressed. Four
# million cells of 8 bytes are 32 MB, and texts are longer.
DEFAULT_MAX_BYTES = 256 * 1024 * 1024

if t.TYPE_CHECKING:
    import pandas as pd
    from typing_extensions import TypeAliasType, TypeVar

    _Row = TypeVar("_Row", default=t.Any)
    DataFrame = TypeAliasType("DataFrame", pd.DataFrame, type_params=(_Row,))
else:

    class _TableType(type):
        """Makes pandas' DataFrames count as instances of this module's `DataFrame`."""

        def __instancecheck__(cls, value: object) -> bool:
            return _is_pandas(type(value))

    class DataFrame(metaclass=_TableType):
        """The type of a table in a signature; the argument is a `pandas.DataFrame`.

        `DataFrame[Flower]` declares the columns by the fields of a record: their names, types and
        bounds. Type checkers see pandas' class instead. This class has the same name at run time,
        so that importing an app does not import pandas; `DataFrame({...})` returns an object of
        pandas.
        """

        def __new__(cls, *args: t.Any, **options: t.Any) -> t.Any:
            import pandas as pd

            return pd.DataFrame(*args, **options)

        def __class_getitem__(cls, row: t.Any) -> t.Any:
            # `row` may be a tuple, because `typing.get_type_hints` rebuilds each alias from a tuple
            # of its arguments.
            return types.GenericAlias(cls, row if isinstance(row, tuple) else (row,))


class TableOptions:
    """Columns and limits of a table: `Annotated[pandas.DataFrame, TableOptions(columns=Flower)]`.

    Tables above a maximum are rejected with 413, tables below `min_rows` with 422.

    Args:
        columns: a record (Struct, dataclass, TypedDict), or a dict of types by column name.
        others: whether columns that are not declared are refused or dropped.
        min_rows: minimum number of rows; 1 by default, because most models fail for an empty table.
        max_rows: maximum number of rows.
        max_columns: maximum number of columns in the input, declared or not.
        max_cells: maximum number of rows times columns.
        max_bytes: maximum unpacked size of a Parquet or Arrow file.
    """

    __slots__ = ("columns", "max_bytes", "max_cells", "max_columns", "max_rows", "min_rows",
                 "others")  # fmt: skip

    def __init__(
        self,
        *,
        columns: t.Any = None,
        others: t.Literal["refuse", "drop"] = "refuse",
        min_rows: int = 1,
        max_rows: int = DEFAULT_MAX_ROWS,
        max_columns: int = DEFAULT_MAX_COLUMNS,
        max_cells: int = DEFAULT_MAX_CELLS,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        if others not in ("refuse", "drop"):
            raise ValueError(f"TableOptions(others={others!r}): expected 'refuse' or 'drop'.")
        named = {
            "min_rows": (min_rows, 0),
            "max_rows": (max_rows, max(1, min_rows)),
            "max_columns": (max_columns, 1),
            "max_cells": (max_cells, 1),
            "max_bytes": (max_bytes, 1),
        }
        for name, (number, least) in named.items():
            if number < least:
                raise ValueError(
                    f"TableOptions({name}={number!r}): expected a whole number from {least}."
                )
        self.columns = columns
        self.others = others
        self.min_rows = min_rows
        self.max_rows = max_rows
        self.max_columns = max_columns
        self.max_cells = max_cells
        self.max_bytes = max_bytes


DEFAULTS = TableOptions()


class Declaration(t.NamedTuple):
    """The declared columns and the options of a table annotation."""

    columns: t.Any  # a record class, a dict of types by name, or None if any columns are allowed
    options: TableOptions


def declaration(annotation: t.Any, extras: t.Sequence[t.Any] = ()) -> Declaration | None:
    """Return the columns and options that an annotation declares for a table; None for other
    annotations.

    A table is annotated as `DataFrame`, `DataFrame[Flower]`, pandas' own class, or one of them in
    `Annotated`.

    Args:
        extras: the metadata of an `Annotated` that was already removed.
    """
    if t.get_origin(annotation) is t.Annotated:
        annotation, *extras = t.get_args(annotation)
    options = next((each for each in extras if isinstance(each, TableOptions)), DEFAULTS)
    name: t.Any = DataFrame  # untyped: type checkers see an alias instead of a class
    if t.get_origin(annotation) is name:
        return Declaration(t.get_args(annotation)[0], options)
    if annotation is name or _is_pandas(annotation):
        return Declaration(options.columns, options)
    return None


def is_table(annotation: t.Any, extras: t.Sequence[t.Any] = ()) -> bool:
    """Return whether a type is a table, without importing pandas."""
    return declaration(annotation, extras) is not None


def _is_pandas(cls: t.Any) -> bool:
    """Return whether a class is pandas' DataFrame itself. Subclasses (geopandas) are not
    supported.
    """
    package = str(getattr(cls, "__module__", "")).partition(".")[0]
    return package == "pandas" and getattr(cls, "__qualname__", "") == "DataFrame"
