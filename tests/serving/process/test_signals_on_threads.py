"""A signal acts although the system lets a thread receive it that is not the main one."""

from __future__ import annotations

import pathlib
import sys

import pytest
import requests
from polling import wait_until

pytestmark = pytest.mark.integration

APP = """
import os, signal, threading
from carboy import Carboy

app = Carboy(__name__)

@app.get("/")
def process():
    return str(os.getpid())

@app.get("/sigterm")
def receive():
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    return ""

assert threading.current_thread() is threading.main_thread()
"""


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "shop.py").write_text(APP)
    return tmp_path


def test_sigterm_on_another_thread_stops_a_server_without_workers(spawn, folder, free_port):
    (folder / "main.py").write_text(f"from shop import app\napp.serve(port={free_port}, workers=0)")
    server = spawn(sys.executable, "main.py")
    requests.get(f"{server.url}/sigterm", timeout=30)
    wait_until(lambda: server.process.poll() is not None)
    assert server.process.returncode == 0
    assert "stopping on SIGTERM" in server.output


def test_sigterm_on_another_thread_replaces_a_worker(spawn, carboy_command, folder):
    server = spawn(carboy_command, "serve", "shop:app", "--port", "{port}", "--workers", "1")
    server.wait_until_it_prints("serving shop:app")
    before = requests.get(server.url, timeout=30).text
    requests.get(f"{server.url}/sigterm", timeout=30)
    wait_until(lambda: requests.get(server.url, timeout=30).text != before)
    assert server.stop() == 0
