"""`TableKind`: reads and writes tables. It chooses a reader by the content and the media type of a
body.
"""

from __future__ import annotations

import csv
import io
import typing as t
from importlib.util import find_spec

import msgspec

from carboy.json.arrays import UNKNOWN, to_plain

from ....errors import InputError, MalformedInputError, SignatureError, UnsupportedInputError
from ... import inputerrors
from ...media import JSON
from ..kind import Packed, ValueKind
from ..text import charset_of, decode
from . import declaration, is_table
from .writing import ARROW_FILE, ARROW_STREAM, CSV, PARQUET, answer_types, column_values, write

if t.TYPE_CHECKING:
    from .columns import Column

TSV: t.Final = "text/tab-separated-values"
_BINARY: t.Final = (PARQUET, ARROW_STREAM, ARROW_FILE)
# Media types that clients also send for CSV and Parquet. Windows sends Excel's media type for CSV.
_ALIASES: t.Final = frozenset({
    "application/csv", "application/vnd.ms-excel", "application/x-csv", "application/parquet",
    "application/x-parquet", "application/x-feather", "text/x-csv",
})  # fmt: skip

# Versions of pyarrow before this one run code from files that they read (CVE-2023-47248).
_SAFE_PYARROW: t.Final = (14, 0, 1)


class TableKind(ValueKind):
    """Reads and writes pandas DataFrames: as a list of records in JSON; as a CSV, Parquet or Arrow
    file.
    """

    name = "table"
    classes = (("pandas", "DataFrame"),)
    parts = tuple(
        ("pandas", name)
        for name in (
            *("Series", "Index", "ExtensionArray", "Timestamp", "Timedelta", "Period", "Interval"),
            *("NAType", "NaTType"),
        )
    )
    packages = ("pandas",)
    unpacks = True
    media_types = (CSV, TSV, *_BINARY)
    json_type = msgspec.Raw

    def __init__(self, annotation: t.Any, extras: tuple[t.Any, ...] = ()) -> None:
        """Create the reader for one table annotation.

        Raises:
            SignatureError: the annotation declares columns that are not valid.
        """
        from .arrow import ArrowTables, sniff
        from .columns import DeclaredColumns, read_columns
        from .csv import CsvTables
        from .json import JsonTables

        declared = declaration(annotation, extras)
        if declared is None:
            raise SignatureError(f"{annotation!r} is no table.")
        options = self.options = declared.options
        self.columns = (
            None
            if declared.columns is None
            else DeclaredColumns(read_columns(declared.columns), others=options.others)
        )
        self._sniff = sniff
        self._json = JsonTables(self.columns, options)
        self._csv = CsvTables(self.columns, options)
        self._has_arrow = find_spec("pyarrow") is not None
        self.media_types = (CSV, TSV, *(_BINARY if self._has_arrow else ()))
        self._arrow = ArrowTables(self.columns, options)
        if self._has_arrow:
            _refuse_old_pyarrow()

    @classmethod
    def of(cls, annotation: t.Any, extras: tuple[t.Any, ...] = ()) -> t.Self | None:
        return cls(annotation, extras) if is_table(annotation, extras) else None

    def recognises(self, data: bytes, media_type: str) -> bool:
        # If pyarrow is missing, Parquet and Arrow are recognised all the same, so that the error
        # can ask for pyarrow.
        known = media_type in (CSV, TSV, *_BINARY) or media_type in _ALIASES
        return known or self._sniff(data) is not None

    def read(self, data: bytes, *, media_type: str = "", path: str = "$") -> t.Any:
        charset = charset_of(media_type).lower()
        media_type = media_type.partition(";")[0].strip().lower()
        packed = self._sniff(data)
        if packed is not None:
            if not self._has_arrow:
                raise UnsupportedInputError.at(
                    path,
                    expected="CSV or JSON",
                    got=packed,
                    hint="This server lacks pyarrow, which reads it.",
                )
            return self._arrow.read(data, path)
        _refuse_other_formats(data, media_type, path)
        delimiter = "\t" if media_type == TSV else ""
        if charset not in ("utf-8", "utf8"):
            return self._csv.read(decode(data, charset, path), path, delimiter=delimiter)
        if data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"[", b"{"):
            return self._json.read(data.removeprefix(b"\xef\xbb\xbf"), path)
        return self._csv.read(data, path, delimiter=delimiter)

    def read_csv(
        self, text: str, *, delimiter: str = "", decimal_comma: bool | None = None
    ) -> t.Any:
        """Read CSV text: a whole file, or the header and some rows of it. The options are those of
        `CsvTables.read`.
        """
        return self._csv.read(text, delimiter=delimiter, decimal_comma=decimal_comma)

    def from_json(self, value: t.Any, *, path: str = "$") -> t.Any:
        """Convert JSON, or a form field that contains JSON or CSV, into a DataFrame."""
        if isinstance(value, (msgspec.Raw, bytes, bytearray, memoryview)):
            data = bytes(value)
            if data[:64].lstrip()[:1] != b'"':
                return self._json.read(data, path)
            value = msgspec.json.decode(data)
        if isinstance(value, str):
            if value.lstrip()[:1] in ("[", "{"):
                return self._json.read(value.encode(), path)
            return self._csv.read(value, path)
        if isinstance(value, (list, dict)):
            return self._json.read(_to_json(value, path), path)
        raise InputError.at(path, expected="a table", got=inputerrors.describe(value))

    def misfit(self, value: t.Any) -> str:
        """Compare a DataFrame's column names with the declared ones; the cells are not checked."""
        if not hasattr(value, "columns"):
            return f"a table, got {type(value).__name__}"
        if self.columns is None:
            return ""
        names = set(map(str, value.columns))
        declared = {column.name for column in self.columns.columns}
        lacking = [c.name for c in self.columns.columns if c.required and c.name not in names]
        others = [] if self.columns.drops else sorted(names - declared)
        if lacking:
            return f"the column {lacking[0]!r}, got the columns {sorted(names)}"
        return f"no column {others[0]!r}, which is not declared" if others else ""

    @classmethod
    def answers(cls) -> tuple[str, ...]:
        return answer_types()

    @classmethod
    def write(cls, value: t.Any, media_type: str) -> bytes:
        return write(value, media_type)

    @classmethod
    def plain(cls, value: t.Any) -> t.Any:
        if hasattr(value, "columns"):
            return msgspec.Raw(write(value, JSON))
        if hasattr(value, "iloc"):
            return column_values(value)
        plain = to_plain(value)
        # `to_plain` does not know pandas' Timestamp and Timedelta. They are written in ISO 8601.
        return value.isoformat() if plain is UNKNOWN else plain

    @classmethod
    def pack(cls, value: t.Any) -> Packed:
        from .packedtable import pack_table

        return pack_table(value)

    @classmethod
    def unpack(cls, head: t.Any, buffers: t.Sequence[memoryview]) -> t.Any:
        from .packedtable import unpack_table

        return unpack_table(head, buffers)

    @classmethod
    def describes(cls, schema: dict[str, t.Any]) -> bool:
        return "x-table" in schema

    @classmethod
    def sample(cls, schema: dict[str, t.Any]) -> t.Any:
        """Return a sample row for the documentation of a table without declared columns."""
        return None if "properties" in schema.get("items", {}) else [{"column": 1}]

    @classmethod
    def suffix(cls, media_type: str) -> str:
        return {CSV: "csv", TSV: "tsv", PARQUET: "parquet"}.get(media_type, "arrow")

    @classmethod
    def sample_file(cls, media_type: str, value: t.Any, schema: dict[str, t.Any]) -> bytes:
        """Write sample rows as a CSV file. Cells that are lists or objects are written as JSON."""
        good = isinstance(value, list) and value and isinstance(value[0], dict) and value[0]
        rows = value if good else [{"column": 1}]
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows(map(_sample_cell, row.values()) for row in rows)
        return file.getvalue().encode()

    def schema(self, *, answered: bool = False) -> dict[str, t.Any]:
        row: dict[str, t.Any] = {"type": "object"}
        if self.columns is not None:
            columns = self.columns.columns
            row["properties"] = {column.name: _cell_schema(column) for column in columns}
            row["required"] = [column.name for column in columns if column.required]
            if not self.columns.drops:
                row["additionalProperties"] = False
        found = {"type": "array", "items": row, "x-table": True}
        least = 0 if answered else self.options.min_rows
        return found | ({"minItems": least} if least else {})


def _sample_cell(value: t.Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return msgspec.json.encode(value).decode()


def _cell_schema(column: Column) -> dict[str, t.Any]:
    """Return the JSON Schema of one cell, with each reference replaced by the schema to which it
    refers.
    """
    from ...schemas import json_schema

    found = json_schema(column.type)
    inner = found.pop("$defs", {})
    found = t.cast("dict[str, t.Any]", _inlined(found, inner))
    if not column.required and "default" not in found:
        found["default"] = msgspec.to_builtins(column.default, enc_hook=str)
    return found


def _inlined(node: t.Any, inner: dict[str, t.Any]) -> t.Any:
    if isinstance(node, dict) and "$ref" in node:
        return inner[node["$ref"].rpartition("/")[2]]
    if isinstance(node, dict):
        return {key: _inlined(value, inner) for key, value in node.items()}
    return [_inlined(each, inner) for each in node] if isinstance(node, list) else node


def _refuse_other_formats(data: bytes, media_type: str, path: str) -> None:
    """Refuse Excel files, archives and pickles, by an error that names the format."""
    if data.startswith(b"PK\x03\x04"):
        raise UnsupportedInputError.at(
            path, expected="CSV, JSON, Parquet or Arrow", got="an Excel or other zip file",
            hint="In Excel: Save as, CSV UTF-8.",
        )  # fmt: skip
    if data.startswith((b"\x1f\x8b", b"(\xb5/\xfd", b"\x80\x04", b"\x80\x05", b"\xd0\xcf\x11\xe0")):
        raise UnsupportedInputError.at(
            path, expected="CSV, JSON, Parquet or Arrow", got="another kind of file"
        )
    if media_type in _BINARY or media_type.endswith(("parquet", "feather")):
        raise MalformedInputError(f"The body is not {media_type}, whose first bytes are different.")


def _refuse_old_pyarrow() -> None:
    from importlib.metadata import version

    found = tuple(int(part) for part in version("pyarrow").split(".")[:3] if part.isdigit())
    if found < _SAFE_PYARROW:
        raise SignatureError(
            f"pyarrow {version('pyarrow')} runs code from files that it reads (CVE-2023-47248):"
            " pip install -U pyarrow"
        )


def _to_json(value: t.Any, path: str) -> bytes:
    """Encode plain values, which MessagePack may contain in forms that JSON does not have."""
    try:
        return msgspec.json.encode(value)
    except RecursionError:
        raise MalformedInputError("The lists and objects are nested too deeply.") from None
    except TypeError as exc:
        raise InputError.at(
            path, expected="a table", got=f"what JSON cannot express ({exc})"
        ) from None
