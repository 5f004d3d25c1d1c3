"""`.env` files of a project."""

from __future__ import annotations

import io
import json
import os
import secrets

import pytest

from carboy import Carboy
from carboy.cli import load_dotenv
from carboy.errors import ProjectError
from carboy.project.rotation import rotate_env_file, rotate_key_file


def test_lines_are_counted_over_comments_blank_lines_and_long_values(project):
    project.write(
        ".env",
        """
        # first

        CARBOY_A=1
        CARBOY_B="two
        lines"
        export CARBOY_C='3'
        """,
    )
    app = project.load()
    values = {key: (app.config[key], project.origin(app, key)) for key in "ABC"}
    assert values == {"A": (1, ".env:3"), "B": ("two\nlines", ".env:4"), "C": (3, ".env:6")}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("A=1\nTHIS IS canary\n", 2),
        ('#\n\n\nA="canary\nB=2\n', 4),
        ("A=1\n=canary\n", 2),
    ],
)
def test_line_that_cannot_be_parsed_is_refused_by_its_number_only(project, text, line):
    project.write(".env", text)
    with pytest.raises(ProjectError, match=rf"\.env:{line}: this line is neither") as info:
        project.load()
    assert "canary" not in str(info.value)
    assert "A" not in os.environ


def test_env_file_overrides_flaskenv_and_refers_to_variables(project):
    project.setenv(HOST="db")
    project.write(".flaskenv", "CARBOY_A=flaskenv\nCARBOY_B=flaskenv\n")
    project.write(".env", "CARBOY_A=on-${HOST}\n")
    app = project.load()
    assert (app.config["A"], app.config["B"]) == ("on-db", "flaskenv")
    assert project.origin(app, "B") == ".flaskenv:2"


def test_byte_order_mark_is_no_part_of_a_name_or_secret(project, monkeypatch):
    from dotenv.parser import Reader

    def init_before_dotenv_1_2(reader, stream):
        init(reader, io.StringIO("\n" + stream.read()))  # only the very first one is removed
        reader.string = reader.string.removeprefix("\n")

    init = Reader.__init__
    monkeypatch.setattr(Reader, "__init__", init_before_dotenv_1_2)
    project.write(".flaskenv", "\ufeffCARBOY_A=1\n")
    project.write(".env", "\ufeffSECRET_KEY_FILE=key\n")
    key = secrets.token_hex()
    project.write("key", f"\ufeff{key}\n")
    config = project.load().config
    assert (config["A"], config["SECRET_KEY"]) == (1, key)
    monkeypatch.setattr("carboy.cli.dotenv.files_read", [])
    project.write("other", "\ufeffFLASK_B=2\n")
    load_dotenv("other", load_defaults=False)
    assert os.environ["FLASK_B"] == "2"
    rotate_key_file("key", keep=1)
    assert json.loads((project.root / "key.fallbacks").read_text()) == [key]
    project.write(".env", "\ufeffSECRET_KEY=of-the-file\n")
    rotate_env_file(".env", keep=0)
    assert (project.root / ".env").read_text().count("SECRET_KEY=") == 1


def test_changed_file_is_read_again(project):
    project.write(".env", "SECRET_KEY=first\nCARBOY_A=1\n")
    assert project.load().config["SECRET_KEY"] == "first"
    project.write(".env", "SECRET_KEY=second\n")
    app = project.load()
    assert (app.config["SECRET_KEY"], app.config.get("A")) == ("second", None)
    assert project.origin(app, "SECRET_KEY") == ".env:1"


def test_two_lines_that_contradict_each_other_are_refused(project):
    project.write(".env", "A=same\nB=canary\nA=same\nB=other\n")
    with pytest.raises(ProjectError, match=r"\.env:4: B has another value on line 2") as info:
        project.load()
    assert "canary" not in str(info.value)


def test_projects_in_one_process_have_their_own_variables(tmp_path, project):
    apps = {}
    for name, lines in {
        "one": "SECRET_KEY=key-of-one\nCARBOY_A=1\nFLASK_ENV=staging\n",
        "two": "SECRET_KEY=key-of-two\nCARBOY_B=2\n",
        "three": "FLASK_ENV=development\n",
    }.items():
        project.write(f"{name}/.env", lines)
        project.write(f"{name}/config.py", "import os\nREAD = os.environ.get('SECRET_KEY')\n")
        apps[name] = Carboy(name, root_path=str(tmp_path / name))
        apps[name].config.from_project()
    found = {
        name: tuple(app.config.get(key) for key in ("SECRET_KEY", "READ", "A", "B", "ENV"))
        for name, app in apps.items()
    }
    made = apps["three"].config["SECRET_KEY"]
    assert found == {
        "one": ("key-of-one", "key-of-one", 1, None, "staging"),
        "two": ("key-of-two", "key-of-two", None, 2, "production"),
        "three": (made, None, None, None, "development"),
    }
    assert made not in (None, "key-of-one", "key-of-two")
    # Code of each project may read its variables; a name that two projects use has the last value.
    names = ("SECRET_KEY", "CARBOY_A", "CARBOY_B", "FLASK_ENV")
    assert [os.environ[name] for name in names] == ["key-of-two", "1", "2", "development"]


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda path: path.mkdir(), "a folder"),
        (lambda path: path.symlink_to("absent"), "a link to a file that does not exist"),
        (os.mkfifo, "a pipe or a device"),
    ],
    ids=["folder", "dangling link", "pipe"],
)
def test_what_is_no_file_is_refused(project, make, kind):
    make(project.root / ".env")
    with pytest.raises(ProjectError, match=rf"^\.env is {kind}, and not a file of environment"):
        project.load()


def test_virtual_environment_of_the_same_name_is_ignored(project):
    project.write(".env/pyvenv.cfg", "home = /usr/bin\n")
    assert project.load().config.project is not None


@pytest.mark.parametrize("text", ["[" * 50_000, "[" * 50_000 + "]" * 50_000], ids=["open", "whole"])
def test_deeply_nested_value_is_no_error_of_recursion(project, text):
    project.setenv(CARBOY_TITLE=text)
    title = project.load().config["TITLE"]
    assert title == text or isinstance(title, list)  # Python 3.14 parses JSON of this depth
    project.setenv(CARBOY_TRUSTED_HOSTS=text)
    with pytest.raises(ProjectError, match=r"CARBOY_TRUSTED_HOSTS: .* is no host") as info:
        project.load()
    assert len(str(info.value)) < 500
