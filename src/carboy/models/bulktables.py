"""Predict the rows of a file with a model that takes a table.

The file is read in chunks of rows, and each chunk is one table for `predict`. A row that does not
fit, or on which `predict` fails, is found by halving the chunk and fails alone. Where columns are
declared, chunks are read one after the other by the reader of requests. Otherwise a CSV is read as
a whole, so that all chunks have the dtypes that pandas found, under the limits of a request.
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

    Parts: t.TypeAlias = cabc.Iterator[tuple[cabc.Sequence[t.Any], "Make"]]
    Make: t.TypeAlias = cabc.Callable[[cabc.Sequence[t.Any]], bytes]
    Open: t.TypeAlias = cabc.Callable[[str, contextlib.ExitStack], t.TextIO]

# Rows of one chunk: 10,000 rows of ten columns take some megabytes and 20 ms to read, beside which
# the other costs of a call are small.
_ROWS = 10_000
KINDS: t.Final = ("csv", "tsv", "jsonl", "json", "parquet", "arrow", "feather")


class Row(t.NamedTuple):
    """The result of one row as plain JSON, or the failure in its place."""

    value: t.Any
    failure: BaseException | None = None


class _Piece(t.NamedTuple):
    start: int  # the number of its first row, from 0
    rows: int
    frame: t.Any
    refused: InputError | None


class NotByRowsError(ValueError):
    """The result of a table has not one entry for each row."""


def table_of(model: Model) -> tuple[str, TableKind] | None:
    """The parameter that is a table, if all other parameters have defaults."""
    found = [
        (p.name, wire)
        for p in model.codec.parameters
        for wire in p.kinds
        if isinstance(wire, TableKind)
    ]
    required = [p for p in model.interface.parameters if p.required]
    if len(found) == 1 and all(p.name == found[0][0] for p in required):
        return found[0]
    return None


def predict_rows(
    model: Model, table: str, wire: TableKind, source: str, *,
    kind: str, open_text: Open, stack: contextlib.ExitStack, progress: bool,
) -> cabc.Iterator[Row]:  # fmt: skip
    """Yield the results of all rows, in order.

    Args:
        table: the parameter that `wire` reads.
        kind: one of KINDS.
        open_text: opens a path, or "-" for stdin.

    Raises:
        InputError, ValueError: the file as a whole is no such table.
        NotByRowsError: `predict` answers tables, not rows.
    """
    size = max(1, min(_ROWS // model.options.batch, wire.options.max_rows))
    pieces = _pieces(wire, source, kind, size, open_text, stack)
    on_the_way: deque[_Piece] = deque()

    def inputs() -> cabc.Iterator[dict[str, t.Any] | Exception]:
        for piece in pieces:
            on_the_way.append(piece)
            yield piece.refused or {table: piece.frame}

    for answer in model.map_decoded(inputs(), progress=progress):
        piece = on_the_way.popleft()
        if not isinstance(answer, BaseException):
            yield from map(Row, _by_rows(answer, piece.rows))
        elif piece.rows == 1 or piece.refused is not None:
            yield from [Row(None, answer)] * piece.rows
        else:
            yield from _one_by_one(model, table, piece)


def _one_by_one(model: Model, table: str, piece: _Piece) -> cabc.Iterator[Row]:
    """Split a chunk that failed until only the failing rows fail."""

    def compute(numbers: list[int]) -> list[t.Any]:
        part = piece.frame.iloc[numbers].reset_index(drop=True)
        return _by_rows(model.queue.run({table: part}, deadline_s=None), len(numbers))

    for answer in isolate(compute, list(range(piece.rows))):
        yield Row(None, answer) if isinstance(answer, BaseException) else Row(answer)


def _by_rows(answer: t.Any, rows: int) -> list[t.Any]:
    """The result of a table as plain values, one for each row."""
    if hasattr(answer, "columns") and hasattr(answer, "iloc"):
        found = msgspec.json.decode(write(answer, JSON))
    elif hasattr(answer, "iloc"):
        found = column_values(answer)
    else:
        found = msgspec.json.decode(encode(answer))
    if not isinstance(found, list) or len(found) != rows:
        size = f"{len(found)} answers" if isinstance(found, list) else "one answer"
        raise NotByRowsError(
            f"predict got a table of {rows} rows and returned {size}. A file is predicted row by"
            " row; send a table that is one input by POST."
        )
    return found


# --- files ---------------------------------------------------------------------------------------


def _pieces(
    wire: TableKind, source: str, kind: str, size: int, open_text: Open,
    stack: contextlib.ExitStack,
) -> cabc.Iterator[_Piece]:  # fmt: skip
    start = 0
    if wire.columns is None and kind in ("csv", "tsv"):
        frame = wire.from_json(open_text(source, stack).read())
        for start in range(0, len(frame), size):
            part = frame.iloc[start : start + size].reset_index(drop=True)
            yield _Piece(start, len(part), part, None)
        return
    for part, make in _parts(wire, source, kind, size, open_text, stack):
        yield from _fitting(wire, part, make, start)
        start += len(part)


def _fitting(
    wire: TableKind, part: cabc.Sequence[t.Any], make: Make, start: int
) -> cabc.Iterator[_Piece]:
    """Read a chunk, without the rows that do not fit."""
    try:
        yield _Piece(start, len(part), wire.read(make(part)), None)
    except InputError as exc:
        if any(fault.path == "$" for fault in exc.faults):  # a column is missing, say
            raise
        if len(part) == 1:
            yield _Piece(start, 1, None, exc)
            return
        middle = len(part) // 2
        yield from _fitting(wire, part[:middle], make, start)
        yield from _fitting(wire, part[middle:], make, start + middle)


def _parts(
    wire: TableKind, source: str, kind: str, size: int, open_text: Open,
    stack: contextlib.ExitStack,
) -> Parts:  # fmt: skip
    if kind in ("csv", "tsv"):
        return _csv_parts(wire, open_text(source, stack), size)
    if kind == "jsonl":
        lines = (line for line in open_text(source, stack) if line.strip())
        return ((part, _json_lines) for part in _chunks(lines, size))
    if kind == "json":
        found = msgspec.json.decode(open_text(source, stack).read())
        if not isinstance(found, list):
            raise ValueError(f"expected an array of rows, got {type(found).__name__}")
        return ((part, msgspec.json.encode) for part in _chunks(found, size))
    return ((batch, _stream) for batch in _batches(source, kind, size))


def _chunks(rows: cabc.Iterable[t.Any], size: int) -> cabc.Iterator[list[t.Any]]:
    rows = iter(rows)
    while part := list(itertools.islice(rows, size)):
        yield part


def _csv_parts(wire: TableKind, file: t.TextIO, size: int) -> Parts:
    first = file.readline()
    if not first.strip():
        raise ValueError("it is empty; expected a header line")
    delimiter = delimiter_of(first, () if wire.columns is None else wire.columns.names)
    rows = (row for row in csv.reader(itertools.chain([first], file), delimiter=delimiter) if row)
    header = next(rows)

    def make(part: cabc.Sequence[t.Any]) -> bytes:
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows([header, *part])
        return text.getvalue().encode()

    for part in _chunks(rows, size):
        yield part, make


def _json_lines(part: cabc.Sequence[t.Any]) -> bytes:
    return f"[{','.join(part)}]".encode()


def _batches(source: str, kind: str, size: int) -> cabc.Iterator[t.Any]:
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


def _stream(batch: t.Any) -> bytes:
    import pyarrow as pa

    file = io.BytesIO()
    with pa.ipc.new_stream(file, batch.schema) as stream:
        stream.write_batch(batch)
    return file.getvalue()
