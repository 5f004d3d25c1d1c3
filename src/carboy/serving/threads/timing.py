"""Which views wait, as measured so far: the leading thread runs the views that do not.

Waiting is time off the processor: for a database, another service, a lock, a client. A view that
computes for long gets a thread of its own too: NumPy, Pillow and hashlib compute without the
interpreter's lock, on as many processors as there are threads, and the cost of another thread is
nothing beside it.
"""

from __future__ import annotations

import typing as t

# On average. Another thread costs 30 us; a longer wait is worth that.
_SHORT_WAIT_S = 0.0001
_SHORT_S = 0.0005
_SAMPLES = 3
# PERF: the two clocks take 0.5 us, so they are read for one of so many calls.
_SAMPLED = 8
_WEIGHT = 0.2
# Calls until the leader tries a view again that has waited.
_CAREFUL_CALLS = 1000


class ViewTiming:
    """How long one view takes, and waits. Updates from several threads may get lost."""

    __slots__ = ("_calls", "_careful", "_samples", "_took_s", "_waited_s")

    def __init__(self) -> None:
        self._calls = 0
        self._samples = 0
        self._took_s = 0.0
        self._waited_s = 0.0
        self._careful = 0

    def is_quick(self) -> bool:
        """Whether the view has neither waited nor computed for long so far."""
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
        """Note how long a call took, and how much of that off the processor."""
        self._samples += 1
        if self._samples == 1:
            self._took_s, self._waited_s = took_s, waited_s
        else:
            self._took_s += _WEIGHT * (took_s - self._took_s)
            self._waited_s += _WEIGHT * (waited_s - self._waited_s)

    def waits(self) -> None:
        """Note that the view was stuck while it ran on the leading thread."""
        self._careful = _CAREFUL_CALLS
        self._samples = 0


class TimingTable:
    """The timings of the views of an application.

    An application that is not carboy's is timed as one view. So are the paths that need one of the
    application's own URL converters: it may query a database, and the application will call it
    anyway.
    """

    def __init__(self, app: t.Any) -> None:
        self._map: t.Any = getattr(app, "url_map", None)
        self._matches = hasattr(self._map, "fast_match")
        self._matcher: t.Any = None
        # Paths that need no converter of the application's own; None: all.
        self._plain: frozenset[str] | None = None
        # By endpoint and method: a page that is quick to show may be slow to change.
        self._views: dict[t.Any, ViewTiming] = {}
        # PERF: for rules without variables; 0.1 us where matching takes 1 us.
        self._by_path: dict[tuple[str, str], ViewTiming] = {}

    def of(self, method: str, path: str) -> ViewTiming:
        """Return the timing of the view that will answer a request."""
        view = self._by_path.get((method, path))
        if view is not None:
            return view
        hit = self._map.fast_match(path, method) if self._may_match(path) else None
        # A client may send any word as method, so one that no rule names takes no memory.
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
        if self._map.fast_match is not self._matcher:  # replaced whenever rules are added
            self._matcher = self._map.fast_match
            self._plain = _plain_paths(list(self._map.iter_rules()))
        return self._plain is None or path in self._plain


def _plain_paths(rules: list[t.Any]) -> frozenset[str] | None:
    """Return the paths of rules without variables; None if every rule may be matched."""
    if all(map(_is_plain, rules)):
        return None
    # Each byte a character, as in PATH_INFO.
    return frozenset(rule.rule.encode().decode("latin-1") for rule in rules if not rule._converters)


def _is_plain(rule: t.Any) -> bool:
    converters = rule._converters.values()
    return all(type(each).__module__ == "werkzeug.routing.converters" for each in converters)
