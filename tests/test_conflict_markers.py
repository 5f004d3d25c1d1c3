"""No file of the repository has the lines that git writes into a file with a merge conflict."""

from __future__ import annotations

import os
import pathlib
import re
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Made by tools, and not in the repository; so are folders whose name begins with a dot.
MADE = {"__pycache__", "node_modules", "dist", "build", "instance"}
# The line of seven equals signs between the two sides is left out: it may underline a heading.
MARKER = re.compile(rb"^(?:<{7}|>{7}|\|{7})(?: .*)?$", re.MULTILINE)


def files() -> t.Iterator[pathlib.Path]:
    # Not `git ls-files`: the tests also run where git is not installed.
    for folder, below, names in os.walk(ROOT):
        below[:] = filter(belongs, below)
        yield from (pathlib.Path(folder, name) for name in names)


def belongs(folder: str) -> bool:
    return folder == ".ci" or not (folder.startswith(".") or folder in MADE)


def lines_with_markers(content: bytes) -> list[int]:
    return [content.count(b"\n", 0, match.start()) + 1 for match in MARKER.finditer(content)]


def test_no_file_has_conflict_markers():
    found = {
        path.relative_to(ROOT).as_posix(): lines
        for path in files()
        if path.is_file() and (lines := lines_with_markers(path.read_bytes()))
    }
    assert not found, f"lines left over from a merge: {found}"


def test_each_kind_of_marker_is_found():
    signs = ("<", "|", "=", ">")
    merged = "".join(f"{sign * 7} side\ntext\n" for sign in signs).encode()
    assert lines_with_markers(merged) == [1, 3, 7]
    assert not lines_with_markers(b"Heading\n=======\n a <<<<<<< b\n")
