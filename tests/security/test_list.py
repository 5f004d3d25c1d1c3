"""The list of threats in docs/security.md names files of tests that exist."""

from __future__ import annotations

import pathlib
import re

import pytest
import securitylist


@pytest.mark.parametrize("path", securitylist.topic_files(), ids=lambda path: path.stem)
def test_name_of_a_file_ends_with_the_first_item_of_its_docstring(path: pathlib.Path):
    items = securitylist.read_file(path).items
    ending = f"_v{items[0].replace('.', '_')}" if items else ""
    assert re.fullmatch(rf"test_[a-z_]+{ending}", path.stem), items


def test_linked_files_exist_and_have_tests():
    for topic in securitylist.read_topics():
        for name in topic.tests:
            path = securitylist.ROOT / name
            assert path.is_file(), f"{topic.title}: {name} does not exist"
            text = path.read_text(encoding="utf-8")
            assert re.search(
                r"^(async )?def test_|^from websitecases import|site_cases", text, re.M
            ), name


def test_titles_are_different():
    titles = [topic.title for topic in securitylist.read_topics()]
    assert len(set(titles)) == len(titles)


def test_items_are_numbers_of_the_standard():
    for topic in securitylist.read_topics():
        for item in topic.items:
            assert re.fullmatch(r"\d{1,2}\.\d{1,2}\.\d{1,2}", item), f"{topic.title}: {item}"
