"""Each command that generates files refuses bad use in one line, with exit code 2, and leaves no
file behind. What it generates has no mistake that `carboy check` finds.
"""

from __future__ import annotations

import importlib.metadata
import json
import pathlib
import re
import sys
import typing as t

import pytest
from click.testing import Result
from clirunner import separate_runner

from carboy.cli import cli

if t.TYPE_CHECKING:
    import collections.abc as cabc

APP = "from carboy import Carboy\napp = Carboy(__name__)\n"
LAZY_APP = """\
from carboy import Carboy
_apps = {"app": Carboy(__name__)}

def __getattr__(name):
    if name not in _apps:
        raise AttributeError(name)
    return _apps[name]
"""

PLATFORMS = ("cloudrun", "fly", "heroku", "k8s", "render", "spaces")

# The options without which a command writes no files.
OPTIONS: dict[str, list[list[str]]] = {
    "deploy": [
        ["--to", platform, "--memory", "100M"]
        for platform in PLATFORMS
        if platform != "spaces"  # which keeps the text of README.md (test_platform_files.py)
    ],
}
# Files that a command writes if they are missing, and reads if they exist.
INPUTS = {"constraints.txt", "wheels"}


def generators() -> list[str]:
    """Return the names of the commands that generate files: those whose functions are in
    `carboy.deployment`, except for `check`, which writes none.
    """
    commands = importlib.metadata.distribution("carboy").entry_points.select(
        group="carboy.commands"
    )
    modules = {command.name: command.module for command in commands}
    return sorted(
        name
        for name, module in modules.items()
        if module.startswith("carboy.deployment.") and name != "check"
    )


LINES = [[name, *options] for name in generators() for options in OPTIONS.get(name, [[]])]
each_command = pytest.mark.parametrize("line", LINES, ids=" ".join)


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> cabc.Iterator[pathlib.Path]:
    """A project's folder, in which the commands run. It is below `tmp_path`, because its name is
    the name of the app.
    """
    folder = tmp_path / "shop"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield folder
    for name in {"app", "wsgi", "shop", "other"} - before:
        sys.modules.pop(name, None)


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b"a folder"
        for path in folder.rglob("*")
    }


def run(*line: str) -> Result:
    return separate_runner().invoke(cli, line)


def refusal_of(*line: str) -> str:
    """Run a command that must fail and must not change the folder. Return its error message, which
    must be the only line on stderr.
    """
    folder = pathlib.Path.cwd()
    before = contents(folder)
    result = run(*line)
    assert result.exit_code == 2, result.output
    assert contents(folder) == before
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("Error: ")
    return lines[0].removeprefix("Error: ")


def test_table_has_all_commands_that_generate_files():
    assert {"wsgi"} <= {line[0] for line in LINES}


@each_command
def test_folder_without_an_app_is_refused(line):
    assert "No application: neither wsgi.py nor app.py is in" in refusal_of(*line)


@each_command
def test_app_whose_path_would_begin_another_line_of_a_file_is_refused(line, folder):
    (folder / "new\nline.py").write_text(APP)
    name, *options = line
    assert "cannot name an app whose path has a line break" in refusal_of(
        name, "new\nline.py", *options
    )


@each_command
@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("from sys import nothing", "ImportError: cannot import name 'nothing' from 'sys'"),
        ("open('no/such/file')", "FileNotFoundError:"),
        ("app = (", "SyntaxError: '(' was never closed (app.py, line 1)"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        ("raise SystemExit('Set DATABASE_URL.')", "SystemExit: Set DATABASE_URL."),
    ],
    ids=["missing module", "missing name", "missing file", "syntax", "two lines", "exit"],
)
def test_app_that_does_not_import_is_refused(line, folder, source, reason):
    (folder / "app.py").write_text(source)
    message = refusal_of(*line)
    assert f"The app cannot be imported: {reason}" in message
    assert "'carboy routes' shows the traceback" in message


@each_command
@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("app:nothing", "has nothing named 'nothing'"),
        ("other.py", "There is no module 'other'"),
        ("app:app.config", "is neither a name nor a call"),
    ],
)
def test_app_that_is_not_where_the_argument_says_is_refused(line, folder, target, message):
    (folder / "app.py").write_text(APP)
    assert message in refusal_of(*line, target)


@each_command
def test_secret_in_the_error_of_an_import_is_not_shown(line, folder):
    (folder / "app.py").write_text("raise ValueError('postgres://shop:hunter22@db/shop')")
    assert "hunter22" not in refusal_of(*line)


@each_command
def test_setting_of_the_server_that_is_not_valid_is_refused(line, folder, monkeypatch):
    (folder / "app.py").write_text(APP)
    monkeypatch.setenv("CARBOY_SERVE_WORKERS", "many")
    assert "expected a whole number, at least 0, got 'many'" in refusal_of(*line)


@each_command
@pytest.mark.parametrize(
    ("path", "source", "target"),
    [
        ("app/__init__.py", APP, "app:app"),
        ("wsgi/__init__.py", APP, "wsgi:app"),
        ("app/__init__.py", LAZY_APP, "app:app"),
    ],
    ids=["package app", "package wsgi", "name without an entry"],
)
def test_app_that_is_found_without_its_name_is_written_as_if_it_were_named(
    line, folder, path, source, target
):
    (folder / path).parent.mkdir()
    (folder / path).write_text(source)
    name, *options = line
    named = run(name, target, *options, "--print")
    found = run(name, *options, "--print")
    assert named.exit_code == 0, named.output
    assert (found.exit_code, found.stdout) == (0, named.stdout), found.stderr


@each_command
@pytest.mark.parametrize(
    ("environment", "named"),
    [("development", "development"), ("test", "testing"), ("production", None), (None, None)],
)
def test_files_of_an_environment_for_developers_are_warned_of(
    line, folder, monkeypatch, environment, named
):
    (folder / "app.py").write_text(f"{APP}app.config.from_project()\n")
    if environment is not None:
        monkeypatch.setenv("CARBOY_ENV", environment)
    name, *options = line
    result = run(name, "app:app", *options, "--print")
    assert result.exit_code == 0, result.output
    if named is None:
        assert result.stderr == ""
    else:
        assert f"made from the configuration of {named}." in result.stderr
        assert result.stderr.endswith(f"write: CARBOY_ENV=production carboy {name} ...\n")
    assert "Warning" not in result.stdout


@each_command
def test_unknown_option_is_refused(line, folder):
    (folder / "app.py").write_text(APP)
    before = contents(folder)
    result = run(*line, "--forc")
    assert result.exit_code == 2
    # in the words of click 8.1 or of later versions
    suggested = r"No such option:? '?--forc'? ?.*(Did you mean|Possible options).*--force"
    assert re.search(suggested, result.stderr)
    assert contents(folder) == before


@each_command
def test_files_that_exist_are_replaced_by_force_only_and_a_diff_is_shown(line, folder):
    (folder / "app.py").write_text(APP)
    before = set(contents(folder))
    created = run(*line)
    assert created.exit_code == 0, created.output
    generated = contents(folder)
    new = {name for name in generated if name not in before and (folder / name).is_file()}
    files = sorted(name for name in new if name.split("/")[0] not in INPUTS)
    assert files

    assert run(*line).exit_code == 0  # nothing differs, so nothing is replaced
    assert contents(folder) == generated

    for name in files:
        for other in files:  # a command must not write the files that are missing, either
            (folder / other).unlink()
        (folder / name).write_text("mine\n")
        message = refusal_of(*line)
        assert f"{name}: exists with other content. Nothing was written. --force" in message
        assert f"--- {name}\n+++ {name} (generated)\n" in run(*line).stdout

        forced = run(*line, "--force")
        assert forced.exit_code == 0
        assert "-mine\n" in forced.stdout
        assert contents(folder) == generated


@each_command
def test_file_in_the_place_of_a_folder_is_refused(line, folder):
    (folder / "app.py").write_text(APP)
    assert run(*line).exit_code == 0
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "app.py"]
    obstacle = files[0]
    obstacle.unlink()
    obstacle.mkdir()
    message = refusal_of(*line)
    assert f"{obstacle.relative_to(folder).as_posix()}: cannot be read" in message


@each_command
def test_print_writes_no_file(line, folder):
    (folder / "app.py").write_text(APP)
    before = contents(folder)
    result = run(*line, "--print")
    assert result.exit_code == 0, result.output
    assert contents(folder) == before
    assert run(*line).exit_code == 0
    made = [path for path in contents(folder).keys() - before if (folder / path).is_file()]
    # Of several files, each is below its name.
    named = re.findall(r"^==> (.*) <==$", result.stdout, re.MULTILINE)
    assert sorted(named) == (sorted(made) if len(made) > 1 else [])
    for path in made:
        assert path.endswith(".whl") or (folder / path).read_text() in result.stdout


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("herokuu", "Did you mean 'heroku'?"), ("Fly", "Did you mean 'fly'?"), ("aws", "cloudrun")],
)
def test_unknown_platform_is_refused_with_the_nearest_name(folder, name, nearest):
    (folder / "app.py").write_text(APP)
    message = refusal_of("deploy", "--to", name)
    assert f"There is no platform {name!r}" in message
    assert nearest in message


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("name", ["", "two words", "x" * 300, "shop\n", "shop;ls", "-shop"])
def test_name_that_the_platform_refuses_is_refused(folder, platform, name):
    (folder / "app.py").write_text(APP)
    message = refusal_of("deploy", "--to", platform, "--memory", "512M", "--name", name)
    assert f"{name!r}" in message or "has no" in message


# --- what is generated is not bad itself ----------------------------------------------------------

# The codes of checks of files that commands generate.
CODES_OF_FILES = {"carboy.E110", "carboy.E111", "carboy.E112", "carboy.E113", "carboy.W114"}


def test_generated_files_have_no_mistake_that_carboy_check_finds(folder):
    (folder / "app.py").write_text(APP)
    (folder / ".env").write_text("SECRET_KEY=\n")
    for line in LINES:
        result = run(*line, "--force")
        assert result.exit_code == 0, result.output
    report = json.loads(run("check", "--deploy", "--json", "--fail-level", "never").stdout)
    assert [each for each in report["findings"] if each["code"] in CODES_OF_FILES] == []


@pytest.mark.parametrize(
    ("key", "value"), [("MAX_CONTENT_LENGTH", "16MB"), ("SERVER_NAME", 5), ("ACCESS_KEYS_FILE", 5)]
)
def test_value_of_a_wrong_type_is_refused_with_its_place(folder, key, value):
    (folder / "app.py").write_text(f"{APP}app.config[{key!r}] = {value!r}\n")
    message = refusal_of("nginx")
    assert message.startswith(f"app.py:3: {key}: expected ")
