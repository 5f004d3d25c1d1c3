"""A pytest plugin: with CI=true a skipped test fails, because everything can be installed there."""

from __future__ import annotations

import os
import typing as t

import pytest

_ON_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def _fail_skipped(report: pytest.CollectReport | pytest.TestReport) -> None:
    # A passing `xfail` is reported as "skipped" too; `wasxfail` distinguishes it.
    if not (_ON_CI and report.skipped) or hasattr(report, "wasxfail"):
        return
    report.outcome = "failed"
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.longrepr = f"With CI=true nothing may be skipped - {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> t.Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> t.Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_skipped(report)
    return report
