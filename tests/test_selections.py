"""Selections of tests by scripts/: a test that is left out by name exists, as pytest ignores a name
that it does not find, and `make lowest` repeats what an older requirement can change.
"""

from __future__ import annotations

import importlib.util
import pathlib
import re
import sys
import tomllib
import typing as t

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
NAMED = re.compile(r"(tests/[\w/]+\.py)::(\w+)")


@pytest.mark.parametrize(
    ("file", "name"),
    sorted({found for script in (ROOT / "scripts").glob("*.py")
            for found in NAMED.findall(script.read_text(encoding="utf-8"))}),
)  # fmt: skip
def test_left_out_test_exists(file: str, name: str) -> None:
    assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")


@pytest.fixture
def lowest(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[t.Any]:
    """scripts/lowest.py as a module."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    before = set(sys.modules)
    yield importlib.import_module("lowest")
    for name in sys.modules.keys() - before:
        if name in {"bootstrap", "lowest", "quick"}:
            del sys.modules[name]


@pytest.mark.parametrize(
    ("older", "repeated"),
    [
        ("click", {"cli", "deployment", "serving"}),
        ("httptools", {"serving"}),
        ("jinja2", {"core", "deployment"}),
        ("python-dotenv", {"cli", "project"}),
        ("werkzeug", {"core", "core/routing", "contract", "json", "serving", "uploads"}),
        ("blinker", {"core"}),
    ],
)
def test_folders_are_repeated_whose_source_imports_an_older_requirement(
    lowest: t.Any, monkeypatch: pytest.MonkeyPatch, older: str, repeated: set[str]
) -> None:
    pinned = lowest.bootstrap.lowest_versions()
    monkeypatch.setattr(lowest.bootstrap, "pinned_versions", lambda: {**pinned, older: "1000"})
    left_out = {each.removeprefix("tests/") for each in lowest.folders_that_do_not_differ()}
    assert not left_out & repeated
    assert {"models/queue", "serving/threads", "observability"} <= left_out
    assert all((ROOT / "tests" / folder).is_dir() for folder in left_out)


def test_each_requirement_has_a_lowest_and_a_pinned_version(lowest: t.Any) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.match(r"[\w-]+", each)[0] for each in project["dependencies"]}  # type: ignore[index]
    assert lowest.bootstrap.lowest_versions().keys() == names
    assert names <= lowest.bootstrap.pinned_versions().keys()


def test_requirements_are_known_by_the_names_of_their_modules(lowest: t.Any) -> None:
    for name in lowest.bootstrap.lowest_versions():
        assert importlib.util.find_spec(lowest.MODULES.get(name, name)), name
