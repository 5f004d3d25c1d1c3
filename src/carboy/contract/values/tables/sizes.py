"""Check the limits on the size of a table, if possible before the table is built."""

from __future__ import annotations

import typing as t

from ....errors import InputError, InputTooLargeError
from ...valuecounts import count_outside_strings

if t.TYPE_CHECKING:
    from . import TableOptions


def refuse_size(rows: int, columns: int, options: TableOptions, path: str) -> None:
    """Refuse a table that has too many rows, columns or cells: 413."""
    for what, number, limit in (
        ("rows", rows, options.max_rows),
        ("columns", columns, options.max_columns),
        ("cells", rows * columns, options.max_cells),
    ):
        if number > limit:
            raise too_large(path, f"at most {limit:,} {what}", f"{number:,}")


def too_large(path: str, limit: str, got: str) -> InputError:
    return InputTooLargeError.at(
        path, expected=f"a table of {limit}", got=got, hint="Send it in parts."
    )


def refuse_few(rows: int, options: TableOptions, path: str) -> None:
    """Refuse a table that has too few rows: 422."""
    if rows < options.min_rows:
        wanted = f"a table of at least {options.min_rows:,} row{'s' * (options.min_rows > 1)}"
        raise InputError.at(path, expected=wanted, got=f"{rows:,}" if rows else "none")


def refuse_too_many_values(data: bytes, options: TableOptions, path: str) -> None:
    """Refuse JSON that has too many values for a table, before it is decoded: 413.

    Values are counted by commas, because each value except the first of a list or object follows
    one. Decoding `[{},{},...` takes 25 times the memory of the text.
    """
    # How many values a valid body may have: cells, rows, row labels, and names of columns.
    most = options.max_cells + 2 * options.max_rows + options.max_columns
    if data.count(b",") <= most:
        return
    # Strings may contain commas. They are left out of a second count, which is slower but rarely
    # needed.
    found = count_outside_strings(data, b",")
    if found > most:
        raise too_large(path, f"at most {options.max_cells:,} cells", f"at least {found:,} values")
