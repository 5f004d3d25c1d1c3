"""A pytest plugin that makes `flask` mean carboy before anything is collected.

Loaded by `-p as_flask`, which comes before every conftest. Flask's tests are neither copied nor
changed; deviations.toml lists those that deviate on purpose.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
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


def _deviations() -> dict[str, str]:
    listed = tomllib.loads(DEVIATIONS.read_text())["deviation"]
    return {entry["test"]: entry["reason"] for entry in listed}


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
    asked_for_all = config.args == config.getini("testpaths") and not config.option.keyword
    if left and asked_for_all:
        raise pytest.UsageError(f"deviations.toml names tests that do not exist: {sorted(left)}")
