"""Turn Werkzeug's tree of states into nodes that are quick to walk.

Decides what each transition accepts and how each rule's values are converted; the order in which
things are tried is Werkzeug's own, taken over as it stands. The walk itself is in `matcher`.

Rules of this file: a transition is recognised by the text of its regular expression, never by the
class of a converter, so that a converter with its own regex cannot be mistaken for a built-in one;
a conversion is recognised by the function that Werkzeug would call.
"""

from __future__ import annotations

import collections.abc as cabc
import re
import sys
import typing as t

from werkzeug.routing import BaseConverter, FloatConverter, IntegerConverter, Rule, UUIDConverter
from werkzeug.routing.converters import NumberConverter

if t.TYPE_CHECKING:
    from werkzeug.routing.matcher import State
    from werkzeug.routing.rules import RulePart

# What a transition asks of a segment. The two commonest need no call into another object.
TEXT = 0  # one character or more: `<name>`
DIGITS = 1  # decimal digits of any script: `<int:id>`
CHECK = 2  # `accepts(segment)` is true, the whole segment is the value
REST = 3  # `accepts(rest of the path)` is true, all of it is the value: `<path:p>`
REGEX = 4  # anything else, by the regular expression on one segment
REST_REGEX = 5  # anything else, by the regular expression on the rest of the path

Convert: t.TypeAlias = cabc.Callable[[t.Any], t.Any]
# The kinds of the dynamic steps so far; None after one that may hold several values.
Way: t.TypeAlias = "tuple[int, ...] | None"
_Groups: t.TypeAlias = cabc.Callable[[str], "tuple[tuple[str, ...], str | None] | None"]

# Taken at import, so that a later replacement on Werkzeug's class is seen as a stranger.
_IDENTITY = BaseConverter.to_python
_NUMBER = NumberConverter.to_python

_TEXT_RE = re.compile(r"\[\^/\]\{(\d+),?(\d*)\}")
# `any` of words, as re.escape writes them; a backslash before a letter would be a class.
_WORDS_RE = re.compile(r"\(\?:(?:\w|\\[^\w|\n])+(?:\|(?:\w|\\[^\w|\n])+)*\)")
_UUID = UUIDConverter.regex
# Where `re` refuses to count; such a regex must raise as it does in Werkzeug.
_LONGEST = 2**32 - 1
_PLAIN_NUMBERS = {"fixed_digits": 0, "min": None, "max": None}


class Leaf:
    """A rule that can end a search, and how its values become arguments.

    `plain` says that a match is the answer: no default to add, and no redirect to consider.
    `contested` says that another rule of the endpoint may claim the match by its defaults.
    """

    __slots__ = ("contested", "converts", "names", "plain", "rule")

    def __init__(self, rule: Rule, *, contested: bool) -> None:
        self.rule = rule
        # PERF: Werkzeug's names are new strings for each rule, one cache miss more per match; and
        # a call by keywords compares interned names by identity.
        self.names = tuple(map(sys.intern, rule._converters))
        self.converts = tuple(_conversion(conv) for conv in rule._converters.values())
        self.contested = contested
        self.plain = not (rule.defaults or rule.alias or contested or rule.redirect_to is not None)


class End:
    """The rule that is the answer when a short way ends here.

    Digits have become numbers on the way; `late` are the conversions that remain. `single` is the
    name of the only argument, `pair` those of two.
    """

    __slots__ = ("late", "names", "pair", "rule", "single")

    def __init__(self, leaf: Leaf, way: tuple[int, ...]) -> None:
        self.rule = leaf.rule
        self.names = leaf.names
        self.late = tuple(
            (i, convert)
            for i, convert in enumerate(leaf.converts)
            if convert is not None and way[i] != DIGITS
        )
        self.single = leaf.names[0] if len(leaf.names) == 1 else None
        self.pair = leaf.names if len(leaf.names) == 2 else None


class Node:
    """What is known after some segments: the steps from here, and the rules that end here.

    `static`, `dynamic` and `leaves` are complete. The rest says the same once more for the first
    things that Werkzeug would try: `digits`, `text`, `check` and `rest` are dynamic steps with
    nothing else before them, `end` is the first rule. `depth` counts the segments so far, `offset`
    the characters and slashes; 0 where that depends.
    """

    __slots__ = (
        *("check", "depth", "digits", "dynamic", "end"),
        *("leaves", "offset", "rest", "static", "text"),
    )

    def __init__(
        self, depth: int, dynamic: tuple[Edge, ...], leaves: tuple[Leaf, ...], way: Way
    ) -> None:
        self.depth = depth
        self.offset = 0
        # PERF: one empty dict for all stays in the processor's cache.
        self.static = _NOWHERE
        self.dynamic = dynamic
        self.leaves = leaves
        self.end = _end(leaves, way)
        kinds = [edge.kind for edge in dynamic[:2]] + [-1, -1]
        self.digits = dynamic[0].target if kinds[0] == DIGITS else None
        self.check = dynamic[0] if kinds[0] == CHECK else None
        self.rest = dynamic[0].target if kinds[0] == REST else None
        self.text = None
        if TEXT in (kinds[0], kinds[self.digits is not None]):
            self.text = dynamic[kinds.index(TEXT)].target

    def leads_nowhere(self) -> bool:
        return not (self.static or self.dynamic or self.leaves)

    def cut(self) -> None:
        """Let no step be made from here; a rule with one slash more may still serve without it."""
        slashed = self.static.get("")
        self.__init__(self.depth, (), self.leaves, ())  # type: ignore[misc]
        if slashed is not None:
            self.static = {"": Node(self.depth + 1, (), slashed.leaves, None)}


_NOWHERE: dict[str, Node] = {}


class Edge:
    """One dynamic step. `last` says that no other is tried after it."""

    __slots__ = ("_groups", "_part", "accepts", "kind", "last", "target")

    def __init__(
        self,
        part: RulePart,
        kind: int,
        accepts: cabc.Callable[[str], object],
        target: Node,
    ) -> None:
        self._part = part
        self._groups: _Groups | None = None
        self.kind = kind
        self.accepts = accepts
        self.target = target
        self.last = False

    def take(self, text: str) -> tuple[tuple[str, ...], bool] | None:
        """The values in `text`, and whether a slash was left over; None without a match.

        Raises:
            re.error, OverflowError, RecursionError: the converter's regex cannot be compiled.
        """
        # Compiled at first use: a regex costs some 200 us, and a process of a large application
        # may never be asked for most of its routes.
        if (groups := self._groups) is None:
            groups = self._groups = _groups(self._part.content)
        found = groups(text)
        if found is None:
            return None
        values, last_group = found
        return values, self._part.suffixed and last_group == "/"


def grow(state: State, method: str, by_endpoint: cabc.Mapping[t.Any, list[Rule]]) -> Node:
    """Build the nodes for `state`, where a path begins, and all that follows it.

    Only for one method: a rule that does not serve it changes no search, not even by asking for a
    slash.
    """
    shapes: dict[tuple[str, ...], tuple[str, ...]] = {}
    claimed = {end for end, rules in by_endpoint.items() if any(map(_may_claim, rules))}

    def leaf_of(rule: Rule) -> Leaf:
        end = rule.endpoint
        # Only rules in front of it can claim what it matches.
        leaf = Leaf(rule, contested=end in claimed and by_endpoint[end][0] is not rule)
        leaf.names = shapes.setdefault(leaf.names, leaf.names)
        return leaf

    def edges_of(state: State, depth: int, way: Way) -> cabc.Iterator[Edge]:
        for part, follower in state.dynamic:
            kind, accepts = _recognise(part)
            further = None if way is None or kind in (REGEX, REST_REGEX) else (*way, kind)
            target = node_of(follower, depth + 1, further)
            # NOTE: a regex that cannot be compiled raises in Werkzeug, whoever is behind it.
            if kind in (REGEX, REST_REGEX) or not target.leads_nowhere():
                yield Edge(part, kind, accepts, target)

    def node_of(state: State, depth: int, way: Way) -> Node:
        dynamic = tuple(edges_of(state, depth, way))
        if dynamic:
            dynamic[-1].last = True
        leaves = tuple(
            leaf_of(rule)
            for rule in state.rules
            if not rule.websocket and (rule.methods is None or method in rule.methods)
        )
        node = Node(depth, dynamic, leaves, way)
        static = {
            # PERF: `edit` is one string for all its nodes, not one cache miss for each.
            sys.intern(text): target
            for text, follower in state.static.items()
            if not (target := node_of(follower, depth + 1, way)).leads_nowhere()
        }
        if static:
            node.static = static
        return node

    return node_of(state, 0, ())


def _may_claim(rule: Rule) -> bool:
    return bool(rule.defaults) or type(rule).provides_defaults_for is not Rule.provides_defaults_for


def _end(leaves: tuple[Leaf, ...], way: Way) -> End | None:
    """The first rule, if nothing but the values on the way is needed for the answer."""
    if not leaves or way is None:
        return None
    leaf = leaves[0]
    return End(leaf, way) if leaf.plain and _converts_on(way, leaf.converts) else None


def _converts_on(way: tuple[int, ...], converts: tuple[Convert | None, ...]) -> bool:
    """Whether digits on the way are exactly what becomes a plain number."""
    return all(
        kind != DIGITS or convert is int for kind, convert in zip(way, converts, strict=False)
    )


def _conversion(converter: BaseConverter) -> Convert | None:
    """What turns a matched string into the argument; None where it stays as it is."""
    # A replacement may sit on the instance, on a subclass, or on Werkzeug's own class.
    function = getattr(converter.to_python, "__func__", None)
    if function is _IDENTITY:
        return None
    if function is _NUMBER and vars(converter).items() >= _PLAIN_NUMBERS.items():
        # PERF: int() alone takes 60 ns, through NumberConverter.to_python 210 ns.
        if type(converter) is IntegerConverter and converter.num_convert is int:
            return int
        if type(converter) is FloatConverter and converter.num_convert is float:
            return float
    return converter.to_python


def _recognise(part: RulePart) -> tuple[int, cabc.Callable[[str], object]]:
    """The kind of a transition and its test, from the text of its regular expression."""
    content = part.content
    if part.final:
        if content == r"(?P<__werkzeug_0>[^/].*?)\Z" and not part.suffixed:
            return REST, _is_rest
        return REST_REGEX, bool
    if content.startswith("(?P<__werkzeug_0>") and content.endswith(r")\Z"):
        regex = content[len("(?P<__werkzeug_0>") : -len(r")\Z")]
        if regex == r"\d+":
            return DIGITS, str.isdecimal
        if regex in ("[^/]{1,}", "[^/]+"):
            return TEXT, bool
        if regex in (r"-?\d+", r"\d+\.\d+", r"-?\d+\.\d+", _UUID):
            return CHECK, re.compile(regex).fullmatch
        if (limits := _TEXT_RE.fullmatch(regex)) is not None:
            least, most = int(limits[1]), _most(regex, limits)
            if least <= most < _LONGEST:
                return CHECK, _has_length(least, most)
        if _WORDS_RE.fullmatch(regex) is not None:
            return CHECK, _words(regex).__contains__
    return REGEX, bool


def _is_rest(text: str) -> bool:
    # `[^/].*?` up to the end: the dot stands for anything but a newline.
    return text != "" and text[0] != "/" and text.find("\n", 1) < 0


def _most(regex: str, limits: re.Match[str]) -> int:
    if limits[2]:
        return int(limits[2])
    return _LONGEST - 1 if "," in regex else int(limits[1])


def _has_length(least: int, most: int) -> cabc.Callable[[str], bool]:
    def has_length(text: str) -> bool:
        return least <= len(text) <= most

    return has_length


def _words(regex: str) -> frozenset[str]:
    return frozenset(re.sub(r"\\(.)", r"\1", word) for word in regex[3:-1].split("|"))


def _groups(content: str) -> _Groups:
    """Match `content`, and hand out the converters' groups in their order and the last group."""
    regex = re.compile(content)
    order = [
        index
        for _, index in sorted(
            (int(name[len("__werkzeug_") :]), index)
            for name, index in regex.groupindex.items()
            if name.startswith("__werkzeug_")
        )
    ]

    def groups(text: str) -> tuple[tuple[str, ...], str | None] | None:
        found = regex.match(text)
        if found is None:
            return None
        return tuple([found[index] for index in order]), found[regex.groups]

    return groups
