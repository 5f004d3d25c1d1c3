"""What docs/_site adds to Sphinx."""

from __future__ import annotations

import docstrings
import navigation


def test_headings_with_lists_of_pages_are_parts_of_the_navigation():
    index = """# Title

## Begin

- [Tutorial](tutorial.md): first
- [Elsewhere](https://example.org/page.md)

## Without a list

Text with a [link](page.md).

## Models

- [Batching](howto/batching.md)
"""
    assert navigation.parts(index) == [
        ("Begin", [("Tutorial", "tutorial")]),
        ("Models", [("Batching", "howto/batching")]),
    ]


def test_examples_of_docstrings_become_literal_blocks():
    written = ["Do it.", "", "    a  b", "    c  d", "", "Then:", "```", "x = 1", "```", "End."]
    assert docstrings.to_restructured(written) == [
        *("Do it.", "", "::", "", "    a  b", "    c  d", ""),
        *("Then:", "", "::", "", "    x = 1", "", "End."),
    ]


def test_asterisks_and_underscores_of_docstrings_are_text_outside_of_code():
    written = ["Pass *args and name_ on, as `f(*args)`.", "Args:", "    kind: image/*, a|b"]
    assert docstrings.to_restructured(written) == [
        r"Pass \*args and name\_ on, as `f(*args)`.",
        "Args:",
        r"    kind: image/\*, a\|b",
    ]
