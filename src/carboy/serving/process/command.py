"""`carboy serve`, which `cli` finds through the entry point group `carboy.commands`."""

from __future__ import annotations

import sys

import click

from ...cli.discovery import ScriptInfo, pass_script_info
from ...errors import ServingError
from ..settings import make_settings


@click.command("serve", short_help="Serve the app in production.")
@click.argument("target", metavar="[MODULE:APP]", required=False)
@click.option("--host", "-h", help="Address to listen on.  [default: HOST, or 127.0.0.1]")
@click.option("--port", "-p", type=int, help="Port to listen on.  [default: PORT, or 8000]")
@click.option(
    "--workers",
    "-w",
    type=click.IntRange(min=1),
    help="Processes.  [default: WEB_CONCURRENCY, or one per CPU, at most 8]",
)
@click.option(
    "--threads",
    "-t",
    type=click.IntRange(min=1),
    help="Requests that one process handles side by side.  [default: 16]",
)
@click.option(
    "--max-body",
    metavar="SIZE",
    help="Largest body of a request, like 64M or 1G; 0 for no limit.  [default: 64M]",
)
@click.option(
    "--grace",
    "grace_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long requests may go on after SIGTERM.  [default: 30]",
)
@pass_script_info
def serve_command(
    info: ScriptInfo,
    target: str | None,
    host: str | None,
    port: int | None,
    workers: int | None,
    threads: int | None,
    max_body: str | None,
    grace_s: float | None,
) -> None:
    """Serve the app in production.

    The app is MODULE:APP, or that of '--app'. SIGTERM and Ctrl+C let requests that have begun
    finish. A worker that dies is replaced.
    """
    from .. import log
    from .supervisor import Supervisor

    try:
        settings = make_settings(
            host=host,
            port=port,
            workers=workers,
            threads=threads,
            max_body=max_body,
            grace_s=grace_s,
        )
        log.configure()
        exit_code = Supervisor(target or info.app_import_path, settings).run()
    except ServingError as exc:
        raise click.ClickException(str(exc)) from None
    sys.exit(exit_code)
