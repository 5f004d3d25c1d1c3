"""The lookup tables of the compiled URL matcher, for one HTTP method.

This module decides which paths can be matched by a dict lookup instead of a traversal of the tree
that `tree` builds. An entry must have the same result as a traversal from the root. Static segments
take precedence over dynamic ones. So an entry for a segment of digits is added only if no static
segment in its place consists of digits, and an entry for a segment of other text lists the static
segments, for which it must not be used. All keys are ASCII, and only ASCII paths are looked up.
"""

from __future__ import annotations

import typing as t

from werkzeug.routing import Map, Rule
from werkzeug.routing.matcher import State

from .tree import CHECK, DIGITS, REST, TEXT, Convert, Edge, End, Node, build_tree

if t.TYPE_CHECKING:
    import collections.abc as cabc

# An entry for a dynamic segment that consists of decimal digits: the rule, the name of the view's
# argument, and the function that converts the digits.
Number: t.TypeAlias = tuple[Rule, str, Convert]
# An entry for a dynamic segment of other text: the rule, the argument's name, the static segments
# that take precedence, and a function that tests the text with one that converts it (None if any
# text is accepted unchanged).
Check: t.TypeAlias = "tuple[cabc.Callable[[str], object], Convert | None]"
Text: t.TypeAlias = "tuple[Rule, str, cabc.Container[str], Check | None]"
# An entry for two segments of digits: the rule, the names of both arguments, and the function that
# converts the second segment. The first is converted by `int`.
Pair: t.TypeAlias = tuple[Rule, str, str, Convert]


class _NamedTables(t.NamedTuple):
    """The lookup tables under names, which are only used while the tables are built.

    The keys are paths without their dynamic segments. In `static`, no segment is dynamic. In
    `numbers` and `texts` the last one is. In `inner_numbers` and `inner_texts` the last but one is:
    the key is `/users//edit` for `/users/<int:id>/edit`. In `pairs` the last and the last but two
    are: the key is `/users//posts` for `/users/<int:id>/posts/<int:post>`. `top` is the node at
    which a traversal of the tree begins.
    """

    static: dict[str, Rule]
    numbers: dict[str, Number]
    texts: dict[str, Text]
    inner_numbers: dict[str, Number]
    inner_texts: dict[str, Text]
    pairs: dict[str, Pair]
    top: Node


# The lookup tables for one HTTP method, without the table `static`. That one is kept apart, because
# a path without dynamic segments needs no other table. PERF: a plain tuple is unpacked in 10 ns, a
# named tuple in 60.
_More: t.TypeAlias = (
    "tuple[dict[str, Number], dict[str, Text],"
    " dict[str, Number], dict[str, Text], dict[str, Pair], Node]"
)
Tables: t.TypeAlias = tuple[dict[str, Rule], _More]


def empty_tables() -> Tables:
    return {}, ({}, {}, {}, {}, {}, Node(0, (), (), None))


def build_tables(url_map: Map, method: str) -> Tables:
    """Build all lookup tables for one HTTP method from Werkzeug's current state machine."""
    domain = url_map._matcher._root.static.get(url_map.default_subdomain or "", State())
    top = build_tree(domain, method, url_map._rules_by_endpoint)
    tables = _NamedTables({}, {}, {}, {}, {}, {}, top)
    # Every rule begins with a slash, so the first of its segments is the empty text before the
    # slash.
    if (root := top.static.get("")) is not None:
        _fill(tables, root)
    return tables.static, (*tables[1:],)


def _fill(tables: _NamedTables, root: Node) -> None:
    if (slash := root.static.get("")) is not None:
        # Ignore rules such as `//x`: they never match, because Werkzeug removes the second slash
        # from the path.
        slash.remove_steps()
    waiting = [("", root)]
    while waiting:
        path, node = waiting.pop()
        if not path.isascii():
            continue  # the tables contain only ASCII paths
        node.offset = len(path) + 1
        if node.end is not None:
            tables.static[path] = node.end.rule
        _add_last(path, node, tables)
        _add_inner(path, node, tables)
        waiting += ((f"{path}/{text}", child) for text, child in node.static.items())


def _add_last(path: str, node: Node, tables: _NamedTables) -> None:
    """Add table entries for rules that consist of `path` and one dynamic segment."""
    if (step := _after_digits(node)) is not None:
        child, convert = step
        if (end := child.end) is not None and end.single is not None and not end.pending:
            tables.numbers[path] = end.rule, end.single, convert
    if (edge := _after_text(node)) is not None and (
        text := _text_entry(node, edge, edge.target.end)
    ):
        tables.texts[path] = text


def _add_inner(path: str, node: Node, tables: _NamedTables) -> None:
    """Add table entries for rules such as `path/<name>/edit`.

    These consist of `path`, a dynamic segment, a static segment, and perhaps another dynamic
    segment.
    """
    if (step := _after_digits(node)) is not None:
        child, convert = step
        for word, inner in child.static.items():
            if (end := inner.end) is not None and end.single is not None and not end.pending:
                tables.inner_numbers[f"{path}//{word}"] = end.rule, end.single, convert
            if convert is int and (last := _after_digits(inner)) is not None:
                end = last[0].end
                if end is not None and end.pair is not None and not end.pending:
                    tables.pairs[f"{path}//{word}"] = end.rule, *end.pair, last[1]
    if (edge := _after_text(node)) is not None:
        for word, inner in edge.target.static.items():
            if (text := _text_entry(node, edge, inner.end)) is not None:
                tables.inner_texts[f"{path}//{word}"] = text


def _after_digits(node: Node) -> tuple[Node, Convert] | None:
    """Return the node that a segment of decimal digits leads to, and the function that converts the
    digits.

    Returns None if some digits lead to another node, because a static segment consists of them.
    """
    if any(map(str.isdecimal, node.static)):
        return None
    if node.digits is not None:
        return node.digits, int
    return None if node.text is None else (node.text, str)


def _after_text(node: Node) -> Edge | None:
    """Return the transition from `node` for a segment that is not a number.

    Returns None if there is none, or if it must be matched by a regular expression.
    """
    edge = next((edge for edge in node.dynamic if edge.kind != DIGITS), None)
    return edge if edge is not None and edge.kind in (TEXT, CHECK, REST) else None


def _text_entry(node: Node, edge: Edge, end: End | None) -> Text | None:
    if end is None or end.single is None:
        return None
    convert = end.pending[0][1] if end.pending else None
    check = None if edge.kind == TEXT and convert is None else (edge.accepts, convert)
    return end.rule, end.single, node.static, check
