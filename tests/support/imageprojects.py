"""Projects of which tests build images."""

from __future__ import annotations

import pathlib
import subprocess

import spawning

# A key that only the running container knows.
KEY = "of the running container: 6f1d0c3b8e57"
# What stands in files of the projects that no image may contain.
CANARY = "canary-8c1e2f7a-in-the-image"


def carboy(folder: pathlib.Path, *arguments: str) -> str:
    done = subprocess.run(
        [spawning.script("carboy"), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def hide_secrets(project: pathlib.Path) -> None:
    """Put secrets where developers have them."""
    places = [
        ".env",
        ".env.production",
        "instance/secret_key",
        "secrets/api",
        "tls.key",
        "logs/a.log",
    ]
    for place in (*places, ".git/config"):
        file = project / place
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text(f"SECRET_KEY={CANARY}\n")
