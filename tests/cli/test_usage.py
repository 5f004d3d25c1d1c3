"""A command line that names no command, no option or no app is answered with the right one."""

from __future__ import annotations

import sys

import click
import pytest
from click.testing import CliRunner

from carboy.cli import FlaskGroup, cli, prepare_import

APP = """\
from carboy import Carboy
app = Carboy(__name__)
@app.model("/double")
class Double:
    def predict(self, x: float) -> float: return 2 * x
@app.get("/hello")
def hello() -> str: return "hi"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "shop.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("shop", None)


def error_of(*args, group=cli):
    done = CliRunner().invoke(group, args)
    assert done.exit_code == 2, done.output
    return done.output.partition("\nError: ")[2].strip()


SERVERS = "Servers are 'carboy run' (development) and 'carboy serve' (production)."
BOTH = (
    "To start its app, write 'carboy run {0}' in development, or 'carboy serve {0}' in production."
    " For any other command the app comes first: 'carboy --app {0} routes'."
)
OF_SERVERS = (
    "'carboy {0}' has no option '{1}'. 'carboy {2}', which serves in {3}, has it: 'carboy {2} {1}'."
)
TWO_APPS = "Two apps are named: 'shop.py' and 'other.py'. Leave one of them out."


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("shop.py", "No such command 'shop.py'. " + BOTH.format("shop.py")),
        ("shop:app", "No such command 'shop:app'. " + BOTH.format("shop:app")),
        ("start", f"No such command 'start'. {SERVERS}"),
        ("runserver", f"No such command 'runserver'. {SERVERS}"),
        ("serve --reload", OF_SERVERS.format("serve", "--reload", "run", "development")),
        ("serve --debug", OF_SERVERS.format("serve", "--debug", "run", "development")),
        ("run --workers 2", OF_SERVERS.format("run", "--workers", "serve", "production")),
        (
            "routes --app shop.py",
            (
                "'carboy routes' has no option '--app'. It comes before the command: 'carboy --app"
                " ... routes'."
            ),
        ),
        (
            "routes shop.py",
            (
                "Got unexpected extra argument (shop.py). The app comes before the command: 'carboy"
                " --app shop.py routes'."
            ),
        ),
        (
            "models shop.py",
            (
                "No such command 'shop.py'. The app comes before the command: 'carboy --app shop.py"
                " models'."
            ),
        ),
        (
            "new shop.py",
            (
                "A project cannot have the name 'shop.py': it contains '.' (character 5). Use at"
                " most 50 characters: the letters a to z, digits, '_' and '-', with a letter first,"
                " such as 'shop' or 'my-shop'."
            ),
        ),
        ("new shop shop.py", "Got unexpected extra argument (shop.py)"),
        ("--app shop.py serve other.py", TWO_APPS),
        ("run --app shop.py other.py", TWO_APPS),
        ("--app shop.py serve --app other.py", TWO_APPS),
    ],
)
def test_wrong_command_line_is_answered_with_the_right_one(line, message):
    assert error_of(*line.split()) == message


def test_group_with_an_app_of_its_own_takes_no_app(app):
    group = FlaskGroup(name="shop", create_app=lambda: app)
    said = "This command creates its own app, and takes no 'shop.py'."
    assert error_of("run", "shop.py", group=group) == said
    assert "carboy run" not in error_of("shop.py", group=group)


def test_run_takes_the_app_as_an_argument(monkeypatch):
    served = []
    monkeypatch.setattr("carboy.cli.run_development", lambda app, *_, **__: served.append(app.name))
    for args in (["shop.py"], ["shop:app"], ["--app", "shop.py"], ["-A", "shop:app", "shop:app"]):
        assert CliRunner().invoke(cli, ["run", *args]).exit_code == 0
    assert served == ["shop"] * 4


def test_file_that_is_no_module_is_named_with_a_name_that_is_one(folder):
    (folder / "shop.txt").write_text(APP)
    assert error_of("--app", "shop.txt", "routes") == (
        f"The file '{folder / 'shop.txt'}' cannot be imported, because its name ends neither in"
        " '.py' nor in '.wsgi'. Rename or copy it, such as to 'shop_txt.py'."
    )


@pytest.mark.parametrize("path", ["carboy.py", "carboy", "click/__init__.py", "click"])
def test_file_with_the_name_of_a_module_in_use_is_refused(folder, path):
    (folder / "click").mkdir()
    for name in ("carboy.py", "click/__init__.py"):
        (folder / name).write_text(APP)
    with pytest.raises(click.UsageError) as caught:
        prepare_import(path)
    assert "cannot be imported, because the module" in caught.value.message
    assert caught.value.message.endswith("already. Rename the file.")


def test_routes_leave_out_those_of_documents_and_pages():
    shown = CliRunner().invoke(cli, ["--app", "shop.py", "routes"]).output
    assert [line.split()[0] for line in shown.splitlines()[2:5]] == ["double", "hello", "static"]
    assert shown.endswith("\nWith 7 routes of documents and pages: carboy routes --all\n")
    every = CliRunner().invoke(cli, ["--app", "shop.py", "routes", "--all"]).output
    assert len(every.splitlines()) == 2 + 3 + 7


def commands_below(group, words=()):
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*words, name)
        if isinstance(command, click.Group):
            yield from commands_below(command, (*words, name))


def test_no_help_shows_marks_that_are_for_click():
    found = list(commands_below(cli))
    assert {("models", "predict"), ("models", "simulate"), ("deploy",)} <= set(found)
    for words in found:
        text = CliRunner().invoke(cli, [*words, "--help"]).output
        assert "\\b" not in text, words
        assert "\b" not in text, words
