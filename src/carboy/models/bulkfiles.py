"""Files of inputs, predicted one after the other: what `carboy models predict` does.

An input is read by the same codec as a request, so what a file may hold is what a client may send.
"""

from __future__ import annotations

import contextlib
import csv
import json
import sys
import typing as t

from carboy.contract.answers import encode
from carboy.contract.media import JSON, MULTIPART
from carboy.errors import BulkFileError, InputError

from . import bulktables
from .codec import Form

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from .registry import Model

# Readers and writers of CSV that Excel and pandas agree with.
_NEWLINE = "\n"


class _Input(t.NamedTuple):
    """A `codec.Body` that is not a request."""

    media_type: str
    data: bytes
    fields: cabc.Mapping[str, cabc.Sequence[str]]
    encoding: str = ""

    @property
    def content_type(self) -> str:
        return self.media_type

    def raw(self) -> bytes:
        return self.data

    def form(self) -> Form:
        return Form(self.fields, {})


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
    """Predict each input of a file; returns how many failed.

    Args:
        model: of an app that is not served here.
        source: a path, or "-" for stdin.
        kind: csv, jsonl, json or npy, for a table also tsv, parquet, arrow or feather; None takes
            it from the name.
        to: csv or jsonl; None is csv from csv, else jsonl.
        out: where the answers go, one line each.
        say: told about each input that failed.
        progress: show a bar on stderr.

    Raises:
        BulkFileError: the file as a whole cannot be read.
    """
    kind = kind or source.rpartition(".")[2].lower()
    table = bulktables.table_of(model)
    kinds = tuple(_READERS) if table is None else bulktables.KINDS
    if kind not in kinds:
        names = f"{', '.join(kinds[:-1])} or {kinds[-1]}"
        raise BulkFileError(f"{source!r}: expected {names}. Say which: --from csv.")
    if to is None:
        to = "csv" if kind in ("csv", "tsv") or (table and kind not in _READERS) else "jsonl"
    write = _CsvAnswers(out) if to == "csv" else None
    if table is not None:
        return _predict_table(
            model, table, source, kind=kind, write=write, out=out, say=say, progress=progress
        )
    failed = 0
    with contextlib.ExitStack() as stack:
        bodies = _READERS[kind](source, model, stack)
        answers = model.map_decoded(_decoded(model, bodies), progress=progress)
        for number, found in enumerate(answers, 1):
            answer = found
            if isinstance(found, BaseException):
                failed += 1
                say(f"Input {number}: {_reason(found)}")
                answer = None
            if write is not None:
                write(answer, model)
            else:
                text = b"" if answer is None else encode(answer)
                out.write(text.decode() + "\n")
    return failed


def _predict_table(
    model: Model,
    table: tuple[str, t.Any],
    source: str,
    *,
    kind: str,
    write: _CsvAnswers | None,
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
                write.plain(row.value, model, failed=row.failure is not None)
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


class _CsvAnswers:
    """A record is a line of its fields, under a header; any other answer is one column."""

    def __init__(self, out: t.TextIO) -> None:
        self._csv = csv.writer(out, lineterminator=_NEWLINE)
        self._names: list[str] | None = None
        self._missed = 0  # failures before the first answer, when no names are known yet

    def __call__(self, answer: t.Any, model: Model) -> None:
        plain = None if answer is None else json.loads(encode(answer))
        self.plain(plain, model, failed=answer is None)

    def plain(self, plain: t.Any, model: Model, *, failed: bool) -> None:
        """An answer that is JSON already."""
        if self._names is None:
            if failed:
                self._missed += 1
                return
            self._names = list(plain) if isinstance(plain, dict) else [model.name]
            self._csv.writerow(self._names)
            for _ in range(self._missed):
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
    single = model.interface.single
    # 64 columns for one parameter that is a list: its values in order, whatever the header says.
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
    try:
        found = json.load(_open_text(source, stack))
    except ValueError as exc:
        raise BulkFileError(f"{source!r} is not valid JSON: {exc}.") from exc
    if not isinstance(found, list):
        raise BulkFileError(f"{source!r}: expected an array of inputs, got {type(found).__name__}.")
    for each in found:
        yield _Input(JSON, json.dumps(each).encode(), {})


def _read_npy(source: str, model: Model, stack: contextlib.ExitStack) -> cabc.Iterator[_Input]:
    import numpy as np

    try:
        # No pickles: a data file must not run code.
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
