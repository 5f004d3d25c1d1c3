"""Tracebacks in a terminal show the user's lines only."""

from __future__ import annotations

import os
import subprocess

import pytest

from carboy.cli.failures import format_for_user

pytestmark = pytest.mark.integration

FILES = {
    "import_error.py": "import not_installed_anywhere\n",
    "name_error.py": "def helper():\n    return undefined\nhelper()\n",
    "syntax_error.py": "def f(:\n",
    "twice.py": (
        "from carboy import Carboy\napp = Carboy(__name__)\n"
        "@app.get('/')\ndef a(): ...\n"
        "@app.get('/b')\ndef a(): ...\n"
    ),
    "command.py": (
        "from carboy import Carboy\napp = Carboy(__name__)\n"
        "@app.cli.command()\ndef boom(): raise ValueError('in my command')\n"
    ),
}


@pytest.fixture
def run(tmp_path, carboy_command):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)

    def run(*args, **environ):
        return subprocess.run(
            [carboy_command, *args],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, **environ},
        )

    return run


@pytest.mark.parametrize(
    ("app", "command", "words"),
    [
        ("import_error", "routes", ["import_error.py", "not_installed_anywhere"]),
        ("name_error", "routes", ["line 3", "line 2, in helper", "NameError"]),
        ("syntax_error.py", "routes", ["syntax_error.py", "line 1", "SyntaxError"]),
        ("twice", "routes", ["twice.py", "line 5", "'/b'"]),
        ("command", "boom", ["command.py", "ValueError: in my command"]),
    ],
)
def test_traceback_holds_only_the_users_lines(run, app, command, words):
    done = run("--app", app, command)
    assert done.returncode in {1, 2}
    for word in words:
        assert word in done.stderr
    for foreign in ("src/carboy/", "click/core.py", "importlib"):
        assert foreign not in done.stderr


def test_full_traceback_is_shown_on_request(run):
    done = run("--app", "name_error", "routes", CARBOY_FULL_TRACEBACK="1")
    assert "discovery.py" in done.stderr


def test_python_dash_m_is_the_same_command(tmp_path):
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "carboy", "--version"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert "Carboy" in done.stdout


def test_traceback_of_an_internal_error_is_complete():
    try:
        format_for_user(None)
    except AttributeError as exc:
        # The first frame is that of this test; all other frames are carboy's.
        text = format_for_user(exc.with_traceback(exc.__traceback__.tb_next))
    assert "failures.py" in text
