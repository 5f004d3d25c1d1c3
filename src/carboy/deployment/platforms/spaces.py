"""Spaces of Hugging Face: the block of YAML at the top of `README.md`.

Its contract: the Dockerfile of the repository is built; the image runs as the user 1000, and
listens on all addresses at `app_port`. https://huggingface.co/docs/hub/spaces-config-reference
"""

from __future__ import annotations

import os
import re
import typing as t

from ..generatedfiles import GeneratedFile
from ..generators import Generated
from .hosting import PORT, NameRule, Platform
from .sizing import GIB_IN_MIB, MachineSize, smallest

if t.TYPE_CHECKING:
    from .hosting import Release

# https://huggingface.co/docs/hub/spaces-gpus
_HARDWARE = (MachineSize("cpu-basic", 16 * GIB_IN_MIB), MachineSize("cpu-upgrade", 32 * GIB_IN_MIB))
# A block of YAML at the beginning of a file, between two lines of hyphens.
_BLOCK = re.compile(r"\A---\n.*?^---\n", re.DOTALL | re.MULTILINE)


def _generate(release: Release) -> Generated:
    block = release.write(
        "space.md",
        port=PORT,
        hardware=smallest(release.room, _HARDWARE, SPACES.title).name,
    )
    text = block + _BLOCK.sub("", _readme(release), count=1)
    once = (
        f"create a Space with the SDK Docker, {release.name}, at https://huggingface.co/new-space"
    )
    variables = "CARBOY_PROXY=1" + (" and the secret SECRET_KEY" if release.reads_secrets else "")
    next_step = release.next_step(
        f"git push https://huggingface.co/spaces/USER/{release.name} HEAD:main",
        once=f"{once}, with the variable {variables} in its settings",
        hints=[] if release.has_dockerfile else ["The Dockerfile is missing: carboy docker"],
    )
    return Generated([GeneratedFile("README.md", text)], next_step)


def _readme(release: Release) -> str:
    """Return the text of the README.md of the project, which stays below the block."""
    try:
        with open(os.path.join(release.facts.root, "README.md"), encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError):
        # There is no README.md. If it exists and cannot be read, `write_files` says so.
        return f"\n# {release.name}\n"


SPACES = Platform(
    "spaces",
    "Hugging Face",
    NameRule(
        r"(?!.*(--|\.\.))[A-Za-z0-9_]([A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?",
        "letters, digits, '_', '.' and '-', no '.' or '-' at its ends, no '--' or '..', and at most"
        " 96 characters",
    ),
    takes_image=False,
    gives_devices=False,
    scales_by_metrics=False,
    has_ray=False,
    gets_ignored_files=False,
    generate=_generate,
)
