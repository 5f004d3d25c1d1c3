"""The contract of each hosting platform, rehearsed with the file that `carboy deploy` writes: the
environment and the port that the platform gives, its probes, its signal, and its time for stopping.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
import tomllib
import typing as t

import pytest
import spawning
import yaml
from polling import wait_until

if t.TYPE_CHECKING:
    import collections.abc as cabc

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

APP = """\
import pathlib
import time

from carboy import Carboy, request, session, url_for

app = Carboy(__name__)
app.config["LOG_FILE"] = "logs/app.log"
app.config.from_project()


@app.get("/")
def index():
    session["seen"] = True
    return {"client": request.remote_addr, "link": url_for("index", _external=True)}


@app.get("/slow/<float:seconds>")
def slow(seconds):
    pathlib.Path("begun").touch()
    time.sleep(seconds)
    return "finished"


@app.model("/double")
def double(x: float) -> float:
    return 2 * x
"""
# Another address of this machine than 127.0.0.1: who listens on 127.0.0.1 alone is not reached.
ADDRESS = "127.0.0.2"
CLIENT = "203.0.113.9"
EDGE = "198.51.100.7"


@dataclasses.dataclass
class Contract:
    """What a platform does with an app.

    Attributes:
        start: starts the app: a command line for the shell; None if the platform runs the image.
        environment: what the platform adds to the environment, which is empty, or the image's.
        port: where requests go.
        probes_port: where probes go.
        startup: the path that says that the app is ready at the start.
        probes: the paths that are asked in between.
        forwarded: the header X-Forwarded-For of a request of CLIENT.
        kill_after_s: how long after the signal the platform kills what still runs.
        to_all: whether all processes get the signal, and not the first one alone.
    """

    start: str | None
    environment: dict[str, str]
    port: int
    probes_port: int
    startup: str
    probes: list[str]
    kill_after_s: float
    forwarded: str = CLIENT
    to_all: bool = False


Ports = tuple[int, int]


def generated(folder: pathlib.Path, ports: Ports, *command: str) -> str:
    """Return the file that a command generates, the first of several, with other ports, because
    servers of other tests run at the same time.
    """
    done = subprocess.run(
        [spawning.script("carboy"), *command, "--print"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first = re.split(r"^==> .* <==\n", done.stdout, flags=re.MULTILINE)[:2][-1]
    return first.replace("8000", str(ports[0])).replace("9000", str(ports[1]))


def read_image(folder: pathlib.Path, ports: Ports) -> tuple[list[str], dict[str, str]]:
    """Return the command and the environment of the image that `carboy docker` describes."""
    dockerfile = generated(folder, ports, "docker")
    final = dockerfile.rpartition("\nFROM ")[2]
    (command,) = re.findall(r"^CMD (.*)$", final, re.MULTILINE)
    variables = " ".join(re.findall(r"^ENV (.*)$", final, re.MULTILINE)).split()
    return json.loads(command), dict(each.split("=", 1) for each in variables)


SECRET = {"SECRET_KEY": "of-the-platform-0123456789abcdef"}


def cloud_run(file: str) -> Contract:
    container = yaml.safe_load(file)["spec"]["template"]["spec"]["containers"][0]
    port = container["ports"][0]["containerPort"]
    written = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    probe = container["startupProbe"]["httpGet"]
    platform = {"PORT": str(port), "K_SERVICE": "shop", "K_REVISION": "shop-1"}
    return Contract(
        None,
        {**written, **platform, **SECRET},
        port,
        probe["port"],
        probe["path"],
        [container["livenessProbe"]["httpGet"]["path"]],
        kill_after_s=10,
    )


def fly(file: str) -> Contract:
    content = tomllib.loads(file)
    assert content["kill_signal"] == "SIGTERM"
    service = content["http_service"]
    (check,) = service["checks"]
    port = service["internal_port"]
    platform = {"FLY_APP_NAME": "shop", "FLY_REGION": "fra", "PRIMARY_REGION": "fra"}
    return Contract(
        None,
        {**content["env"], **platform, **SECRET},
        port,
        port,
        check["path"],
        [check["path"]],
        kill_after_s=content["kill_timeout"],
        forwarded=f"{CLIENT}, {EDGE}",  # Fly appends an address of the app
    )


def heroku(file: str) -> Contract:
    (command,) = [line[5:] for line in file.splitlines() if line.startswith("web: ")]
    port = spawning.free_port()
    # Heroku has no probes: the port must be open. WEB_CONCURRENCY is set by its buildpack.
    platform = {"PORT": str(port), "DYNO": "web.1", "WEB_CONCURRENCY": "2"}
    return Contract(
        command, {**platform, **SECRET}, port, port, "/", [], kill_after_s=30, to_all=True
    )


def render(file: str) -> Contract:
    (service,) = yaml.safe_load(file)["services"]
    written = {each["key"]: each["value"] for each in service["envVars"] if "value" in each}
    port = spawning.free_port()
    platform = {"PORT": str(port), "RENDER": "true", "WEB_CONCURRENCY": "1"}
    path = service["healthCheckPath"]
    return Contract(
        service["startCommand"],
        {**written, **platform, **SECRET},
        port,
        port,
        path,
        [path],
        kill_after_s=service["maxShutdownDelaySeconds"],
    )


def spaces(file: str) -> Contract:
    content = yaml.safe_load(file.split("---\n")[1])
    port = content["app_port"]
    # The platform says nothing of the port to the app. CARBOY_PROXY is set by the user.
    platform = {"SPACE_ID": "me/shop", "CARBOY_PROXY": "1"}
    return Contract(None, {**platform, **SECRET}, port, port, "/", [], kill_after_s=30)


def kubernetes(file: str) -> Contract:
    pod = next(yaml.safe_load_all(file))["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    probes = [container[name]["httpGet"] for name in ("readinessProbe", "livenessProbe")]
    startup = container["startupProbe"]["httpGet"]
    pre_stop_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    return Contract(
        None,
        {**{each["name"]: each["value"] for each in container["env"]}, **SECRET},
        ports["http"],
        ports[startup["port"]],
        startup["path"],
        [probe["path"] for probe in probes],
        kill_after_s=pod["terminationGracePeriodSeconds"] - pre_stop_s,
    )


CONTRACTS: dict[str, cabc.Callable[[str], Contract]] = {
    "cloudrun": cloud_run,
    "fly": fly,
    "heroku": heroku,
    "render": render,
    "spaces": spaces,
    "k8s": kubernetes,
}


@pytest.fixture
def project(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder whose name is accepted by all platforms as the name of an app."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    return folder


@contextlib.contextmanager
def running(contract: Contract, folder: pathlib.Path) -> cabc.Iterator[spawning.Program]:
    """Start the app as the platform does, with nothing else in its environment."""
    path = os.pathsep.join([os.path.dirname(sys.executable), "/usr/bin", "/bin"])
    if contract.start is None:
        start, of_image = read_image(folder, (contract.port, spawning.free_port()))
    else:
        start, of_image = ["bash", "-c", contract.start], {}
    given = {**of_image, **contract.environment, "PATH": path, "HOME": str(folder)}
    variables = [f"{name}={value}" for name, value in given.items()]
    program = spawning.start(
        ["env", "-i", *variables, *start],
        log=folder / "program.log",
        port=contract.port,
        cwd=folder,
    )
    try:
        yield program
    finally:
        program.stop(signal.SIGKILL)


def ask(port: int, path: str, **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(ADDRESS, port, timeout=60)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def is_ready(contract: Contract) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return ask(contract.probes_port, contract.startup)[0] == 200
    return False


def signalled(contract: Contract, program: spawning.Program) -> None:
    send = os.killpg if contract.to_all else os.kill
    send(program.process.pid, signal.SIGTERM)


def contract_of(platform: str, folder: pathlib.Path) -> Contract:
    ports = (spawning.free_port(), spawning.free_port())
    return CONTRACTS[platform](
        generated(folder, ports, "deploy", "--to", platform, "--memory", "200M")
    )


class Answer(threading.Thread):
    """A request that is under way."""

    def __init__(self, contract: Contract, path: str) -> None:
        super().__init__(daemon=True)
        self.contract, self.path = contract, path
        self.content: tuple[int, str] | None = None
        self.start()

    def run(self) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.content = ask(self.contract.port, self.path)


@pytest.mark.parametrize("platform", CONTRACTS)
def test_app_fulfils_the_contract(platform, project):
    contract = contract_of(platform, project)
    with running(contract, project) as program:
        wait_until(lambda: is_ready(contract) or program.process.poll() is not None, pause_s=0.05)
        assert program.process.poll() is None, program.output

        for path in contract.probes:
            assert ask(contract.probes_port, path)[0] == 200
        headers = {"X-Forwarded-For": contract.forwarded, "X-Forwarded-Proto": "https"}
        status, text = ask(contract.port, "/", Host="shop.example", **headers)
        assert (status, json.loads(text)) == (
            200,
            {"client": CLIENT, "link": "https://shop.example/"},
        ), program.output

        answer = Answer(contract, "/slow/0.5")
        wait_until((project / "begun").exists)
        begun_s = time.monotonic()
        signalled(contract, program)
        assert program.process.wait(contract.kill_after_s) == 0, program.output
        assert time.monotonic() - begun_s < contract.kill_after_s
        answer.join()
        assert answer.content == (200, "finished")
        # The app logs to a file, which nobody can read there, unless the environment changes that.
        assert "GET /slow/0.5 " in program.output


def test_request_that_does_not_end_is_cut_off_before_cloud_run_kills_the_app(project):
    contract = contract_of("cloudrun", project)
    with running(contract, project) as program:
        wait_until(lambda: is_ready(contract), pause_s=0.05)
        Answer(contract, "/slow/60.0")
        wait_until((project / "begun").exists)
        signalled(contract, program)
        # 10 s is the time of Cloud Run; this machine may be busy.
        program.process.wait(contract.kill_after_s + 5)
        assert "has not finished its requests: killed" in program.output


def test_pod_says_that_it_is_not_ready_while_it_ends(project):
    contract = contract_of("k8s", project)
    with running(contract, project) as program:
        wait_until(lambda: is_ready(contract), pause_s=0.05)
        answer = Answer(contract, "/slow/2.0")
        wait_until((project / "begun").exists)
        signalled(contract, program)
        wait_until(lambda: ask(contract.probes_port, "/readyz")[0] == 503)
        assert ask(contract.probes_port, "/livez")[0] == 200
        answer.join()
        assert answer.content == (200, "finished")
