"""Extend Werkzeug's `Map` by a second, compiled matcher: `fast_match`.

This module decides when the compiled matcher is out of date. The check costs nothing per match:
`fast_match` is an attribute that holds the matcher itself, and every change of the map replaces it
by a placeholder that compiles on its first call. Read the attribute for each call; do not keep it.
"""

from __future__ import annotations

import threading
import typing as t

import werkzeug.routing

from .matcher import Hit, Match, compile_matcher

if t.TYPE_CHECKING:
    from werkzeug.routing import RuleFactory

# One lock for all maps, because compiling is rare. A rule cannot be added while a map is compiled.
_map_lock = threading.RLock()

# Attributes of a map that affect matching, so that the matcher must be compiled again if one is
# assigned. `strict_slashes`, `merge_slashes` and `converters` take effect when a rule is added;
# `redirect_defaults` is read at each match.
_TRACKED_ATTRIBUTES = frozenset(
    {
        *("_matcher", "_rules_by_endpoint", "default_subdomain", "host_matching"),
        *("bind", "bind_to_environ", "update"),
    }
)


class Map(werkzeug.routing.Map):
    """Werkzeug's map of rules, with a compiled matcher for ordinary requests.

    `fast_match(path_info, method)` takes PATH_INFO as in the WSGI environ, and returns the rule
    with a new dict of arguments, or None. If it returns None, call `bind_to_environ(...).match()`,
    which handles redirects, errors and all other cases. Only for HTTP requests on the default
    subdomain.
    """

    fast_match: Match

    def add(self, rulefactory: RuleFactory) -> None:
        with _map_lock:
            try:
                super().add(rulefactory)
            finally:
                # Also after a failure: a rule factory may have added some of its rules before.
                _invalidate(self)

    def __setattr__(self, name: str, value: t.Any) -> None:
        super().__setattr__(name, value)
        # NOTE: Werkzeug sets `_remap = False` while it holds its own lock. This does not affect
        # matching and is not counted.
        if name in _TRACKED_ATTRIBUTES or (name == "_remap" and value):
            _invalidate(self)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        if name in _TRACKED_ATTRIBUTES:
            _invalidate(self)


def _invalidate(url_map: Map) -> None:
    def compile_and_match(path_info: str, method: str) -> Hit:
        return _compile(url_map, compile_and_match)(path_info, method)

    with _map_lock:
        url_map.fast_match = compile_and_match


def _compile(url_map: Map, placeholder: Match) -> Match:
    with _map_lock:
        # Unless another thread has compiled the matcher already.
        if url_map.fast_match is placeholder:
            url_map.fast_match = compile_matcher(url_map, _map_lock)
        return url_map.fast_match


_adopted: dict[type[werkzeug.routing.Map], type[Map]] = {werkzeug.routing.Map: Map}


def adopt(url_map: werkzeug.routing.Map) -> Map:
    """Add `fast_match` to a map whose class is not carboy's `Map`; return the same object.

    Such a map comes from a user's `url_map_class`. The object gets a new class, a subclass of its
    own class and of carboy's `Map` with the same name, because a plain map does not report that a
    rule was added.
    """
    with _map_lock:
        if not isinstance(url_map, Map):
            kind = type(url_map)
            if (both := _adopted.get(kind)) is None:
                names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
                both = t.cast("type[Map]", type(kind.__name__, (Map, kind), names))
                _adopted[kind] = both
            url_map.__class__ = both
            _invalidate(t.cast("Map", url_map))
    return t.cast("Map", url_map)
