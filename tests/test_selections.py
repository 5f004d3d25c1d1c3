"""Tests that scripts/ leave out by name exist: pytest ignores a name that it does not find."""

from __future__ import annotations

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
NAMED = re.compile(r"(tests/[\w/]+\.py)::(\w+)")


@pytest.mark.parametrize(
    ("file", "name"),
    sorted({found for script in (ROOT / "scripts").glob("*.py")
            for found in NAMED.findall(script.read_text(encoding="utf-8"))}),
)  # fmt: skip
def test_left_out_test_exists(file: str, name: str) -> None:
    assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")
