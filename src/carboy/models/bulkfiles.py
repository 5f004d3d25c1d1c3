"""Predict all inputs of a file: the implementation of the command `carboy models predict`.

Each input is read by the same code as a request body, so a file may hold whatever a client may
send. If the model takes a table (a DataFrame), `bulktables` reads the file instead.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import json
import sys
import typing as t

import msgspec

from carboy.contract.answers import encode
from carboy.contract.forms import FormData
from carboy.contract.framing import one_line
from carboy.contract.kinds import record_types
from carboy.contract.media import JSON, MULTIPART
from carboy.contract.values.npy import MAGIC as NPY_MAGIC
from carboy.contract.values.tables.csv import csv_reader
from carboy.contract.values.tables.writing import CsvRows
from carboy.errors import BulkFileError, InputError

from . import bulktables
from .bulktables import Row

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from .collection import Model


class _Input(t.NamedTuple):
    """One input of the file, with the attributes of a request body, so that `BodyReader` can decode
    it.
    """

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
    write = _CsvWriter(out, model) if to == "csv" else _JsonLinesWriter(out)
    unit = "Input" if table is None else "Row"
    failed = 0
    with contextlib.ExitStack() as stack:
        if table is None:
            rows = _predict_inputs(model, _READERS[kind](source, model, stack), progress=progress)
        else:
            rows = bulktables.predict_rows(
                model, *table, source,
                kind=kind, open_text=_open_text, stack=stack, progress=progress,
            )  # fmt: skip
        for number, row in enumerate(_readable(rows, source), 1):
            failure = row.failure or write.refusal(row.value)
            if failure is None:
                write.write(row.value)
            else:
                failed += 1
                say(f"{unit} {number}: {_reason(failure)}")
                write.write_failure()
    return failed


def _predict_inputs(
    model: Model, bodies: cabc.Iterable[_Input | InputError], *, progress: bool
) -> cabc.Iterator[Row]:
    for result in model.map_decoded(_decoded(model, bodies), progress=progress):
        if isinstance(result, BaseException):
            yield Row(None, result)
            continue
        try:
            yield Row(msgspec.json.decode(encode(result)))
        except Exception as exc:  # noqa: BLE001 - the result has no JSON form
            yield Row(None, exc)


def _readable(rows: cabc.Iterator[Row], source: str) -> cabc.Iterator[Row]:
    try:
        yield from rows
    except BulkFileError:
        raise
    except UnicodeDecodeError as exc:
        raise BulkFileError(
            f"{source!r} is neither UTF-8 nor UTF-16 with a byte-order mark: byte"
            f" {exc.object[exc.start]:02x}. Save it as UTF-8."
        ) from exc
    except _UNREADABLE as exc:
        raise BulkFileError(f"{source!r} cannot be predicted: {_reason(exc)}") from exc


# The exceptions with which Python, `csv`, msgspec, NumPy and pyarrow report an unreadable file.
_UNREADABLE = (
    OSError, ValueError, ImportError, EOFError, RecursionError, csv.Error, msgspec.MsgspecError,
)  # fmt: skip


def _reason(exc: BaseException) -> str:
    return exc.detail if isinstance(exc, InputError) else f"{type(exc).__name__}: {exc}"


def _decoded(
    model: Model, bodies: cabc.Iterable[_Input | InputError]
) -> cabc.Iterator[cabc.Mapping[str, t.Any] | InputError]:
    for body in bodies:
        try:
            yield body if isinstance(body, InputError) else model.codec.decode(body)
        except InputError as exc:
            yield exc


# --- writers -------------------------------------------------------------------------------------


class _JsonLinesWriter:
    """Writes each result as one line of JSON; the line of an input that failed is empty."""

    def __init__(self, out: t.TextIO) -> None:
        self._out = out

    def refusal(self, plain: t.Any) -> Exception | None:
        return None

    def write(self, plain: t.Any) -> None:
        self._out.write(one_line(msgspec.json.encode(plain)).decode() + "\n")

    def write_failure(self) -> None:
        self._out.write("\n")


class _CsvWriter:
    """Writes results as CSV: one column per field if results are records, else a single column.

    The header lists the fields of the first result and those of the return type of `predict`.
    """

    def __init__(self, out: t.TextIO, model: Model) -> None:
        self._csv = CsvRows(out.write)
        self._column = model.name
        self._declared = _field_names(model.answers.item)
        self._names: list[str] | None = None
        # How many inputs failed before the first result. Their rows of empty cells are written
        # after the header, whose columns the first result decides.
        self._leading_failures = 0

    def refusal(self, plain: t.Any) -> Exception | None:
        """Return an error if a result has fields for which the CSV has no column; None if it has
        none.
        """
        others = [name for name in self._cells(plain) if name not in (self._names or (name,))]
        if not others:
            return None
        return ValueError(
            f"the result has {', '.join(map(repr, others[:6]))}, for which the CSV has no column,"
            " because the first result has none. Write JSON lines by --to jsonl."
        )

    def write(self, plain: t.Any) -> None:
        cells = self._cells(plain)
        if self._names is None:
            known = self._declared if isinstance(plain, dict) else ()
            self._names = list(dict.fromkeys([*cells, *known]))
            self._csv.write_row(self._names)
            for _ in range(self._leading_failures):
                self.write_failure()
        self._csv.write_row([cells.get(name) for name in self._names])

    def write_failure(self) -> None:
        if self._names is None:
            self._leading_failures += 1
        else:
            self._csv.write_row([None] * len(self._names))

    def _cells(self, plain: t.Any) -> dict[str, t.Any]:
        return plain if isinstance(plain, dict) else {self._column: plain}


def _field_names(annotation: t.Any) -> list[str]:
    """Return the field names of a record type such as a dataclass; an empty list for other
    types.
    """
    try:
        return [field.encode_name for each in record_types(annotation) for field in each.fields]
    except TypeError:  # msgspec does not know the type, such as a DataFrame
        return []


# --- readers -------------------------------------------------------------------------------------


def _open(source: str, stack: contextlib.ExitStack) -> io.BufferedReader:
    if source == "-":
        stdin: t.Any = sys.stdin.buffer
        return stdin if isinstance(stdin, io.BufferedReader) else io.BufferedReader(stdin)
    try:
        return stack.enter_context(io.BufferedReader(io.FileIO(source)))
    except OSError as exc:
        raise BulkFileError(f"{source!r} cannot be read: {exc.strerror}.") from exc


def _open_text(source: str, stack: contextlib.ExitStack) -> t.TextIO:
    """Open a text file as UTF-8, or as UTF-16 if it begins with a byte-order mark (Excel's format
    "Unicode text").
    """
    file = _open(source, stack)
    is_utf16 = file.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    text = io.TextIOWrapper(file, encoding="utf-16" if is_utf16 else "utf-8-sig", newline="")
    stack.callback(text.detach)  # detach, because closing `text` would close stdin too
    return text


def _read_csv(
    source: str, model: Model, stack: contextlib.ExitStack
) -> cabc.Iterator[_Input | InputError]:
    rows = csv_reader(_open_text(source, stack))
    names = [name.strip() for name in next(rows, [])]
    if not names:
        raise BulkFileError(f"{source!r} is empty; expected a header line.")
    twice = next((name for i, name in enumerate(names) if name and name in names[:i]), None)
    if twice is not None:
        raise BulkFileError(
            f"{source!r}: the header has the column {twice!r} twice. Rename one of them."
        )
    takes_row = _parameter_of_row(source, model, names)
    empty = _empty_cells(model)
    for row in rows:
        if not row:
            continue
        if len(row) != len(names):
            yield InputError.at(
                "$",
                expected=f"{len(names)} cells, as in the header",
                got=f"{len(row)} in line {rows.line_num}",
                hint="Put quotes around a cell with a comma.",
            )
        elif takes_row is not None:
            yield _Input(MULTIPART, b"", {takes_row: row})
        else:
            cells = {name: cell or empty.get(name) for name, cell in zip(names, row, strict=True)}
            fields = {name: [cell] for name, cell in cells.items() if cell is not None}
            yield _Input(MULTIPART, b"", fields)


def _parameter_of_row(source: str, model: Model, names: list[str]) -> str | None:
    """Return the name of the only parameter of `predict` if it gets all cells of a row, whatever
    the header says: if it is a list, or a row has only one cell. None if columns have names of
    parameters or fields.

    Raises:
        BulkFileError: the parameter takes one cell, and no column has its name.
    """
    single = model.codec.single
    if single is None or single.takes_object or single.alias in names:
        return None
    if len(names) > 1 and not single.takes_several:
        got = ", ".join(map(repr, names[:6])) + (", ..." if len(names) > 6 else "")
        raise BulkFileError(
            f"{source!r}: expected a column {single.alias!r}, the parameter of `predict`, got"
            f" {got}. Rename the column that has it."
        )
    return single.alias


def _empty_cells(model: Model) -> dict[str, str]:
    """Return what an empty cell of a CSV file means in each required column: an empty text or null.

    In all other columns an empty cell means the default value, as if the column was missing.
    """
    found: dict[str, str] = {}
    for parameter in model.codec.parameters:
        if not parameter.required:
            continue
        try:
            records = record_types(parameter.annotation)
        except TypeError:  # msgspec does not know the type, such as a DataFrame
            records = []
        for field in (field for record in records for field in record.fields):
            if field.required:
                found[field.encode_name] = _empty_cell(field.type)
        if not records:
            with contextlib.suppress(TypeError):
                kind = msgspec.inspect.type_info(parameter.annotation)
                found[parameter.alias] = _empty_cell(kind)
    return found


def _empty_cell(kind: msgspec.inspect.Type) -> str:
    members = getattr(kind, "types", (kind,))
    has_null = any(isinstance(each, msgspec.inspect.NoneType) for each in members)
    has_text = any(isinstance(each, msgspec.inspect.StrType) for each in members)
    return "null" if has_null and not has_text else ""


def _read_jsonl(source: str, model: Model, stack: contextlib.ExitStack) -> cabc.Iterator[_Input]:
    for line in _open_text(source, stack):
        if line.strip():
            yield _Input(JSON, line.encode(), {})


def _read_json(source: str, model: Model, stack: contextlib.ExitStack) -> cabc.Iterator[_Input]:
    for each in bulktables.json_members(_open_text(source, stack).read(), "inputs"):
        yield _Input(JSON, each, {})


_WRITE_NPY = "Expected an array that numpy.save() has written, with one input in each row."


def _read_npy(source: str, model: Model, stack: contextlib.ExitStack) -> cabc.Iterator[_Input]:
    import numpy as np

    file: t.IO[bytes] = _open(source, stack)
    if not file.seekable():
        file = io.BytesIO(file.read())
    if file.read(len(NPY_MAGIC)) != NPY_MAGIC:
        raise BulkFileError(
            f"{source!r} is not a .npy file, and a .npz archive is none either. {_WRITE_NPY}"
        )
    file.seek(0)
    try:
        # Pickled data is refused, because unpickling could run code from the file.
        rows = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as exc:
        raise BulkFileError(f"{source!r} is not a .npy file: {exc}. {_WRITE_NPY}") from exc
    if rows.ndim == 0 or rows.dtype.kind not in "biufU":
        raise BulkFileError(
            f"{source!r}: expected an array of numbers or text with one input in each row, got"
            f" {rows.dtype} of shape {rows.shape}."
        )
    for row in rows:
        text = json.dumps(row.tolist())
        # NaN becomes null, which is accepted if the model allows it. Infinity stays in the JSON and
        # is refused.
        yield _Input(
            JSON, (text.replace("NaN", "null") if row.dtype.kind == "f" else text).encode(), {}
        )


_READERS: dict[
    str, cabc.Callable[[str, Model, contextlib.ExitStack], cabc.Iterator[_Input | InputError]]
] = {
    "csv": _read_csv,
    "jsonl": _read_jsonl,
    "json": _read_json,
    "npy": _read_npy,
}
