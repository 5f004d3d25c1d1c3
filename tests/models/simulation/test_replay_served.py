"""The access log that `carboy serve` writes is one that `carboy models simulate` replays."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import requests
import spawning

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

APP = """
from carboy import Carboy

app = Carboy(__name__)


@app.model("/double", batch=8)
def double(x: list[float]) -> list[float]:
    return [2 * each for each in x]


@app.get("/")
def index():
    return "a view"
"""
CARBOY = (sys.executable, "-m", "carboy")


@pytest.mark.parametrize("form", ["text", "json"])
def test_log_of_a_server_is_replayed(form, tmp_path):
    (tmp_path / "app.py").write_text(APP)
    port, log = spawning.free_port(), tmp_path / "access.log"
    command = [*CARBOY, "serve", "--port", str(port), "--workers", "1", "--access-log", form]
    server = spawning.start(command, log=log, port=port, cwd=tmp_path)
    try:
        server.wait_until_it_prints("serving ")
        with requests.Session() as client:
            for i in range(40):
                assert client.post(f"{server.url}/double", json=float(i), timeout=30).ok
                assert client.get(server.url, timeout=30).ok
    finally:
        assert server.stop() == 0, server.output
    done = subprocess.run(
        [*CARBOY, "models", "simulate", "double", "--replay", log, "--cost", "1ms", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["outcome"]["arrived"] == found["outcome"]["answered"] == 40
    assert ("at random moments of their seconds" in found["load"]) is (form == "text")
    # The server's other messages are in the same file.
    assert "lines were left out, which are no access log" in found["load"]
