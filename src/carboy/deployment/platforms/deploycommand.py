"""`carboy deploy`: the files by which a hosting platform runs the app."""

from __future__ import annotations

import re
import typing as t

import click

from ...cli.failures import RefusedCommandError
from ...core.advice import did_you_mean
from ...core.bytesizes import parse_size
from ...errors import DeploymentError
from ..appmemory import measure_app
from ..generators import generator
from .cloudrun import CLOUD_RUN
from .flyio import FLY
from .heroku import HEROKU
from .hosting import Platform, Release
from .kubernetes import KUBERNETES
from .rendercom import RENDER
from .sizing import Room, describe, room_for, stated_room
from .spaces import SPACES

if t.TYPE_CHECKING:
    from ..facts import Facts
    from ..generators import Generated

PLATFORMS = {each.key: each for each in (CLOUD_RUN, FLY, HEROKU, RENDER, SPACES, KUBERNETES)}


class _PlatformName(click.ParamType):  # type: ignore[type-arg]  # not generic in click 8.1
    name = "|".join(PLATFORMS)

    def convert(
        self, value: t.Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Platform:
        if isinstance(value, Platform):
            return value
        if value in PLATFORMS:
            return PLATFORMS[value]
        raise RefusedCommandError(
            f"There is no platform {value!r}: --to takes one of {', '.join(PLATFORMS)}."
            f"{did_you_mean(value, PLATFORMS)}"
        )


class _MemorySize(click.ParamType):  # type: ignore[type-arg]  # not generic in click 8.1
    name = "size"

    def convert(
        self, value: t.Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        try:
            size_bytes = parse_size(value)
        except ValueError:
            size_bytes = 0
        if size_bytes:
            return size_bytes
        raise RefusedCommandError(f"--memory {value!r} is not a size such as 512M or 2G.")


@generator("deploy", short_help="Write the files of a hosting platform.")
@click.option(
    "--to",
    "platform",
    type=_PlatformName(),
    required=True,
    metavar="PLATFORM",
    help=f"One of {', '.join(PLATFORMS)}.",
)
@click.option(
    "--name",
    metavar="NAME",
    help="Name of the app on the platform.  [default: the folder's name]",
)
@click.option(
    "--image",
    metavar="IMAGE",
    help="Image to run, such as registry.example/shop:1; for cloudrun and k8s only.",
)
@click.option(
    "--memory",
    "memory_bytes",
    type=_MemorySize(),
    help="Memory that the app needs, such as 512M.  [default: measured, and more for requests]",
)
@click.option(
    "--queue-depth",
    type=click.IntRange(1),
    metavar="N",
    help="Start more pods also if more than N predictions wait in each, for k8s only. The cluster"
    " needs Prometheus and its adapter.",
)
@click.option(
    "--on",
    type=click.Choice(["local", "ray"]),
    help="Where the models compute: in each pod, or on a Ray cluster of KubeRay, for k8s only."
    "  [default: CARBOY_SERVE_ON, else local]",
)
def deploy_command(
    facts: Facts,
    platform: Platform,
    name: str | None,
    image: str | None,
    memory_bytes: int | None,
    queue_depth: int | None,
    on: str | None,
) -> Generated:
    """Write the files by which a hosting platform runs the app.

    \b
    cloudrun  Cloud Run     deploy/service.yaml, deploy/cloudbuild.yaml
    fly       Fly.io        fly.toml
    heroku    Heroku        Procfile, .python-version
    render    Render        render.yaml, .python-version
    spaces    Hugging Face  README.md
    k8s       Kubernetes    deploy/k8s.yaml; with '--on ray' also deploy/raycluster.yaml

    Nothing is uploaded: the command that uploads the app is shown. The app is started once, with
    its models, to measure how much memory it needs, unless '--memory' states it.
    """  # noqa: D301 - click needs the character, and not two
    name = platform.check_name(facts.name if name is None else name)
    if image is not None:
        _check_image(image, platform)
    on_ray = (on or facts.settings.on) == "ray"
    if on_ray:
        _check_ray(facts, platform)
    if queue_depth is not None:
        _check_queue_depth(facts, platform, on_ray=on_ray)
    room = _room(facts, memory_bytes)
    return platform.generate(Release(facts, platform, name, image, room, queue_depth, on_ray))


def _room(facts: Facts, memory_bytes: int | None) -> Room:
    if memory_bytes is not None:
        return stated_room(memory_bytes)
    click.echo(
        "Starting the app to measure its memory. (With --memory SIZE it is not started.)", err=True
    )
    try:
        measured = measure_app(facts.target)
    except DeploymentError as exc:
        raise DeploymentError(f"{exc} Or state how much it needs: --memory 512M.") from None
    room = room_for(measured)
    click.echo(f"It takes {describe(measured)}: {room.mib} MiB with room for requests.", err=True)
    return room


# A name of an image, without the details: a registry and folders, a tag, a digest.
_IMAGE = r"[A-Za-z0-9][A-Za-z0-9._/:-]*(@sha256:[0-9a-f]{64})?"


def _check_image(image: str, platform: Platform) -> None:
    if not platform.takes_image:
        raise DeploymentError(
            f"--image has no effect with {platform.title}, which builds the app itself. Leave it"
            " out."
        )
    if not re.fullmatch(_IMAGE, image):
        raise DeploymentError(
            f"--image {image!r} is not the name of an image, such as registry.example/shop:1."
        )


def _check_ray(facts: Facts, platform: Platform) -> None:
    if not platform.has_ray:
        raise DeploymentError(
            f"On {platform.title} no Ray cluster can be reached: --on ray is for k8s only. Use"
            " --on local."
        )
    if not facts.has_replicas:
        raise DeploymentError(
            "No model of this app computes on a Ray cluster: models with replicas= do, such as"
            " app.model('/predict', replicas=(1, 10))."
        )


def _check_queue_depth(facts: Facts, platform: Platform, *, on_ray: bool) -> None:
    if on_ray:
        raise DeploymentError(
            "--queue-depth and --on ray exclude each other: on Ray the number of replicas follows"
            " app.model(replicas=(1, 10)), and pods for requests follow their CPU."
        )
    if not platform.scales_by_metrics:
        raise DeploymentError(
            f"--queue-depth has no effect with {platform.title}, which does not scale by metrics of"
            " the app. Leave it out."
        )
    if not facts.has_models:
        raise DeploymentError(
            "--queue-depth is for apps with models, and this app has none. Leave it out."
        )
