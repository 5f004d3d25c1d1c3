"""Debugger: it is started on loopback addresses only, and never by the server for production.

ASVS 5.0: 13.4.2
Also tested in: tests/cli/test_development.py, tests/cli/test_debugpages.py,
tests/serving/test_serve.py
"""

from __future__ import annotations

import contextlib
import http.client
import os
import pathlib
import re
import sys

import pytest

PROGRAM = """
from carboy import Carboy

app = Carboy(__name__)
app.debug = True

@app.get("/")
def fail():
    raise RuntimeError("the reason")

if __name__ == "__main__":
    import sys
    app.run(sys.argv[1], int(sys.argv[2]), debug=True, use_reloader=False)
"""
RESOURCE = "/?__debugger__=yes&cmd=resource&f=debugger.js"


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "app.py").write_text(PROGRAM)
    return tmp_path


def _get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Host": host})
        response = connection.getresponse()
        return response.status, response.read().decode()


def test_clients_of_a_server_for_production_reach_no_debugger(
    folder: pathlib.Path, spawn, carboy_command: str
):
    environ = {**os.environ, "FLASK_DEBUG": "1"}
    server = spawn(carboy_command, "serve", "app:app", "-p", "{port}", "-w", "1", env=environ)
    for path in ("/", "/console", RESOURCE):
        status, text = _get(server.port, path)
        assert "the reason" not in text, path
        assert "debugger" not in text.lower(), path
        assert status in (404, 500)
    assert "debug mode is off" in server.output


def test_program_in_debug_mode_on_all_networks_has_no_debugger(folder: pathlib.Path, spawn):
    server = spawn(sys.executable, "app.py", "0.0.0.0", "{port}")
    status, text = _get(server.port, RESOURCE)
    assert status == 500
    assert "the reason" not in text
    assert "without the interactive debugger" in server.output


def test_client_that_calls_the_loopback_by_another_name_cannot_run_code(
    folder: pathlib.Path, spawn
):
    """A page of another site reaches the loopback by DNS rebinding; the debugger does not trust the
    host that its browser then names.
    """
    server = spawn(sys.executable, "app.py", "127.0.0.1", "{port}")
    _status, text = _get(server.port, "/")
    secret = re.findall(r'SECRET = "(\w+)"', text)[0]
    ask = f"/?__debugger__=yes&cmd=pinauth&pin=1&s={secret}"
    assert _get(server.port, ask)[0] == 200
    assert _get(server.port, ask, host="evil.example")[0] == 400
