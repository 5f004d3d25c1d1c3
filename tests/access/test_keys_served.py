"""API keys at a real `carboy serve` with two workers, whose file of keys changes while they run."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import typing as t

import pytest
import requests
import spawning
from apikeys import make_key
from polling import wait_until

from carboy.access.keyfile import changing

if t.TYPE_CHECKING:
    import collections.abc as cabc

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

APP = """
import typing as t
from carboy import Carboy, request

app = Carboy(__name__)
app.config["LOG_FORMAT"] = "json"

@app.model("/batched", batch=8)
def batched(xs: list[int]) -> list[int]:
    return xs

@app.model("/alone")
def alone(x: int) -> str | None:
    return request.identity.key and request.identity.key.name

@app.model("/stream")
def stream(n: int) -> t.Iterator[int]:
    yield from range(n)

@app.model("/free", access="open")
def free(x: int) -> int:
    return x
"""
KEY = make_key("phone", models=frozenset({"batched", "alone"}))
OTHER, GONE = make_key("other"), make_key("gone")


class Served:
    def __init__(self, folder: pathlib.Path) -> None:
        self.file = str(folder / "instance" / "access-keys.json")
        self.program = spawning.serve(folder, "guarded", APP, "--workers", "2")

    def post(self, path: str, key: t.Any = None, **more: t.Any) -> requests.Response:
        """Send a request on a new connection, which any worker may accept."""
        headers = {} if key is None else key.bearer
        return requests.post(self.program.url + path, json=1, headers=headers, timeout=60, **more)

    def statuses(self, path: str, key: t.Any = None) -> set[int]:
        """Return the statuses of so many requests that both workers have answered some, also if
        that is asked again and again until the statuses are as expected.
        """
        return {self.post(path, key).status_code for _ in range(24)}

    def write(self, *keys: t.Any) -> None:
        with changing(self.file) as known:
            known.clear()
            known.update({key.stored.id: key.stored for key in keys})

    def logged(self, path: str) -> list[dict[str, t.Any]]:
        lines = (line for line in self.program.output.splitlines() if line.startswith("{"))
        found = [json.loads(line) for line in lines]
        return [each for each in found if each.get("path") == path]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> cabc.Iterator[Served]:
    """A server that has got its first keys after its start."""
    served = Served(tmp_path_factory.mktemp("guarded"))
    try:
        assert served.statuses("/batched") == {200}
        served.write(KEY, OTHER, GONE)
        wait_until(lambda: served.statuses("/batched") == {401})
        wait_until(lambda: served.statuses("/batched", GONE) == {200})
        yield served
    finally:
        served.program.stop()


def test_first_key_closes_the_models_of_all_workers(served):
    assert served.statuses("/batched") == {401}
    assert served.statuses("/free") == {200}


def test_revoked_key_is_refused_by_all_workers(served):
    served.write(KEY, OTHER)
    wait_until(lambda: served.statuses("/batched", GONE) == {401})
    assert served.statuses("/batched", KEY) == {200}


@pytest.mark.parametrize("path", ["/batched", "/alone", "/stream"])
def test_prediction_that_needs_no_thread_needs_the_key_of_its_model(served, path):
    ours = 403 if path == "/stream" else 200
    assert [served.post(path, key).status_code for key in (None, KEY, OTHER)] == [401, ours, 200]
    for response in (served.post(path), served.post(path, OTHER)):
        assert response.headers["Vary"].endswith("Authorization, X-API-Key")
        assert response.headers["Cache-Control"] in ("private", "no-cache")


def test_model_knows_the_client(served):
    assert served.post("/alone", KEY).json() == "phone"


def test_access_log_has_the_name_of_the_key_and_no_part_of_its_secret(served):
    for key in (KEY, OTHER, None):
        served.post("/batched", key)
    served.post("/stream", KEY)

    def names(path: str) -> list[t.Any]:
        return [(line["status"], line.get("key")) for line in served.logged(path)]

    # Two workers write the log, in any order.
    wait_until(lambda: (403, "phone") in names("/stream"))
    wait_until(lambda: {(200, "phone"), (200, "other"), (401, None)} <= set(names("/batched")))
    assert KEY.text.rpartition("_")[2] not in served.program.output


def test_request_without_a_key_is_refused_before_its_body_arrives(served):
    with contextlib.closing(socket.create_connection(("127.0.0.1", served.program.port))) as sock:
        sock.settimeout(30)
        sock.sendall(
            b"POST /batched HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 20000000\r\n\r\n"
        )
        assert sock.recv(65536).startswith(b"HTTP/1.1 401 ")


def test_removed_file_opens_nothing_also_to_workers_that_start_later(served):
    os.rename(served.file, f"{served.file}.away")
    try:
        wait_until(lambda: served.statuses("/batched", KEY) == {401})
        served.program.process.send_signal(signal.SIGHUP)
        wait_until(lambda: served.program.output.count("has ended after its last request") == 2)
        assert served.statuses("/batched") == {401}
        assert "was removed. Its keys are refused until it is back." in served.program.output
    finally:
        os.rename(f"{served.file}.away", served.file)
    wait_until(lambda: served.statuses("/batched", KEY) == {200})


def test_file_that_cannot_be_used_ends_the_start_with_code_2(tmp_path):
    (tmp_path / "guarded.py").write_text(APP)
    file = tmp_path / "instance" / "access-keys.json"
    file.parent.mkdir()
    file.write_text('{"format": 1, "keys": []}')
    file.chmod(0o666)
    command = [spawning.script("carboy"), "--app", "guarded", "serve", "--port", "0"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "chmod 600" in done.stderr
