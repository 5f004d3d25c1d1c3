"""`make run` finds a wrong or taken port before it installs anything."""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
import sys

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "run.py"


def refusal(tmp_path, port):
    environ = {**os.environ, "PORT": str(port), "VENV": str(tmp_path / "venv")}
    done = subprocess.run(
        [sys.executable, SCRIPT],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert not (tmp_path / "venv").exists()
    return done.stderr


def test_taken_port_is_answered_with_the_next_one(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert refusal(tmp_path, port) == (
            f"carboy: cannot serve at port {port} (Address already in use). Choose another port:"
            f" make run PORT={port + 1}\n"
        )


def test_port_that_is_no_number_is_refused(tmp_path):
    said = "carboy: PORT=http is no port. Write, for example: make run PORT=5001\n"
    assert refusal(tmp_path, "http") == said
