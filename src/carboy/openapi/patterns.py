"""Generate a text that matches a regular expression, as a sample for schemas with a `pattern`."""

from __future__ import annotations

import re
import typing as t
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]

_CATEGORIES: dict[t.Any, str] = {
    codes.CATEGORY_DIGIT: "0",
    codes.CATEGORY_NOT_DIGIT: "a",
    codes.CATEGORY_SPACE: " ",
    codes.CATEGORY_NOT_SPACE: "a",
    codes.CATEGORY_WORD: "a",
    codes.CATEGORY_NOT_WORD: " ",
}
# Characters to try for a negated set such as `[^a-z]`: the first one that the set allows is used.
_CANDIDATES = "a0A _-.,:;/!#é中"


def matching(pattern: str, least: int = 0) -> str:
    """Return a text that matches a pattern; "text" if this module cannot generate one.

    Args:
        pattern: a regular expression in Python's syntax.
        least: the minimum length of the text; parts such as `a*` are repeated until it is reached.
    """
    text = "text"
    try:
        parsed = parser.parse(pattern)
        for repeats in range(max(least, 1) + 1):
            text = "".join(_text_of(op, argument, repeats) for op, argument in parsed)
            if len(text) >= max(least, 1) and re.search(pattern, text):
                return text
    except (re.error, KeyError, NotImplementedError):
        pass
    return text if len(text) >= least else "text".ljust(least, "x")


def _text_of(op: t.Any, argument: t.Any, repeats: int) -> str:
    """Return a text that matches one part of a parsed pattern.

    Args:
        op: what the part is, by the opcode of Python's regex parser, such as LITERAL.
        argument: the argument of the opcode: a character, a set, or inner parts.
        repeats: how often to repeat a part that may be repeated (`a*`).
    """
    if op is codes.LITERAL:
        return chr(argument)
    if op is codes.NOT_LITERAL:
        return next(each for each in _CANDIDATES if ord(each) != argument)
    if op is codes.ANY:
        return "a"
    if op is codes.AT:
        return ""
    if op is codes.IN:
        return _of_set(argument)
    if op is codes.BRANCH:
        return _join(argument[1][0], repeats)
    if op is codes.SUBPATTERN:
        return _join(argument[3], repeats)
    if op in {codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT}:
        low, high, inner = argument
        count: int = max(low, min(int(high), repeats))
        return _join(inner, repeats) * count
    raise NotImplementedError(op)


def _join(parts: t.Any, repeats: int) -> str:
    return "".join(_text_of(op, argument, repeats) for op, argument in parts)


def _of_set(members: t.Any) -> str:
    if members[0][0] is codes.NEGATE:
        negated = re.compile("|".join(map(_source_of, members[1:])))
        for each in _CANDIDATES:
            if not negated.match(each):
                return each
        raise NotImplementedError(members)
    op, argument = members[0]
    if op is codes.RANGE:
        return chr(argument[0])
    return _CATEGORIES[argument] if op is codes.CATEGORY else chr(argument)


def _source_of(member: tuple[t.Any, t.Any]) -> str:
    """Return a pattern that matches one member of a character set, such as `[a-z]` for the `a-z` of
    `[^a-z_]`.
    """
    op, argument = member
    if op is codes.RANGE:
        return f"[{re.escape(chr(argument[0]))}-{re.escape(chr(argument[1]))}]"
    if op is codes.CATEGORY:
        return CATEGORY_SOURCES[argument]
    return re.escape(chr(argument))


#: The patterns of the categories of characters.
CATEGORY_SOURCES = {
    codes.CATEGORY_DIGIT: r"\d",
    codes.CATEGORY_NOT_DIGIT: r"\D",
    codes.CATEGORY_SPACE: r"\s",
    codes.CATEGORY_NOT_SPACE: r"\S",
    codes.CATEGORY_WORD: r"\w",
    codes.CATEGORY_NOT_WORD: r"\W",
}
