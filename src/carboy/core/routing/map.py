"""`Map`: Werkzeug's, with `fast_match` beside it.

Decides when the compiled matcher is out of date. It costs nothing per match: `fast_match` is an
attribute that holds the matcher itself, and every change puts a compiling stand-in in its place.
So take it from the map at each call, and never keep it.
"""

from __future__ import annotations

import threading
import typing as t

import werkzeug.routing

from .matcher import Hit, Match, compile_matcher

if t.TYPE_CHECKING:
    from werkzeug.routing import RuleFactory

# One for all maps: compiling is rare, and a rule added meanwhile must wait until it is done.
_changing = threading.RLock()

# Attributes of a map that decide what a path means. `strict_slashes`, `merge_slashes` and
# `converters` count when a rule is added, `redirect_defaults` is read at each match.
_DECISIVE = frozenset(
    {
        *("_matcher", "_rules_by_endpoint", "default_subdomain", "host_matching"),
        *("bind", "bind_to_environ", "update"),
    }
)


class Map(werkzeug.routing.Map):
    """Werkzeug's map of rules, with a compiled matcher for the ordinary request.

    `fast_match(path_info, method)` takes PATH_INFO as WSGI gives it and returns the rule with a
    new dict of arguments, or None: then ask `bind_to_environ(...).match()`, which knows redirects,
    errors and everything unusual. It is for http requests on the default subdomain.
    """

    fast_match: Match

    def add(self, rulefactory: RuleFactory) -> None:
        with _changing:
            try:
                super().add(rulefactory)
            finally:
                # A factory may fail after some of its rules are in.
                _forget(self)

    def __setattr__(self, name: str, value: t.Any) -> None:
        super().__setattr__(name, value)
        # NOTE: `_remap = False` comes with Werkzeug's own lock held and changes no answer.
        if name in _DECISIVE or (name == "_remap" and value):
            _forget(self)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        if name in _DECISIVE:
            _forget(self)


def _forget(url_map: Map) -> None:
    def compile_and_match(path_info: str, method: str) -> Hit:
        return _compile(url_map, compile_and_match)(path_info, method)

    with _changing:
        url_map.fast_match = compile_and_match


def _compile(url_map: Map, stand_in: Match) -> Match:
    with _changing:
        if url_map.fast_match is stand_in:  # else another thread was quicker
            url_map.fast_match = compile_matcher(url_map, _changing)
        return url_map.fast_match


_adopted: dict[type[werkzeug.routing.Map], type[Map]] = {werkzeug.routing.Map: Map}


def adopt(url_map: werkzeug.routing.Map) -> Map:
    """Give a map of another class its `fast_match`; returns the same object.

    For a `url_map_class` that does not derive from carboy's. The object's class becomes a subclass
    of both, under the same name: a plain map tells nobody that a rule was added.
    """
    with _changing:
        if not isinstance(url_map, Map):
            kind = type(url_map)
            if (both := _adopted.get(kind)) is None:
                names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
                both = t.cast("type[Map]", type(kind.__name__, (Map, kind), names))
                _adopted[kind] = both
            url_map.__class__ = both
            _forget(t.cast("Map", url_map))
    return t.cast("Map", url_map)
