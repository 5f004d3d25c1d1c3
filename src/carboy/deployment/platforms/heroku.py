"""Heroku: `Procfile` and `.python-version`.

Its contract: `requirements.txt` is installed, and the command of the process type `web` is run with
the port in PORT, on which the server must listen within 60 s. SIGTERM goes to all processes of the
dyno, and SIGKILL after 30 s. https://devcenter.heroku.com/articles/dynos
"""

from __future__ import annotations

import typing as t

from ..generatedfiles import GeneratedFile
from ..generators import Generated
from .hosting import NameRule, Platform, options
from .sizing import GIB_IN_MIB, MachineSize, smallest

if t.TYPE_CHECKING:
    from .hosting import Release

# How many seconds after SIGTERM Heroku sends SIGKILL.
KILLED_AFTER_S = 30
# https://devcenter.heroku.com/articles/dyno-types
_DYNOS = (
    MachineSize("basic", 512),
    MachineSize("standard-2x", GIB_IN_MIB),
    MachineSize("performance-m", 2560),
    MachineSize("performance-l", 14 * GIB_IN_MIB),
    MachineSize("performance-l-ram", 30 * GIB_IN_MIB),
    MachineSize("performance-xl", 62 * GIB_IN_MIB),
    MachineSize("performance-2xl", 126 * GIB_IN_MIB),
)
# Heroku recognizes a Python project by one of these files, and installs the packages that it lists.
_PACKAGE_LISTS = ("requirements.txt", "Pipfile.lock", "poetry.lock", "uv.lock")


def _generate(release: Release) -> Generated:
    settings = release.settings(1, release.stop_times(KILLED_AFTER_S))
    if release.facts.has_models:
        # Heroku sets WEB_CONCURRENCY to at least 2, and each worker loads each model.
        settings["workers"] = "1"
    files = [
        GeneratedFile("Procfile", _procfile(release, options(settings))),
        GeneratedFile(".python-version", f"{release.facts.python_version}\n"),
    ]
    return Generated(files, _next_step(release))


def _procfile(release: Release, settings: str) -> str:
    variables = " ".join(f"{name}={each}" for name, each in release.log_environment.items())
    return release.write("Procfile", command=f"{variables} {release.command} {settings}".lstrip())


def _next_step(release: Release) -> str:
    once = f"heroku create {release.name}"
    if release.reads_secrets:
        once += " && heroku config:set SECRET_KEY=$(carboy secret new --print)"
    dyno = smallest(release.room, _DYNOS, HEROKU.title)
    if dyno != _DYNOS[0]:
        once += f" && heroku ps:type web={dyno.name}"
    return release.next_step(
        "git push heroku HEAD:main",
        once=once,
        hints=release.hints_at_packages(any(map(release.has_file, _PACKAGE_LISTS))),
    )


HEROKU = Platform(
    "heroku",
    "Heroku",
    NameRule(
        r"[a-z][a-z0-9-]{1,28}[a-z0-9]",
        "lower-case letters, digits and hyphens, begins with a letter, does not end with a hyphen,"
        " and has 3 to 30 characters",
    ),
    takes_image=False,
    gives_devices=False,
    scales_by_metrics=False,
    has_ray=False,
    gets_ignored_files=False,
    generate=_generate,
)
