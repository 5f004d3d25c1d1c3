"""Measure which views block. The thread that waits for events runs only views that do not.

Blocking is time without the processor: waiting for a database, another service, a lock, a client. A
view with a long computation also runs on a thread of its own, since NumPy, Pillow and hashlib
release the GIL and can use several processors, and the cost of a thread switch is then negligible.
"""

from __future__ import annotations

import typing as t

# A view whose average exceeds one of these limits runs on another thread. A thread switch costs 30
# us, so only a longer wait justifies it.
_SHORT_WAIT_S = 0.0001
_SHORT_S = 0.0005
_SAMPLES = 3
# PERF: after a measured call of a quick view, this many are not measured, because reading the two
# clocks takes 0.5 us.
_UNMEASURED = 7
_WEIGHT = 0.2
# How many calls of a view run on another thread after the view has blocked.
_DEFERRED_CALLS = 1000


class ViewTiming:
    """The average duration and waiting time of one view.

    If two threads update it at the same time, one update may be lost, which does no harm.

    Attributes:
        quick_calls: how many of the next calls run on the leading thread and are not measured. The
            caller counts it down; at 0 it asks `may_block` and measures the call.
    """

    __slots__ = ("_deferred_calls", "_samples", "_took_s", "_waited_s", "quick_calls")

    def __init__(self) -> None:
        self.quick_calls = 0
        self._samples = 0
        self._took_s = 0.0
        self._waited_s = 0.0
        self._deferred_calls = 0

    def may_block(self) -> bool:
        """Whether the view may block, so that the call that begins now must run on another thread.

        The thread that waits for events may run a view itself if it was fast and has not blocked
        lately.
        """
        if self._deferred_calls > 0:
            self._deferred_calls -= 1
            return True
        return not self._is_quick()

    def _is_quick(self) -> bool:
        return (
            self._samples >= _SAMPLES and self._waited_s < _SHORT_WAIT_S and self._took_s < _SHORT_S
        )

    def record(self, took_s: float, waited_s: float) -> None:
        """Record one call.

        Args:
            took_s: the duration of the call.
            waited_s: the part of `took_s` in which the thread did not run on a processor.
        """
        self._samples += 1
        if self._samples == 1:
            self._took_s, self._waited_s = took_s, waited_s
        else:
            self._took_s += _WEIGHT * (took_s - self._took_s)
            self._waited_s += _WEIGHT * (waited_s - self._waited_s)
        if self._deferred_calls <= 0 and self._is_quick():
            self.quick_calls = _UNMEASURED

    def record_block(self) -> None:
        """Record that the view has blocked the thread that waits for events."""
        self._deferred_calls = _DEFERRED_CALLS
        self._samples = self.quick_calls = 0


class TimingTable:
    """Finds the timing of the view that a request will call.

    All requests share one timing if the application is not a carboy app. So do all paths that need
    a user's URL converter, because it may query a database and is not called only to find the view.
    """

    def __init__(self, app: t.Any) -> None:
        self._map: t.Any = getattr(app, "url_map", None)
        self._matches = hasattr(self._map, "fast_match")
        self._matcher: t.Any = None
        # Paths that match without a user's URL converter; None means all paths.
        self._plain: frozenset[str] | None = None
        # The timings by endpoint and HTTP method, because reading a page may be quick and changing
        # it slow.
        self._views: dict[t.Any, ViewTiming] = {}
        # The timings by path, for rules without variables. PERF: a lookup takes 0.1 us, matching
        # the URL 1 us.
        self._by_path: dict[tuple[str, str], ViewTiming] = {}

    def of(self, method: str, path: str) -> ViewTiming:
        """Return the timing of the view that will handle a request."""
        view = self._by_path.get((method, path))
        if view is not None:
            return view
        hit = self._map.fast_match(path, method) if self._may_match(path) else None
        # The HTTP method of the key is one that a rule allows, so that clients cannot make the
        # table grow.
        key = None if hit is None else (hit[0].endpoint, method)
        view = self._views.get(key)
        if view is None:
            view = self._views.setdefault(key, ViewTiming())
        if hit is not None and not hit[1]:
            self._by_path[method, path] = view
        return view

    def _may_match(self, path: str) -> bool:
        if not self._matches:
            return False
        # `fast_match` changes whenever a rule is added; timings by path are then out of date.
        if self._map.fast_match is not self._matcher:
            self._matcher = self._map.fast_match
            self._plain = _plain_paths(list(self._map.iter_rules()))
        return self._plain is None or path in self._plain


def _plain_paths(rules: list[t.Any]) -> frozenset[str] | None:
    """Return the paths of all rules without variables; None if no rule has a user's URL
    converter.
    """
    if all(map(_is_plain, rules)):
        return None
    # Encoded like PATH_INFO in the WSGI environ, where each byte is one character (Latin-1).
    return frozenset(rule.rule.encode().decode("latin-1") for rule in rules if not rule._converters)


def _is_plain(rule: t.Any) -> bool:
    converters = rule._converters.values()
    return all(type(each).__module__ == "werkzeug.routing.converters" for each in converters)
