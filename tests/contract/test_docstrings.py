from __future__ import annotations

import pytest

from carboy.contract.docstrings import read_docstring

WHOLE = """Add a flower
    to the herbarium.

    It gets a number, *the next*.

    Args:
        flower: what was found,
            and where.
        *rest (list of str): others.

    A word between sections.

    Returns:
        The flower
        with its number.
    Raises:
        404: no such flower.
        Conflict: it is there already.
    Example:
        {"name": "iris"}
    ---
    tags: [flowers]
    """


def test_every_part_is_found():
    doc = read_docstring(WHOLE)
    assert doc.summary == "Add a flower to the herbarium."
    assert doc.description == "It gets a number, *the next*.\n\nA word between sections."
    assert doc.arguments == {"flower": "what was found, and where.", "rest": "others."}
    assert doc.returns == "The flower with its number."
    assert doc.raises == {"404": "no such flower.", "Conflict": "it is there already."}
    assert doc.example == {"name": "iris"}
    assert doc.yaml.strip() == "tags: [flowers]"


@pytest.mark.parametrize("text", [None, "", "   \n  "], ids=["none", "empty", "blank"])
def test_missing_docstring_has_empty_parts(text):
    doc = read_docstring(text)
    assert (doc.summary, doc.description, doc.arguments, doc.yaml) == ("", "", {}, "")


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("One.\n\na --- b", "a --- b"),
        ("One.\n\n| a |\n|---|\n| b |", "| a |\n|---|\n| b |"),
        ("One.\n\nNote: not a section.", "Note: not a section."),
    ],
    ids=["dashes in a line", "a table", "a colon"],
)
def test_text_that_resembles_a_section_stays_in_the_description(text, description):
    doc = read_docstring(text)
    assert (doc.description, doc.yaml) == (description, "")


def test_example_that_is_not_json_is_left_out():
    assert read_docstring("One.\n\nExample:\n    f(1)").example is None
