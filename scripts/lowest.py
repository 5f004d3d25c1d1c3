"""Run quick tests with the lowest version of each requirement that pyproject.toml allows.

A user may have any of them installed; what is never tried is not supported. Arguments go to pytest.

A test is repeated only where it can differ from `make unit`: where the folder of src/carboy that it
mirrors imports a requirement whose lowest version is not the pinned one. The others would run the
same code on the same versions again. A new pin changes the selection by itself.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import typing as t

import bootstrap
import quick

if t.TYPE_CHECKING:
    import pathlib

SOURCE = bootstrap.ROOT / "src" / "carboy"
# Requirements that are imported by another name.
MODULES = {"python-dotenv": "dotenv"}
# They mirror no folder of the source: tests of apps, of benchmarks and of the tests' own tools.
LEFT_OUT = ("tests/bench", "tests/examples", "tests/soak", "tests/support")


def older_modules() -> list[str]:
    """Return the requirements whose lowest version is not the pinned one, as they are imported."""
    pinned = bootstrap.pinned_versions()
    lowest = bootstrap.lowest_versions().items()
    return [MODULES.get(name, name) for name, version in lowest if pinned[name] != version]


def folders_that_do_not_differ() -> list[str]:
    """Return the folders of tests whose source, with all folders below, imports no older module."""
    imported = re.compile(rf"^\s*(?:from|import) (?:{'|'.join(older_modules())})\b", re.MULTILINE)
    reached: set[pathlib.Path] = set()
    for file in SOURCE.rglob("*.py"):
        if imported.search(file.read_text(encoding="utf-8")):
            reached.update(file.parents)
    folders = (file.parent for file in SOURCE.rglob("__init__.py"))
    tests = (f"tests/{folder.relative_to(SOURCE)}" for folder in folders if folder not in reached)
    return sorted(folder for folder in tests if (bootstrap.ROOT / folder).is_dir())


def main(arguments: list[str]) -> int:
    python = bootstrap.OTHER_VENVS / "lowest" / "bin" / "python"
    command = [os.fspath(python), "-m", "pytest", *quick.OPTIONS]
    # What an old version warns of, a new one has mended.
    options = ["-o", "filterwarnings=default\nerror:::carboy"]
    # Flask beside us runs on today's Werkzeug, whose bugs are other ones.
    options += ["--deselect", "tests/core/test_fastpath.py::test_carboy_equals_flask"]
    # Old versions of click write the usage of some commands otherwise.
    options += ["--deselect", "tests/test_docs_tables.py::test_table_is_as_the_code_says[commands]"]
    for folder in (*LEFT_OUT, *folders_that_do_not_differ()):
        options += ["--ignore", folder]
    return subprocess.run(
        [*command, *options, *arguments], cwd=bootstrap.ROOT, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
