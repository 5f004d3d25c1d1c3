"""Two type checkers check programs as users write them, including those of Flask's tests."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent

# The first run on a machine also checks the whole of Werkzeug and Jinja2.
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def programs(flask_source, tmp_path_factory) -> pathlib.Path:
    """Copy carboy's programs, and those of Flask's tests with the package's name changed."""
    folder = tmp_path_factory.mktemp("programs")
    for path in (HERE / "programs").glob("*.py"):
        (folder / path.name).write_text(path.read_text())
    for path in (flask_source / "tests" / "type_check").glob("*.py"):
        text = path.read_text().replace("from flask", "from carboy")
        (folder / f"flask_{path.name}").write_text(text)
    return folder


def complaints(*command: str | os.PathLike[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_mypy_reports_exactly_the_expected_errors(programs):
    config = HERE / "mypy.ini"
    assert complaints("mypy", "--config-file", config, *sorted(programs.glob("*.py"))) == ""


def test_pyright_reports_exactly_the_expected_errors(programs):
    assert complaints("pyright", "--pythonpath", sys.executable, programs) == ""
