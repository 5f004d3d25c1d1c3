"""The app behind nginx, by the configuration that `carboy nginx` writes."""

from __future__ import annotations

import pathlib
import shutil
import subprocess

import pytest
import spawning
import website
import websitecases as cases
from websitecases import *  # noqa: F403  # each web server is asked the same

MAIN = """
daemon off;
pid nginx.pid;
error_log stderr;
worker_processes 2;
events {{}}
http {{
    access_log off;
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include {file};
}}
"""


def nginx() -> str:
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found is None:
        pytest.skip("no nginx: `make test-webservers` as root installs it by apt")
    return found


def start(ports: website.Ports, folder: pathlib.Path, file: pathlib.Path) -> spawning.Program:
    (folder / "nginx.conf").write_text(MAIN.format(file=file))
    command = [nginx(), "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"]
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stderr
    assert "[warn]" not in tested.stderr, tested.stderr
    program = spawning.start(command, log=folder / "log", port=ports.http, cwd=folder)
    program.wait_until_it_listens()
    return program


@pytest.fixture(scope="module")
def site(project):
    with website.website("nginx", project, start) as running:
        yield running


@pytest.fixture(scope="module")
def secure_site(project):
    with website.website("nginx", project, start, tls=True) as running:
        yield running


@pytest.fixture
def hasty_site(project):
    with website.website("nginx", project, start, "--timeout", "1") as running:
        yield running


@pytest.fixture
def restarting_site(project):
    with website.website("nginx", project, start) as running:
        yield running


@pytest.fixture(scope="module")
def differences() -> dict[str, str]:
    """Requests whose response differs from that of `carboy serve`, and why."""
    return {
        **cases.OF_STATIC_FILES,
        **cases.OF_LONG_TEXTS,
        **cases.OF_THE_CLIENT,
        **cases.OF_BUFFERED_BODIES,
    }
