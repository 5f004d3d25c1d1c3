"""All regular expressions in a folder of source code, and texts on which they could take long.

A regular expression takes more than linear time if it can divide one text in several ways among
two repetitions, and the text does not match in the end. So each repetition of a pattern gets a text
in which its content stands very often, with what must stand before it, and an end that fails.
"""

from __future__ import annotations

import ast
import importlib
import pathlib
import re
import typing as t
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]

from carboy.openapi.patterns import CATEGORY_SOURCES

_FUNCTIONS = {"match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer"}
# The characters that are tried where a pattern takes any of several.
_CANDIDATES = "a0 \t\"'\\,;:=/.<>()[]{}%&-_+\n\r#@!?*|~^$`Zé\u2028\x00"


class Found(t.NamedTuple):
    """A call of a function of the module `re` in the source code.

    Attributes:
        where: the file and the line.
        source: the call as it is written.
        pattern: the compiled pattern; None if only the running program knows it.
    """

    where: str
    source: str
    pattern: re.Pattern[t.Any] | None


def find_patterns(root: pathlib.Path) -> t.Iterator[Found]:
    """Yield each regular expression in a package."""
    for path in sorted(root.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {
            id(node.value): target.id
            for node in tree.body
            if isinstance(node, (ast.Assign, ast.AnnAssign))
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and _is_of_re(node.func) and node.args):
                continue
            module = ".".join(path.relative_to(root.parent).with_suffix("").parts)
            where = f"{path.relative_to(root)}:{node.lineno}"
            yield Found(where, ast.unparse(node), _compiled(node, module, names.get(id(node), "")))


def _is_of_re(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id == "re"
        and function.attr in {"compile", *_FUNCTIONS}
    )


def _compiled(call: ast.Call, module: str, name: str) -> re.Pattern[t.Any] | None:
    """Return the pattern of a call: from its constants, or from the module's attribute that has
    it.
    """
    pattern = call.args[0]
    if isinstance(pattern, ast.Constant):
        flags = [each for each in ast.walk(call) if _is_flag(each)]
        names = [t.cast("ast.Attribute", each).attr for each in flags]
        return re.compile(pattern.value, sum(getattr(re, each) for each in names))
    found = getattr(importlib.import_module(module), name, None) if name else None
    return found if isinstance(found, re.Pattern) else None


def _is_flag(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr.isupper() and hasattr(re, node.attr)


def hostile_texts(pattern: re.Pattern[t.Any], repeats: int) -> t.Iterator[t.Any]:
    """Yield texts, or bytes, for each repetition of a pattern: a start that fits, what the
    repetition takes, `repeats` times, and an end that does not fit.
    """
    is_bytes = isinstance(pattern.pattern, bytes)
    source = pattern.pattern.decode("latin-1") if is_bytes else pattern.pattern
    tree = parser.parse(source, pattern.flags & ~re.UNICODE)
    for before, content in _repetitions(tree, ""):
        for pump in filter(None, _samples(content)[:6]):
            for end in ("\x00", "\n", pump[:1] + "\x00"):
                text = before + pump * repeats + end
                yield text.encode("latin-1", "replace") if is_bytes else text


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
            parts.append(CATEGORY_SOURCES[each])
    return f"[{''.join(parts)}]"
