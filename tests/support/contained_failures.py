"""A pytest plugin: objects that a failing test left open make no other test fail.

The traceback of a failure keeps the test's local variables alive. A socket or a file among them is
closed by the garbage collector during a later test, whose ResourceWarning (an error here) would be
reported for that test. So the objects are collected directly after the failed test, and the
warnings
of their finalizers are ignored: the failure itself has been reported.
"""

from __future__ import annotations

import gc
import sys
import typing as t

import pytest

_failed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> t.Generator[None, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[_failed] = True
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> t.Generator[None, object, object]:
    result = yield
    if item.stash.get(_failed, False) and not item.config.getoption("usepdb", False):
        _collect_quietly()
    return result


def _collect_quietly() -> None:
    for name in ("last_exc", "last_type", "last_value", "last_traceback"):  # set for debuggers
        if hasattr(sys, name):
            delattr(sys, name)
    before = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: None
    try:
        gc.collect()
    finally:
        sys.unraisablehook = before
