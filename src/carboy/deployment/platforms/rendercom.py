"""Render: `render.yaml` and `.python-version`.

Its contract: the server listens on all addresses at the port in PORT (10000); a new instance gets
requests when `healthCheckPath` answers 2xx; SIGTERM, and SIGKILL after `maxShutdownDelaySeconds`.
https://render.com/docs/blueprint-spec
"""

from __future__ import annotations

import os
import typing as t

from ..generatedfiles import GeneratedFile
from ..generators import Generated
from ..imagepackages import LIST_DEPENDENCIES, PYPROJECT, dependencies_of, says_how_to_build
from ..projectfiles import is_within
from ..serversettings import environment
from .hosting import DNS_LABEL, Platform
from .sizing import GIB_IN_MIB, MachineSize, smallest

if t.TYPE_CHECKING:
    from ..facts import Facts
    from .hosting import Release

# The largest `maxShutdownDelaySeconds`.
MOST_S = 300
# https://render.com/docs/web-services#instance-types
_PLANS = (
    MachineSize("starter", 512),
    MachineSize("standard", 2 * GIB_IN_MIB),
    MachineSize("pro", 4 * GIB_IN_MIB),
    MachineSize("pro plus", 8 * GIB_IN_MIB),
    MachineSize("pro max", 16 * GIB_IN_MIB),
    MachineSize("pro ultra", 32 * GIB_IN_MIB),
)


def _generate(release: Release) -> Generated:
    times = release.stop_times(MOST_S)
    text = release.write(
        "render.yaml",
        plan=smallest(release.room, _PLANS, RENDER.title).name,
        build=_build_command(release),
        environment={
            **release.log_environment,
            **environment(release.settings(1, times, probes="yes")),
        },
        shutdown_s=times.platform_s,
    )
    files = [
        GeneratedFile("render.yaml", text),
        GeneratedFile(".python-version", f"{release.facts.python_version}\n"),
    ]
    next_step = release.next_step(
        "git push",
        once="commit render.yaml and .python-version, and connect the repository at"
        " https://dashboard.render.com/blueprints",
        hints=release.hints_at_packages(release.facts.requirements is not None),
    )
    return Generated(files, next_step)


def _build_command(release: Release) -> str:
    """Return the command that installs what the project needs."""
    file = release.facts.requirements or "requirements.txt"
    if file != PYPROJECT:
        return f"pip install -r {file}"
    if _is_installed(release.facts):
        return "pip install ."
    listed = "/tmp/dependencies.txt"  # noqa: S108 - on the machine of Render that builds the app
    return f"{LIST_DEPENDENCIES} > {listed} && pip install -r {listed}"


def _is_installed(facts: Facts) -> bool:
    """Return whether Render installs the project itself, and not only what it depends on: it says
    how, its app is imported from src or is an installed one, or another tool, such as Poetry, may
    know the dependencies.
    """
    if dependencies_of(facts.root) is None or says_how_to_build(facts.root):
        return True
    folder = facts.app.root_path
    is_below_src = is_within(folder, os.path.join(facts.root, "src"))
    return is_below_src or "site-packages" in folder.split(os.sep)


RENDER = Platform(
    "render",
    "Render",
    DNS_LABEL,
    takes_image=False,
    gives_devices=False,
    scales_by_metrics=False,
    has_ray=False,
    gets_ignored_files=False,
    generate=_generate,
)
