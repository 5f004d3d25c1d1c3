"""Read and show sizes in bytes as people write them: `64M`, `1.5 GiB`, `1000`."""

from __future__ import annotations

import re

# The limit where there is none: larger than any body, so that limits can be compared.
NO_LIMIT_BYTES = 2**62

_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def parse_size(text: str) -> int:
    """Convert a text such as `64M`, `1.5 GiB` or `1000` to a number of bytes.

    Raises:
        ValueError: the text is not a size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?\s*", text.lower())
    if match is None:
        raise ValueError
    return int(float(match[1]) * _UNITS[match[2]])


def format_size(size_bytes: int | None) -> str:
    """Return a number of bytes as a text such as "64 MiB"; None, for no limit, is "any size"."""
    if size_bytes is None:
        return "any size"
    for unit in ("bytes", "KiB", "MiB"):
        if size_bytes < 1024 or size_bytes % 1024:
            return f"{size_bytes} {unit}"
        size_bytes //= 1024
    return f"{size_bytes} GiB"


def body_too_large(length_bytes: int | None, limit_bytes: int | None, receiver: str) -> str:
    """Return the message of a 413 response to a request whose body is too large.

    Args:
        length_bytes: the length of the body in the header Content-Length; None without this header.
        limit_bytes: the largest length that is accepted.
        receiver: what refuses the body, in words for the message, such as "this server".
    """
    limit = format_size(limit_bytes)
    if length_bytes is None:
        return f"The body exceeds the {limit} that {receiver} takes."
    return f"The body has {length_bytes} bytes, which exceeds the {limit} that {receiver} takes."
