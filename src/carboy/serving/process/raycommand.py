"""The commands `carboy ray ...`: what an app has on a Ray cluster."""

from __future__ import annotations

import typing as t
from dataclasses import fields

import click

from ...cli.discovery import ScriptInfo, app_option, pass_script_info
from ...cli.failures import RefusedCommandError
from ...cli.groups import AppGroup
from ...errors import ServingError, UnavailableError
from ...models.raycluster.rayconnection import RayPlace, connect, disconnect, require_ray
from ..settings import SETTINGS, Settings, as_option, make_settings
from .command import option_of

#: The settings of a server that say which cluster it is.
SETTINGS_OF_CLUSTER = tuple(
    field.name for field in fields(Settings) if field.name.startswith("ray_")
)


@click.group("ray", cls=AppGroup, short_help="End an app's replicas on a Ray cluster.")
def ray_group() -> None:
    """Look after what 'carboy serve --on ray' has started on a Ray cluster."""


@ray_group.command("stop", short_help="End the replicas of an app.", with_appcontext=False)
@click.argument("target", metavar="[MODULE:APP]", required=False)
@app_option
@pass_script_info
def stop_command(info: ScriptInfo, /, target: str | None, **options: t.Any) -> None:
    """End the replicas of an app on a Ray cluster at once, with the batches that they compute.

    Without this command they end a minute after the last server of the app. Servers that still run
    start them again.
    """
    info.choose_app(target)
    try:
        require_ray()
        settings = make_settings({**options, "on": "ray"}, describe=as_option)
        ended = stop_replicas(settings.ray_place(info.app_import_path))
    except ServingError as exc:
        raise click.UsageError(str(exc)) from None
    except UnavailableError as exc:
        raise RefusedCommandError(str(exc)) from None
    click.echo("The replicas have been ended." if ended else "There are no replicas of this app.")


def stop_replicas(place: RayPlace) -> bool:
    """End the controller and the replicas in a namespace. Returns False if there are none.

    Raises:
        UnavailableError: the cluster cannot be used.
    """
    # Nothing of a client is sent, so the code and the network need not be those of a server.
    connect(place._replace(uploads_code=False, allows_plaintext=True), "")
    try:
        from ...models.raycluster.ending import end_all

        return end_all()
    finally:
        disconnect()


stop_command.params[1:1] = [
    option_of(setting) for setting in SETTINGS if setting.field in SETTINGS_OF_CLUSTER
]
