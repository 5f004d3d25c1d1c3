"""Listeners and management: only the asked addresses are bound; clients control no server.

ASVS 5.0: 13.4.5, 13.4.4, 13.4.6
Also tested in: tests/serving/management/test_management_served.py,
tests/serving/management/test_appprobes.py, tests/serving/test_addresses_served.py,
tests/models/wires/test_openinferenceversions.py
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import sys
import typing as t

import pytest
import watchedserver
from watchedserver import CANARY, SECRETS, WatchedServer

if t.TYPE_CHECKING:
    import collections.abc as cabc

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc lists sockets on Linux")

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> cabc.Iterator[WatchedServer]:
    with watchedserver.watched_server(tmp_path_factory.mktemp("server")) as server:
        yield server


def _ask(
    port: int, method: str, path: str, body: bytes | None = None, content_type: str = ""
) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Content-Type": content_type} if content_type else {}
    with contextlib.closing(connection):
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read().decode()


@pytest.fixture(scope="module")
def commands(server: WatchedServer) -> list[str]:
    """The paths of all control requests, from the error page of the control socket."""
    (path,) = (server.folder / "run" / "carboy").glob("*.sock")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"POST /nothing HTTP/1.0\r\n\r\n")
        with client.makefile("rb") as answer:
            found = json.loads(answer.read().partition(b"\r\n\r\n")[2])
    return [each for each in found["paths"] if each.startswith("/control/")]


def test_only_the_addresses_are_bound_that_were_asked_for(server: WatchedServer):
    assert _ask(server.port, "GET", "/")[0] == 200
    network, paths = watchedserver.listening(server.processes())
    assert network == {f"127.0.0.1:{server.port}", f"127.0.0.1:{server.management_port}"}
    private = server.folder / "run" / "carboy"
    assert paths, "the control socket"
    assert all(path.startswith(f"{private}/") for path in paths), paths
    assert private.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("method", METHODS)
def test_port_of_the_app_has_no_management(server: WatchedServer, commands: list[str], method: str):
    for path in ("/metrics", "/livez", "/readyz", "/startupz", *commands):
        status, _ = _ask(server.port, method, path, b"{}")
        assert status in (400, 404, 405, 501), path


@pytest.mark.parametrize("method", METHODS)
def test_management_port_takes_no_command(server: WatchedServer, commands: list[str], method: str):
    assert len(commands) > 5
    for path in commands:
        status, text = _ask(server.management_port, method, path, b"{}")
        assert status in (400, 404, 405, 501), path
        assert CANARY not in text
    assert _ask(server.port, "GET", "/")[0] == 200


def test_pages_of_the_management_are_read_only(server: WatchedServer):
    for method in set(METHODS) - {"GET", "HEAD"}:
        assert _ask(server.management_port, method, "/metrics")[0] >= 400


def test_no_page_log_or_command_line_shows_a_secret(server: WatchedServer):
    """Everything that the server of a project with secrets says, after its views have failed."""
    said = [_ask(server.port, "GET", path)[1] for path in ("/", "/fail", "/openapi.json", "/docs")]
    said.append(_ask(server.port, "POST", "/double", b"-1", "application/json")[1])
    said += [_ask(server.management_port, "GET", path)[1] for path in ("/metrics", "/readyz")]
    for pid in server.processes():
        with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
            said.append(file.read())
    said += [server.program.output, (server.folder / "logs" / "app.log").read_text()]
    assert said[-1].count("RuntimeError") >= 2
    assert "a.library" in said[-1]
    for text in said:
        assert CANARY not in text
        assert not any(value in text for value in SECRETS.values())
