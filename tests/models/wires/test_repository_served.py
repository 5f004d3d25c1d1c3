"""Clients of the Open Inference Protocol load and unload a model that several workers serve."""

from __future__ import annotations

import os
import pathlib
import signal
import typing as t

import pytest
import requests
import spawning
from polling import PATIENCE_S, wait_until

from carboy.serving.management.controlclient import ControlClient

pytestmark = pytest.mark.integration

APP = """
import pathlib
from carboy import Carboy

app = Carboy(__name__)
app.config["MODEL_PROTOCOLS"] = ["v2"]
app.config["MODEL_REPOSITORY_CONTROL"] = True

@app.model("/double")
class Double:
    def __init__(self) -> None:
        if pathlib.Path("broken").exists():
            raise OSError("a secret of the device")

    def predict(self, x: float) -> float:
        return 2 * x
"""


class Server(t.NamedTuple):
    """A running server with two workers, and its control socket."""

    program: spawning.Program
    control: ControlClient
    folder: pathlib.Path

    def post(self, path: str) -> requests.Response:
        return requests.post(f"{self.program.url}{path}", json={}, timeout=PATIENCE_S)

    def load(self) -> requests.Response:
        return self.post("/v2/repository/models/double/load")

    def unload(self) -> requests.Response:
        return self.post("/v2/repository/models/double/unload")

    def state(self) -> str:
        (model,) = self.post("/v2/repository/index").json()
        return t.cast("str", model["state"])

    def reasons(self) -> list[str]:
        """Return why the model is not ready, or "", for each worker that answers."""
        processes = self.control.request("models")["processes"]
        return [model["not_ready"] for each in processes for model in each.get("models", ())]

    def statuses(self) -> set[int]:
        """Return the statuses of predictions by several connections, which reach both workers."""
        url = f"{self.program.url}/double"
        return {requests.post(url, json=1, timeout=PATIENCE_S).status_code for _ in range(20)}

    def pids(self) -> list[int]:
        """Return the ready workers."""
        found = self.control.request("status")["processes"]
        return [each["pid"] for each in found if each["phase"] == "ready"]

    def kill_one_worker(self) -> None:
        """Kill a worker, and wait until another process has taken its place."""
        killed, _ = self.pids()
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: len(set(self.pids()) - {killed}) == 2)


@pytest.fixture
def server(tmp_path):
    (tmp_path / "double.py").write_text(APP)
    port, control = spawning.free_port(), tmp_path / "control.sock"
    words = [spawning.script("carboy"), "serve", "double:app", "--port", str(port)]
    words += ["--workers", "2", "--control", str(control)]
    program = spawning.start(words, log=tmp_path / "log", port=port, cwd=tmp_path)
    program.wait_until_it_prints("serving double:app")
    yield Server(program, ControlClient(str(control)), tmp_path)
    program.stop()


def is_server_ready(server: Server) -> bool:
    return t.cast("bool", server.control.request("status")["ready"])


def test_model_is_unloaded_and_loaded_in_all_workers(server):
    assert (server.statuses(), server.state()) == ({200}, "READY")
    assert server.unload().status_code == 200
    assert server.reasons() == ["unloaded by a client"] * 2
    assert (server.statuses(), server.state()) == ({503}, "UNAVAILABLE")
    assert is_server_ready(server)
    assert server.load().status_code == 200
    assert server.reasons() == ["", ""]
    assert (server.statuses(), server.state()) == ({200}, "READY")


def test_workers_that_are_started_later_do_not_load_an_unloaded_model(server):
    server.unload()
    server.kill_one_worker()
    assert server.reasons() == ["unloaded by a client"] * 2
    server.load()
    server.kill_one_worker()
    wait_until(lambda: server.reasons() == ["", ""])
    assert server.statuses() == {200}


def test_model_stays_unloaded_in_all_workers_if_one_cannot_load_it(server):
    server.unload()
    (server.folder / "broken").touch()
    refused = server.load()
    assert (refused.status_code, "secret" in refused.text) == (503, False)
    assert server.reasons() == ["unloaded by a client"] * 2
    assert "a secret of the device" in server.program.output
    (server.folder / "broken").unlink()
    assert server.load().status_code == 200
    assert server.statuses() == {200}


def test_worker_that_dies_while_a_model_is_loaded_does_not_fail_the_request(server):
    server.unload()
    for pid in server.pids():
        spawning.suspend(pid)  # so that neither has loaded it yet when one is killed
    stopped, other = server.pids()
    os.kill(other, signal.SIGCONT)
    os.kill(stopped, signal.SIGKILL)
    try:
        status = server.load().status_code
    except requests.ConnectionError:  # the request was in the backlog of the killed worker
        status = server.load().status_code
    assert status == 200
    wait_until(lambda: server.reasons() == ["", ""])
