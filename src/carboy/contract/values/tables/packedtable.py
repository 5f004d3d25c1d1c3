"""Tables for another process: column by column, with the dtypes of pandas.

    numbers, times            the bytes of NumPy's array
    times with a zone         the same, as integers
    categories                the categories, as a column, and an array of codes
    anything else             a list of cells; those that MessagePack lacks have the name of their
                              class: `Decimal`, `UUID`, `time`, ...

The index is a column as well, unless it counts from 0.
"""

from __future__ import annotations

import datetime as dt
import decimal
import typing as t
import uuid

from ..kind import Packed
from ..tensor import array_of, bytes_of

if t.TYPE_CHECKING:
    from collections import abc as cabc

    Buffers: t.TypeAlias = list[bytes | bytearray | memoryview]

_PLAIN = frozenset({bool, bytes, float, int, str, type(None), dict, list})
#: How cells of other classes are written as text, and read.
_CELLS: dict[str, tuple[type, cabc.Callable[[t.Any], str], cabc.Callable[[str], t.Any]]] = {
    "Decimal": (decimal.Decimal, str, decimal.Decimal),
    "UUID": (uuid.UUID, str, uuid.UUID),
    "datetime": (dt.datetime, dt.datetime.isoformat, dt.datetime.fromisoformat),
    "date": (dt.date, dt.date.isoformat, dt.date.fromisoformat),
    "time": (dt.time, dt.time.isoformat, dt.time.fromisoformat),
    "timedelta": (
        dt.timedelta,
        lambda span: str(span // dt.timedelta(microseconds=1)),
        lambda text: dt.timedelta(microseconds=int(text)),
    ),
}
_NAMES = {cls: name for name, (cls, _, _) in _CELLS.items()}


def pack_table(table: t.Any) -> Packed:
    """Pack a DataFrame.

    Raises:
        TypeError: the columns, or the cells of one, have no form for another process.
    """
    import pandas as pd

    buffers: Buffers = []
    columns = [_pack_column(table.iloc[:, i], buffers) for i in range(len(table.columns))]
    index = table.index
    is_range = type(index) is pd.RangeIndex and index.start == 0 and index.step == 1
    rows = len(table) if is_range and index.name is None else _pack_index(index, buffers)
    return Packed([_pack_index(table.columns, buffers), columns, rows], buffers)


def unpack_table(head: t.Any, buffers: t.Sequence[memoryview]) -> t.Any:
    """Restore the DataFrame that `pack_table` has packed."""
    import pandas as pd

    names, columns, rows = head
    index = pd.RangeIndex(rows) if isinstance(rows, int) else _unpack_index(rows, buffers)
    series = {i: pd.Series(_unpack(each, buffers), index=index) for i, each in enumerate(columns)}
    table = pd.DataFrame(series, index=index)
    table.columns = _unpack_index(names, buffers)
    return table


def _pack_index(index: t.Any, buffers: Buffers) -> t.Any:
    import pandas as pd

    if isinstance(index, pd.MultiIndex):
        raise TypeError("a table with several levels of columns or rows cannot be sent")
    return [index.name, _pack_column(index.to_series(), buffers)]


def _unpack_index(head: t.Any, buffers: t.Sequence[memoryview]) -> t.Any:
    import pandas as pd

    name, column = head
    return pd.Index(_unpack(column, buffers), name=name)


def _pack_column(column: t.Any, buffers: Buffers) -> t.Any:
    import numpy as np
    import pandas as pd

    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        categories = _pack_column(pd.Series(dtype.categories), buffers)
        codes = _pack_array(column.cat.codes.to_numpy(), buffers)
        return ["categories", categories, dtype.ordered, codes]
    if isinstance(dtype, pd.DatetimeTZDtype):
        moments = column.dt.tz_convert(None).to_numpy()
        return ["zone", str(dtype.tz), _pack_array(moments, buffers)]
    if isinstance(dtype, np.dtype) and not dtype.hasobject:
        return _pack_array(column.to_numpy(), buffers)
    cells = column.to_list()
    name = None if isinstance(dtype, np.dtype) else str(dtype)
    return ["cells", name, *_pack_cells(cells, is_object=name is None)]


def _unpack(column: t.Any, buffers: t.Sequence[memoryview]) -> t.Any:
    import numpy as np
    import pandas as pd

    sort, *rest = column
    if sort == "array":
        at, dtype, size = rest
        return array_of(buffers[at], dtype, [size])
    if sort == "categories":
        categories, ordered, codes = rest
        found = pd.Index(_unpack(categories, buffers))
        return pd.Categorical.from_codes(_unpack(codes, buffers), found, ordered=ordered)
    if sort == "zone":
        zone, moments = rest
        return pd.Series(_unpack(moments, buffers)).dt.tz_localize("UTC").dt.tz_convert(zone)
    dtype, cells, classes = rest
    for i, name in classes:
        cells[i] = _CELLS[name][2](cells[i])
    if dtype is not None:
        return pd.array(cells, dtype=dtype)
    found = np.empty(len(cells), object)
    found[:] = cells
    return found


def _pack_array(array: t.Any, buffers: Buffers) -> t.Any:
    buffers.append(bytes_of(array))
    return ["array", len(buffers) - 1, array.dtype.str, len(array)]


def _pack_cells(cells: list[t.Any], *, is_object: bool) -> tuple[list[t.Any], list[t.Any]]:
    """Return cells that MessagePack can hold, and for those that were converted to text the
    position and the name of the class.
    """
    if set(map(type, cells)) <= _PLAIN:
        return cells, []
    import pandas as pd

    found, classes = [], []
    for i, cell in enumerate(cells):
        name = _NAMES.get(type(cell))
        if type(cell) in _PLAIN:
            found.append(cell)
        elif name is not None:
            found.append(_CELLS[name][1](cell))
            classes.append([i, name])
        elif pd.api.types.is_scalar(cell) and pd.isna(cell):
            found.append(None)
        elif is_object or not hasattr(cell, "isoformat"):
            raise TypeError(f"a cell is of the class {type(cell).__qualname__}")
        else:
            found.append(cell.isoformat())
    return found, classes
