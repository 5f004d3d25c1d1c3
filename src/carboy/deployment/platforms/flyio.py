"""Fly.io: `fly.toml`.

Its contract: an image that listens on all addresses at `internal_port`; checks on that port;
`kill_signal`, and SIGKILL after `kill_timeout`. https://fly.io/docs/reference/configuration/
"""

from __future__ import annotations

import typing as t

from ..generatedfiles import GeneratedFile
from ..generators import Generated
from ..serversettings import environment
from .hosting import DNS_LABEL, PORT, Platform
from .sizing import GIB_IN_MIB, MachineSize, round_up, smallest

if t.TYPE_CHECKING:
    from .hosting import Release

# The largest `kill_timeout`, in seconds.
MOST_S = 300
# The largest memory for a kind and number of CPUs. The smallest is an eighth of it for shared CPUs,
# and a quarter for others.
# https://fly.io/docs/machines/guides-examples/machine-sizing/
_SHARED = tuple(MachineSize(f"shared {cpus}", cpus * 2 * GIB_IN_MIB) for cpus in (1, 2, 4, 8))
_PERFORMANCE = tuple(
    MachineSize(f"performance {cpus}", cpus * 8 * GIB_IN_MIB) for cpus in (4, 8, 16)
)
# Fly adds the client's address to X-Forwarded-For and then an address of the app, which is last.
# https://fly.io/docs/networking/request-headers/
_ADDED_ADDRESSES = 2


def _generate(release: Release) -> Generated:
    times = release.stop_times(MOST_S)
    settings = release.settings(_ADDED_ADDRESSES, times, probes="yes")
    size = smallest(release.room, (*_SHARED, *_PERFORMANCE), FLY.title)
    cpu_kind, cpus = size.name.split()
    step = 256 if cpu_kind == "shared" else 2 * GIB_IN_MIB
    text = release.write(
        "fly.toml",
        port=PORT,
        environment={"PORT": PORT, **environment(settings)},
        kill_timeout_s=times.platform_s,
        cpu_kind=cpu_kind,
        cpus=int(cpus),
        memory_mib=round_up(release.room.mib, step, step * int(cpus)),
    )
    return Generated([GeneratedFile("fly.toml", text)], _next_step(release))


def _next_step(release: Release) -> str:
    once = f"fly apps create {release.name}"
    if release.reads_secrets:
        key = "SECRET_KEY=$(carboy secret new --print)"
        once += f" && fly secrets set --app {release.name} --stage {key}"
    return release.next_step(f"{release.make_image}fly deploy", once=once)


FLY = Platform(
    "fly",
    "Fly.io",
    DNS_LABEL,
    takes_image=False,
    gives_devices=False,
    scales_by_metrics=False,
    has_ray=False,
    gets_ignored_files=True,
    generate=_generate,
)
