"""Tables of the documentation that are made from the code."""

from __future__ import annotations

import pathlib

import doctables
import pytest

from carboy.config import OWN_KEYS

PAGES = [
    page
    for page in sorted(doctables.DOCS.rglob("*.md"))
    if "<!-- table:" in page.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_table_is_as_the_code_says(page: pathlib.Path):
    text = page.read_text(encoding="utf-8")
    assert text == doctables.renewed(text), "run: python tests/support/doctables.py"


def test_every_table_stands_in_a_page():
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for name in doctables.TABLES:
        assert f"<!-- table: {name} -->" in pages


def test_every_config_key_of_carboy_is_documented():
    pages = "".join(page.read_text(encoding="utf-8") for page in doctables.DOCS.rglob("*.md"))
    assert [name for name in OWN_KEYS if name not in pages] == []
