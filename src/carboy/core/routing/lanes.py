"""The tables of the compiled matcher, for one method.

Decides which answers need no walk. Each table says what a walk from the root would find, so none
may hold a key that the walk reads otherwise: in front of digits no static segment is decimal, and
in front of other texts the static segments are asked first. Keys are ASCII, as the path then is.
"""

from __future__ import annotations

import typing as t

from werkzeug.routing import Map, Rule
from werkzeug.routing.matcher import State

from .tree import CHECK, DIGITS, REST, TEXT, Convert, Edge, End, Node, grow

if t.TYPE_CHECKING:
    import collections.abc as cabc

# For decimal digits: rule, argument, conversion.
Number: t.TypeAlias = tuple[Rule, str, Convert]
# For other texts: rule, argument, the static segments that come before it, and unless any text
# will do as it is: the test and the conversion.
Check: t.TypeAlias = "tuple[cabc.Callable[[str], object], Convert | None]"
Text: t.TypeAlias = "tuple[Rule, str, cabc.Container[str], Check | None]"
# For digits twice: rule, both arguments, and the conversion of the second.
Pair: t.TypeAlias = tuple[Rule, str, str, Convert]


class _Tables(t.NamedTuple):
    """`static` is by path, `numbers` and `texts` by all but the last segment.

    The others leave the dynamic segment out, `/users//edit` for `/users/<int:id>/edit`: of
    `inner_*` it is the last but one, of `pairs` the last but two, and the last is one more.
    `top` is where a walk begins.
    """

    static: dict[str, Rule]
    numbers: dict[str, Number]
    texts: dict[str, Text]
    inner_numbers: dict[str, Number]
    inner_texts: dict[str, Text]
    pairs: dict[str, Pair]
    top: Node


# PERF: a plain tuple is unpacked in 10 ns, a named one in 60. Lane 1 asks for the first alone.
_More: t.TypeAlias = (
    "tuple[dict[str, Number], dict[str, Text],"
    " dict[str, Number], dict[str, Text], dict[str, Pair], Node]"
)
Lanes: t.TypeAlias = tuple[dict[str, Rule], _More]


def empty_lanes() -> Lanes:
    return {}, ({}, {}, {}, {}, {}, Node(0, (), (), None))


def build_lanes(url_map: Map, method: str) -> Lanes:
    """All lanes for one method, from Werkzeug's tree as it is now."""
    domain = url_map._matcher._root.static.get(url_map.default_subdomain or "", State())
    top = grow(domain, method, url_map._rules_by_endpoint)
    tables = _Tables({}, {}, {}, {}, {}, {}, top)
    # Every rule begins with a slash, so an empty segment comes first.
    if (root := top.static.get("")) is not None:
        _fill(tables, root)
    return tables.static, (*tables[1:],)


def _fill(tables: _Tables, root: Node) -> None:
    if (slash := root.static.get("")) is not None:
        # A rule for `//x` is never reached: Werkzeug strips the second slash from the path.
        slash.cut()
    waiting = [("", root)]
    while waiting:
        path, node = waiting.pop()
        if not path.isascii():
            continue  # found only when decoded
        node.offset = len(path) + 1
        if node.end is not None:
            tables.static[path] = node.end.rule
        _add_last(path, node, tables)
        _add_inner(path, node, tables)
        waiting += ((f"{path}/{text}", child) for text, child in node.static.items())


def _add_last(path: str, node: Node, tables: _Tables) -> None:
    """The paths with one segment more than `path`."""
    if (step := _on_decimals(node)) is not None:
        child, convert = step
        if (end := child.end) is not None and end.single is not None and not end.late:
            tables.numbers[path] = end.rule, end.single, convert
    if (edge := _on_others(node)) is not None and (text := _text(node, edge, edge.target.end)):
        tables.texts[path] = text


def _add_inner(path: str, node: Node, tables: _Tables) -> None:
    """The paths with a dynamic segment more, a static one, and for pairs a dynamic one again."""
    if (step := _on_decimals(node)) is not None:
        child, convert = step
        for word, inner in child.static.items():
            if (end := inner.end) is not None and end.single is not None and not end.late:
                tables.inner_numbers[f"{path}//{word}"] = end.rule, end.single, convert
            if convert is int and (last := _on_decimals(inner)) is not None:
                end = last[0].end
                if end is not None and end.pair is not None and not end.late:
                    tables.pairs[f"{path}//{word}"] = end.rule, *end.pair, last[1]
    if (edge := _on_others(node)) is not None:
        for word, inner in edge.target.static.items():
            if (text := _text(node, edge, inner.end)) is not None:
                tables.inner_texts[f"{path}//{word}"] = text


def _on_decimals(node: Node) -> tuple[Node, Convert] | None:
    """Where any decimal digits lead from `node`, if always to the same."""
    if any(map(str.isdecimal, node.static)):
        return None
    if node.digits is not None:
        return node.digits, int
    return None if node.text is None else (node.text, str)


def _on_others(node: Node) -> Edge | None:
    """The first step that may take another text than digits."""
    edge = next((edge for edge in node.dynamic if edge.kind != DIGITS), None)
    return edge if edge is not None and edge.kind in (TEXT, CHECK, REST) else None


def _text(node: Node, edge: Edge, end: End | None) -> Text | None:
    if end is None or end.single is None:
        return None
    convert = end.late[0][1] if end.late else None
    check = None if edge.kind == TEXT and convert is None else (edge.accepts, convert)
    return end.rule, end.single, node.static, check
