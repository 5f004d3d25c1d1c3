"""`carboy check`: exit codes, text, JSON, silenced codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.integration

DEBUG = """
    from carboy import Carboy

    print("from the app")
    app = Carboy(__name__)
    app.debug = True
"""


@pytest.fixture
def check(tmp_path):
    """Run `carboy check` in a folder with an `app.py`; return the completed process."""

    def run(source, *words, **variables):
        if source is not None:
            (tmp_path / "app.py").write_text(textwrap.dedent(source).lstrip("\n"))
        environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CARBOY_", "FLASK_", "SECRET_", "LOG_"))
        }
        return subprocess.run(
            [sys.executable, "-m", "carboy", "check", *words],
            cwd=tmp_path,
            env=environ | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_finding_has_place_severity_code_and_remedy(check):
    done = check(DEBUG, "--deploy")
    assert done.returncode == 1, done.stderr
    assert "app.py:5: error: Debug mode is on" in done.stdout
    assert "[carboy.E001]\n    Remedy: " in done.stdout
    assert "from the app" not in done.stdout


def test_json_has_the_findings_for_programs(check):
    done = check(DEBUG, "--deploy", "--json")
    report = json.loads(done.stdout)
    assert (report["environment"], report["deploy"]) == ("production", True)
    (found,) = (each for each in report["findings"] if each["code"] == "carboy.E001")
    assert set(found) == {"code", "severity", "place", "message", "remedy"}
    assert (found["severity"], found["place"]) == ("error", "app.py:5")


def test_silenced_code_is_named_in_the_summary(check):
    source = f'{DEBUG}    app.config["CHECK_SILENCED"] = ["carboy.E001"]\n'
    done = check(source, "--deploy", "--fail-level", "error")
    assert "carboy.E001]" not in done.stdout
    assert "Silenced by CHECK_SILENCED: carboy.E001." in done.stdout


def test_exit_code_is_zero_if_nothing_may_fail(check):
    assert check(DEBUG, "--deploy", "--fail-level", "never").returncode == 0


@pytest.mark.parametrize(
    ("source", "variables", "message"),
    [
        (None, {}, "No application"),
        ("1 / 0\n", {}, "The app cannot be imported: ZeroDivisionError"),
        (DEBUG, {"CARBOY_SERVE_PORT": "x"}, "Setting 'port': expected"),
        (f'{DEBUG}    app.config["CHECK_SILENCED"] = ["E001"]\n', {}, "there is no check 'E001'"),
    ],
)
def test_what_cannot_be_checked_is_one_message_and_exit_code_2(check, source, variables, message):
    done = check(source, **variables)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_checks_that_were_not_made_are_named(check):
    source = f'{DEBUG}    app.config["MAX_CONTENT_LENGTH"] = "16MB"\n'
    done = check(source, "--deploy")
    assert done.returncode == 1
    assert "expected int or None, got text '16MB'. [carboy.E002]" in done.stdout
    assert "Not made because of carboy.E002: carboy.W005, carboy.W010.\n" in done.stdout
    not_made = json.loads(check(source, "--deploy", "--json").stdout)["not_made"]
    assert not_made == ["carboy.W005", "carboy.W010"]
