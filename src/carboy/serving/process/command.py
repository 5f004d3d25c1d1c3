"""The command `carboy serve`. `cli` finds it as an entry point of the group `carboy.commands`."""

from __future__ import annotations

import sys
import typing as t

import click

from ...cli.discovery import ScriptInfo, app_option, pass_script_info
from ...cli.failures import RefusedCommandError
from ...cli.groups import CheckedCommand
from ...errors import ConfigError, ServingError
from .. import log, machine, prepare, serve_here
from ..settings import SETTINGS, as_option, problems_of_variables

if t.TYPE_CHECKING:
    from ...app import Carboy
    from ..declaration import Setting
    from ..settings import Settings


def option_of(setting: Setting) -> click.Option:
    names = [setting.option, setting.argument]
    if setting.short:
        names.insert(0, setting.short)
    default = f"{setting.platforms[0]}, or " if setting.platforms else ""
    return click.Option(
        names,
        metavar=setting.format.metavar,
        multiple=setting.several,
        help=f"{setting.help}  [default: {default}{setting.default_text}]",
        # click must not read the environment variable of the option. `make_settings` reads it,
        # because `app.serve()`, which does not use click, needs it too.
        allow_from_autoenv=False,
    )


class _ServeCommand(CheckedCommand):
    def problems(self) -> list[str]:
        return problems_of_variables()


@click.command("serve", cls=_ServeCommand, short_help="Serve the app in production.")
@click.argument("target", metavar="[MODULE:APP]", required=False)
@app_option
@pass_script_info
def serve_command(info: ScriptInfo, /, target: str | None, **options: t.Any) -> None:
    """Serve the app in production.

    The app is MODULE:APP, or the app that '--app' names. On SIGTERM and Ctrl+C, requests that have
    begun are finished. A worker that dies is replaced.

    Each option may also be set by an environment variable, such as --max-body by
    CARBOY_SERVE_MAX_BODY and --grace by CARBOY_SERVE_GRACE_S.
    """
    from .supervisor import Supervisor

    info.choose_app(target)
    try:
        settings = prepare(options, describe=as_option)
    except (ConfigError, ServingError) as exc:
        raise click.UsageError(str(exc)) from None
    if settings.workers == 0 and machine.HAS_WORKERS:
        raise click.UsageError(
            "Setting 'workers': expected at least 1, got 0. Only app.serve() can serve without"
            " workers: from the process that calls it."
        )
    try:
        if settings.workers == 0:
            _serve_without_workers(info, settings)
            return
        exit_code = Supervisor(info.app_import_path, settings).run()
    except ConfigError as exc:
        raise click.UsageError(str(exc)) from None
    except ServingError as exc:
        # The server could not start with these settings if it were started again, either.
        raise RefusedCommandError(str(exc)) from None
    sys.exit(exit_code)


def _serve_without_workers(info: ScriptInfo, settings: Settings) -> None:
    from . import debugmode
    from .apploading import load

    log.logger.warning(
        "this system has no worker processes, so that nobody restarts the server if it dies. Run it"
        " in a container or in WSL 2 for production"
    )
    asked_by = debugmode.disable_in_environment()
    app = load(info.app_import_path)
    if reason := debugmode.disable(app, asked_by):
        log.logger.warning("%s", reason)
    serve_here(t.cast("Carboy", app), settings)


serve_command.params[1:1] = map(option_of, SETTINGS)
