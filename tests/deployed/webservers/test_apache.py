"""The app behind Apache, by the configuration that `carboy apache` writes."""

from __future__ import annotations

import pathlib

import apacheserver
import pytest
import spawning
import website
import websitecases as cases
from websitecases import *  # noqa: F403  # each web server is asked the same


def start(ports: website.Ports, folder: pathlib.Path, file: pathlib.Path) -> spawning.Program:
    return apacheserver.start(folder, file, ports.http)


@pytest.fixture(scope="module")
def site(project):
    with website.website("apache", project, start) as running:
        yield running


@pytest.fixture(scope="module")
def secure_site(project):
    with website.website("apache", project, start, tls=True) as running:
        yield running


@pytest.fixture
def hasty_site(project):
    with website.website("apache", project, start, "--timeout", "1") as running:
        yield running


@pytest.fixture
def restarting_site(project):
    with website.website("apache", project, start) as running:
        yield running


@pytest.fixture(scope="module")
def differences() -> dict[str, str]:
    """Requests whose response differs from that of `carboy serve`, and why."""
    return {**cases.OF_STATIC_FILES, **OF_TEXTS, **cases.OF_THE_CLIENT, **cases.OF_BUFFERED_BODIES}


OF_TEXTS = dict.fromkeys(
    (
        *("page", "description of the model", "document", "large response", "empty body"),
        *("body of 2 MiB", "upload", "upload of 2 MiB", "stream", "stream that fails"),
    ),
    "Vary: Accept-Encoding, because texts of each length are compressed for clients that accept it",
)
