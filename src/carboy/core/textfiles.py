"""Read text files of a project that may be missing, large, or not text at all."""

from __future__ import annotations

import os

# A larger file is not one that people write.
_MAX_BYTES = 1024 * 1024


def read_text(path: str) -> str:
    """Return the text of a file; "" if it cannot be read, is large, or is not text."""
    if not os.path.isfile(path):  # opening a pipe would wait for its writer
        return ""
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
        return data.decode("utf-8") if len(data) <= _MAX_BYTES else ""
    except (OSError, UnicodeDecodeError):
        return ""
