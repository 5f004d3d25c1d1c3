"""The app behind Caddy, by the configuration that `carboy caddy` writes."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
from functools import partial

import deployedapp
import guides
import pytest
import severalservers
import spawning
import website
import websitecases as cases
from polling import PATIENCE_S, wait_until
from websitecases import *  # noqa: F403  # each web server is asked the same


def caddy() -> str:
    found = shutil.which("caddy")
    if found is None:
        pytest.skip("no Caddy: `make test-webservers` as root installs it by apt")
    return found


def output(*command: str | pathlib.Path) -> str:
    done = subprocess.run([caddy(), *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARN" not in done.stderr, done.stderr
    return done.stdout


def start(ports: website.Ports, folder: pathlib.Path, file: pathlib.Path) -> spawning.Program:
    """Start Caddy with the generated file, and without its interface for administrators, which
    would need a port that is the same for all of the machine.
    """
    output("validate", "--config", file, "--adapter", "caddyfile")
    adapted = json.loads(output("adapt", "--config", file, "--adapter", "caddyfile"))
    # Nor must it add the authority of its certificates to those that this machine trusts.
    authority = {"pki": {"certificate_authorities": {"local": {"install_trust": False}}}}
    adapted = {**adapted, "admin": {"disabled": True}, "apps": adapted["apps"] | authority}
    (folder / "caddy.json").write_text(json.dumps(adapted))
    program = spawning.start(
        [caddy(), "run", "--config", "caddy.json"],
        log=folder / "log",
        port=ports.http,
        cwd=folder,
        env={**os.environ, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
    )
    program.wait_until_it_listens()
    return program


served = partial(website.website, "caddy")


@pytest.fixture(scope="module")
def site(project):
    with served(project, start, "--no-auto-https") as running:
        yield running


@pytest.fixture(scope="module")
def secure_site(project):
    with served(project, start, tls=True) as running:
        yield running


@pytest.fixture
def hasty_site(project):
    with served(project, start, "--no-auto-https", "--timeout", "1") as running:
        yield running


@pytest.fixture
def restarting_site(project):
    with served(project, start, "--no-auto-https") as running:
        yield running


@pytest.fixture(scope="module")
def differences() -> dict[str, str]:
    """Requests whose response differs from that of `carboy serve`, and why."""
    return {
        **cases.OF_STATIC_FILES,
        **cases.OF_THE_CLIENT,
        "stream that fails": "Caddy ends the response as if it were complete",
    }


def test_responses_are_those_of_the_app_but_for_the_documented_differences(site, differences):
    """Caddy writes the reason phrase itself ("Not Found" for "NOT FOUND"), which means nothing
    (RFC 9112, section 4). All else is compared.
    """
    own, seen = (
        {name: answer._replace(reason="") for name, answer in deployedapp.ask_all(url).items()}
        for url in (site.upstream, site.url)
    )
    found = deployedapp.differences(own, seen)
    assert found.keys() == differences.keys(), "\n".join(map(str, found.items()))


def test_client_can_read_the_413_of_the_app(site):
    """Half a second after a response to a request that it has not read, Caddy closes the
    connection. So the client must read the response also if it can send no more.
    """
    body = b"x" * 5 * cases.MIB
    with socket.create_connection(("127.0.0.1", site.ports.http), PATIENCE_S) as sock:
        head = f"POST /small HTTP/1.1\r\nHost: {website.HOST}\r\nContent-Length: {len(body)}"
        sock.sendall(f"{head}\r\n\r\n".encode())
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            sock.sendall(body)
        assert sock.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_several_servers_share_the_requests(tmp_path):
    severalservers.check_several_servers("caddy", tmp_path, start, "--no-auto-https")


def test_file_is_formatted_as_caddy_does_it(site, secure_site):
    for each in (site, secure_site):
        assert output("fmt", each.configuration) == each.configuration.read_text()


def test_caddy_gets_the_certificates_itself(project):
    """For localhost from an authority of its own, which it creates."""
    with served(project, start, "--server-name", "localhost", "--auto-https") as site:
        folder = site.folder.parent / "caddy" / "caddy" / "pki" / "authorities" / "local"
        wait_until((folder / "root.crt").exists)
        context = ssl.create_default_context(cafile=str(folder / "root.crt"))

        def answers() -> bool:
            try:
                with socket.create_connection(("127.0.0.1", site.ports.https)) as sock:
                    context.wrap_socket(sock, server_hostname="localhost").close()
            except ssl.SSLError:  # the certificate has not been made yet
                return False
            return True

        wait_until(answers, pause_s=0.1)
        connection = http.client.HTTPSConnection("localhost", site.ports.https, context=context)
        connection.request("GET", "/seen")
        response = connection.getresponse()
        assert response.headers["Strict-Transport-Security"] == "max-age=31536000"
        url = f"https://localhost:{site.ports.https}/seen"
        assert json.loads(response.read())["url"] == url
        connection.close()
        redirected = cases.ask(site, "/seen", Host=f"localhost:{site.ports.http}")
        assert (redirected.status, redirected.headers["Location"]) == (308, url)


def test_how_to_works_as_written(tmp_path):
    caddy()
    reader = guides.Reader(guides.DOCS / "howto" / "caddy.md", tmp_path)
    reader.follow()
    reader.close()
