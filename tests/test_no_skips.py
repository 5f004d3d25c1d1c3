"""With CI=true a skipped test fails, so that nothing is left untested unnoticed."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

SUPPORT = pathlib.Path(__file__).parent / "support"
TESTS = {
    "call": "import pytest\ndef test(): pytest.skip('no browser')",
    "module": "import pytest\npytest.skip('no browser', allow_module_level=True)",
    "mark": "import pytest\n@pytest.mark.skip(reason='no browser')\ndef test(): pass",
    "xfail": "import pytest\n@pytest.mark.xfail\ndef test(): assert 0",
    "passing": "def test(): pass",
}


def run(folder: pathlib.Path, *, ci: str) -> str:
    for name, source in TESTS.items():
        (folder / f"test_{name}.py").write_text(source)
    env = {**os.environ, "PYTHONPATH": os.fspath(SUPPORT), "CI": ci}
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no_skips", "-p", "no:cacheprovider"]
    command += ["--continue-on-collection-errors"]
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False
    ).stdout


def test_on_ci_every_kind_of_skip_fails_with_its_reason(tmp_path):
    on_ci = run(tmp_path, ci="true")
    assert "1 failed, 1 passed, 1 xfailed, 2 errors" in on_ci
    assert on_ci.count("With CI=true nothing may be skipped") >= 3
    assert "no browser" in on_ci


def test_without_ci_skips_are_allowed(tmp_path):
    assert "1 passed, 3 skipped, 1 xfailed" in run(tmp_path, ci="")
