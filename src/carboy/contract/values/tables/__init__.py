"""Tables from strangers, and tables that are written: pandas DataFrames.

This module has the names that authors use; it loads neither pandas nor pyarrow. The others:

    value     the kind of value: chooses a reader by content, then by media type
    json      records, split, columns
    csv       text
    arrow     Arrow and Parquet; `arrowsize` and `parquetsize` measure them before they are unpacked
    columns   what each declared column must be
    sizes     how large a table may be
    writing   tables as JSON, CSV, Parquet and Arrow

Nothing here reads a pickle, and nothing that a file says of itself is run or imported.
"""

from __future__ import annotations

import types
import typing as t

# Rows of the largest table. A body of 32 MiB (the default limit) holds about this many short rows.
DEFAULT_MAX_ROWS = 1_000_000
# pandas handles columns one by one: ten thousand of them take it half a second, whatever they hold.
DEFAULT_MAX_COLUMNS = 4096
# While a text is read each cell is a Python object of some 60 bytes: this bounds them to 250 MB.
DEFAULT_MAX_CELLS = 4_000_000
# Parquet and Arrow come packed; this is what they may be unpacked. 8 bytes for each cell are 32 MB,
# and texts are longer.
DEFAULT_MAX_BYTES = 256 * 1024 * 1024

if t.TYPE_CHECKING:
    import pandas as pd
    from typing_extensions import TypeAliasType, TypeVar

    _Row = TypeVar("_Row", default=t.Any)
    DataFrame = TypeAliasType("DataFrame", pd.DataFrame, type_params=(_Row,))
else:

    class _TableType(type):
        """DataFrames of pandas count as instances."""

        def __instancecheck__(cls, value: object) -> bool:
            return _is_pandas(type(value))

    class DataFrame(metaclass=_TableType):
        """A table in a signature; what arrives is a `pandas.DataFrame`.

        `DataFrame[Flower]` declares the columns by the fields of a record: their names, types and
        bounds. To a type checker both are pandas' class. At run time this name stands for it, so
        that importing an app does not import pandas; `DataFrame({...})` makes one of pandas'.
        """

        def __new__(cls, *args: t.Any, **options: t.Any) -> t.Any:
            import pandas as pd

            return pd.DataFrame(*args, **options)

        def __class_getitem__(cls, row: t.Any) -> t.Any:
            # `typing.get_type_hints` makes each alias anew from the tuple of what it holds.
            return types.GenericAlias(cls, row if isinstance(row, tuple) else (row,))


class TableOptions:
    """Columns and limits of a table: `Annotated[pandas.DataFrame, TableOptions(columns=Flower)]`.

    Args:
        columns: a record (Struct, dataclass, TypedDict), or types by column name.
        others: what becomes of columns that are not declared: refused, or left out.
        min_rows: fewer are refused; most models fail on an empty table.
        max_rows: above it 413, as for the next three.
        max_columns: of the table that came, whether they are declared or not.
        max_cells: rows times columns.
        max_bytes: what a Parquet or Arrow file may be when it is unpacked.
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
    """What an annotation says of a table."""

    columns: t.Any  # a record, a dict of types, or None: any columns
    options: TableOptions


def declaration(annotation: t.Any, extras: t.Sequence[t.Any] = ()) -> Declaration | None:
    """Read `DataFrame`, `DataFrame[Flower]`, pandas' own class, or one of them in `Annotated`.

    Args:
        extras: what stood beside it, if `Annotated` was taken off already.
    """
    if t.get_origin(annotation) is t.Annotated:
        annotation, *extras = t.get_args(annotation)
    options = next((each for each in extras if isinstance(each, TableOptions)), DEFAULTS)
    name: t.Any = DataFrame  # to a type checker an alias, which is no class
    if t.get_origin(annotation) is name:
        return Declaration(t.get_args(annotation)[0], options)
    if annotation is name or _is_pandas(annotation):
        return Declaration(options.columns, options)
    return None


def is_table(annotation: t.Any, extras: t.Sequence[t.Any] = ()) -> bool:
    """Return whether a type is a table, without importing pandas."""
    return declaration(annotation, extras) is not None


def _is_pandas(cls: t.Any) -> bool:
    """Recognise the class by its name; a subclass (of geopandas, say) is none that we make."""
    package = str(getattr(cls, "__module__", "")).partition(".")[0]
    return package == "pandas" and getattr(cls, "__qualname__", "") == "DataFrame"
