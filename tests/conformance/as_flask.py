"""A pytest plugin that makes `flask` mean carboy before anything is collected.

Loaded by `-p as_flask`, which comes before every conftest. Flask's tests are neither copied nor
changed; deviations.toml lists those that deviate on purpose, and how many pass. The variable
CARBOY_TESTS_SUITE says which of its suites is run, if any: "pinned" or "newest".
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pathlib
import tomllib
import typing as t

import pytest

DEVIATIONS = pathlib.Path(__file__).with_name("deviations.toml")


def _flask_is_absent() -> bool:
    try:
        importlib.metadata.distribution("flask")
    except importlib.metadata.PackageNotFoundError:
        return importlib.util.find_spec("flask") is None
    return False


if not _flask_is_absent():
    raise pytest.UsageError("Flask is installed here, so that passing would prove nothing.")

import carboy

carboy.install_as_flask()


SUITE = os.environ.get("CARBOY_TESTS_SUITE", "")


def _deviations() -> dict[str, str]:
    key = {"pinned": "deviation", "newest": "deviation_of_newest"}.get(SUITE)
    listed = tomllib.loads(DEVIATIONS.read_text())[key] if key else []
    return {entry["test"]: entry["reason"] for entry in listed}


def _asked_for_all(config: pytest.Config) -> bool:
    return config.args == config.getini("testpaths") and not config.option.keyword


def pytest_report_header() -> list[str]:
    import flask

    assert flask.Flask is carboy.Carboy
    version = importlib.metadata.version("carboy")
    return [f"flask is carboy {version}, at {pathlib.Path(carboy.__file__).parent}"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[t.Any]) -> None:
    left = _deviations()
    for item in items:
        if (reason := left.pop(item.nodeid, None)) is not None:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
    if left and _asked_for_all(config):
        raise pytest.UsageError(f"deviations.toml names tests that do not exist: {sorted(left)}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail if other than the documented number of tests has passed."""
    if not SUITE or not _asked_for_all(session.config) or session.exitstatus:
        return
    reporter: t.Any = session.config.pluginmanager.get_plugin("terminalreporter")
    passed = len(reporter.stats.get("passed", ()))
    documented = tomllib.loads(DEVIATIONS.read_text())["passing"][SUITE]
    if passed != documented:
        reporter.write_line(f"\n{passed} tests passed; deviations.toml says {documented}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
