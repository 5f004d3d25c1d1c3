"""Read tables in Parquet and Arrow, if pyarrow is installed.

The first bytes of the body say which format it has:

    PAR1                    Parquet
    ARROW1                  an Arrow file (Feather): its stream is read, its footer is not
    FF FF FF FF             an Arrow stream

Both formats are compressed: the declared size is checked before unpacking, the actual size
afterwards. Columns must be numbers, text, booleans, dates or times; lists, structs and binary data
are refused. Of pandas' metadata, only the names of index columns are read.
"""

from __future__ import annotations

import json
import math
import typing as t
from itertools import groupby

from ....errors import InputError, MalformedInputError
from .. import unpacked
from .arrowsize import unpacked_bytes
from .columns import (
    Column,
    DeclaredColumns,
    as_array,
    check,
    invalid_cell,
    text_dtype,
    undeclared_array,
)
from .csv import within
from .json import refuse_duplicate_names
from .parquetsize import sizes as parquet_sizes
from .sizes import refuse_few, refuse_size, too_large

if t.TYPE_CHECKING:
    import collections.abc as cabc
    import decimal

    from . import TableOptions

    Where: t.TypeAlias = cabc.Callable[[int, str], str]

PARQUET_MAGIC: t.Final = b"PAR1"
FILE_MAGIC: t.Final = b"ARROW1\0\0"
STREAM_MAGIC: t.Final = b"\xff\xff\xff\xff"


def sniff(data: bytes) -> t.Literal["Parquet", "Arrow"] | None:
    """Return the format of a body by its first bytes; None for other formats."""
    if data.startswith(PARQUET_MAGIC):
        return "Parquet"
    return "Arrow" if data.startswith((FILE_MAGIC, STREAM_MAGIC)) else None


class ArrowTables:
    """Reads tables in Arrow and Parquet for one table annotation. Thread-safe."""

    def __init__(self, columns: DeclaredColumns | None, options: TableOptions) -> None:
        self._columns = columns
        self._options = options

    def read(self, data: bytes, path: str = "$") -> t.Any:
        """Convert a body in a format that `sniff` recognises into a DataFrame.

        Raises:
            InputError: 400 damaged, 413 too large, 422 columns or values not valid.
        """
        name = sniff(data)
        try:
            table = self._parquet(data, path) if name == "Parquet" else self._arrow(data, path)
            table = self._checked(table, path)
            frame = self._any(table, path) if self._columns is None else self._declared(table, path)
        except (MemoryError, InputError):
            raise
        except Exception as exc:
            # NOTE: for damaged files pyarrow raises ArrowInvalid, OSError, KeyError and others.
            raise MalformedInputError(f"The {name} data is damaged: {exc}.") from exc
        refuse_few(len(frame), self._options, path)
        return frame

    # --- bytes to an Arrow table ---------------------------------------------------------------

    def _parquet(self, data: bytes, path: str) -> t.Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        about = parquet_sizes(data)
        refuse_size(about.rows, about.columns, self._options, path)
        self._refuse_bytes(about.bytes, path)
        file = pq.ParquetFile(pa.BufferReader(data))
        refuse_duplicate_names(file.schema_arrow.names, path)
        for field in file.schema_arrow:
            _refuse_type(field, path)
        # Read columns of text as dictionaries. If a million rows share a text, the file contains it
        # once, and a dictionary keeps it once until the unpacked size has been checked.
        texts = [field.name for field in file.schema_arrow if _is_text(field.type)]
        file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=texts)
        table = file.read(use_threads=False, use_pandas_metadata=False)
        self._refuse_bytes(sum(_unshared_bytes(column) for column in table.columns), path)
        for i, field in enumerate(table.schema):
            if field.name in texts and pa.types.is_dictionary(field.type):
                field = pa.field(field.name, field.type.value_type)  # noqa: PLW2901 - the same, unpacked
                table = table.set_column(i, field, table.column(i).cast(field.type))
        return table

    def _arrow(self, data: bytes, path: str) -> t.Any:
        import pyarrow as pa

        # The stream in an Arrow file is read. The file consists of a magic number, a stream, and a
        # footer that repeats what the stream contains.
        start = len(FILE_MAGIC) if data.startswith(FILE_MAGIC) else 0
        buffer = pa.py_buffer(memoryview(data)[start:])
        size = 0
        for message in pa.ipc.MessageReader.open_stream(buffer):
            body = message.body
            size += unpacked_bytes(message.metadata, b"" if body is None else body)
            self._refuse_bytes(size, path)
        with pa.ipc.open_stream(buffer) as reader:
            refuse_size(0, len(reader.schema), self._options, path)
            batches, rows, seen = [], 0, set()
            for batch in reader:
                rows += batch.num_rows
                refuse_size(rows, batch.num_columns, self._options, path)
                # A few bytes may extend a dictionary; then the new one is a copy.
                for dictionary in _dictionaries(batch):
                    if (memory := _memory_of(dictionary)) not in seen:
                        seen.add(memory)
                        size += dictionary.get_total_buffer_size()
                self._refuse_bytes(size, path)
                batches.append(batch)
        return pa.Table.from_batches(batches, schema=reader.schema)

    def _checked(self, table: t.Any, path: str) -> t.Any:
        """Check the types and the size of an Arrow table, and remove pandas' index columns."""
        refuse_size(table.num_rows, table.num_columns, self._options, path)
        index = [name for name in _index_columns(table.schema) if name in table.column_names]
        wanted = () if self._columns is None else self._columns.names
        table = table.drop_columns([name for name in index if name not in wanted])
        refuse_duplicate_names(table.column_names, path)
        for field in table.schema:
            _refuse_type(field, path)
        table = _with_joined_chunks(table)
        table.validate(full=True)  # offsets in data of untrusted clients may point anywhere
        size = sum(_unshared_bytes(column) for column in table.columns)
        self._refuse_bytes(size, path)
        unpacked.add(size, path, limit=self._options.max_bytes)
        return table.replace_schema_metadata(None)

    def _refuse_bytes(self, size: int, path: str) -> None:
        most = self._options.max_bytes
        if size > most:
            raise too_large(path, f"at most {most:,} bytes when unpacked", f"{size:,}")

    # --- an Arrow table to a DataFrame ---------------------------------------------------------

    def _any(self, table: t.Any, path: str) -> t.Any:
        import numpy as np
        import pyarrow as pa

        frame = table.to_pandas(date_as_object=False, use_threads=False)
        for field, cells in zip(table.schema, table.columns, strict=True):
            if cells.null_count and (
                pa.types.is_null(field.type) or pa.types.is_integer(field.type)
            ):
                frame[field.name] = undeclared_array(cells.to_pylist())
        for name, values in frame.items():
            if values.dtype.kind == "f" and np.isinf(values.to_numpy()).any():
                i = int(np.isinf(values.to_numpy()).argmax())
                raise InputError.at(
                    f"{path}[{i}].{name}", expected="a finite number", got="infinity"
                )
        return frame

    def _declared(self, table: t.Any, path: str) -> t.Any:
        declared = t.cast("DeclaredColumns", self._columns)
        declared.choose(table.column_names, path)

        def where(i: int, name: str) -> str:
            return f"{path}[{i}].{name}"

        arrays = {
            column.name: _array(column, table.column(column.name), where)
            for column in declared.columns
            if column.name in table.column_names
        }
        return declared.frame(arrays, table.num_rows)


def _array(column: Column, cells: t.Any, where: Where) -> t.Any:
    import pyarrow as pa

    number = pa.types.is_integer(cells.type) or pa.types.is_floating(cells.type)
    quick = {"float": pa.float64(), "int": pa.int64()}.get(column.sort)
    if number and quick is not None and not cells.null_count and not _loses_digits(column, cells):
        # PERF: pyarrow converts the column without a Python object per cell.
        values = cells.cast(quick, safe=column.sort == "int").to_numpy()
        if within(column, values):
            if column.sort == "int" and column.optional:
                import pandas as pd

                return pd.array(values, dtype="Int64")
            return values
    if column.type == str and _is_text(cells.type) and not cells.null_count:  # noqa: E721 - not str | None
        return cells.to_pandas().astype(text_dtype())
    values = _plain(column, cells)
    if not column.optional:
        for i, value in enumerate(values):
            if value is None:
                raise invalid_cell(column, None, where(i, column.name))
    return as_array(column, check(column, values, where), where)


def _loses_digits(column: Column, cells: t.Any) -> bool:
    """Return whether the declared type is int and cells contain numbers such as 2.5, which a
    conversion to int would change.
    """
    import pyarrow as pa

    if column.sort != "int":
        return False
    try:
        cells.cast(pa.int64(), safe=True)
    except pa.ArrowInvalid:
        return True
    return False


def _plain(column: Column, cells: t.Any) -> list[t.Any]:
    """Convert cells to Python values that msgspec can validate against the column's declared
    type.
    """
    import pyarrow as pa

    kind = cells.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        cells = cells.cast(pa.timestamp("us", kind.tz), safe=False)
    elif pa.types.is_duration(kind) and kind.unit == "ns":
        cells = cells.cast(pa.duration("us"), safe=False)
    values = t.cast("list[t.Any]", cells.to_pylist())
    if pa.types.is_floating(kind):
        values = [None if value is None or math.isnan(value) else value for value in values]
    if column.sort == "int" and (pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        # Convert whole floats and decimals to int: pandas stores whole numbers with missing values
        # as floats, databases as decimals.
        values = [int(v) if v is not None and _is_whole(v) else v for v in values]
    elif column.sort == "day" and pa.types.is_timestamp(kind):
        values = [v.date() if v is not None and _is_midnight(v) else v for v in values]
    elif column.sort == "moment" and pa.types.is_date(kind):
        import datetime as dt

        values = [v and dt.datetime(v.year, v.month, v.day) for v in values]  # noqa: DTZ001 - a date has no zone
    return values


def _is_whole(number: float | decimal.Decimal) -> bool:
    return math.isfinite(number) and number == int(number)


def _is_midnight(value: t.Any) -> bool:
    return value.tzinfo is None and not (
        value.hour or value.minute or value.second or value.microsecond
    )


def _is_text(kind: t.Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _refuse_type(field: t.Any, path: str) -> None:
    import pyarrow as pa

    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    types = pa.types
    plain = (
        types.is_integer, types.is_floating, types.is_boolean, types.is_string,
        types.is_large_string, types.is_string_view, types.is_timestamp, types.is_date,
        types.is_time, types.is_duration, types.is_decimal, types.is_null,
    )  # fmt: skip
    if not any(test(kind) for test in plain):
        raise InputError.at(
            f"{path}.{field.name}",
            expected="a column of numbers, text, booleans, dates or times",
            got=str(field.type)[:80],
        )


def _unshared_bytes(column: t.Any) -> int:
    """Return the size in bytes that a column would have if a text which several rows share was
    stored once per row.
    """
    import numpy as np
    import pyarrow as pa

    total = 0
    for chunk in column.chunks:
        if pa.types.is_dictionary(chunk.type) and len(chunk.dictionary):
            sizes = chunk.dictionary.nbytes
            if _is_text(chunk.dictionary.type):
                sizes = _longest(chunk.dictionary)
            total += len(chunk) * sizes
        elif pa.types.is_string_view(chunk.type):
            # In a column of type `string_view`, each text has an entry of 16 bytes, which begins
            # with its length.
            views = np.frombuffer(chunk.buffers()[1], dtype="<i4")
            lengths = views[4 * chunk.offset : 4 * (chunk.offset + len(chunk)) : 4]
            total += int(lengths.astype("int64").sum())
        else:
            total += chunk.nbytes
    return total


def _dictionaries(batch: t.Any) -> cabc.Iterator[t.Any]:
    import pyarrow as pa

    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            yield column.dictionary


def _memory_of(array: t.Any) -> tuple[t.Any, ...]:
    """Return what is equal for two arrays only if they are the same memory."""
    addresses = (None if buffer is None else buffer.address for buffer in array.buffers())
    return (array.offset, len(array), *addresses)


def _with_joined_chunks(table: t.Any) -> t.Any:
    """Join the chunks of a column that share a dictionary. Otherwise, a dictionary that thousands
    of batches share is validated and converted once for each.
    """
    import pyarrow as pa

    for i, field in enumerate(table.schema):
        if not pa.types.is_dictionary(field.type):
            continue
        joined = []
        for _, group in groupby(table.column(i).chunks, lambda each: _memory_of(each.dictionary)):
            chunks = list(group)
            indices = [chunk.indices for chunk in chunks]
            for each in indices:
                each.validate()  # without the comparison of each index, which the caller does
            joined.append(
                pa.DictionaryArray.from_arrays(
                    pa.concat_arrays(indices),
                    chunks[0].dictionary,
                    ordered=field.type.ordered,
                    safe=False,
                )
            )
        table = table.set_column(i, field, pa.chunked_array(joined, type=field.type))
    return table


def _longest(texts: t.Any) -> int:
    import pyarrow.compute

    # The type of the module is Any, because pyarrow creates these functions at run time.
    functions: t.Any = pyarrow.compute
    return functions.max(functions.binary_length(texts)).as_py() or 0


def _index_columns(schema: t.Any) -> list[str]:
    """Return the names of the columns in which pandas has stored the index of a DataFrame."""
    try:
        found = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))["index_columns"]
        return [name for name in found if isinstance(name, str)]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
