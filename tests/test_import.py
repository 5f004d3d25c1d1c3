"""`import carboy` loads few modules: which it may load, and which it may not."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

REPORT = """
import json, sys
before = set(sys.modules)
import carboy
print(json.dumps(sorted(set(sys.modules) - before)))
"""

# Packages outside of the standard library, and a module of it that `sys.stdlib_module_names` lacks
# (which parts Debian packages separately; read by `traceback` since Python 3.15).
ALLOWED = {
    "_missing_stdlib_info",
    "blinker",
    "carboy",
    "itsdangerous",
    "jinja2",
    "markupsafe",
    "werkzeug",
}
# Each costs milliseconds, is needed by few programs, and can be imported where it is used.
# (`werkzeug` itself imports its server and its test client, which carboy cannot avoid.)
TOO_HEAVY = [
    "asyncio",
    "concurrent.futures",
    "ctypes",
    "importlib.metadata",
    "multiprocessing",
    "pydoc",
    "sqlite3",
    "tomllib",
    "unittest",
    "werkzeug.debug",
    "xml",
]


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    command = [sys.executable, "-c", REPORT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_import_loads_no_other_package(loaded):
    found = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    assert found <= ALLOWED | {"_carboy_as_flask", "click", "msgspec"}


@pytest.mark.parametrize("name", TOO_HEAVY)
def test_import_loads_no_heavy_module(loaded, name):
    assert not {module for module in loaded if module == name or module.startswith(f"{name}.")}


def test_every_public_name_is_declared_for_type_checkers():
    import ast

    import carboy

    with open(carboy.__file__) as file:
        tree = ast.parse(file.read())
    unmarked = [
        name.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.level
        for name in node.names
        if name.asname != name.name
    ]
    assert not unmarked, "write `from .x import y as y`"


@pytest.mark.parametrize("module", ["carboy.sansio.app", "carboy.json.provider", "carboy.cli"])
def test_submodule_may_be_imported_first(module):
    # An import cycle fails only for some orders of import.
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import {module}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
