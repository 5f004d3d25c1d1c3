"""The list of threats that carboy is tested against, for docs/security.md.

Each topic has a file in tests/security/ whose docstring describes it, or, if other tests hold all
of it, an entry in tests/security/elsewhere.toml. A docstring looks like this:

    Title: what holds, in one sentence.

    ASVS 5.0: 5.3.2, 5.3.3
    Also tested in: tests/core/test_statics.py, tests/uploads/test_sending.py

The name of a file ends with the first of its items: `test_path_traversal_v5_3_2.py`. A topic
without an item in the Application Security Verification Standard has neither.
"""

from __future__ import annotations

import ast
import pathlib
import re
import tomllib
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "security"
ELSEWHERE = FOLDER / "elsewhere.toml"

_TITLE = re.compile(r"(?P<title>[^:\n]+): (?P<holds>[^\n]+\.)(?:\n|\Z)")
_ITEMS = re.compile(r"^ASVS 5\.0: (.+)$", re.MULTILINE)
_ALSO = re.compile(r"^Also tested in: ((?:.|\n(?!\n))+)", re.MULTILINE)


class Topic(t.NamedTuple):
    """A threat, and the tests that hold it off.

    Attributes:
        title: what it is about, such as "Path traversal".
        holds: what the tests show, as a sentence.
        items: the numbers of the items of ASVS 5.0.
        tests: the paths of the files with the tests, relative to the root of the repository.
    """

    title: str
    holds: str
    items: tuple[str, ...]
    tests: tuple[str, ...]


def topic_files() -> list[pathlib.Path]:
    """Return the files of tests/security/ that have a topic: all but the tests of the list."""
    return sorted(path for path in FOLDER.glob("test_*.py") if path.name != "test_list.py")


def read_file(path: pathlib.Path) -> Topic:
    """Return the topic of a file in tests/security/.

    Raises:
        ValueError: its docstring is not as described above.
    """
    name = path.relative_to(ROOT).as_posix()
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    head = _TITLE.match(doc)
    if head is None:
        raise ValueError(f"{name}: the docstring does not begin with 'Title: what holds.'")
    items, also = _ITEMS.search(doc), _ALSO.search(doc)
    others = _words(also[1]) if also else ()
    holds = head["holds"][0].upper() + head["holds"][1:]
    return Topic(head["title"], holds, _words(items[1]) if items else (), (name, *others))


def _words(text: str) -> tuple[str, ...]:
    return tuple(filter(None, re.split(r"[,\s]+", text)))


def read_topics() -> list[Topic]:
    """Return all topics, in the order of their titles."""
    with ELSEWHERE.open("rb") as file:
        elsewhere = tomllib.load(file)["topic"]
    found = [read_file(path) for path in topic_files()]
    found += [
        Topic(each["title"], each["holds"], tuple(each.get("asvs", ())), tuple(each["tests"]))
        for each in elsewhere
    ]
    return sorted(found, key=lambda topic: topic.title.lower())
