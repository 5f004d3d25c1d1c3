"""Predict the rows of a file by a model that takes a table.

The file is read in chunks of rows, and `predict` gets each chunk as one table. If a chunk does not
fit the declared columns, or `predict` fails on it, the chunk is halved until only the faulty rows
fail. If no columns are declared, a CSV is read as a whole, within the limits of a request, so that
the chunks have the dtypes that pandas derives from all rows.
"""

from __future__ import annotations

import csv
import io
import itertools
import sys
import typing as t
from collections import deque

import msgspec

from carboy.contract.answers import encode
from carboy.contract.media import JSON
from carboy.contract.values.tables.csv import delimiter_of
from carboy.contract.values.tables.value import TableKind
from carboy.contract.values.tables.writing import column_values, write
from carboy.errors import InputError

from .queue.calls import isolate

if t.TYPE_CHECKING:
    import contextlib
    from collections import abc as cabc

    from .model import Model

    # Rows as read from the file, and the function that encodes them for `TableKind.read`.
    RawChunks: t.TypeAlias = cabc.Iterator[tuple[cabc.Sequence[t.Any], "EncodeRows"]]
    EncodeRows: t.TypeAlias = cabc.Callable[[cabc.Sequence[t.Any]], bytes]
    OpenText: t.TypeAlias = cabc.Callable[[str, contextlib.ExitStack], t.TextIO]

# Rows of one chunk. Reading 10,000 rows of ten columns takes some megabytes and 20 ms; the other
# costs of a call are small compared with that.
_CHUNK_ROWS = 10_000
KINDS: t.Final = ("csv", "tsv", "jsonl", "json", "parquet", "arrow", "feather")


class Row(t.NamedTuple):
    """The result of one row as plain JSON values, or the exception that failed the row."""

    value: t.Any
    failure: BaseException | None = None


class _Chunk(t.NamedTuple):
    """Successive rows of the file as a DataFrame, or the error of rows that do not fit."""

    start: int  # index of the first row, from 0
    rows: int
    frame: t.Any
    refused: InputError | None


class RowCountError(ValueError):
    """The result of `predict` for a table does not have one entry per row."""


def table_of(model: Model) -> tuple[str, TableKind] | None:
    """Return the only table parameter, or None if there is none or another one is required.

    Returns:
        The parameter's name, and the kind of value that reads it.
    """
    found = [
        (p.name, table_kind)
        for p in model.codec.parameters
        for table_kind in p.kinds
        if isinstance(table_kind, TableKind)
    ]
    required = [p for p in model.interface.parameters if p.required]
    if len(found) == 1 and all(p.name == found[0][0] for p in required):
        return found[0]
    return None


def predict_rows(
    model: Model, table: str, table_kind: TableKind, source: str, *,
    kind: str, open_text: OpenText, stack: contextlib.ExitStack, progress: bool,
) -> cabc.Iterator[Row]:  # fmt: skip
    """Yield the results of all rows, in order.

    Args:
        table: the name of the table parameter, which `table_kind` reads.
        source: a path, or "-" for stdin.
        kind: the file format, one of KINDS.
        open_text: opens `source` as text.
        stack: closes the file.
        progress: show a progress bar on stderr.

    Raises:
        InputError, ValueError: the file as a whole cannot be read as such a table.
        RowCountError: a result does not have one entry per row.
    """
    # `batch` chunks are joined to one table, which has at most _CHUNK_ROWS rows.
    size = max(1, min(_CHUNK_ROWS // model.options.batch, table_kind.options.max_rows))
    chunks = _read_chunks(table_kind, source, kind, size, open_text, stack)
    in_flight: deque[_Chunk] = deque()

    def inputs() -> cabc.Iterator[dict[str, t.Any] | Exception]:
        for chunk in chunks:
            in_flight.append(chunk)
            # `predict` may change it, and then fail
            yield chunk.refused or {table: chunk.frame.copy()}

    for result in model.map_decoded(inputs(), progress=progress):
        chunk = in_flight.popleft()
        if not isinstance(result, BaseException):
            yield from map(Row, _results_by_row(result, chunk.rows))
        elif chunk.rows == 1 or chunk.refused is not None:
            yield from [Row(None, result)] * chunk.rows
        else:
            yield from _isolate_failures(model, table, chunk)


def _isolate_failures(model: Model, table: str, chunk: _Chunk) -> cabc.Iterator[Row]:
    """Split a chunk on which `predict` failed, until only the failing rows fail."""

    def compute(numbers: list[int]) -> list[t.Any]:
        part = chunk.frame.iloc[numbers].reset_index(drop=True)
        return _results_by_row(model.queue.run({table: part}, deadline_s=None), len(numbers))

    for result in isolate(compute, list(range(chunk.rows))):
        yield Row(None, result) if isinstance(result, BaseException) else Row(result)


def _results_by_row(result: t.Any, rows: int) -> list[t.Any]:
    """Convert the result for a table to plain JSON values, one per row."""
    if hasattr(result, "columns") and hasattr(result, "iloc"):
        found = msgspec.json.decode(write(result, JSON))
    elif hasattr(result, "iloc"):
        found = column_values(result)
    else:
        found = msgspec.json.decode(encode(result))
    if not isinstance(found, list) or len(found) != rows:
        size = f"{len(found)} results" if isinstance(found, list) else "one result"
        raise RowCountError(
            f"predict got a table of {rows} rows and returned {size}. A file is predicted row by"
            " row; send a table that is one input by POST."
        )
    return found


# --- files ---------------------------------------------------------------------------------------


def _read_chunks(
    table_kind: TableKind, source: str, kind: str, size: int, open_text: OpenText,
    stack: contextlib.ExitStack,
) -> cabc.Iterator[_Chunk]:  # fmt: skip
    start = 0
    if table_kind.columns is None and kind in ("csv", "tsv"):
        frame = table_kind.from_json(open_text(source, stack).read())
        for start in range(0, len(frame), size):
            part = frame.iloc[start : start + size].reset_index(drop=True)
            yield _Chunk(start, len(part), part, None)
        return
    for part, encode_rows in _raw_chunks(table_kind, source, kind, size, open_text, stack):
        yield from _split_until_valid(table_kind, part, encode_rows, start)
        start += len(part)


def _split_until_valid(
    table_kind: TableKind, part: cabc.Sequence[t.Any], encode_rows: EncodeRows, start: int
) -> cabc.Iterator[_Chunk]:
    """Read rows as one chunk; halve them while some do not fit the declared columns."""
    try:
        yield _Chunk(start, len(part), table_kind.read(encode_rows(part)), None)
    except InputError as exc:
        if any(fault.path == "$" for fault in exc.faults):  # no row can fit: a missing column
            raise
        if len(part) == 1:
            yield _Chunk(start, 1, None, exc)
            return
        middle = len(part) // 2
        yield from _split_until_valid(table_kind, part[:middle], encode_rows, start)
        yield from _split_until_valid(table_kind, part[middle:], encode_rows, start + middle)


def _raw_chunks(
    table_kind: TableKind, source: str, kind: str, size: int, open_text: OpenText,
    stack: contextlib.ExitStack,
) -> RawChunks:  # fmt: skip
    if kind in ("csv", "tsv"):
        return _csv_chunks(table_kind, open_text(source, stack), size)
    if kind == "jsonl":
        lines = (line for line in open_text(source, stack) if line.strip())
        return ((part, _encode_lines) for part in _take_chunks(lines, size))
    if kind == "json":
        found = msgspec.json.decode(open_text(source, stack).read())
        if not isinstance(found, list):
            raise ValueError(f"expected an array of rows, got {type(found).__name__}")
        return ((part, msgspec.json.encode) for part in _take_chunks(found, size))
    return ((batch, _encode_arrow) for batch in _arrow_batches(source, kind, size))


def _take_chunks(rows: cabc.Iterable[t.Any], size: int) -> cabc.Iterator[list[t.Any]]:
    rows = iter(rows)
    while part := list(itertools.islice(rows, size)):
        yield part


def _csv_chunks(table_kind: TableKind, file: t.TextIO, size: int) -> RawChunks:
    first = file.readline()
    if not first.strip():
        raise ValueError("it is empty; expected a header line")
    delimiter = delimiter_of(first, () if table_kind.columns is None else table_kind.columns.names)
    rows = (row for row in csv.reader(itertools.chain([first], file), delimiter=delimiter) if row)
    header = next(rows)

    def encode_rows(part: cabc.Sequence[t.Any]) -> bytes:
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows([header, *part])
        return text.getvalue().encode()

    for part in _take_chunks(rows, size):
        yield part, encode_rows


def _encode_lines(part: cabc.Sequence[t.Any]) -> bytes:
    return f"[{','.join(part)}]".encode()


def _arrow_batches(source: str, kind: str, size: int) -> cabc.Iterator[t.Any]:
    import pyarrow as pa

    file = pa.BufferReader(sys.stdin.buffer.read()) if source == "-" else source
    if kind == "parquet":
        import pyarrow.parquet as pq

        yield from pq.ParquetFile(file).iter_batches(batch_size=size)
        return
    with pa.ipc.open_file(file) as reader:
        for i in range(reader.num_record_batches):
            batch = reader.get_batch(i)
            for start in range(0, batch.num_rows, size):
                yield batch.slice(start, size)


def _encode_arrow(batch: t.Any) -> bytes:
    import pyarrow as pa

    file = io.BytesIO()
    with pa.ipc.new_stream(file, batch.schema) as stream:
        stream.write_batch(batch)
    return file.getvalue()
