"""With CI=true a skipped test fails unless tests/skips.toml lists it."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import no_skips

ROOT = pathlib.Path(__file__).resolve().parents[1]
SUPPORT = ROOT / "tests" / "support"
TESTS = {
    "call": "import pytest\ndef test(): pytest.skip('no browser')",
    "module": "import pytest\npytest.skip('no browser', allow_module_level=True)",
    "mark": "import pytest\n@pytest.mark.skip(reason='no browser')\ndef test(): pass",
    "xfail": "import pytest\n@pytest.mark.xfail\ndef test(): assert 0",
    "passing": "def test(): pass",
    "listed": "import pytest\ndef test(): pytest.skip('no IPv6')",
}
LIST = """
[[skip]]
test = "test_listed.py::*"
reason = "no IPv6"
because = "it cannot be installed"
"""


def run(folder: pathlib.Path, *, ci: str) -> str:
    for name, source in TESTS.items():
        (folder / f"test_{name}.py").write_text(source)
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "tests").mkdir()
    (folder / "tests" / "skips.toml").write_text(LIST)
    env = {**os.environ, "PYTHONPATH": os.fspath(SUPPORT), "CI": ci}
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no_skips", "-p", "no:cacheprovider"]
    command += ["--continue-on-collection-errors"]
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=50
    ).stdout


def test_on_ci_every_skip_that_is_not_listed_fails_with_its_reason(tmp_path):
    on_ci = run(tmp_path, ci="true")
    assert "1 failed, 1 passed, 1 skipped, 1 xfailed, 2 errors" in on_ci
    assert on_ci.count("With CI=true nothing may be skipped") >= 3
    assert "no browser" in on_ci


def test_without_ci_skips_are_allowed(tmp_path):
    assert "1 passed, 4 skipped, 1 xfailed" in run(tmp_path, ci="")


def test_each_listed_test_exists():
    for allowed in no_skips.read_list(ROOT):
        file, _, _ = allowed.test.partition("::")
        files = [ROOT / file, *SUPPORT.glob("*.py")]  # a fixture of tests/support may skip it
        assert any(allowed.reason in each.read_text("utf-8") for each in files)
        assert allowed.because
