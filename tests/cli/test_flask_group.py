"""Built-in commands, commands of packages and apps, and the context in which they run."""

from __future__ import annotations

import importlib.metadata

import click
import pytest
from click.testing import CliRunner

import carboy.cli
from carboy import Carboy, current_app
from carboy.cli import AppGroup, FlaskGroup, ScriptInfo, with_appcontext


@pytest.fixture
def invoke(app):
    return lambda *args: CliRunner().invoke(FlaskGroup(create_app=lambda: app), args)


def test_every_name_of_the_module_loads():
    for name in dir(carboy.cli):
        assert getattr(carboy.cli, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        carboy.cli.no_such_name


def test_app_command_runs_in_the_apps_context(app, invoke):
    @app.cli.command()
    def show():
        click.echo(current_app.name)

    assert invoke("show").output == "carboy_test\n"


def test_nested_group_is_an_app_group(app, invoke):
    @app.cli.group()
    def users():
        pass

    @users.command()
    def count():
        click.echo(current_app.name)

    assert isinstance(users, AppGroup)
    assert invoke("users", "count").output == "carboy_test\n"


def test_command_runs_without_a_context_on_request(runner, app):
    @app.cli.command(with_appcontext=False)
    def lonely():
        click.echo(bool(current_app))

    # The command is invoked without the group, which would push a context.
    assert CliRunner().invoke(lonely).output == "False\n"


def test_plain_click_command_gets_a_context():
    @click.command()
    @with_appcontext
    def show():
        click.echo(current_app.name)

    info = ScriptInfo(create_app=lambda: Carboy("plain"))
    assert CliRunner().invoke(show, obj=info).output == "plain\n"


class EntryPoint:
    dist = None
    value = "somewhere:command"

    def __init__(self, name, load):
        self.name, self.load = name, load


def test_package_command_replaces_a_built_in_one(monkeypatch, invoke):
    offered = {
        "flask.commands": [EntryPoint("run", lambda: click.Command("x", callback=lambda: 1 / 0))],
        "carboy.commands": [
            EntryPoint("run", lambda: click.Command("y", callback=lambda: click.echo("mine")))
        ],
    }
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: offered[group])
    assert invoke("run").output == "mine\n"


def test_broken_package_does_not_break_other_commands(monkeypatch, invoke):
    def broken():
        raise ImportError("half installed")

    offered = {"flask.commands": [EntryPoint("bad", broken)], "carboy.commands": []}
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: offered[group])
    assert invoke("routes").exit_code == 0
    result = invoke("--help")
    assert result.exit_code == 0
    assert "'bad'" in result.output
    assert "ImportError: half installed" in result.output
    assert "routes" in result.output


def test_help_is_shown_for_an_app_that_fails_to_load():
    def create():
        raise ValueError("no database")

    result = CliRunner().invoke(FlaskGroup(create_app=create), ["--help"])
    assert result.exit_code == 0
    assert "ValueError: no database" in result.output
    assert "Show the app's routes" in result.output


def test_unknown_command_gets_the_closest_name(invoke):
    result = invoke("rotues")
    assert result.exit_code == 2
    assert result.output.count("Did you mean 'routes'") == 1


def test_app_run_is_ignored_while_a_command_imports_the_module(app, monkeypatch, capsys):
    monkeypatch.setenv("FLASK_RUN_FROM_CLI", "true")
    app.run()
    assert "app.run()" in capsys.readouterr().err


def test_routes_are_a_table(app, invoke):
    @app.post("/b/<int:number>")
    def aaa(number): ...

    @app.get("/a", endpoint="zzz")
    def other(): ...

    lines = [line.split() for line in invoke("routes").output.splitlines()]
    assert lines[0] == ["Endpoint", "Methods", "Rule"]
    assert lines[2:] == [
        ["aaa", "POST", "/b/<int:number>"],
        ["static", "GET", "/static/<path:filename>"],
        ["zzz", "GET", "/a"],
    ]
    by_rule = invoke("routes", "--sort", "rule").output.splitlines()[2:]
    assert [line.split()[0] for line in by_rule] == ["zzz", "aaa", "static"]
    assert "GET, HEAD, OPTIONS" in invoke("routes", "--all-methods").output


@pytest.mark.parametrize(
    ("options", "key", "title"),
    [({}, "subdomain", "Subdomain"), ({"host_matching": True}, "host", "Host")],
)
def test_routes_show_domains_if_there_are_any(options, key, title):
    app = Carboy("x", static_folder=None, **options)
    app.add_url_rule("/", endpoint="index", **{key: "shop"})
    output = CliRunner().invoke(FlaskGroup(create_app=lambda: app), ["routes"]).output
    assert title in output.splitlines()[0]
    assert "shop" in output


def test_app_without_routes_is_reported():
    app = Carboy("x", static_folder=None)
    output = CliRunner().invoke(FlaskGroup(create_app=lambda: app), ["routes"]).output
    assert output == "No routes were registered.\n"


def test_shell_has_the_app_and_runs_the_startup_file(app, invoke, monkeypatch, tmp_path):
    seen = {}
    startup = tmp_path / "startup.py"
    startup.write_text("from_startup = 1\n")
    monkeypatch.setenv("PYTHONSTARTUP", str(startup))
    monkeypatch.setattr("code.interact", lambda banner, local: seen.update(local, banner=banner))
    monkeypatch.setattr("sys.__interactivehook__", lambda: None, raising=False)
    assert invoke("shell").exit_code == 0
    assert seen["app"] is app
    assert seen["from_startup"] == 1
    assert "App: carboy_test" in seen["banner"]


def test_version_option_prints_the_versions_of_a_bug_report():
    output = CliRunner().invoke(carboy.cli.cli, ["--version"]).output
    assert f"Carboy {importlib.metadata.version('carboy')}" in output
    assert "Flask 3.1.3" in output
    assert "Werkzeug" in output


# Commands that run without loading the app, or that load it in another process.
HIDING = {"ctl", "new", "secret", "serve"}
COMMANDS = {each.name for each in importlib.metadata.entry_points(group="carboy.commands")}


@pytest.mark.parametrize("name", sorted(COMMANDS - HIDING))
def test_command_of_the_program_takes_precedence_over_one_that_flask_lacks(app, invoke, name):
    assert "the group" not in invoke(name).output

    @app.cli.command(name, help="Of the app.")
    @click.argument("word")
    def of_app(word):
        click.echo(f"{current_app.name} {word}")

    assert invoke(name, "x").stdout == "carboy_test x\n"
    assert "Of the app." in invoke(name, "--help").output
    with app.app_context():  # before click 8.2, help does not end contexts that a group pushes
        assert "Of the app." in invoke("--help").output
    group = FlaskGroup(create_app=lambda: app)
    group.command(name, with_appcontext=False)(lambda: click.echo("the group"))
    assert CliRunner().invoke(group, [name]).output == "the group\n"


def test_help_of_a_command_is_shown_for_an_app_that_fails_to_load():
    def create():
        raise ValueError("no database")

    result = CliRunner().invoke(FlaskGroup(create_app=create), ["config", "--help"])
    assert (result.exit_code, result.exception) == (0, None)
