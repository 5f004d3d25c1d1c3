"""Hints that correct a command line with an unknown command or option."""

from __future__ import annotations

import os
import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc

    import click

# The names of the commands that start a server in other tools.
_OTHER_NAMES = frozenset(("debug", "dev", "develop", "runserver", "server", "start", "up", "watch"))
# `run` and `serve` have different options, and users confuse the two. For each of them: the other
# command, and what that is for.
# How click's messages about an argument begin that a command does not take.
_REFUSALS = ("Got unexpected extra argument", "No such command")
# The commands that need no app.
_WITHOUT_APP = (["ctl"], ["new"], ["secret"])
_SERVERS = {"run": ("serve", "in production"), "serve": ("run", "in development")}


def looks_like_app(argument: str) -> bool:
    """Return whether a command-line argument names an app: `app.py`, `module:name`, or an existing
    file.
    """
    if argument.startswith("-"):
        return False
    return argument.endswith(".py") or ":" in argument or os.path.isfile(argument)


def hint_at_server(argument: str) -> str:
    """Return how to start a server, if an unknown command looks like a request for one
    (`runserver`, `app.py`); else "".
    """
    if looks_like_app(argument):
        return (
            f" To start its app, write 'carboy run {argument}' in development, or 'carboy serve"
            f" {argument}' in production. For any other command the app comes first: 'carboy --app"
            f" {argument} routes'."
        )
    if argument in _OTHER_NAMES:
        return " Servers are 'carboy run' (development) and 'carboy serve' (production)."
    return ""


def hint_at_app_option(
    exc: click.UsageError, group: click.Context, arguments: cabc.Sequence[str]
) -> str:
    """Return how to pass the app, if a command has refused an argument because it names an app;
    else "".
    """
    command = exc.ctx
    if command is None or command is group or not exc.message.startswith(_REFUSALS):
        return ""
    if command.command_path.split(" ")[1:2] in _WITHOUT_APP:
        return ""
    for argument in arguments:
        if looks_like_app(argument) and argument in exc.message:
            return (
                f" The app comes before the command: 'carboy --app {argument}"
                f" {command.command_path.partition(' ')[2]}'."
            )
    return ""


def hint_at_place_of_option(
    exc: click.NoSuchOption,
    group: click.Context,
    find: cabc.Callable[[str], click.Command | None],
) -> str:
    """Return a message for an option that a command refused: another command has it, or it must
    come before the command. "" if neither is true.

    Args:
        exc: the error, which names the option.
        group: the context of the group of commands.
        find: returns a command by its name.
    """
    command = exc.ctx
    if command is None or command is group:
        return ""
    name, option = command.info_name or "", exc.option_name
    other, purpose = _SERVERS.get(name, ("", ""))
    found = find(other) if other else None
    if found is not None and _has(found, option):
        return (
            f"'carboy {name}' has no option {option!r}. 'carboy {other}', which serves {purpose},"
            f" has it: 'carboy {other} {option}'."
        )
    if _has(group.command, option):
        return (
            f"'carboy {name}' has no option {option!r}. It comes before the command: 'carboy"
            f" {option} ... {name}'."
        )
    return ""


def _has(command: click.Command, option: str) -> bool:
    return any(option in (*each.opts, *each.secondary_opts) for each in command.params)
