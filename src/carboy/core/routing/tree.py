"""Convert Werkzeug's state machine into a tree of nodes that is fast to traverse.

A transition leads from one node to the next, for the texts of one URL segment or of the rest of the
path. This module decides which texts each transition accepts, and how the texts are converted to
arguments. Transitions stay in Werkzeug's order. The module `matcher` traverses the tree.

The texts that a transition accepts are derived from its regular expression and never from the class
of the converter, because a subclass of a built-in converter may have another expression. In the
same way, the conversion is derived from the function that Werkzeug would call.
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

# The types of transitions for dynamic segments, by the texts that they accept. The first two are
# the most frequent, and are tested without calling a function.
TEXT = 0  # any text but an empty one: `<name>`
DIGITS = 1  # decimal digits of any script: `<int:id>`
CHECK = 2  # a whole segment for which `accepts(segment)` is true
REST = 3  # the whole rest of the path, if `accepts(rest)` is true: `<path:p>`
REGEX = 4  # any other regular expression, for one segment
REST_REGEX = 5  # any other regular expression, for the rest of the path

Convert: t.TypeAlias = cabc.Callable[[t.Any], t.Any]
# The types (`TEXT`, `DIGITS`, ...) of the dynamic transitions on the way from the root to a node;
# None if one of them may yield several values.
Steps: t.TypeAlias = "tuple[int, ...] | None"
_Groups: t.TypeAlias = cabc.Callable[[str], "tuple[tuple[str, ...], str | None] | None"]

# The original methods of Werkzeug's converters, stored at import. A method that differs from them
# was overridden, or replaced later.
_IDENTITY = BaseConverter.to_python
_NUMBER = NumberConverter.to_python

_TEXT_RE = re.compile(r"\[\^/\]\{(\d+),?(\d*)\}")
# Matches the regex of the converter `any`, if it consists of words as re.escape writes them. (A
# backslash before a letter would be a character class.)
_WORDS_RE = re.compile(r"\(\?:(?:\w|\\[^\w|\n])+(?:\|(?:\w|\\[^\w|\n])+)*\)")
_UUID = UUIDConverter.regex
# The smallest repeat count that `re` refuses. Rules with such a count are left to Werkzeug, which
# raises the error of `re`.
_MAX_REPEAT = 2**32 - 1
_PLAIN_NUMBERS = {"fixed_digits": 0, "min": None, "max": None}


class Leaf:
    """A rule that matches when the path ends at a node, and the functions that convert its values.

    `plain` means that the converted values are the arguments, because the rule has no defaults and
    never redirects. `may_be_redirected` means that Werkzeug may redirect to the URL of another rule
    of the endpoint, whose `defaults` are the same arguments.
    """

    __slots__ = ("converts", "may_be_redirected", "names", "plain", "rule")

    def __init__(self, rule: Rule, *, may_be_redirected: bool) -> None:
        self.rule = rule
        # PERF: the names are interned. Werkzeug creates new strings for each rule, which would cost
        # one miss of the processor's cache per match. Besides, a call with keywords compares
        # interned names by identity.
        self.names = tuple(map(sys.intern, rule._converters))
        self.converts = tuple(_conversion(conv) for conv in rule._converters.values())
        self.may_be_redirected = may_be_redirected
        self.plain = not (
            rule.defaults or rule.alias or may_be_redirected or rule.redirect_to is not None
        )


class End:
    """The rule that matches if a traversal without backtracking ends at a node, and its
    conversions.

    `pending` holds the conversions of all values except digits, which are already converted during
    the traversal. `single` is the name of the argument if the rule has exactly one, and `pair`
    holds the names if it has exactly two.
    """

    __slots__ = ("names", "pair", "pending", "rule", "single")

    def __init__(self, leaf: Leaf, steps: tuple[int, ...]) -> None:
        self.rule = leaf.rule
        self.names = leaf.names
        self.pending = tuple(
            (i, convert)
            for i, convert in enumerate(leaf.converts)
            if convert is not None and steps[i] != DIGITS
        )
        self.single = leaf.names[0] if len(leaf.names) == 1 else None
        self.pair = leaf.names if len(leaf.names) == 2 else None


class Node:
    """The state of a match after some segments: the possible transitions to a next node, and the
    rules that match if the path ends at this node.

    `static` holds the next node for each static segment, `dynamic` the transitions for dynamic
    segments, and `leaves` the rules. The other attributes give fast access to what Werkzeug would
    try first: `digits`, `text`, `check` and `rest` to a transition of that type, `end` to a rule.
    `depth` is the number of segments before this node. `offset` is the number of their characters
    and slashes, or 0 if this number varies.
    """

    __slots__ = (
        *("check", "depth", "digits", "dynamic", "end"),
        *("leaves", "offset", "rest", "static", "text"),
    )

    def __init__(
        self, depth: int, dynamic: tuple[Edge, ...], leaves: tuple[Leaf, ...], steps: Steps
    ) -> None:
        self.depth = depth
        self.offset = 0
        # PERF: all nodes without static transitions share one empty dict. So it is usually in the
        # processor's cache.
        self.static = _NO_CHILDREN
        self.dynamic = dynamic
        self.leaves = leaves
        self.end = _end(leaves, steps)
        kinds = [edge.kind for edge in dynamic[:2]] + [-1, -1]
        self.digits = dynamic[0].target if kinds[0] == DIGITS else None
        self.check = dynamic[0] if kinds[0] == CHECK else None
        self.rest = dynamic[0].target if kinds[0] == REST else None
        self.text = None
        if TEXT in (kinds[0], kinds[self.digits is not None]):
            self.text = dynamic[kinds.index(TEXT)].target

    def is_dead_end(self) -> bool:
        return not (self.static or self.dynamic or self.leaves)

    def remove_steps(self) -> None:
        """Remove all transitions (steps to a next node), except the one for a trailing slash.

        It is kept, because a path that ends at this node also matches a rule that only adds a
        trailing slash.
        """
        slashed = self.static.get("")
        self.__init__(self.depth, (), self.leaves, ())  # type: ignore[misc]
        if slashed is not None:
            self.static = {"": Node(self.depth + 1, (), slashed.leaves, None)}


_NO_CHILDREN: dict[str, Node] = {}


class Edge:
    """A transition to a next node for a dynamic segment. `last` means that it is the last one of
    its node, so that none is tried after it.
    """

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

    def match(self, text: str) -> tuple[tuple[str, ...], bool] | None:
        """Match a text with the regex; return the values, and whether a trailing slash remains
        unmatched.

        Returns None if the text does not match.

        Raises:
            re.error, OverflowError, RecursionError: the converter's regex cannot be compiled.
        """
        # The regex is compiled on first use, because compiling takes about 200 us, and a process of
        # a large app may never be asked for most of its routes.
        if (groups := self._groups) is None:
            groups = self._groups = _groups(self._part.content)
        found = groups(text)
        if found is None:
            return None
        values, last_group = found
        return values, self._part.suffixed and last_group == "/"


def build_tree(state: State, method: str, by_endpoint: cabc.Mapping[t.Any, list[Rule]]) -> Node:
    """Return a node built from `state`, with all nodes that can be reached from it.

    The tree has only the rules for one HTTP method, so that rules for other methods never influence
    a match, not even by a redirect to the path with a trailing slash.
    """
    shapes: dict[tuple[str, ...], tuple[str, ...]] = {}
    claimed = {end for end, rules in by_endpoint.items() if any(map(_may_redirect_others, rules))}

    def leaf_of(rule: Rule) -> Leaf:
        end = rule.endpoint
        # `may_be_redirected` is false for the first rule of an endpoint, because Werkzeug redirects
        # only to an earlier rule of the same endpoint.
        leaf = Leaf(rule, may_be_redirected=end in claimed and by_endpoint[end][0] is not rule)
        leaf.names = shapes.setdefault(leaf.names, leaf.names)
        return leaf

    def edges_of(state: State, depth: int, steps: Steps) -> cabc.Iterator[Edge]:
        for part, follower in state.dynamic:
            kind, accepts = _recognise(part)
            further = None if steps is None or kind in (REGEX, REST_REGEX) else (*steps, kind)
            target = node_of(follower, depth + 1, further)
            # NOTE: a transition with a regex is kept even if it leads to no rule of this method:
            # the regex may not compile, and Werkzeug then raises an exception when it tries the
            # transition.
            if kind in (REGEX, REST_REGEX) or not target.is_dead_end():
                yield Edge(part, kind, accepts, target)

    def node_of(state: State, depth: int, steps: Steps) -> Node:
        dynamic = tuple(edges_of(state, depth, steps))
        if dynamic:
            dynamic[-1].last = True
        leaves = tuple(
            leaf_of(rule)
            for rule in state.rules
            if not rule.websocket and (rule.methods is None or method in rule.methods)
        )
        node = Node(depth, dynamic, leaves, steps)
        static = {
            # PERF: equal segments of different rules share one string, which is then more often in
            # the processor's cache.
            sys.intern(text): target
            for text, follower in state.static.items()
            if not (target := node_of(follower, depth + 1, steps)).is_dead_end()
        }
        if static:
            node.static = static
        return node

    return node_of(state, 0, ())


def _may_redirect_others(rule: Rule) -> bool:
    return bool(rule.defaults) or type(rule).provides_defaults_for is not Rule.provides_defaults_for


def _end(leaves: tuple[Leaf, ...], steps: Steps) -> End | None:
    """Return the first rule of a node; None if its arguments are not simply the converted values,
    or if it does not convert digits by `int`.
    """
    if not leaves or steps is None:
        return None
    leaf = leaves[0]
    return End(leaf, steps) if leaf.plain and _are_digits_converted(steps, leaf.converts) else None


def _are_digits_converted(steps: tuple[int, ...], converts: tuple[Convert | None, ...]) -> bool:
    """Return whether a rule converts all its segments of digits by `int`.

    The traversal of the tree converts these segments by `int`, because it does not know the rule
    yet.
    """
    return all(
        kind != DIGITS or convert is int for kind, convert in zip(steps, converts, strict=False)
    )


def _conversion(converter: BaseConverter) -> Convert | None:
    """Return the function that converts a matched string; None if the string itself is the
    argument.
    """
    # `to_python` is read from the converter itself, because a user may have replaced the method on
    # the converter, on a subclass or on Werkzeug's class.
    function = getattr(converter.to_python, "__func__", None)
    if function is _IDENTITY:
        return None
    if function is _NUMBER and vars(converter).items() >= _PLAIN_NUMBERS.items():
        # PERF: int() takes 60 ns, calling it through NumberConverter.to_python 210 ns.
        if type(converter) is IntegerConverter and converter.num_convert is int:
            return int
        if type(converter) is FloatConverter and converter.num_convert is float:
            return float
    return converter.to_python


def _recognise(part: RulePart) -> tuple[int, cabc.Callable[[str], object]]:
    """Return the type of a transition, and the function that tests whether it accepts a text. Both
    are derived from the text of the transition's regular expression.
    """
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
            least, most = int(limits[1]), _max_length(regex, limits)
            if least <= most < _MAX_REPEAT:
                return CHECK, _has_length(least, most)
        if _WORDS_RE.fullmatch(regex) is not None:
            return CHECK, _words(regex).__contains__
    return REGEX, bool


def _is_rest(text: str) -> bool:
    # Equivalent to the regex `[^/].*?` of the converter `path`: the dot matches no newline.
    return text != "" and text[0] != "/" and text.find("\n", 1) < 0


def _max_length(regex: str, limits: re.Match[str]) -> int:
    if limits[2]:
        return int(limits[2])
    return _MAX_REPEAT - 1 if "," in regex else int(limits[1])


def _has_length(least: int, most: int) -> cabc.Callable[[str], bool]:
    def has_length(text: str) -> bool:
        return least <= len(text) <= most

    return has_length


def _words(regex: str) -> frozenset[str]:
    return frozenset(re.sub(r"\\(.)", r"\1", word) for word in regex[3:-1].split("|"))


def _groups(content: str) -> _Groups:
    """Return a function that matches a text with the regex `content`, the regex of one transition.

    That function returns the texts that the converters have matched, in their order, and the text
    of the regex's last group, which may be a trailing slash. It returns None if the text does not
    match.
    """
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
