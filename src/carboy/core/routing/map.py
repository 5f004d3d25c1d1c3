"""Extend Werkzeug's `Map` by a second, compiled matcher: `fast_match`.

This module decides when the compiled matcher is out of date. A match needs no check for this: the
attribute `fast_match` holds the matcher itself, and every change of the map replaces it by a
placeholder, which compiles a new matcher on its first call. So read the attribute for each call,
and do not keep its value.
"""

from __future__ import annotations

import threading
import typing as t

import werkzeug.routing

from .matcher import Hit, Match, compile_matcher

if t.TYPE_CHECKING:
    from werkzeug.routing import RuleFactory

# Held while a rule is added or a map is compiled, so that the rules do not change during
# compilation. One lock serves all maps, because both are rare.
_map_lock = threading.RLock()

# Attributes of a map that affect matching: if one is assigned, the matcher must be compiled again.
# `strict_slashes`, `merge_slashes` and `converters` are not among them, because they take effect
# only when a rule is added, nor is `redirect_defaults`, which the matcher reads for each match.
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
    which handles redirects, errors and all other cases. It must not be called for WebSocket
    requests, or for requests on another subdomain than the default.
    """

    fast_match: Match

    def add(self, rulefactory: RuleFactory) -> None:
        with _map_lock:
            try:
                super().add(rulefactory)
            finally:
                # Invalidate the matcher even if an exception was raised: a rule factory may have
                # added some of its rules before it failed.
                _invalidate(self)

    def __setattr__(self, name: str, value: t.Any) -> None:
        super().__setattr__(name, value)
        # NOTE: `_remap = False` must not invalidate the matcher, because Werkzeug assigns it after
        # sorting the rules, which changes no match. It does so while it holds its own lock.
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
        # Do not compile if another thread has replaced the placeholder in the meantime.
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
