"""Every code block of the README and the documentation is run by a test, or is listed with the
reason why it is not.

A block is text between ``` at the beginning of a line, with the name of its language. Guides are
followed from top to bottom (test_guides.py), and commands (```sh) run alone (test_commands.py).
"""

from __future__ import annotations

import ast
import pathlib
import re

import guides
import pytest

PAGES = [
    guides.ROOT / "README.md",
    guides.ROOT / "CONTRIBUTING.md",
    *sorted(guides.DOCS.rglob("*.md")),
]
# Output, trees of files and pictures made of letters; the directives of docs/reference.
NO_CODE = {"text", "{eval-rst}"}
_FENCE = re.compile(r"^( *)```(.*)$", re.MULTILINE)


def is_run(page: pathlib.Path, block: guides.Block) -> bool:
    """Whether test_guides.py or test_commands.py runs a block."""
    if block.language == "sh":
        return True
    is_followed = page in guides.FOLLOWED or page in guides.followed_elsewhere()
    return is_followed and (block.language in {"python", "console", "js"} or block.file is not None)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_is_run_or_listed(page: pathlib.Path):
    missing = [
        f"{page.name}:{block.line}: ```{block.language}"
        for block in guides.blocks(page)
        if block.language not in NO_CODE
        and not is_run(page, block)
        and not guides.is_listed(page, block)
    ]
    assert missing == [], "run it, or list it in tests/examples/code_blocks.toml"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_has_its_language(page: pathlib.Path):
    text = page.read_text(encoding="utf-8")
    fences = _FENCE.findall(text)
    assert len(fences) % 2 == 0
    for margin, info in fences[::2]:
        assert not margin, f"a block in a list is not found by the tests: ```{info}"
        assert info, "a block without a language; ```text for output"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_block_is_only_indented(page: pathlib.Path):
    """Such a block has no language; lines of a list may be indented."""
    text = page.read_text(encoding="utf-8")
    for block in reversed(guides.blocks(page)):
        text = text.replace(f"\n{block.text}```", "\n```")
    found = re.findall(r"^(?! *[*-] | *\d+\. |  )(.*)\n\n(    .+)$", text, re.MULTILINE)
    assert [line for _, line in found] == []


def test_listed_blocks_are_there_once():
    for each in guides.listed_blocks():
        blocks = guides.blocks(each.page)
        found = [block for block in blocks if guides.is_listed_as(block, each.page, each)]
        assert len(found) == 1, each


def test_listed_blocks_have_a_test_or_a_reason():
    for each in guides.listed_blocks():
        assert bool(each.test) != bool(each.reason), each
        assert not each.test or exists(each.test), each


def test_tests_that_follow_pages_exist():
    for page, test in guides.followed_elsewhere().items():
        assert page.exists(), page
        assert exists(test), test


def exists(test: str) -> bool:
    """Whether the id of a test names a function in a file."""
    file, _, name = test.partition("::")
    tree = ast.parse((guides.ROOT / file).read_text(encoding="utf-8"))
    return name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
