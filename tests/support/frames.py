"""DataFrames as files that clients send."""

from __future__ import annotations

import io
import typing as t

import pyarrow as pa


def to_parquet(frame: t.Any, **options: t.Any) -> bytes:
    file = io.BytesIO()
    frame.to_parquet(file, **options)
    return file.getvalue()


def to_feather(frame: t.Any, **options: t.Any) -> bytes:
    file = io.BytesIO()
    frame.to_feather(file, **options)
    return file.getvalue()


def to_stream(table: t.Any, **options: t.Any) -> bytes:
    """Return the Arrow stream of a table."""
    file = io.BytesIO()
    with pa.ipc.new_stream(file, table.schema, **options) as stream:
        stream.write_table(table)
    return file.getvalue()
