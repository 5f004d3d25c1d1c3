"""A failing test does not make another test fail."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

SUPPORT = pathlib.Path(__file__).parent / "support"
FAILING = {
    "assertion": "import socket\ndef test():\n    left = socket.socket()\n    assert not left",
    "error": "import socket\ndef test():\n    left = socket.socket()\n    raise ValueError(left)",
    "fixture": """
import socket, pytest
@pytest.fixture
def left():
    left = socket.socket()
    raise ValueError(left)
def test(left): pass
""",
}


def run(folder: pathlib.Path, failing: str, *plugins: str) -> str:
    (folder / "test_1.py").write_text(failing)
    (folder / "test_2.py").write_text("import gc\ndef test_innocent():\n    gc.collect()\n")
    env = {**os.environ, "PYTHONPATH": os.fspath(SUPPORT)}
    command = [sys.executable, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", "-q"]
    command += ["-p", "no:randomly", *plugins]
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=50
    )
    return done.stdout


@pytest.mark.parametrize("failing", FAILING.values(), ids=FAILING)
def test_socket_of_a_failed_test_makes_no_other_test_fail(tmp_path, failing):
    assert "1 passed" in run(tmp_path, failing, "-p", "contained_failures")


def test_without_the_plugin_the_next_test_fails(tmp_path):
    assert "2 failed" in run(tmp_path, FAILING["assertion"])
