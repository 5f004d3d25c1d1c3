"""The files of a project that say how the app is started in production: Dockerfiles and their
instructions, units, a Procfile, and so on.
"""

from __future__ import annotations

import os
import re
import shlex
import typing as t

from ..projectfiles import TextLine, files_named, lines_of, matches

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..facts import Facts

# Files that say how the app is started in production, or in which image it runs.
_DEPLOYMENT_FILES = (
    "app.yaml",
    "compose*.y*ml",
    "deployment*.y*ml",
    "containerfile*",
    "*.containerfile",
    "docker-compose*.y*ml",
    "dockerfile*",
    "*.dockerfile",
    "*entrypoint*.sh",
    "fly.toml",
    "k8s*.y*ml",
    "procfile*",
    "render.yaml",
    "*.service",
    "service.y*ml",
    "supervisord.conf",
)
# Words in the names of deployment files that are for development only: Dockerfile.dev.
_FOR_DEVELOPMENT = frozenset({"dev", "development", "local", "override", "test", "testing"})


def deployment_files(facts: Facts) -> list[str]:
    """Return the files of a project that say how the app is started in production: Dockerfiles,
    units, a Procfile, and so on.
    """
    return [
        path
        for path in files_named(facts, *_DEPLOYMENT_FILES)
        if _FOR_DEVELOPMENT.isdisjoint(re.split(r"[^a-z]+", os.path.basename(path).lower()))
    ]


def is_dockerfile(path: str) -> bool:
    name = os.path.basename(path)
    if name.endswith(".dockerignore"):  # the files that one Dockerfile does not copy
        return False
    return matches(name, ("dockerfile*", "*.dockerfile", "containerfile*", "*.containerfile"))


class Instruction(t.NamedTuple):
    """An instruction of a Dockerfile."""

    line: TextLine
    name: str  # in upper case: ENV, COPY, ...
    arguments: list[str]


def instructions(facts: Facts, *names: str) -> cabc.Iterator[Instruction]:
    """Yield the instructions of all Dockerfiles that have one of the names."""
    for path in filter(is_dockerfile, deployment_files(facts)):
        for line in lines_of(facts.root, path):
            name, _, rest = line.text.strip().partition(" ")
            if name.upper() in names:
                yield Instruction(line, name.upper(), _split(rest))


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text.strip())
    except ValueError:  # a quote that is not closed
        return text.split()
