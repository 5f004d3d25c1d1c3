"""nginx with a configuration of its own, beside none of the system."""

from __future__ import annotations

import shutil
import subprocess
import typing as t

import pytest
import spawning

if t.TYPE_CHECKING:
    import pathlib

    import website

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


def check(folder: pathlib.Path, file: pathlib.Path) -> list[str]:
    """Let nginx check the configuration, and return the command that starts nginx with it."""
    (folder / "nginx.conf").write_text(MAIN.format(file=file))
    command = [nginx(), "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"]
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stderr
    assert "[warn]" not in tested.stderr, tested.stderr
    return command


def start(ports: website.Ports, folder: pathlib.Path, file: pathlib.Path) -> spawning.Program:
    command = check(folder, file)
    program = spawning.start(command, log=folder / "log", port=ports.http, cwd=folder)
    program.wait_until_it_listens()
    return program
