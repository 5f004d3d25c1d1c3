"""Pictures of the documentation are drawn from data, measured, or taken of real pages."""

from __future__ import annotations

import re
import typing as t
from xml.etree import ElementTree as ET

import docpictures
import pytest

from carboy.models.versions.versionstate import NEXT, State, VersionState

PAGES = [
    docpictures.IMAGES.parents[1] / "README.md",
    *sorted(docpictures.IMAGES.parent.rglob("*.md")),
]
# Scripts that make pictures, by the text with which they name them.
MEASURED = docpictures.IMAGES.parents[1] / "bench" / "render.py"
TAKEN = docpictures.IMAGES.parents[1] / "tests" / "support" / "docscreenshots.py"


def shown() -> set[str]:
    """The names of the pictures in pages, which are all in docs/img."""
    found: set[str] = set()
    for page in PAGES:
        for path in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / path).parent.resolve() == docpictures.IMAGES, path
            found.add(path.rpartition("/")[2])
    return found


def test_every_picture_of_a_page_is_made_by_a_script():
    drawn = {f"{name}.svg" for name in docpictures.PICTURES}
    rest = {name for name in shown() - drawn if not is_named(name)}
    assert rest == set()


def is_named(name: str) -> bool:
    stem, _, kind = name.rpartition(".")
    script = {"svg": MEASURED, "png": TAKEN}[kind]
    return f'"{stem}"' in script.read_text(encoding="utf-8")


def test_every_picture_is_shown():
    assert {path.name for path in docpictures.IMAGES.iterdir()} == shown()


@pytest.mark.parametrize("name", docpictures.PICTURES)
def test_picture_is_as_its_data_say(name: str):
    text = (docpictures.IMAGES / f"{name}.svg").read_text(encoding="utf-8")
    assert text == docpictures.svg(docpictures.PICTURES[name]()), (
        "run: python tests/support/docpictures.py"
    )
    assert ET.fromstring(text).tag.endswith("svg")


def test_states_of_the_table_are_those_of_the_type():
    assert set(NEXT) == set(t.get_args(State))
    assert {after for found in NEXT.values() for after in found} <= set(NEXT)


def test_version_takes_only_the_ways_of_the_table():
    for state, found in NEXT.items():
        for after in NEXT:
            version = VersionState("3", state)
            if after in found:
                version.become(after, "a reason")
                assert (version.state, version.reason) == (after, "a reason")
            else:
                with pytest.raises(ValueError, match="cannot become"):
                    version.become(after)
                assert version.state == state
