"""Measure which views block, because the thread that runs the event loop may run only the others.

Blocking is time without the processor: waiting for a database, another service, a lock, a client. A
view with a long computation also runs on a thread of its own, since NumPy, Pillow and hashlib
release the GIL and can use several processors, and the cost of a thread switch is then negligible.
"""

from __future__ import annotations

import typing as t

# A view whose calls on average wait for more seconds than _SHORT_WAIT_S, or take more than
# _SHORT_S, does not run on the thread of the event loop. A thread switch costs 30 us, so only a
# longer wait justifies it.
_SHORT_WAIT_S = 0.0001
_SHORT_S = 0.0005
_SAMPLES = 3
# PERF: after each measured call of a quick view, this many calls are not measured, because to read
# the two clocks takes 0.5 us.
_UNMEASURED = 7
_WEIGHT = 0.2
# After a view has blocked the event loop, this many calls of it run on another thread.
_DEFERRED_CALLS = 1000


class ViewTiming:
    """The average duration and waiting time of the calls of one view, which decide where it runs.

    If two threads update it at the same time, one update may be lost, which does no harm.

    Attributes:
        quick_calls: how many of the next calls run on the thread of the event loop and are not
            measured. The caller of the view counts this down; at 0 it asks `may_block` and measures
            the call.
        route: the rule that the paths of the view match, such as "/items/<int:id>"; None if only
            the application can tell.
    """

    __slots__ = ("_deferred_calls", "_samples", "_took_s", "_waited_s", "quick_calls", "route")

    def __init__(self, route: str | None = None) -> None:
        self.quick_calls = 0
        self.route = route
        self._samples = 0
        self._took_s = 0.0
        self._waited_s = 0.0
        self._deferred_calls = 0

    def may_block(self) -> bool:
        """Whether the view may block, so that the call that begins now must not run on the thread
        of the event loop.

        A view does not count as blocking if its last calls were fast and none of them has blocked.
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
        """Record the duration of one call of the view.

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
        """Record that a call of the view has blocked the thread that runs the event loop."""
        self._deferred_calls = _DEFERRED_CALLS
        self._samples = self.quick_calls = 0


class TimingTable:
    """Finds the `ViewTiming`, a record of durations, of the view that a request will call.

    If the application is not a carboy app, all its requests share one record. If the app has URL
    converters of its own, all paths of rules with variables share one record, too, because finding
    the view of such a path might call a converter, which may query a database.
    """

    def __init__(self, app: t.Any) -> None:
        self._app = app
        self._map: t.Any = getattr(app, "url_map", None)
        self._matches = hasattr(self._map, "fast_match")
        self._matcher: t.Any = None
        # The paths whose view may be looked up, because no URL converter of the user is called;
        # None means all paths.
        self._plain: frozenset[str] | None = None
        # The records of views by endpoint, rule and HTTP method: one view may be quick for GET and
        # slow for POST.
        self._views: dict[t.Any, ViewTiming] = {}
        # The records of views by HTTP method and path, for rules without variables. PERF: to look
        # up a record takes 0.1 us, to match the URL 1 us.
        self._by_path: dict[tuple[str, str], ViewTiming] = {}

    def of(self, method: str, path: str) -> ViewTiming:
        """Return the record of how long the view of this request took in past requests. It decides
        whether the view runs on the thread of the event loop or on another one.
        """
        view = self._by_path.get((method, path))
        if view is not None:
            return view
        hit = self._map.fast_match(path, method) if self._may_match(path) else None
        # The key contains only methods that a rule allows, so clients cannot make the table grow by
        # sending other methods.
        key = None if hit is None else (hit[0].endpoint, hit[0].rule, method)
        view = self._views.get(key)
        if view is None:
            route = hit[0].rule if hit is not None and self._decides_by_path() else None
            view = self._views.setdefault(key, ViewTiming(route))
        if hit is not None and not hit[1]:
            self._by_path[method, path] = view
        return view

    def _decides_by_path(self) -> bool:
        """Whether the application will find the same rule as this table: nothing around it changes
        the path, and no part of matching is overridden.
        """
        return not self._app.is_wrapped and self._app.find_overrides().match

    def _may_match(self, path: str) -> bool:
        if not self._matches:
            return False
        # The URL map makes a new function `fast_match` whenever a rule is added. If it is another
        # function than at the last call, `_plain` is out of date.
        if self._map.fast_match is not self._matcher:
            self._matcher = self._map.fast_match
            self._plain = _plain_paths(list(self._map.iter_rules()))
        return self._plain is None or path in self._plain


def _plain_paths(rules: list[t.Any]) -> frozenset[str] | None:
    """Return the paths of all rules without variables; None if all URL converters are Werkzeug's
    own.
    """
    if all(map(_is_plain, rules)):
        return None
    # Encode the paths like PATH_INFO in the WSGI environ, where each byte is one character
    # (Latin-1).
    return frozenset(rule.rule.encode().decode("latin-1") for rule in rules if not rule._converters)


def _is_plain(rule: t.Any) -> bool:
    converters = rule._converters.values()
    return all(type(each).__module__ == "werkzeug.routing.converters" for each in converters)
