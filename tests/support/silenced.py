"""The findings of security linters in src/ that a comment silences.

`# noqa: S603 - the reason` silences ruff and, as both number their rules alike, bandit. Where only
bandit finds something, `# nosec B105 - the reason` does.
"""

from __future__ import annotations

import functools
import pathlib
import re
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
# ruff's own B are other rules: those of bugbear.
_SILENCED = {"noqa:": "S", "nosec": "B"}
_COMMENT = re.compile(r"# (noqa:|nosec) +((?:[A-Z]+\d+[, ]*)+)(?:(?:-|#) *(.*))?")


class Comment(t.NamedTuple):
    """A comment that silences rules of security on its line."""

    rules: tuple[str, ...]  # as ruff writes them, such as S105
    reason: str


@functools.cache
def comments(path: pathlib.Path) -> dict[int, Comment]:
    """Return the comments of a file by the numbers of their lines."""
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        for how, listed, reason in _COMMENT.findall(line):
            codes = re.findall(rf"\b{_SILENCED[how]}(\d{{3}})\b", listed)
            if codes:
                found[number] = Comment(tuple(f"S{code}" for code in codes), reason.strip())
    return found


def rows() -> list[tuple[str, str, str]]:
    """Return the file, the rules and the reason of each comment; equal ones once."""
    found = {
        (path.relative_to(SRC).as_posix(), ", ".join(comment.rules), comment.reason): None
        for path in sorted(SRC.rglob("*.py"))
        for comment in comments(path).values()
    }
    return list(found)
