"""Which views wait, by experience: a view that does not may be done by the thread that leads.

Waiting is time off the processor: for a database, another service, a lock, a client. How long a
view computes does not matter: while it does, no other thread could.
"""

from __future__ import annotations

import typing as t
from time import perf_counter, thread_time

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .crew import Crew

# A view that waited less than this on the average is done by the leader.
_SHORT_WAIT_S = 0.0003
_SAMPLES = 3
# PERF: the two clocks take 0.5 us, so they are read for some of the calls.
_SAMPLED = 8
_WEIGHT = 0.2
# Calls until a view that waited is given another chance.
_CAREFUL_CALLS = 1000


class View:
    """What is known of one view. Not exact under threads, and need not be."""

    __slots__ = ("_calls", "_careful", "_samples", "_wait_s")

    def __init__(self) -> None:
        self._calls = 0
        self._samples = 0
        self._wait_s = 0.0
        self._careful = 0

    def is_quick(self) -> bool:
        """Whether it did not wait so far."""
        if self._careful:
            self._careful -= 1
            return False
        return self._samples >= _SAMPLES and self._wait_s < _SHORT_WAIT_S

    def is_sampled(self) -> bool:
        """Whether to measure the call that begins now."""
        self._calls += 1
        return self._samples < _SAMPLES or not self._calls % _SAMPLED

    def waited(self, seconds: float) -> None:
        """Note how long a call was not on the processor."""
        self._samples += 1
        if self._samples == 1:
            self._wait_s = seconds
        else:
            self._wait_s += _WEIGHT * (seconds - self._wait_s)

    def waits(self) -> None:
        """Note that it keeps the leader from leading."""
        self._careful = _CAREFUL_CALLS
        self._samples = 0


class Habits:
    """Which views of an application wait. Others than carboy's are one view here."""

    def __init__(self, app: t.Any) -> None:
        self._map: t.Any = getattr(app, "url_map", None)
        self._matches = hasattr(self._map, "fast_match")
        self._views: dict[t.Any, View] = {}
        # PERF: of paths whose rules have no variables; 0.1 us where matching takes 1 us.
        self._by_path: dict[tuple[str, str], View] = {}

    def of(self, method: str, path: str) -> View:
        """The view that will answer a request."""
        view = self._by_path.get((method, path))
        if view is not None:
            return view
        hit = self._map.fast_match(path, method) if self._matches else None
        endpoint = None if hit is None else hit[0].endpoint
        view = self._views.get(endpoint)
        if view is None:
            view = self._views.setdefault(endpoint, View())
        if hit is not None and not hit[1]:
            self._by_path[method, path] = view
        return view


class Shift:
    """Does views, on the thread that leads if they are known not to wait."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew

    def do(self, view: View, work: cabc.Callable[..., object], *args: t.Any) -> None:
        """Do the work of a view on the calling thread."""
        me = self._crew.me()
        if me is None:
            work(*args)
        elif view.is_quick():
            me.view = view
            try:
                _work(view, work, args)
            finally:
                me.view = None
        else:
            self._crew.relieve(me)
            _work(view, work, args)


def _work(view: View, work: cabc.Callable[..., object], args: tuple[t.Any, ...]) -> None:
    if not view.is_sampled():
        work(*args)
        return
    began_s, used_s = perf_counter(), thread_time()
    try:
        work(*args)
    finally:
        view.waited(perf_counter() - began_s - (thread_time() - used_s))
