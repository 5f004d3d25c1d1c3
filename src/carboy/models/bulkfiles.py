"""Predict the inputs of a file: the work of the command `carboy models predict`.

Inputs are read by the body reader of requests, so a file may hold whatever a client may send.
`bulktables` reads the file if the model takes a table.
"""

from __future__ import annotations

import contextlib
import csv
import json
import sys
import typing as t

from carboy.contract.answers import encode
from carboy.contract.forms import FormData
from carboy.contract.media import JSON, MULTIPART
from carboy.errors import BulkFileError, InputError

from . import bulktables

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from .collection import Model

# The line ending of CSV output. Excel and pandas both read it.
_NEWLINE = "\n"


class _Input(t.NamedTuple):
    """One input of the file, with the members that `BodyReader` needs of a request body."""

    media_type: str
    data: bytes
    fields: cabc.Mapping[str, cabc.Sequence[str]]
    encoding: str = ""

    @property
    def content_type(self) -> str:
        return self.media_type

    def raw(self) -> bytes:
        return self.data

    def form(self) -> FormData:
        return FormData(self.fields, {})


def predict_file(
    model: Model,
    source: str,
    *,
    kind: str | None,
    to: str | None,
    out: t.TextIO,
    say: cabc.Callable[[str], object],
    progress: bool,
) -> int:
    """Predict each input of a file, write the results, and return how many inputs failed.

    Args:
        model: the model; it is loaded at the first input.
        source: a path, or "-" for stdin.
        kind: the file format: csv, jsonl, json or npy; for a model that takes a table also tsv,
            parquet, arrow or feather, but not npy. None: the suffix of the path.
        to: the output format, csv or jsonl. None: csv for tables and CSV, else jsonl.
        out: where results are written, one line each.
        say: called with a message for each input that failed.
        progress: show a progress bar on stderr.

    Raises:
        BulkFileError: the file as a whole cannot be read.
    """
    kind = kind or source.rpartition(".")[2].lower()
    table = bulktables.table_of(model)
    kinds = tuple(_READERS) if table is None else bulktables.KINDS
    if kind not in kinds:
        names = f"{', '.join(kinds[:-1])} or {kinds[-1]}"
        raise BulkFileError(
            f"{source!r}: expected {names}. Name the format by an option, such as --from csv."
        )
    if to is None:
        to = "csv" if kind in ("csv", "tsv") or (table and kind not in _READERS) else "jsonl"
    write = _CsvWriter(out) if to == "csv" else None
    if table is not None:
        return _predict_table(
            model, table, source, kind=kind, write=write, out=out, say=say, progress=progress
        )
    failed = 0
    with contextlib.ExitStack() as stack:
        bodies = _READERS[kind](source, model, stack)
        results = model.map_decoded(_decoded(model, bodies), progress=progress)
        for number, found in enumerate(results, 1):
            result = found
            if isinstance(found, BaseException):
                failed += 1
                say(f"Input {number}: {_reason(found)}")
                result = None
            if write is not None:
                write(result, model)
            else:
                text = b"" if result is None else encode(result)
                out.write(text.decode() + "\n")
    return failed


def _predict_table(
    model: Model,
    table: tuple[str, t.Any],
    source: str,
    *,
    kind: str,
    write: _CsvWriter | None,
    out: t.TextIO,
    say: cabc.Callable[[str], object],
    progress: bool,
) -> int:
    failed = 0
    with contextlib.ExitStack() as stack:
        rows = bulktables.predict_rows(
            model, *table, source,
            kind=kind, open_text=_open_text, stack=stack, progress=progress,
        )  # fmt: skip
        for number, row in enumerate(_readable(rows, source), 1):
            if row.failure is not None:
                failed += 1
                say(f"Row {number}: {_reason(row.failure)}")
            if write is not None:
                write.write_plain(row.value, model, failed=row.failure is not None)
            else:
                out.write("" if row.failure else json.dumps(row.value, ensure_ascii=False))
                out.write(_NEWLINE)
    return failed


def _readable(rows: cabc.Iterator[t.Any], source: str) -> cabc.Iterator[t.Any]:
    try:
        yield from rows
    except BulkFileError:
        raise
    except (OSError, ValueError, ImportError) as exc:
        raise BulkFileError(f"{source!r} cannot be predicted: {_reason(exc)}") from exc


def _reason(exc: BaseException) -> str:
    return exc.detail if isinstance(exc, InputError) else f"{type(exc).__name__}: {exc}"


def _decoded(
    model: Model, bodies: cabc.Iterable[_Input]
) -> cabc.Iterator[cabc.Mapping[str, t.Any] | InputError]:
    for body in bodies:
        try:
            yield model.codec.decode(body)
        except InputError as exc:
            yield exc


class _CsvWriter:
    """Write results as CSV: the fields of a record under a header, other results as one column."""

    def __init__(self, out: t.TextIO) -> None:
        self._csv = csv.writer(out, lineterminator=_NEWLINE)
        self._names: list[str] | None = None
        self._leading_failures = 0  # failures before the first result, which gives the header

    def __call__(self, result: t.Any, model: Model) -> None:
        plain = None if result is None else json.loads(encode(result))
        self.write_plain(plain, model, failed=result is None)

    def write_plain(self, plain: t.Any, model: Model, *, failed: bool) -> None:
        """Write a result that consists of plain JSON values, or an empty row for a failure."""
        if self._names is None:
            if failed:
                self._leading_failures += 1
                return
            self._names = list(plain) if isinstance(plain, dict) else [model.name]
            self._csv.writerow(self._names)
            for _ in range(self._leading_failures):
                self._csv.writerow([""] * len(self._names))
        cells = plain if isinstance(plain, dict) else {self._names[0]: plain}
        self._csv.writerow([_cell(cells.get(name)) for name in self._names])


def _cell(value: t.Any) -> t.Any:
    if value is None:
        return ""
    return value if type(value) in (str, int, float) else json.dumps(value)


# --- readers -------------------------------------------------------------------------------------


def _open_text(source: str, stack: contextlib.ExitStack) -> t.TextIO:
    if source == "-":
        return sys.stdin
    try:
        return stack.enter_context(open(source, encoding="utf-8-sig", newline=""))
    except OSError as exc:
        raise BulkFileError(f"{source!r} cannot be read: {exc.strerror}.") from exc


def _read_csv(source: str, model: Model, stack: contextlib.ExitStack) -> cabc.Iterator[_Input]:
    rows = csv.reader(_open_text(source, stack))
    names = next(rows, None)
    if not names:
        raise BulkFileError(f"{source!r} is empty; expected a header line.")
    single = model.codec.single
    # A list that is the only parameter takes all cells of a row; the header is ignored.
    as_list = single is not None and not single.takes_object and single.name not in names
    for row in rows:
        if not row:
            continue
        fields: dict[str, list[str]] = (
            {single.name: row}
            if as_list and single is not None
            else {name: [cell] for name, cell in zip(names, row, strict=False) if cell}
        )
        yield _Input(MULTIPART, b"", fields)


def _read_jsonl(source: str, model: Model, stack: contextlib.ExitStack) -> cabc.Iterator[_Input]:
    for line in _open_text(source, stack):
        if line.strip():
            yield _Input(JSON, line.encode(), {})


def _read_json(source: str, model: Model, stack: contextlib.ExitStack) -> cabc.Iterator[_Input]:
    file = _open_text(source, stack)
    try:
        found = json.load(file)
    except ValueError as exc:
        raise BulkFileError(f"{source!r} is not valid JSON: {exc}.") from exc
    if not isinstance(found, list):
        raise BulkFileError(f"{source!r}: expected an array of inputs, got {type(found).__name__}.")
    for each in found:
        yield _Input(JSON, json.dumps(each).encode(), {})


def _read_npy(source: str, model: Model, stack: contextlib.ExitStack) -> cabc.Iterator[_Input]:
    import numpy as np

    try:
        # Unpickling could run code from the data file.
        rows = np.load(sys.stdin.buffer if source == "-" else source, allow_pickle=False)
    except (OSError, ValueError) as exc:
        raise BulkFileError(f"{source!r} is not a .npy file: {exc}") from exc
    for row in rows:
        yield _Input(JSON, json.dumps(row.tolist()).encode(), {})


_READERS: dict[str, cabc.Callable[[str, Model, contextlib.ExitStack], cabc.Iterator[_Input]]] = {
    "csv": _read_csv,
    "jsonl": _read_jsonl,
    "json": _read_json,
    "npy": _read_npy,
}
