"""Images of the app that all servers run, and of a new project, built by what `carboy docker` has
written.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import typing as t

import containers
import pytest
import spawning

COMMANDS = ("buildah", "debootstrap", "docker-compose", "ip", "nsenter", "setpriv", "unshare")
# A key that only the running container knows.
KEY = "of the running container: 6f1d0c3b8e57"
# What stands in files of the projects that no image may contain.
CANARY = "canary-8c1e2f7a-in-the-image"

missing = [command for command in COMMANDS if shutil.which(command) is None]


@pytest.fixture(scope="session", autouse=True)
def _machine() -> None:
    if os.geteuid() != 0 or missing:
        pytest.skip(f"building images needs root and {', '.join(missing or COMMANDS)}")


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
    for place in (*places, ".git/config", "uploads/private.png"):
        file = project / place
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text(f"SECRET_KEY={CANARY}\n")


@pytest.fixture(scope="session")
def digits_project(project: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("digits-image") / "digits"
    shutil.copytree(project, folder, ignore=shutil.ignore_patterns("__pycache__"))
    hide_secrets(folder)
    carboy(folder, "docker", "app:app")
    return folder


@pytest.fixture(scope="session")
def digits(digits_project: pathlib.Path) -> containers.Image:
    """The image of the app `app:app` of the fixture `project`."""
    return containers.build(digits_project, "digits")


@pytest.fixture(scope="session")
def running(
    digits: containers.Image, tmp_path_factory: pytest.TempPathFactory
) -> t.Iterator[containers.Container]:
    """A container of the image, on a read-only root; with a /tmp, as compose.yaml gives it one."""
    folder = tmp_path_factory.mktemp("digits-container")
    with containers.run(digits, folder, environ={"SECRET_KEY": KEY}, tmpfs=["/tmp"]) as container:
        container.wait_until_it_answers()
        yield container
