"""The compiled matcher: find the rule for an ordinary path, and leave all other paths to Werkzeug.

A match equals the result of Werkzeug's `MapAdapter.match(return_rule=True)` for an http request on
the map's default subdomain. None means that this module has not decided: the caller must ask
Werkzeug, which finds a redirect, 404, 405, or an unusual match.

A path goes through up to four stages, the fastest first. A stage returns a match only if all later
stages would return the same:

1. The whole path is static: one lookup in a dict.
2. All segments are static, except one dynamic segment (the last or the last but one) or two of
   digits (the last and the last but two): two lookups in dicts, one for the whole path and one for
   its static segments.
3. For each segment, the first fitting transition to a next node leads to the rule: a loop over the
   segments.
4. A search with backtracking, in the order in which Werkzeug tries the transitions.
"""

from __future__ import annotations

import collections.abc as cabc
import re
import typing as t

from werkzeug.routing import Map, MapAdapter, Rule
from werkzeug.routing.matcher import StateMachineMatcher

from .tables import Tables, build_tables, empty_tables
from .tree import CHECK, REGEX, REST, Convert, Edge, Leaf, Node

Hit: t.TypeAlias = "tuple[Rule, dict[str, t.Any]] | None"
Match: t.TypeAlias = cabc.Callable[[str, str], Hit]

# The result of a search that found that Werkzeug must match the path, for example because it
# redirects to the path with a slash.
_STOP: t.Final = (None, ())
_Found: t.TypeAlias = "tuple[Leaf | None, tuple[str, ...]] | None"
_USUAL_METHODS: t.Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}
)

# Methods of Werkzeug that the matcher replaces. If a user overrides or patches one of them,
# Werkzeug must match all paths.
_REPLACED_METHODS: t.Final = (
    (Map, "bind", Map.bind),
    (Map, "bind_to_environ", Map.bind_to_environ),
    (Map, "update", Map.update),
    (MapAdapter, "match", MapAdapter.match),
    (MapAdapter, "get_default_redirect", MapAdapter.get_default_redirect),
    (StateMachineMatcher, "match", StateMachineMatcher.match),
)


def match_nothing(path_info: str, method: str) -> Hit:
    """Return None, so that Werkzeug matches the path. This is the matcher of maps that cannot be
    compiled.
    """
    return None


def compile_matcher(  # noqa: PLR0915 - see PERF below
    url_map: Map, changing: t.ContextManager[t.Any]
) -> Match:
    """Return a matcher for the current rules of `url_map`.

    The lookup tables for an HTTP method are built at the first request with that method.

    The matcher does not notice later changes of the rules: `carboy.core.routing.map` then replaces
    it by a new one.

    Args:
        changing: a lock that the matcher holds while it reads the rules; it must also be held to
            change them.
    """
    if not _is_compilable(url_map):
        return match_nothing
    # Build no tables for an HTTP method that no rule names, because clients can send any word as
    # the method.
    methods = _USUAL_METHODS.union(*(rule.methods or () for rule in url_map._rules))
    tables: dict[str, Tables] = {}

    def prepare(path_info: str, method: str) -> Hit:
        if method not in methods or method != method.upper():
            return None
        with changing:
            if method not in tables:
                url_map.update()
                try:
                    tables[method] = build_tables(url_map, method)
                except (AttributeError, KeyError, TypeError, RecursionError):
                    # Compiling fails if Werkzeug's internals have changed, or for a rule with
                    # hundreds of segments. With empty tables Werkzeug matches, which is slower but
                    # correct.
                    tables[method] = empty_tables()
        return fast_match(path_info, method)

    def fast_match(path_info: str, method: str) -> Hit:  # noqa: PLR0912
        # PERF: `in` and `[]` on a dict take 30 ns together, .get() alone 40, an exception 250. The
        # first two stages of matching are in one function, because each further call takes 20 ns.
        # Each HTTP method has its own tables, so that the method need not be looked up for each
        # rule: with 10,000 routes, each lookup is a miss of the processor's cache.
        if method not in tables:
            return prepare(path_info, method)
        static, more = tables[method]
        if path_info in static:
            return static[path_info], {}
        numbers, texts, inner_numbers, inner_texts, pairs, top = more
        if not path_info.isascii():
            try:
                path = path_info.encode("latin-1").decode(errors="replace")
            except UnicodeEncodeError:
                return None
            return _match_greedily(url_map, top, path, method)
        head, _, tail = path_info.rpartition("/")
        if tail.isdecimal():
            if head in numbers:
                rule, name, convert = numbers[head]
                # Longer numbers are left to the next stage, which catches the ValueError: the most
                # digits that `int` accepts can be configured, but are at least 640.
                if len(tail) <= 640:
                    return rule, {name: convert(tail)}
            elif pairs:
                start, _, word = head.rpartition("/")
                start, _, text = start.rpartition("/")
                if text.isdecimal() and (key := f"{start}//{word}") in pairs:
                    rule, name, second, convert = pairs[key]
                    if len(head) <= 640 >= len(tail):
                        return rule, {name: int(text), second: convert(tail)}
        elif tail and head in texts:
            rule, name, first, check = texts[head]
            if tail not in first:
                if check is None:
                    return rule, {name: tail}
                if check[0](tail):
                    return _converted(rule, name, tail, check[1])
        elif inner_texts or inner_numbers:
            start, _, text = head.rpartition("/")
            key = f"{start}//{tail}"
            if text.isdecimal():
                if key in inner_numbers:
                    rule, name, convert = inner_numbers[key]
                    if len(text) <= 640:
                        return rule, {name: convert(text)}
            elif text and key in inner_texts:
                rule, name, first, check = inner_texts[key]
                if text not in first:
                    if check is None:
                        return rule, {name: text}
                    if check[0](text):
                        return _converted(rule, name, text, check[1])
        return _match_greedily(url_map, top, path_info, method)

    return fast_match


def _is_compilable(url_map: Map) -> bool:
    """Return whether a matcher can be compiled for a map: no method that the matcher replaces is
    overridden, and rules do not match the host.
    """
    for owner, name, original in _REPLACED_METHODS:
        holder = type(url_map) if owner is Map else owner
        if name in vars(url_map) or getattr(holder, name) is not original:
            return False
    return not url_map.host_matching and type(url_map._matcher) is StateMachineMatcher


def _converted(rule: Rule, name: str, text: str, convert: Convert | None) -> Hit:
    try:
        return rule, {name: text if convert is None else convert(text)}
    except Exception:  # noqa: BLE001 - user code; Werkzeug will report it
        return None


def _match_greedily(url_map: Map, top: Node, path: str, method: str) -> Hit:  # noqa: PLR0912
    """Match a path by following the first transition that fits each segment, without backtracking.
    This is the third of the four stages of matching.
    """
    # PERF: this function is not split, because a call within the loop would take 70 ns, as long as
    # handling one segment.
    values: list[t.Any] = []
    node = top
    try:
        for part in path.split("/"):
            if part in node.static:
                node = node.static[part]
            elif (child := node.digits) is not None and part.isdecimal():
                values.append(int(part))
                node = child
            elif (child := node.text) is not None and part:
                values.append(part)
                node = child
            elif (edge := node.check) is not None and part and edge.accepts(part):
                values.append(part)
                node = edge.target
            elif node.rest is not None:
                rest = path[node.offset :] if node.offset else path.split("/", node.depth)[-1]
                # The converter `path` matches the regex `[^/].*?`, in which the dot excludes
                # newlines. A text that this regex does not match is left to the next stage.
                if not rest or rest[0] == "/" or "\n" in rest:
                    return _match_with_backtracking(url_map, top, path, method)
                values.append(rest)
                node = node.rest
                break
            else:
                return _match_with_backtracking(url_map, top, path, method)
    except ValueError:
        # The segment has more digits than `int` accepts, but another transition may accept it as
        # text.
        return _match_with_backtracking(url_map, top, path, method)
    if (end := node.end) is None:
        return _match_with_backtracking(url_map, top, path, method)
    try:
        for i, convert in end.pending:
            values[i] = convert(values[i])
    except Exception:  # noqa: BLE001 - user code; Werkzeug will report it
        return None
    if end.single is not None:
        return end.rule, {end.single: values[0]}
    if end.pair is not None:
        # PERF: creating the dict of two arguments with `{...}` takes 60 ns, with `dict(zip(...))`
        # 250 ns.
        first, second = end.pair
        return end.rule, {first: values[0], second: values[1]}
    return end.rule, dict(zip(end.names, values, strict=False))


def _match_with_backtracking(url_map: Map, top: Node, path: str, method: str) -> Hit:
    """Match a path by trying every transition that Werkzeug would try, with backtracking. This is
    the last of the four stages of matching.
    """
    parts = path.split("/")
    # Werkzeug must match a path with several leading slashes, which it merges, or with none, where
    # it adds one.
    if len(parts) < 2 or parts[0] or (not parts[1] and len(parts) > 2):
        return None
    found = search(top, parts, 0, ())
    if found is None or (leaf := found[0]) is None:
        return None
    return _to_hit(url_map, leaf, found[1], method)


def search(node: Node, parts: list[str], i: int, values: tuple[str, ...]) -> _Found:
    """Return the rule to which the path segments `parts[i:]` lead from a node, and the texts that
    its variables match; None if there is no such rule.

    Transitions are tried in the order of Werkzeug's StateMachineMatcher.
    """
    count = len(parts)
    while i < count:
        part = parts[i]
        if (child := node.static.get(part)) is not None:
            # PERF: if this node has no other transition to try, continue the loop without a
            # recursive call, which would take 60 ns.
            if part and not node.dynamic:
                node, i = child, i + 1
                continue
            if (found := search(child, parts, i + 1, values)) is not None:
                return found
        for edge in node.dynamic:
            if (step := _step(edge, parts, i)) is None:
                continue
            more, after = step
            if after < 0:
                return _STOP
            if part and edge.last:
                node, i, values = edge.target, after, values + more
                break
            if (found := search(edge.target, parts, after, values + more)) is not None:
                return found
        else:
            return _without_slash(node, values) if parts[i:] == [""] else None
    return _end(node, values)


def _step(edge: Edge, parts: list[str], i: int) -> tuple[tuple[str, ...], int] | None:
    """Return the values that a transition takes from the path segments `parts[i:]`, and the index
    of the segment after them.

    None means that the transition does not fit. A negative index means that Werkzeug must match the
    path.
    """
    kind = edge.kind
    if kind <= CHECK:
        return ((parts[i],), i + 1) if edge.accepts(parts[i]) else None
    text = parts[i] if kind == REGEX else "/".join(parts[i:])
    if kind == REST:
        return ((text,), len(parts)) if edge.accepts(text) else None
    try:
        matched = edge.match(text)
    except (re.error, OverflowError, RecursionError):
        return (), -1
    if matched is None:
        return None
    values, slash = matched
    return values, i + 1 if kind == REGEX else len(parts) - slash


def _end(node: Node, values: tuple[str, ...]) -> _Found:
    """Return the rule for a path that ends at this node.

    This may be a rule with an additional trailing slash: `/about/` for the path `/about`.
    """
    if node.leaves:
        return node.leaves[0], values
    if (slashed := node.static.get("")) is not None and slashed.leaves:
        leaf = slashed.leaves[0]
        return _STOP if leaf.rule.strict_slashes else (leaf, values)
    return None


def _without_slash(node: Node, values: tuple[str, ...]) -> _Found:
    """Return the rule without a trailing slash for a path that has one: `/about` for the path
    `/about/`.
    """
    for leaf in node.leaves:
        if not leaf.rule.strict_slashes:
            return leaf, values
    return None


def _to_hit(url_map: Map, leaf: Leaf, values: tuple[str, ...], method: str) -> Hit:
    """Return the rule and the view's arguments, converted from the values in the path.

    Returns None if a conversion fails or the request is redirected, because Werkzeug then raises
    the right exception.
    """
    rule = leaf.rule
    args: dict[str, t.Any] = {}
    try:
        for name, convert, value in zip(leaf.names, leaf.converts, values, strict=False):
            args[name] = value if convert is None else convert(value)
    except Exception:  # noqa: BLE001 - user code; Werkzeug will report it
        return None
    if leaf.plain:
        return rule, args
    if rule.redirect_to is not None:
        return None
    if rule.defaults:
        args.update(rule.defaults)
    if url_map.redirect_defaults and (
        rule.alias or _is_redirected_by_defaults(url_map, leaf, args, method)
    ):
        return None
    return rule, args


def _is_redirected_by_defaults(
    url_map: Map, leaf: Leaf, args: dict[str, t.Any], method: str
) -> bool:
    """Return whether an earlier rule of the same endpoint has these arguments as its `defaults`.

    The URL of that rule is then the canonical URL, to which Werkzeug redirects.
    """
    if not leaf.may_be_redirected:
        return False
    rule = leaf.rule
    for rival in url_map._rules_by_endpoint[rule.endpoint]:
        if rival is rule:
            break
        if rival.provides_defaults_for(rule) and rival.suitable_for(args, method):
            return True
    return False
