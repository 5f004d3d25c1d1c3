"""Cloud Run: `deploy/service.yaml`, and `deploy/cloudbuild.yaml`, by which Cloud Build makes the
image.

Its contract: an image that listens on all addresses at the port in PORT, which Cloud Run sets;
probes on that port; SIGTERM, and SIGKILL after 10 s. Files that the app writes use its memory.
https://cloud.google.com/run/docs/container-contract
"""

from __future__ import annotations

import math
import typing as t

from ..generatedfiles import GeneratedFile
from ..generators import Generated
from ..serversettings import environment
from .hosting import PORT, NameRule, Platform
from .sizing import GIB_IN_MIB, MachineSize, round_up, smallest

if t.TYPE_CHECKING:
    from .hosting import Release

_SERVICE = "deploy/service.yaml"
_BUILD = "deploy/cloudbuild.yaml"
# How many seconds after SIGTERM Cloud Run sends SIGKILL.
KILLED_AFTER_S = 10
# How long a request may take: what Cloud Run chooses, and the most that it allows.
_USUAL_WAIT_S = 300
_MOST_WAIT_S = 3600
# The largest memory that a number of CPUs may have. https://cloud.google.com/run/docs/configuring/services/memory-limits
_CPUS = (
    MachineSize("1", 4 * GIB_IN_MIB),
    MachineSize("2", 8 * GIB_IN_MIB),
    MachineSize("4", 16 * GIB_IN_MIB),
    MachineSize("6", 24 * GIB_IN_MIB),
    MachineSize("8", 32 * GIB_IN_MIB),
)
# The second generation of the execution environment has at least 512 MiB.
_LEAST_MIB = 512
# The user replaces the words in upper case. Cloud Run refuses them in the name of an image, so that
# nothing is deployed before.
_UNKNOWN_IMAGE = "REGION-docker.pkg.dev/PROJECT/REPOSITORY/{name}:1"


def _generate(release: Release) -> Generated:
    times = release.stop_times(KILLED_AFTER_S)
    cpus = smallest(release.room, _CPUS, CLOUD_RUN.title).name
    image = release.image or _UNKNOWN_IMAGE.format(name=release.name)
    text = release.write(
        "service.yaml",
        image=image,
        port=PORT,
        environment=environment(release.settings(1, times, probes="yes")),
        wait_s=_wait_s(release),
        cpus=cpus,
        memory_mib=round_up(release.room.mib, 128, _LEAST_MIB),
    )
    files = [
        GeneratedFile(_SERVICE, text),
        GeneratedFile(_BUILD, release.write("cloudbuild.yaml", image=image)),
    ]
    return Generated(files, _next_step(release))


def _wait_s(release: Release) -> int:
    """Return how long a request may take, in seconds."""
    facts = release.facts
    longest_s = math.ceil(facts.longest_wait_s(facts.wait_s))
    return min(_MOST_WAIT_S, max(_USUAL_WAIT_S, longest_s))


def _next_step(release: Release) -> str:
    secret = f"{release.name}-secret-key"
    hint = "Replace REGION, PROJECT and REPOSITORY in the files, or name the --image."
    return release.next_step(
        f"{release.make_image}gcloud builds submit --config {_BUILD} &&"
        f" gcloud run services replace {_SERVICE}",
        once=f'printf %s "$(carboy secret new --print)" | gcloud secrets create {secret}'
        " --data-file=-"
        if release.reads_secrets
        else "",
        hints=[] if release.image else [hint],
    )


CLOUD_RUN = Platform(
    "cloudrun",
    "Cloud Run",
    NameRule(
        r"[a-z]([a-z0-9-]{0,47}[a-z0-9])?",
        "lower-case letters, digits and hyphens, begins with a letter, does not end with a hyphen,"
        " and has at most 49 characters",
    ),
    takes_image=True,
    gives_devices=False,
    scales_by_metrics=False,
    has_ray=False,
    gets_ignored_files=False,
    generate=_generate,
)
