"""The lookup tables of the compiled URL matcher, for one HTTP method.

This module decides which paths can be matched by a dict lookup instead of a traversal of the tree.
An entry must equal what a traversal from the root would find. An entry for digits is therefore
added only if no static segment consists of digits, and an entry for text lists the static segments,
which take precedence. Keys are ASCII, and are looked up with ASCII paths only.
"""

from __future__ import annotations

import typing as t

from werkzeug.routing import Map, Rule
from werkzeug.routing.matcher import State

from .tree import CHECK, DIGITS, REST, TEXT, Convert, Edge, End, Node, build_tree

if t.TYPE_CHECKING:
    import collections.abc as cabc

# The entry for a segment of decimal digits: rule, argument name, conversion.
Number: t.TypeAlias = tuple[Rule, str, Convert]
# The entry for a segment of other text: rule, argument name, the static segments that take
# precedence, and a test with a conversion (None if any text is accepted unchanged).
Check: t.TypeAlias = "tuple[cabc.Callable[[str], object], Convert | None]"
Text: t.TypeAlias = "tuple[Rule, str, cabc.Container[str], Check | None]"
# The entry for two segments of digits: rule, both argument names, and the conversion of the second.
Pair: t.TypeAlias = tuple[Rule, str, str, Convert]


class _NamedTables(t.NamedTuple):
    """The lookup tables while they are built.

    `static` is keyed by the whole path, `numbers` and `texts` by all segments but the last. The
    other tables leave the dynamic segment out of the key: `/users//edit` for
    `/users/<int:id>/edit`. In `inner_numbers` and `inner_texts` that segment is the last but one;
    in `pairs` it is the last but two, and the last segment is dynamic too. `top` is the node at
    which a traversal of the tree begins.
    """

    static: dict[str, Rule]
    numbers: dict[str, Number]
    texts: dict[str, Text]
    inner_numbers: dict[str, Number]
    inner_texts: dict[str, Text]
    pairs: dict[str, Pair]
    top: Node


# PERF: a plain tuple is unpacked in 10 ns, a named tuple in 60. Static paths need only `static`,
# which is not in this tuple.
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
    # Every rule begins with a slash, so its first segment is empty.
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
            continue  # the tables are for ASCII paths, which need no decoding
        node.offset = len(path) + 1
        if node.end is not None:
            tables.static[path] = node.end.rule
        _add_last(path, node, tables)
        _add_inner(path, node, tables)
        waiting += ((f"{path}/{text}", child) for text, child in node.static.items())


def _add_last(path: str, node: Node, tables: _NamedTables) -> None:
    """Add an entry for each rule that is `path` followed by one dynamic segment."""
    if (step := _after_digits(node)) is not None:
        child, convert = step
        if (end := child.end) is not None and end.single is not None and not end.pending:
            tables.numbers[path] = end.rule, end.single, convert
    if (edge := _after_text(node)) is not None and (
        text := _text_entry(node, edge, edge.target.end)
    ):
        tables.texts[path] = text


def _add_inner(path: str, node: Node, tables: _NamedTables) -> None:
    """Add an entry for each rule that is `path`, a dynamic segment, a static one, and maybe a
    dynamic one.
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
    """Return the node after a segment of decimal digits, and the conversion of the digits.

    Returns None if a static segment consists of digits and would lead to another node.
    """
    if any(map(str.isdecimal, node.static)):
        return None
    if node.digits is not None:
        return node.digits, int
    return None if node.text is None else (node.text, str)


def _after_text(node: Node) -> Edge | None:
    """Return the transition from `node` for a URL segment that is not a number; None if the
    transition needs a regular expression.
    """
    edge = next((edge for edge in node.dynamic if edge.kind != DIGITS), None)
    return edge if edge is not None and edge.kind in (TEXT, CHECK, REST) else None


def _text_entry(node: Node, edge: Edge, end: End | None) -> Text | None:
    if end is None or end.single is None:
        return None
    convert = end.pending[0][1] if end.pending else None
    check = None if edge.kind == TEXT and convert is None else (edge.accepts, convert)
    return end.rule, end.single, node.static, check
