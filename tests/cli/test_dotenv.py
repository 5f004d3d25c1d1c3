"""`.env` files, and the two prefixes of environment variables."""

from __future__ import annotations

import os
import sys

import click
import pytest
from click.testing import CliRunner

from carboy import Carboy
from carboy.cli import FlaskGroup, load_dotenv


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    yield tmp_path
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def group():
    group = FlaskGroup(create_app=lambda: Carboy("x"))

    @group.command(with_appcontext=False)
    @click.option("--port", type=int)
    def show(port):
        print(port)

    return group


def test_given_file_beats_dotenv_beats_flaskenv(folder):
    (folder / ".flaskenv").write_text("A=flaskenv\nB=flaskenv\nC=flaskenv\n")
    (folder / ".env").write_text("B=env\nC=env\n")
    (folder / "mine").write_text("C=mine\nD=ö\n")
    os.environ["E"] = "set"
    (folder / "mine").write_text("C=mine\nD=ö\nE=mine\n", encoding="utf-8")
    assert load_dotenv("mine")
    assert [os.environ[key] for key in "ABCDE"] == ["flaskenv", "env", "mine", "ö", "set"]


def test_missing_files_set_no_variable(folder):
    assert not load_dotenv()
    assert not load_dotenv("absent", load_defaults=False)


def test_missing_python_dotenv_is_reported_only_if_a_file_exists(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "dotenv", None)
    assert not load_dotenv()
    assert not capsys.readouterr().err
    (folder / ".env").write_text("A=1\n")
    assert not load_dotenv()
    assert "pip install python-dotenv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("environ", "file", "expected"),
    [
        pytest.param({"FLASK_SHOW_PORT": "1"}, "", "1", id="flask's prefix"),
        pytest.param({"CARBOY_SHOW_PORT": "2"}, "", "2", id="carboy's prefix"),
        pytest.param({"FLASK_SHOW_PORT": "1", "CARBOY_SHOW_PORT": "2"}, "", "2", id="both"),
        pytest.param({"FLASK_SHOW_PORT": "1", "CARBOY_SHOW_PORT": ""}, "", "1", id="one is empty"),
        pytest.param({}, "CARBOY_SHOW_PORT=\nFLASK_SHOW_PORT=4\n", "4", id="empty in the file"),
        pytest.param({}, "CARBOY_SHOW_PORT=3\n", "3", id="file"),
        pytest.param({}, "CARBOY_SHOW_PORT=3\nFLASK_SHOW_PORT=4\n", "3", id="both in the file"),
        pytest.param({"FLASK_SHOW_PORT": "1"}, "CARBOY_SHOW_PORT=3\n", "1", id="set beats file"),
    ],
)
def test_option_is_read_from_the_environment(folder, group, environ, file, expected):
    (folder / ".env").write_text(file)
    os.environ.update(environ)
    result = CliRunner().invoke(group, ["show"])
    assert result.output.strip() == expected


@pytest.mark.parametrize(
    ("words", "variable"),
    [(["show"], "SHOW_PORT"), (["show"], "DEBUG"), (["show", "--port", "x"], None)],
    ids=["of a command", "of the group", "typed"],
)
def test_invalid_value_is_reported_with_the_variable_that_has_it(folder, group, words, variable):
    if variable:
        os.environ[f"CARBOY_{variable}"] = "maybe"
    result = CliRunner().invoke(group, words)
    assert result.exit_code == 2
    assert "Invalid value for '--" in result.output
    if variable:
        assert (
            f"from the environment variable FLASK_{variable} or CARBOY_{variable}" in result.output
        )
    else:
        assert "environment" not in result.output


def test_copied_variables_are_removed_after_the_command(folder, group):
    os.environ["CARBOY_SHOW_PORT"] = "2"
    CliRunner().invoke(group, ["show"])
    assert "FLASK_SHOW_PORT" not in os.environ


def test_env_file_without_python_dotenv_is_refused(folder, group, monkeypatch):
    monkeypatch.setitem(sys.modules, "dotenv", None)
    (folder / "mine").touch()
    result = CliRunner().invoke(group, ["-e", "mine", "show"])
    assert result.exit_code == 2
    assert "pip install python-dotenv" in result.output
