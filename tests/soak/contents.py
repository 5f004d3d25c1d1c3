"""What the served application and its clients both generate, so that no answer needs to be kept."""

from __future__ import annotations

# The content of the file that `/file` sends.
FILE_BYTES = bytes(range(256)) * 4096


def words(number: int, count: int) -> bytes:
    """Return a text of `count` lines, each of which contains the number."""
    return b"".join(b"%d:%d\n" % (number, line) for line in range(count))
