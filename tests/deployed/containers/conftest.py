"""Images of the app that all servers run, and of a new project, built by what `carboy docker` has
written.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import typing as t

import containers
import pytest
from imageprojects import KEY, carboy, hide_secrets

COMMANDS = ("buildah", "debootstrap", "docker-compose", "ip", "nsenter", "setpriv", "unshare")
missing = [command for command in COMMANDS if shutil.which(command) is None]


@pytest.fixture(scope="session", autouse=True)
def _machine() -> t.Iterator[None]:
    if os.geteuid() != 0 or missing:
        pytest.skip(f"building images needs root and {', '.join(missing or COMMANDS)}")
    yield
    containers.remove_copies()


@pytest.fixture(scope="session")
def digits_project(project: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("digits-image") / "digits"
    shutil.copytree(project, folder, ignore=shutil.ignore_patterns("__pycache__"))
    hide_secrets(folder)
    # As after a checkout with a strict umask, and after a careless chmod.
    (folder / "app.py").chmod(0o600)
    (folder / "static").chmod(0o777)
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
