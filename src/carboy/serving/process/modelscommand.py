"""The command `carboy models serve`: replicas of an app's models for processes of other servers.

The app and the other server, such as gunicorn, stay as they are: models of the app that declare
replicas find them by the models' socket.
"""

from __future__ import annotations

import os
import sys
import typing as t
from dataclasses import replace

import click

from ...cli import simulate as simulate  # adds its command to the group
from ...cli.discovery import ScriptInfo, app_option, pass_script_info
from ...cli.failures import RefusedCommandError
from ...cli.models import models_group
from ...errors import AddressError, ConfigError, ServingError
from ...models.replicas.modelssocket import OFF, SUFFIX
from ...models.replicas.supervision import VARIABLE
from .. import log, machine, prepare
from ..management import controlpath
from ..management import versioncommands as versioncommands  # adds its commands to the group
from ..settings import SETTINGS, as_option
from .command import option_of

#: The settings of a server that concern one without addresses.
SETTINGS_OF_MODELS = ("control", "grace_s", "management", "min_models", "worker_timeout_s")


def default_path(target: str | None) -> str:
    """Return the path of the models' socket of an app in the first folder that can be used.

    Raises:
        AddressError: there is none.
    """
    return controlpath.runtime_path(
        _name_of(target) + SUFFIX, of="the models' socket", advice=" Name a path by --socket."
    )


@models_group.command("serve", short_help="Serve models to other servers.", with_appcontext=False)
@click.argument("target", metavar="[MODULE:APP]", required=False)
@app_option
@click.option(
    "--socket",
    "path",
    metavar="PATH",
    envvar=VARIABLE,
    help="The Unix socket by which other processes of this user find the models."
    f"  [env: {VARIABLE}; default: by the name of the app, in a private folder]",
)
@pass_script_info
def serve_models_command(
    info: ScriptInfo, /, target: str | None, path: str | None, **options: t.Any
) -> None:
    """Load the app's models that have replicas, for any WSGI server that runs the same app.

    The processes of gunicorn, uWSGI and others then share these replicas: their models with
    'replicas=' find them by the socket, and load nothing themselves.
    """
    info.choose_app(target)
    if not machine.HAS_WORKERS:
        raise RefusedCommandError(
            "This system has no Unix sockets, by which other servers reach replicas. Use Linux or"
            f" macOS, or set {VARIABLE}={OFF}, so that each process loads the models."
        )
    from .modelssupervisor import ModelsSupervisor

    try:
        settings = prepare(options, describe=as_option, listens=False)
        found = _checked(path) if path else default_path(info.app_import_path)
        control = settings.control or _control_path(info.app_import_path)
        settings = replace(settings, control=control, workers=1)
        exit_code = ModelsSupervisor(info.app_import_path, settings, found).run()
    except ConfigError as exc:
        raise click.UsageError(str(exc)) from None
    except ServingError as exc:
        raise RefusedCommandError(str(exc)) from None
    sys.exit(exit_code)


def _control_path(target: str | None) -> str:
    """Return the path of the control socket, which has the name of the app: there is no port."""
    try:
        return controlpath.default_path(f"models-{_name_of(target)}")
    except AddressError as exc:
        log.logger.warning("'carboy ctl' cannot reach this server: %s", exc)
        return controlpath.OFF


def _name_of(target: str | None) -> str:
    return (target or "app").strip("/.").replace("/", "-")


def _checked(path: str) -> str:
    if path.strip().lower() == OFF:
        raise click.UsageError(f"{VARIABLE}={OFF} is for the other servers. Name a path.")
    return os.path.abspath(os.path.expanduser(path))


serve_models_command.params[2:2] = [
    option_of(setting) for setting in SETTINGS if setting.field in SETTINGS_OF_MODELS
]
