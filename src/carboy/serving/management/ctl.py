"""The command `carboy ctl`. `cli` finds it as an entry point of the group `carboy.commands`."""

from __future__ import annotations

import json
import os
import sys
import time
import typing as t
from functools import wraps

import click
from click.core import ParameterSource

from ...cli.failures import RefusedCommandError
from ..declaration import PREFIX
from .loglevels import LEVELS

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .controlclient import ControlClient

    Response = dict[str, t.Any]

CONTROL_VARIABLE = f"{PREFIX}CONTROL"
# Seconds between two looks at the state of the server while a reload is in progress.
POLL_S = 0.2


class _Target(t.NamedTuple):
    """The options that all requests have: which server, and how to print its response."""

    socket: str | None
    port: int | None
    as_json: bool

    def client(self) -> ControlClient:
        from .controlclient import ControlClient, find_control_socket

        return ControlClient(find_control_socket(self.socket, self.port))

    def show(
        self, response: Response, lines: cabc.Callable[[Response], cabc.Iterator[str]]
    ) -> None:
        if self.as_json:
            click.echo(json.dumps(response, indent=2))
            return
        for line in lines(response):
            click.echo(line)


_OPTIONS = (
    click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs."),
    click.option("--port", type=click.IntRange(1, 65535), help="The server that listens there."),
    click.option(
        "--socket",
        metavar="PATH",
        envvar=CONTROL_VARIABLE,
        help=f"The server's control socket, which its --control names.  [env: {CONTROL_VARIABLE}]",
    ),
)


def _request(function: cabc.Callable[..., None]) -> cabc.Callable[..., None]:
    """Decorate the function of a request: add the options that all requests have, and print an
    error of the client in one line.
    """

    @wraps(function)
    def run(socket: str | None, port: int | None, as_json: bool, **arguments: t.Any) -> None:
        if not hasattr(os, "geteuid"):
            raise RefusedCommandError(
                "This system has no Unix sockets, by which 'carboy ctl' reaches a server. Use it on"
                " Linux or macOS."
            )
        from ...errors import ControlClientError

        source = click.get_current_context().get_parameter_source("socket")
        if port is not None and source is not ParameterSource.ENVIRONMENT and socket is not None:
            raise click.UsageError("--socket and --port both choose the server: leave out one.")
        try:
            function(_Target(None if port is not None else socket, port, as_json), **arguments)
        except ControlClientError as exc:
            raise RefusedCommandError(str(exc)) from None

    for option in _OPTIONS:
        run = option(run)
    return run


@click.group("ctl", short_help="Look at and control a running server.")
@click.option("--port", type=click.IntRange(1, 65535), help="The server that listens there.")
@click.option("--socket", metavar="PATH", help="The server's control socket.")
@click.pass_context
def ctl_group(context: click.Context, /, **options: t.Any) -> None:
    """Look at and control a server that 'carboy serve' has started.

    Without '--socket' and '--port', it is the only server that runs as this user. Both options may
    also be given after COMMAND. Only the user of the server, and root, may control it.
    """
    given = {name: value for name, value in options.items() if value is not None}
    context.default_map = dict.fromkeys(ctl_group.commands, given)


@ctl_group.command("status", short_help="Show the state of the server.")
@_request
def status_command(server: _Target) -> None:
    """Show whether the server is ready, and if not, why; its workers, memory and reloads."""
    from .ctltexts import status_lines

    server.show(server.client().request("status"), status_lines)


@ctl_group.command("workers", short_help="List the worker processes.")
@_request
def workers_command(server: _Target) -> None:
    """List the worker processes with their state, age, restarts and memory."""
    from .ctltexts import worker_lines

    server.show(server.client().request("status"), worker_lines)


@ctl_group.command("models", short_help="List the models and their queues.")
@_request
def models_command(server: _Target) -> None:
    """List the models of each worker: state, queue, counts, and mean times per prediction (waited)
    and per batch (computed).
    """
    from .ctltexts import model_lines

    server.show(server.client().request("models"), model_lines)


@ctl_group.command("stacks", short_help="Print the stacks of all threads.")
@click.argument("pids", metavar="[PID]...", nargs=-1, type=int)
@_request
def stacks_command(server: _Target, pids: tuple[int, ...]) -> None:
    """Print the stacks of all threads of the server's processes, or of the processes PID alone."""
    from .ctltexts import stack_lines

    server.show(server.client().request("stacks", pids=pids), stack_lines)


@ctl_group.command("log-level", short_help="Show or change log levels.")
@click.argument("level", required=False, type=click.Choice(LEVELS, case_sensitive=False))
@click.option("--logger", metavar="NAME", help="Only this logger, such as 'sqlalchemy.engine'.")
@click.option("--reset", is_flag=True, help="Restore the levels that the app has configured.")
@_request
def log_level_command(server: _Target, level: str | None, logger: str | None, reset: bool) -> None:
    """Show the log levels, or change them in all processes until the server stops.

    Without '--logger', LEVEL is for the root logger, the app's and the server's.
    """
    from .ctltexts import level_lines

    if reset and (level or logger):
        raise click.UsageError("--reset restores all levels: leave out LEVEL and --logger.")
    response = server.client().request("log-level", level=level, logger=logger, reset=reset)
    server.show(response, level_lines)


@ctl_group.command("reload", short_help="Replace all workers by new ones with new code.")
@click.option("--no-wait", is_flag=True, help="Do not wait until the new workers are ready.")
@_request
def reload_command(server: _Target, no_wait: bool) -> None:
    """Load the code of the app again, without losing a request.

    New workers replace the old ones when they are ready. If the new code cannot be loaded, the old
    workers go on, and the exit code is 1.
    """
    client = server.client()
    generation = client.request("reload")["generation"]
    status = client.request("status") if no_wait else _wait_for_reload(client, generation)
    failed = None if no_wait else _failure(status, generation)
    if server.as_json:
        click.echo(json.dumps(status, indent=2))
    elif failed is not None:
        click.echo(f"The reload has failed, and the old workers go on:\n\n{failed}", err=True)
    else:
        click.echo(
            "The reload has begun." if no_wait else "Reloaded: all workers run the new code."
        )
    if failed is not None:
        sys.exit(1)


def _wait_for_reload(client: ControlClient, generation: int) -> Response:
    while True:
        status = client.request("status")
        if status["stopping"]:
            raise RefusedCommandError("The server is stopping, so that the reload does not end.")
        if status["generation"] > generation:
            return status
        if status["generation"] == generation and not status["reloading"]:
            return status
        time.sleep(POLL_S)


def _failure(status: Response, generation: int) -> str | None:
    if status["generation"] > generation:
        return "another reload has begun meanwhile, and 'carboy ctl status' shows its result"
    failed = status["failed_reload"]
    return None if failed is None else failed["reason"].rstrip()
