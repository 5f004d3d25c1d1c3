"""The command `carboy serve`. `cli` finds it as an entry point of the group `carboy.commands`."""

from __future__ import annotations

import sys
import typing as t

import click

from ...cli.discovery import ScriptInfo, pass_script_info
from ...errors import ConfigError, ServingError
from .. import prepare
from ..settings import SETTINGS, as_option

if t.TYPE_CHECKING:
    from ..declaration import Setting


def _option(setting: Setting) -> click.Option:
    names = [setting.option, setting.argument]
    if setting.short:
        names.insert(0, setting.short)
    default = f"{setting.platform}, or " if setting.platform else ""
    return click.Option(
        names,
        metavar=setting.format.metavar,
        help=f"{setting.help}  [default: {default}{setting.default_text}]",
        # click must not read the environment variable of the option. `make_settings` reads it,
        # because `app.serve()`, which does not use click, needs it too.
        allow_from_autoenv=False,
    )


@click.command("serve", short_help="Serve the app in production.")
@click.argument("target", metavar="[MODULE:APP]", required=False)
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
    if not settings.workers:
        raise click.UsageError(
            "Setting 'workers': expected at least 1, got 0. Only app.serve() can serve without"
            " workers: from the process that calls it."
        )
    try:
        exit_code = Supervisor(info.app_import_path, settings).run()
    except ServingError as exc:
        raise click.ClickException(str(exc)) from None
    sys.exit(exit_code)


serve_command.params[1:1] = map(_option, SETTINGS)
