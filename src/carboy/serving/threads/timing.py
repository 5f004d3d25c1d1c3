"""Which views wait, by experience: a view that does not may be done by the thread that leads.

Waiting is time off the processor: for a database, another service, a lock, a client. A view that
computes for long is left to a thread of its own as well: NumPy, Pillow and hashlib compute without
the interpreter's lock, on as many processors as there are threads, and what another thread costs is
nothing beside it.
"""

from __future__ import annotations

import typing as t
from time import perf_counter, thread_time

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .leader import Crew

# On the average. Another thread costs 30 us: who waits for longer would rather have that.
_SHORT_WAIT_S = 0.0001
_SHORT_S = 0.0005
_SAMPLES = 3
# PERF: the two clocks take 0.5 us, so they are read for some of the calls.
_SAMPLED = 8
_WEIGHT = 0.2
# Calls until a view that waited is given another chance.
_CAREFUL_CALLS = 1000


class View:
    """What is known of one view. Not exact under threads, and need not be."""

    __slots__ = ("_calls", "_careful", "_samples", "_took_s", "_waited_s")

    def __init__(self) -> None:
        self._calls = 0
        self._samples = 0
        self._took_s = 0.0
        self._waited_s = 0.0
        self._careful = 0

    def is_quick(self) -> bool:
        """Whether it was done at once so far."""
        if self._careful > 0:
            self._careful -= 1
            return False
        return (
            self._samples >= _SAMPLES and self._waited_s < _SHORT_WAIT_S and self._took_s < _SHORT_S
        )

    def is_sampled(self) -> bool:
        """Whether to measure the call that begins now."""
        self._calls += 1
        return self._samples < _SAMPLES or not self._calls % _SAMPLED

    def note(self, took_s: float, waited_s: float) -> None:
        """Note how long a call took, and how much of that it was not on the processor."""
        self._samples += 1
        if self._samples == 1:
            self._took_s, self._waited_s = took_s, waited_s
        else:
            self._took_s += _WEIGHT * (took_s - self._took_s)
            self._waited_s += _WEIGHT * (waited_s - self._waited_s)

    def waits(self) -> None:
        """Note that it keeps the leader from leading."""
        self._careful = _CAREFUL_CALLS
        self._samples = 0


class Habits:
    """Which views of an application wait. Others than carboy's are one view here.

    So are the paths that only a converter of the application's own can tell: it may ask a database,
    and is called by the application anyway.
    """

    def __init__(self, app: t.Any) -> None:
        self._map: t.Any = getattr(app, "url_map", None)
        self._matches = hasattr(self._map, "fast_match")
        self._matcher: t.Any = None
        # Paths that may be matched here; None: all.
        self._plain: frozenset[str] | None = None
        # By endpoint and method: a page that is shown at once may be slow to be changed.
        self._views: dict[t.Any, View] = {}
        # PERF: of paths whose rules have no variables; 0.1 us where matching takes 1 us.
        self._by_path: dict[tuple[str, str], View] = {}

    def of(self, method: str, path: str) -> View:
        """The view that will answer a request."""
        view = self._by_path.get((method, path))
        if view is not None:
            return view
        hit = self._map.fast_match(path, method) if self._may_match(path) else None
        # A client may send any word as its method: no memory for one that no rule names.
        key = None if hit is None else (hit[0].endpoint, method)
        view = self._views.get(key)
        if view is None:
            view = self._views.setdefault(key, View())
        if hit is not None and not hit[1]:
            self._by_path[method, path] = view
        return view

    def _may_match(self, path: str) -> bool:
        if not self._matches:
            return False
        if self._map.fast_match is not self._matcher:  # another one whenever rules are added
            self._matcher = self._map.fast_match
            self._plain = _plain_paths(list(self._map.iter_rules()))
        return self._plain is None or path in self._plain


def _plain_paths(rules: list[t.Any]) -> frozenset[str] | None:
    if all(map(_is_plain, rules)):
        return None
    # As WSGI spells paths.
    return frozenset(rule.rule.encode().decode("latin-1") for rule in rules if not rule._converters)


def _is_plain(rule: t.Any) -> bool:
    converters = rule._converters.values()
    return all(type(each).__module__ == "werkzeug.routing.converters" for each in converters)


class Shift:
    """Does views, on the thread that leads if they are known not to wait."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    def do(self, view: View, work: cabc.Callable[..., object], *args: t.Any) -> None:
        """Do the work of a view on the calling thread."""
        me = self._crew.me()
        if me is None:
            work(*args)
            return
        if view.is_quick():
            me.turns += 1
            me.view = view
        else:
            self._crew.relieve(me)
        is_sampled = view.is_sampled()
        if is_sampled:
            began_s, used_s = perf_counter(), thread_time()
        try:
            work(*args)
        finally:
            me.view = None
            if is_sampled:
                took_s = perf_counter() - began_s
                view.note(took_s, took_s - (thread_time() - used_s))
