"""Predict the rows of a file with a model that takes a table (a DataFrame).

The file is read in chunks of rows, and `predict` gets each chunk as one table. If a chunk does not
fit the declared columns, or `predict` fails on it, the chunk is halved until only the faulty rows
fail. If no columns are declared, a CSV is read as a whole, within the limits of a request, so that
the chunks have the dtypes that pandas derives from all rows.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import sys
import typing as t
from collections import deque

import msgspec

from carboy.contract.answers import encode
from carboy.contract.media import JSON
from carboy.contract.values.tables.arrow import FILE_MAGIC
from carboy.contract.values.tables.csv import csv_reader, delimiter_of, has_decimal_commas
from carboy.contract.values.tables.value import TableKind
from carboy.contract.values.tables.writing import write
from carboy.errors import InputError

from .queue.calls import isolate

if t.TYPE_CHECKING:
    import contextlib
    from collections import abc as cabc

    from carboy.contract.values.tables.columns import DeclaredColumns

    from .model import Model

    # Chunks of rows in the file's format, each with a function that reads them into a DataFrame.
    RawChunks: t.TypeAlias = cabc.Iterator[tuple[cabc.Sequence[t.Any], "ReadRows"]]
    ReadRows: t.TypeAlias = cabc.Callable[[cabc.Sequence[t.Any]], t.Any]
    OpenText: t.TypeAlias = cabc.Callable[[str, contextlib.ExitStack], t.TextIO]

# The number of rows in one chunk. Reading 10,000 rows of ten columns takes some megabytes and 20
# ms; what a call of `predict` costs in addition, whatever the number of rows, is small compared
# with that.
_CHUNK_ROWS = 10_000
_TABS = "\t"
KINDS: t.Final = ("csv", "tsv", "jsonl", "json", "parquet", "arrow", "feather")


class Row(t.NamedTuple):
    """The result of one row as plain JSON values, or the exception that failed the row."""

    value: t.Any
    failure: BaseException | None = None


class _Chunk(t.NamedTuple):
    """Successive rows of the file as a DataFrame; or an error, if these rows do not fit the types
    of the model.
    """

    start: int  # index of the chunk's first row in the file, from 0
    rows: int
    frame: t.Any
    refused: InputError | None


class RowCountError(ValueError):
    """Raised if the result of `predict` for a table does not have one entry per row."""


def table_of(model: Model) -> tuple[str, TableKind] | None:
    """Return the model's table parameter if it is the only table and no other parameter is
    required; else None.

    Returns:
        The parameter's name, and the `TableKind` that reads tables for it.
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
    # The queue joins up to `batch` chunks into one table for `predict`. With `_CHUNK_ROWS / batch`
    # rows in a chunk, that table has at most `_CHUNK_ROWS` rows.
    size = max(1, min(_CHUNK_ROWS // model.options.batch, table_kind.options.max_rows))
    chunks = _read_chunks(table_kind, source, kind, size, open_text, stack)
    in_flight: deque[_Chunk] = deque()

    def inputs() -> cabc.Iterator[dict[str, t.Any] | Exception]:
        for chunk in chunks:
            in_flight.append(chunk)
            # Pass a copy: `predict` may change its table before it fails, and then the chunk is
            # split and predicted again.
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
    """Predict the parts of a chunk on which `predict` failed, until only the faulty rows fail."""

    def compute(numbers: list[int]) -> list[t.Any]:
        part = chunk.frame.iloc[numbers].reset_index(drop=True)
        result = model.queue.run({table: part}, deadline_s=None)
        model.answers.check(result)
        return _results_by_row(result, len(numbers))

    for result in isolate(compute, list(range(chunk.rows))):
        yield Row(None, result) if isinstance(result, BaseException) else Row(result)


def _results_by_row(result: t.Any, rows: int) -> list[t.Any]:
    """Convert the return value of `predict` for one table to plain JSON values, one per row."""
    if hasattr(result, "columns") and hasattr(result, "iloc"):
        found = msgspec.json.decode(write(result, JSON))
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
        text = open_text(source, stack).read()
        frame = table_kind.read_csv(text, delimiter=_TABS if kind == "tsv" else "")
        for start in range(0, len(frame), size):
            part = frame.iloc[start : start + size].reset_index(drop=True)
            yield _Chunk(start, len(part), part, None)
        return
    for part, read_rows in _raw_chunks(table_kind, source, kind, size, open_text, stack):
        yield from _split_until_valid(part, read_rows, start)
        start += len(part)


def _split_until_valid(
    part: cabc.Sequence[t.Any], read_rows: ReadRows, start: int
) -> cabc.Iterator[_Chunk]:
    """Read rows as one chunk; if some do not fit the declared columns, halve the chunk and
    retry.
    """
    try:
        frame = read_rows(part)
        if len(frame) != len(part):
            raise InputError.at("$[0]", expected="one row in each line", got=f"{len(frame)} rows")
        yield _Chunk(start, len(part), frame, None)
    except InputError as exc:
        # The path "$" stands for the whole table: a column is missing, for example, so no row can
        # fit.
        if any(fault.path == "$" for fault in exc.faults):
            raise
        if len(part) == 1:
            yield _Chunk(start, 1, None, exc)
            return
        middle = len(part) // 2
        yield from _split_until_valid(part[:middle], read_rows, start)
        yield from _split_until_valid(part[middle:], read_rows, start + middle)


def _raw_chunks(
    table_kind: TableKind, source: str, kind: str, size: int, open_text: OpenText,
    stack: contextlib.ExitStack,
) -> RawChunks:  # fmt: skip
    if kind in ("csv", "tsv"):
        return _csv_chunks(table_kind, open_text(source, stack), kind, size)
    if kind in ("parquet", "arrow", "feather"):
        batches = _arrow_batches(source, kind, size)
        return ((batch, lambda part: table_kind.read(_encode_arrow(part))) for batch in batches)
    text = open_text(source, stack)
    rows = (
        (line.encode() for line in text if line.strip())
        if kind == "jsonl"
        else iter(json_members(text.read(), "rows"))
    )
    return ((p, lambda p: table_kind.read(_encode_array(p), media_type=JSON))
            for p in _take_chunks(rows, size))  # fmt: skip


def json_members(text: str, what: str) -> list[bytes]:
    """Split a JSON array into its members, each still encoded as JSON.

    Args:
        text: the array as JSON.
        what: what the members are, for error messages.

    Raises:
        ValueError: the text is not valid JSON, or not an array.
    """
    try:
        return [bytes(each) for each in msgspec.json.decode(text, type=list[msgspec.Raw])]
    except (msgspec.DecodeError, RecursionError) as exc:
        found = _loads(text, exc)
    if not isinstance(found, list):
        got = type(found).__name__
        raise ValueError(f"expected an array of {what}, got {got}")  # noqa: TRY004 - of the file
    return [json.dumps(each).encode() for each in found]


def _loads(text: str, exc: Exception) -> t.Any:
    """Decode JSON in which NaN may occur, as Python's `json` writes it. Rows that contain NaN are
    refused later, one by one, and not the whole file here.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"it is not valid JSON: {exc}") from None


def _take_chunks(rows: cabc.Iterable[t.Any], size: int) -> cabc.Iterator[list[t.Any]]:
    rows = iter(rows)
    while part := list(itertools.islice(rows, size)):
        yield part


def _csv_chunks(table_kind: TableKind, file: t.TextIO, kind: str, size: int) -> RawChunks:
    declared = t.cast("DeclaredColumns", table_kind.columns)
    if not file.seekable():  # a pipe cannot be read twice
        file = io.StringIO(file.read(), newline="")
    first = file.readline()
    if not first.strip():
        raise ValueError("it is empty; expected a header line")
    delimiter = _TABS if kind == "tsv" else delimiter_of(first, declared.names)
    header, rows = _csv_rows(file, delimiter)
    names = [name.strip() for name in header]
    # Decide for the whole file whether numbers have a decimal comma: a single chunk may have only
    # whole numbers.
    decimal_comma = delimiter == ";" and has_decimal_commas(declared, names, rows)
    header, rows = _csv_rows(file, delimiter)

    def read_rows(part: cabc.Sequence[t.Any]) -> t.Any:
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerows([header, *part])
        return table_kind.read_csv(
            text.getvalue(), delimiter=delimiter, decimal_comma=decimal_comma
        )

    for part in _take_chunks(rows, size):
        yield part, read_rows


def _csv_rows(file: t.TextIO, delimiter: str) -> tuple[list[str], cabc.Iterator[list[str]]]:
    """Return the header of a CSV file, and its rows."""
    file.seek(0)
    rows = (row for row in csv_reader(file, delimiter=delimiter) if row)
    return next(rows), rows


def _encode_array(members: cabc.Sequence[bytes]) -> bytes:
    return b"[" + b",".join(members) + b"]"


def _arrow_batches(source: str, kind: str, size: int) -> cabc.Iterator[t.Any]:
    import pyarrow as pa

    file = pa.BufferReader(sys.stdin.buffer.read()) if source == "-" else pa.OSFile(source)
    if kind == "parquet":
        import pyarrow.parquet as pq

        yield from pq.ParquetFile(file).iter_batches(batch_size=size)
        return
    is_file = file.read(len(FILE_MAGIC)) == FILE_MAGIC
    file.seek(0)
    with pa.ipc.open_file(file) if is_file else pa.ipc.open_stream(file) as reader:
        batches = map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader
        for batch in batches:
            for start in range(0, batch.num_rows, size):
                yield batch.slice(start, size)


def _encode_arrow(batch: t.Any) -> bytes:
    import pyarrow as pa

    file = io.BytesIO()
    with pa.ipc.new_stream(file, batch.schema) as stream:
        stream.write_batch(batch)
    return file.getvalue()
