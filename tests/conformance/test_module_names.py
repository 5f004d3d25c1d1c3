"""Each module of carboy has every name that Flask's module of that name has, imported or not."""

from __future__ import annotations

import importlib
import pathlib

import pytest
from onflask import recorded_on_flask

# Private functions of Flask that have no counterpart: carboy's commands are built otherwise.
PRIVATE = {
    "cli": {
        *("_app_option", "_called_with_wrong_args", "_debug_option", "_env_file_callback"),
        *("_env_file_option", "_path_is_ancestor", "_set_app", "_set_debug", "_validate_key"),
    },
    "debughelpers": {"_dump_loader_info"},
    "sansio.scaffold": {"_find_package_path"},
    "testing": {"_werkzeug_version"},
}
LIST = """
import flask, importlib, json, pkgutil
names = ["flask", *(each.name for each in pkgutil.walk_packages(flask.__path__, "flask."))]
names.remove("flask.__main__")
names += ["flask.sansio." + name for name in ("app", "blueprints", "scaffold")]  # no package
print(json.dumps({name[5:]: dir(importlib.import_module(name)) for name in names}))
"""


@pytest.fixture(scope="module")
def names_of_flask(flask_site: pathlib.Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = recorded_on_flask(flask_site, "-c", LIST)
    return found


def test_every_name_of_flasks_modules_is_found_and_listed(
    names_of_flask: dict[str, list[str]],
) -> None:
    missing = {}
    for suffix, names in names_of_flask.items():
        module = importlib.import_module(f"carboy{suffix}")
        absent = {name for name in names if not hasattr(module, name)}
        missing[suffix[1:]] = absent | (set(names) - {*dir(module)})
    assert {name: absent for name, absent in missing.items() if absent} == PRIVATE


def test_private_functions_that_are_missing_are_documented() -> None:
    page = (pathlib.Path(__file__).parents[2] / "docs" / "compat.md").read_text()
    for names in PRIVATE.values():
        for name in names:
            assert name in page


def test_other_names_are_missing() -> None:
    for name in ("app", "cli", "helpers", "sansio.app"):
        with pytest.raises(AttributeError, match="no_such_name"):
            importlib.import_module(f"carboy.{name}").no_such_name
