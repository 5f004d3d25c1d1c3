"""The commands `carboy models list`, `push`, `switch` and `rollback`.

Each works on the source of a model, with or without a server. Running servers of this user are told
to look at the source at once, and the command waits until they serve the version or refuse it. All
other servers notice the change by themselves.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import typing as t
from concurrent.futures import ThreadPoolExecutor
from functools import wraps

import click
from click.core import ParameterSource

from ...cli.failures import RefusedCommandError
from ...cli.models import models_group
from ...cli.results import results_on_stdout
from ...core.masking import mask_text
from ...errors import ControlClientError, ModelFileError
from ...globals import current_app
from .ctl import CONTROL_VARIABLE
from .versiontexts import version_lines

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ...models.model import Model
    from ...models.sources import VersionSource
    from .controlclient import ControlClient

    #: Gets a `_Stored` and the options of a command, and returns the version to serve.
    Change = cabc.Callable[..., str]

_SERVER_OPTIONS = (
    click.option("--port", type=click.IntRange(1, 65535), help="Only the server on this port."),
    click.option(
        "--socket",
        metavar="PATH",
        envvar=CONTROL_VARIABLE,
        help=f"Only the server with this control socket.  [env: {CONTROL_VARIABLE}]",
    ),
)
_WAIT_OPTION = click.option(
    "--no-wait", is_flag=True, help="Do not wait until running servers serve the version."
)


# How long a server may take to say which models it has. Its workers get 2 s of it.
ASK_S = 4.0


class _Stored(t.NamedTuple):
    """A model, where its versions are, and which of them are tried for what."""

    name: str
    source: VersionSource
    trials: cabc.Mapping[str, str]


def _changes_versions(change: Change) -> cabc.Callable[..., None]:
    """Decorate a command that changes the version of the model NAME: add the options of the server,
    report errors in one line, and let the servers follow.
    """

    @wraps(change)
    def run(
        name: str, socket: str | None, port: int | None, no_wait: bool, **options: t.Any
    ) -> None:
        with _errors_in_one_line():
            stored = _find(name)
            servers = [] if no_wait else _servers_of(stored, socket, port)
            version = change(stored, **options)
            if not no_wait:
                _let_servers_follow(stored.name, version, servers)

    with_options: cabc.Callable[..., None] = run
    for option in (*_SERVER_OPTIONS, _WAIT_OPTION):
        with_options = option(with_options)
    return with_options


@contextlib.contextmanager
def _errors_in_one_line() -> cabc.Iterator[None]:
    try:
        yield
    except (ModelFileError, ControlClientError) as exc:
        raise RefusedCommandError(mask_text(str(exc))) from None
    except OSError as exc:
        raise RefusedCommandError(mask_text(f"{type(exc).__name__}: {exc}")) from None


# ---------------------------------------------------------------------------------- commands


@models_group.command("push", short_help="Add a version of a model, and serve it.")
@click.argument("name")
@click.argument("folder", type=click.Path(exists=True, file_okay=False))
@click.option("--version", metavar="NAME", help="Its name.  [default: the next number]")
@_changes_versions
def push_command(stored: _Stored, folder: str, version: str | None) -> str:
    """Add the files in FOLDER to the source of the model NAME, as a new version.

    FOLDER is one that carboy.models.save() has written, or has any other files. The version appears
    when all of it is there. Running servers load it beside the old one, check it, and switch; if it
    cannot be loaded or its golden examples fail, the old one goes on and the exit code is 1.
    """
    from ...models.sources.changes import add_version

    added = add_version(stored.source, folder, version, trials=stored.trials)
    click.echo(f"{stored.name}: version {added} is in {stored.source.location}.")
    return added


@models_group.command("rollback", short_help="Serve the version before the newest one again.")
@click.argument("name")
@click.option("--to", "to", metavar="VERSION", help="This one.  [default: the one before]")
@_changes_versions
def rollback_command(stored: _Stored, to: str | None) -> str:
    """Serve an earlier version of the model NAME again, until a new one is added.

    The choice is written into the source, so that it also holds for servers that start later.
    """
    from ...models.sources.changes import roll_back

    before, after = roll_back(stored.source, to, trials=stored.trials)
    click.echo(
        f"{stored.name}: version {after} instead of {before or 'none'}, until a new one is added."
    )
    return after


@models_group.command("switch", short_help="Serve another version of a model.")
@click.argument("name")
@click.argument("version")
@_changes_versions
def switch_command(stored: _Stored, version: str) -> str:
    """Serve VERSION of the model NAME, until a new one is added. It may be older or newer than the
    one that is served now.
    """
    stored.source.choose(version)
    click.echo(f"{stored.name}: version {version}, until a new one is added.")
    return version


@models_group.command("list", short_help="List the versions of models.")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@results_on_stdout
def list_command(
    names: tuple[str, ...],
    as_json: bool,
    socket: str | None,
    port: int | None,
    out: t.TextIO,
) -> None:
    """List the versions in the sources of models: what running servers of this user do with each,
    and why one cannot be served.
    """
    with _errors_in_one_line():
        models = [_find(name) for name in names or _names_with_source()]
        found = [_described(each, _servers_of(each, socket, port)) for each in models]
    if as_json:
        click.echo(json.dumps(found, indent=2), file=out)
        return
    for line in version_lines(found):
        click.echo(line, file=out)


for _option in _SERVER_OPTIONS:
    list_command = _option(list_command)


# ------------------------------------------------------------------------- models and servers


def _names_with_source() -> list[str]:
    return [name for name, model in current_app.models.items() if model.options.source is not None]


def _find(name: str) -> _Stored:
    from ...models.sources import source_of, without_source

    try:
        model: Model = current_app.models[name]
    except KeyError as exc:
        raise RefusedCommandError(str(exc.args[0])) from None
    if model.options.source is None:
        raise RefusedCommandError(without_source(name, model.rule))
    return _Stored(name, source_of(model.options.source), model.options.trials)


def _servers_of(stored: _Stored, socket: str | None, port: int | None) -> list[ControlClient]:
    """Return the servers that have a model of this name with this source; only the one that the
    options name, if they name one. One that the environment names need not run.
    """
    if not hasattr(os, "geteuid"):  # no control sockets on this system
        return []
    from ...core.runtimefolders import served_sockets
    from .controlclient import ControlClient, find_control_socket
    from .controlpath import OFF, SUFFIX

    if socket is None and port is None:
        return _asking_each(served_sockets(SUFFIX), lambda server: _has_model(server, stored))
    given = click.get_current_context().get_parameter_source("socket")
    is_in_environment = port is None and given is ParameterSource.ENVIRONMENT
    if is_in_environment and socket == OFF:
        return []
    server = ControlClient(find_control_socket(None if port is not None else socket, port))
    if is_in_environment and not server.exists():
        return []
    if not _has_model(server, stored):
        raise RefusedCommandError(
            f"The server of {server.path} has no model {stored.name!r} with the source"
            f" {stored.source.location!r}."
        )
    return [server]


def _asking_each(
    paths: cabc.Sequence[str], question: cabc.Callable[[ControlClient], bool]
) -> list[ControlClient]:
    """Return the servers whose answer is yes. Most of them may be servers of other apps, and some
    may just be starting, stopping or stopped.
    """
    from .controlclient import ControlClient

    def ask(path: str) -> ControlClient | None:
        server = ControlClient(path)
        try:
            return server if question(server) else None
        except ControlClientError as exc:
            if server.exists():
                click.echo(f"Not told: {mask_text(str(exc))}", err=True)
            return None

    with ThreadPoolExecutor(max_workers=32) as pool:
        return [each for each in pool.map(ask, paths) if each is not None]


def _has_model(server: ControlClient, stored: _Stored) -> bool:
    return any(
        (model["name"], model.get("source")) == (stored.name, stored.source.location)
        for process in server.request("models", timeout_s=ASK_S)["processes"]
        for model in process.get("models", ())
    )


# What a server does with a version, by the state in its response.
_DONE = {"serving": "is served", "canary": "is a canary", "shadow": "is a shadow"}
_REPLACED = "is not served: another one was added or chosen meanwhile"


def _let_servers_follow(model: str, version: str, servers: cabc.Sequence[ControlClient]) -> None:
    """Let servers look at the source now, and wait until they serve the version or try it."""
    if not servers:
        click.echo("No running server of this user has this model.", err=True)
    failed = False
    for server in servers:
        try:
            state = server.request("models/refresh", timeout_s=None, model=model, version=version)
            done = _DONE.get(state["state"])
            failed = failed or done is None
            click.echo(
                f"{model}: version {version} {done or _REPLACED} ({server.path}).", err=done is None
            )
        except ControlClientError as exc:
            failed = True
            click.echo(
                f"{model}: version {version} is not served ({server.path}): {mask_text(str(exc))}",
                err=True,
            )
    if failed:
        sys.exit(1)


def _described(stored: _Stored, servers: cabc.Sequence[ControlClient]) -> dict[str, t.Any]:
    """Return the versions of a model as plain JSON values: those in the source, and what each
    worker of each server does with them.
    """
    from ...models.sources.changes import describe

    found = describe(stored.source, stored.trials)
    states = [
        {"worker": process["worker"], "pid": process["pid"], **state}
        for server in servers
        for process in server.request("models")["processes"]
        for model in process.get("models", ())
        if model["name"] == stored.name
        for state in model.get("versions", ())
    ]
    for version in found["versions"]:
        version["workers"] = [each for each in states if each["version"] == version["version"]]
    return {"model": stored.name, **found}
