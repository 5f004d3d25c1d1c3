"""All regular expressions in a folder of source code, and texts on which they could take long.

A regular expression takes more than linear time if it can divide one text in several ways among
two repetitions, and the text does not match in the end. So each repetition of a pattern gets a text
in which its content stands very often, with what must stand before it, and an end that fails.
"""

from __future__ import annotations

import ast
import pathlib
import re
import typing as t
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]

_FUNCTIONS = {"match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer"}
# The characters that are tried where a pattern takes any of several.
_CANDIDATES = "a0 \t\"'\\,;:=/.<>()[]{}%&-_+\n\r#@!?*|~^$`Zé\u2028\x00"


class Found(t.NamedTuple):
    """A regular expression in the source code.

    Attributes:
        where: the file and the line.
        pattern: the pattern, as text; bytes are read as Latin-1.
        flags: the flags of the module `re`.
        how: the function that uses it; "match" and "search" if it is compiled.
    """

    where: str
    pattern: str
    flags: int
    how: str


def find_literal(root: pathlib.Path) -> t.Iterator[tuple[str, ast.Call]]:
    """Yield each call of a function of the module `re` with a pattern, and where it is."""
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "re"
                and node.func.attr in {"compile", *_FUNCTIONS}
                and node.args
            ):
                yield f"{path.relative_to(root)}:{node.lineno}", node


def hostile_texts(pattern: str, flags: int, repeats: int) -> t.Iterator[str]:
    """Yield texts for each repetition of a pattern: a start that fits, what the repetition takes,
    `repeats` times, and an end that does not fit.
    """
    tree = parser.parse(pattern, flags)
    for before, content in _repetitions(tree, ""):
        for pump in _samples(content):
            if pump:
                for end in ("", "\x00", "!", "\n", pump[:1] + "\x00"):
                    yield before + pump * repeats + end


def _repetitions(tree: t.Any, before: str) -> t.Iterator[tuple[str, t.Any]]:
    """Yield the content of each repetition without a small limit, and a text that leads to it."""
    for code, value in tree:
        for inner in _inner(code, value):
            yield from _repetitions(inner, before)
        if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT) and value[1] > 50:
            yield before, value[2]
        before += next(iter(_samples([(code, value)])), "")


def _inner(code: t.Any, value: t.Any) -> list[t.Any]:
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
        return [value[2]]
    if code is codes.SUBPATTERN:
        return [value[3]]
    if code is codes.BRANCH:
        return list(value[1])
    if code in (codes.ASSERT, codes.ASSERT_NOT):
        return [value[1]]
    return [value] if code is codes.ATOMIC_GROUP else []


def _samples(tree: t.Any) -> list[str]:
    """Return a few texts that a part of a pattern matches."""
    found = [""]
    for code, value in tree:
        options = _options(code, value)
        found = [start + end for start in found[:6] for end in options[:6]]
    return list(dict.fromkeys(found))[:12]


def _options(code: t.Any, value: t.Any) -> list[str]:
    if code is codes.LITERAL:
        return [chr(value)]
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
        low, high, content = value
        once = _samples(content)
        return [each * max(low, min(1, high)) for each in once]
    if code is codes.SUBPATTERN:
        return _samples(value[3])
    if code is codes.ATOMIC_GROUP:
        return _samples(value)
    if code is codes.BRANCH:
        return [each for branch in value[1] for each in _samples(branch)[:3]]
    if code in (codes.IN, codes.NOT_LITERAL, codes.ANY):
        one = re.compile(_written(code, value), re.DOTALL)
        return [each for each in _CANDIDATES if one.fullmatch(each)] or ["a"]
    return [""]


def _written(code: t.Any, value: t.Any) -> str:
    """Return a pattern for one character of a parsed set."""
    if code is codes.ANY:
        return "."
    if code is codes.NOT_LITERAL:
        return f"[^{re.escape(chr(value))}]"
    parts = []
    for kind, each in value:
        if kind is codes.NEGATE:
            parts.insert(0, "^")
        elif kind is codes.LITERAL:
            parts.append(re.escape(chr(each)))
        elif kind is codes.RANGE:
            parts.append(f"{re.escape(chr(each[0]))}-{re.escape(chr(each[1]))}")
        elif kind is codes.CATEGORY:
            parts.append(_CATEGORIES[each])
    return f"[{''.join(parts)}]"


_CATEGORIES = {
    codes.CATEGORY_DIGIT: r"\d",
    codes.CATEGORY_NOT_DIGIT: r"\D",
    codes.CATEGORY_SPACE: r"\s",
    codes.CATEGORY_NOT_SPACE: r"\S",
    codes.CATEGORY_WORD: r"\w",
    codes.CATEGORY_NOT_WORD: r"\W",
}
