"""The fast path, the full dispatch and Flask give the same results, whatever a user overrides."""

from __future__ import annotations

import functools
import pathlib
import typing as t

import pytest
from chained import Chained
from onflask import SUPPORT, recorded_on_flask
from programs import PROGRAMS
from sidebyside import Framework, observe

import carboy.core.dispatch


@functools.cache
def _on_flask(site: pathlib.Path) -> dict[str, t.Any]:
    """Run all programs on Flask in one process, because `flask` may be carboy in this one."""
    return recorded_on_flask(site, SUPPORT / "sidebyside.py")


@pytest.fixture
def fast_path_taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each request to an app, whether the fast path was taken."""
    taken: list[bool] = []
    handle, call = carboy.core.dispatch.handle_request, carboy.core.dispatch.Dispatcher.__call__

    def noting_handle(*args):
        taken[-1] = True
        return handle(*args)

    def noting_call(app, environ, start_response):
        taken.append(False)
        return call(app, environ, start_response)

    monkeypatch.setattr(carboy.core.dispatch, "handle_request", noting_handle)
    monkeypatch.setattr(carboy.core.dispatch.Dispatcher, "__call__", noting_call)
    return taken


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PROGRAMS)
def test_fast_path_equals_full_dispatch(name: str, fast_path_taken: list[bool]) -> None:
    program = PROGRAMS[name]
    fast_path = observe(program.run, Framework("carboy"))
    taken = list(fast_path_taken)
    del fast_path_taken[:]
    chained = observe(program.run, Framework("carboy", Chained))
    assert fast_path == chained
    assert True not in fast_path_taken
    expected = program.fast_path
    if isinstance(expected, bool):
        expected = (expected,) * len(taken)
    if expected is not None:
        assert tuple(taken) == expected


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PROGRAMS)
def test_carboy_equals_flask(name: str, flask_site: pathlib.Path) -> None:
    on_carboy = observe(PROGRAMS[name].run, Framework("carboy"))
    on_flask = _on_flask(flask_site)[name]
    for number, (ours, theirs) in enumerate(zip(on_carboy, on_flask, strict=True)):
        assert ours == theirs, f"step {number}"
