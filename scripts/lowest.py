"""Run the quick tests with the lowest version of each requirement that pyproject.toml allows.

A user may have any of them installed; what is never tried is not supported. Arguments go to pytest.
Only tests that reach a requirement's code are selected: the queue of models, the pages and the
documents use none of them in a way of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys

import bootstrap
import quick

LEFT_OUT = ("tests/examples", "tests/models/queue", "tests/openapi", "tests/support")


def main(arguments: list[str]) -> int:
    python = bootstrap.OTHER_VENVS / "lowest" / "bin" / "python"
    command = [os.fspath(python), "-m", "pytest", *quick.OPTIONS]
    # What an old version warns of, a new one has mended.
    options = ["-o", "filterwarnings=default\nerror:::carboy"]
    # Flask beside us runs on today's Werkzeug, whose bugs are other ones.
    options += ["--deselect", "tests/core/test_fastpath.py::test_carboy_equals_flask"]
    # Old versions of click write the usage of some commands otherwise.
    options += ["--deselect", "tests/test_docs_tables.py::test_table_is_as_the_code_says[commands]"]
    for folder in LEFT_OUT:
        options += ["--ignore", folder]
    return subprocess.run(
        [*command, *options, *arguments], cwd=bootstrap.ROOT, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
