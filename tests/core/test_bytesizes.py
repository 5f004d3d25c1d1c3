"""Sizes in bytes as people write them."""

from __future__ import annotations

import pytest

from carboy.core.bytesizes import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("64M", 64 * 2**20),
        ("64MiB", 64 * 2**20),
        ("1.5 g", 3 * 2**29),
        ("10kb", 10 * 2**10),
        ("7", 7),
        ("0", 0),
    ],
)
def test_size_is_parsed(text, size_bytes):
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(None, "any size"), (5, "5 bytes"), (1500, "1500 bytes"), (2**20, "1 MiB"), (2**31, "2 GiB")],
)
def test_size_is_written(size_bytes, text):
    assert format_size(size_bytes) == text
