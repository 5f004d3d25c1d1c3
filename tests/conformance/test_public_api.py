"""carboy has every public name of Flask 3.1.3, with its signature, compared with Flask itself."""

from __future__ import annotations

import fnmatch
import json
import os
import pathlib
import subprocess
import sys
import tomllib
import typing as t

import pytest

HERE = pathlib.Path(__file__).parent
# Intended differences, as patterns of names; deviations.toml has the reasons.
EXCEPTIONS = [
    pattern
    for entry in tomllib.loads((HERE / "deviations.toml").read_text())["name"]
    for pattern in entry["names"]
]
MISSING = {"is": "missing"}


def is_listed(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in EXCEPTIONS)


def described(package: str, flask_site: pathlib.Path) -> dict[str, t.Any]:
    env = dict(os.environ)
    if package == "flask":
        env["PYTHONPATH"] = os.fspath(flask_site)
    command = [sys.executable, HERE / "describe.py", package, flask_site / "flask"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return t.cast("dict[str, t.Any]", json.loads(done.stdout))


@pytest.fixture(scope="module")
def flask(flask_site) -> dict[str, t.Any]:
    return described("flask", flask_site)


@pytest.fixture(scope="module")
def carboy(flask_site) -> dict[str, t.Any]:
    return described("carboy", flask_site)


def difference(theirs: dict[str, t.Any], ours: dict[str, t.Any]) -> str:
    """Return what is wrong with carboy's entry for a name, or an empty text."""
    if theirs["is"] == "type variable":
        return ""  # used only by the module that defines it
    if ours["is"] == "missing":
        return "is missing"
    # A computed value and a stored value read the same.
    kinds = {theirs["is"], ours["is"]}
    if theirs["is"] != ours["is"] and kinds != {"attribute", "value"}:
        return f"is a {ours['is']}, in Flask a {theirs['is']}"
    for what in ("signature", "value"):
        if what in theirs and what in ours and theirs[what] != ours[what]:
            return f"has the {what} {ours[what]}, in Flask {theirs[what]}"
    return ""


def differing_names(flask: dict[str, t.Any], carboy: dict[str, t.Any]) -> dict[str, str]:
    found = {
        name: difference(theirs, carboy["names"].get(name, MISSING))
        for name, theirs in flask["names"].items()
    }
    return {name: text for name, text in found.items() if text}


def missing_attributes(flask: dict[str, t.Any], carboy: dict[str, t.Any], of: str) -> set[str]:
    return {f"{of}.{name}" for name in set(flask["objects"][of]) - set(carboy["objects"][of])}


def test_names_and_signatures_equal_flasks(flask, carboy):
    found = differing_names(flask, carboy)
    unlisted = [f"{name} {text}" for name, text in found.items() if not is_listed(name)]
    assert not unlisted, "\n" + "\n".join(unlisted)


def test_importing_the_package_loads_the_same_modules(flask, carboy):
    assert set(flask["modules"]) <= set(carboy["modules"])


OBJECTS = [
    "Flask()",
    "Blueprint()",
    "RequestContext()",
    "AppContext()",
    "Request()",
    "Response()",
    "ScriptInfo()",
    "test_client()",
    "test_cli_runner()",
    "View.as_view()",
    "session",
    "g",
]


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_have_the_attributes_of_flasks(flask, carboy, name):
    assert {
        item for item in missing_attributes(flask, carboy, name) if not is_listed(item)
    } == set()


def test_listed_exceptions_still_differ(flask, carboy):
    differing = set(differing_names(flask, carboy))
    for of in OBJECTS:
        differing |= missing_attributes(flask, carboy, of)
    idle = [pattern for pattern in EXCEPTIONS if not fnmatch.filter(differing, pattern)]
    assert not idle, "deviations.toml lists names that no longer differ"
