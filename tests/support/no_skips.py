"""A pytest plugin: with CI=true a skipped test fails, unless `tests/skips.toml` lists it.

CI installs whatever a test needs, so a skipped test there means that something is no longer tested.
"""

from __future__ import annotations

import fnmatch
import os
import pathlib
import tomllib
import typing as t

import pytest

_ON_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}
_LIST = pathlib.Path("tests", "skips.toml")


class Allowed(t.NamedTuple):
    """A skipped test that CI accepts."""

    test: str
    reason: str
    because: str


def read_list(root: pathlib.Path) -> list[Allowed]:
    file = root / _LIST
    if not file.is_file():
        return []
    return [Allowed(**entry) for entry in tomllib.loads(file.read_text("utf-8"))["skip"]]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_allowed] = read_list(config.rootpath)


_allowed = pytest.StashKey[list[Allowed]]()


def _reason(report: pytest.CollectReport | pytest.TestReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def _fail_skipped(report: pytest.CollectReport | pytest.TestReport, allowed: list[Allowed]) -> None:
    # A passing `xfail` is reported as "skipped" too; `wasxfail` distinguishes it.
    if not (_ON_CI and report.skipped) or hasattr(report, "wasxfail"):
        return
    reason = _reason(report)
    if any(fnmatch.fnmatchcase(report.nodeid, a.test) and a.reason == reason for a in allowed):
        return
    report.outcome = "failed"
    report.longrepr = f"With CI=true nothing may be skipped that {_LIST} does not list - {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> t.Generator[None, pytest.TestReport]:
    report = yield
    _fail_skipped(report, item.config.stash[_allowed])
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> t.Generator[None, pytest.CollectReport]:
    report = yield
    _fail_skipped(report, collector.config.stash[_allowed])
    return report
