"""The units of `carboy systemd`, checked by systemd's own tools and run by a real systemd."""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import typing as t
from concurrent.futures import ThreadPoolExecutor

import deployedapp
import guides
import privatesystemd
import pytest
import spawning
from polling import PATIENCE_S, wait_until
from privatesystemd import PrivateSystemd

if t.TYPE_CHECKING:
    import collections.abc as cabc

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd"),
]

APP = """
import os
import pathlib
import socket
from carboy import Carboy, request

app = Carboy(__name__)

@app.get("/pid")
def pid():
    return str(os.getpid())

@app.get("/supervisor")
def supervisor():
    return str(os.getppid())

@app.get("/user")
def user():
    return {"uid": os.getuid(), "groups": os.getgroups(), "secret": os.environ.get("SECRET_KEY")}

@app.post("/write")
def write():
    outcomes = {}
    for path in request.get_json():
        try:
            pathlib.Path(path).write_text("x")
            outcomes[path] = "written"
        except OSError as exc:
            outcomes[path] = exc.strerror
    return outcomes

@app.get("/resolve")
def resolve():
    return str(bool(socket.getaddrinfo("localhost", 80)))

@app.get("/setuid")
def setuid():
    try:
        os.setuid(0)
    except OSError as exc:
        return exc.strerror
"""


def generate(folder: pathlib.Path, *options: str, **environ: str) -> pathlib.Path:
    """Run the command in a project's folder, and return the folder of the units."""
    subprocess.run(
        [spawning.script("carboy"), "systemd", *options],
        cwd=folder,
        env={**os.environ, **environ},
        check=True,
        capture_output=True,
    )
    return folder / "deploy"


def new_project(folder: pathlib.Path) -> pathlib.Path:
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    return folder


# --------------------------------------------------------------------------- systemd's own checks

BINDS = {
    "port": {},
    "Unix socket": {"CARBOY_SERVE_BIND": "unix:/run/shop/app.sock"},
    "several": {"CARBOY_SERVE_BIND": "0.0.0.0:80,[::1]:8000,unix:/run/shop.sock"},
    "odd values": {"CARBOY_SERVE_CONTROL": '/run/a "b" 100%.sock', "CARBOY_SERVE_GRACE_S": "0"},
}


@pytest.mark.parametrize("environ", BINDS.values(), ids=BINDS)
def test_systemd_finds_no_fault_in_the_units(tmp_path, environ):
    units = generate(new_project(tmp_path / "my shop"), "--writable", "up loads", **environ)
    done = subprocess.run(
        ["systemd-analyze", "verify", units / "my-shop.service", units / "my-shop.socket"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_exposure_of_the_service_is_low(tmp_path):
    """The exposure is between 0 and 10; services of the system itself have 5 to 9.6."""
    units = generate(new_project(tmp_path / "shop"))
    subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager",
         units / "shop.service"],
        check=True,
        capture_output=True,
    )  # fmt: skip


# ---------------------------------------------------------------------------- a running systemd


class Service:
    """A project whose units a private systemd has.

    Attributes:
        port: where its socket listens.
        log: what the service writes to its output.
    """

    def __init__(self, systemd: PrivateSystemd, folder: pathlib.Path, *options: str) -> None:
        self.systemd = systemd
        self.port = spawning.free_port()
        self.folder = folder
        self.name = folder.name
        self._log = systemd.home / f"{self.name}.log"
        bind = f"127.0.0.1:{self.port},unix:/run/{self.name}/app.sock"
        (folder / ".env").write_text(
            f"CARBOY_SERVE_BIND={bind}\nCARBOY_SERVE_WORKERS=1\nCARBOY_SERVE_DRAIN_S=0.1\n"
        )
        units = generate(folder, "--user", "www-data", *options)
        for kind in ("service", "socket"):
            unit = f"{self.name}.{kind}"
            systemd.add_unit(unit, (units / unit).read_text())
        out = f"append:{self._log}"
        self.add_settings(f"StandardOutput={out}\nStandardError={out}\n")

    def add_settings(self, lines: str) -> None:
        unit = f"{self.name}.service.d/{len(lines)}.conf"
        self.systemd.add_unit(unit, f"[Service]\n{lines}")
        self.systemd.systemctl("daemon-reload")

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def do(self, verb: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.systemd.systemctl(verb, f"{self.name}.service", check=check)

    def show(self, name: str) -> str:
        return self.systemd.show(f"{self.name}.service", name)

    @property
    def pid(self) -> int:
        return self.systemd.pid_of(f"{self.name}.service")

    def ask(self, path: str, method: str = "GET", body: object = None) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        headers = {"Content-Type": "application/json", "Connection": "close"}
        connection.request(method, path, json.dumps(body), headers)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        assert response.status == 200, text
        return text


@pytest.fixture(scope="module")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> cabc.Iterator[PrivateSystemd]:
    if reason := privatesystemd.missing():
        pytest.skip(reason)
    systemd = PrivateSystemd(tmp_path_factory.mktemp("systemd"))
    yield systemd
    systemd.close()


@pytest.fixture
def service(
    systemd: PrivateSystemd, tmp_path: pathlib.Path, request: pytest.FixtureRequest
) -> cabc.Iterator[Service]:
    """A service of its own for each test: not started."""
    name = f"shop{len(list(systemd.units.iterdir()))}"
    service = Service(systemd, new_project(tmp_path / name))
    yield service
    systemd.systemctl("stop", f"{name}.socket", f"{name}.service")
    if request.session.testsfailed:
        print(service.log)


def test_app_answers_as_under_carboy_serve(systemd, project, reference, tmp_path):
    folder = tmp_path / "digits"
    shutil.copytree(project, folder)
    service = Service(systemd, folder)
    service.do("start")
    wait_until(lambda: service.show("StatusText") == "1 of 1 workers are ready", pause_s=0.1)
    got = deployedapp.ask_all(f"http://127.0.0.1:{service.port}")
    assert deployedapp.differences(reference, got) == {}
    socket = systemd.path("/run/digits/app.sock")
    assert deployedapp.ask_all(f"unix:{socket}", only={"page"})["page"].status == 200
    systemd.systemctl("stop", "digits.socket", "digits.service")
    assert service.show("Result") == "success"
    assert service.show("ExecMainStatus") == "0"


def test_service_is_confined_to_its_own_folders(systemd, tmp_path):
    folder = new_project(tmp_path / "confined")
    for name in ("uploads", "instance"):
        (folder / name).mkdir()
        shutil.chown(folder / name, "www-data")
    (folder / "instance").chmod(0o700)
    service = Service(systemd, folder, "--writable", "uploads")
    service.do("start")
    names = ["uploads/x", "instance/x", "/var/lib/confined/x", "/var/cache/confined/x", "/tmp/x"]
    assert json.loads(service.ask("/write", "POST", names)) == dict.fromkeys(names, "written")
    assert not pathlib.Path("/tmp/x").exists()
    refused = ["x", "app.py", "/etc/x", "/usr/x", "/var/x", "/run/x", "/root/x", "/home/x"]
    outcomes = json.loads(service.ask("/write", "POST", refused))
    assert [name for name, outcome in outcomes.items() if outcome == "written"] == []
    assert json.loads(service.ask("/user"))["uid"] != 0
    assert service.ask("/setuid") == "Operation not permitted"
    assert service.ask("/resolve") == "True"
    systemd.systemctl("stop", "confined.socket", "confined.service")


def test_first_client_starts_the_service(service):
    service.systemd.systemctl("start", f"{service.name}.socket")
    assert service.show("ActiveState") == "inactive"
    assert service.ask("/pid")
    wait_until(lambda: service.show("ActiveState") == "active", pause_s=0.1)


def test_reload_waits_for_the_new_code_and_says_whether_it_serves(service):
    service.do("start")
    before = service.ask("/pid")
    service.do("reload")
    after = service.ask("/pid")
    assert after != before
    (service.folder / "app.py").write_text("import nothing_of_this_name\n")
    assert service.do("reload", check=False).returncode != 0
    assert service.show("ActiveState") == "active"
    wait_until(lambda: "the last reload has failed" in service.show("StatusText"), pause_s=0.1)
    assert service.ask("/pid") == after


def test_restart_under_load_refuses_no_client(service):
    service.do("start")
    before = service.ask("/supervisor")
    stopped: list[bool] = []

    def load() -> int:
        count = 0
        while not stopped:
            service.ask("/pid")
            count += 1
        return count

    with ThreadPoolExecutor(4) as threads:
        loads = [threads.submit(load) for _ in range(4)]
        try:
            service.do("restart")
        finally:
            stopped.append(True)
        assert all(each.result(PATIENCE_S) > 0 for each in loads)
    assert service.ask("/supervisor") != before


def test_server_that_hangs_is_ended_by_the_watchdog_and_started_again(service):
    service.add_settings("WatchdogSec=2\n")
    service.do("start")
    before = service.ask("/supervisor")
    os.kill(service.pid, signal.SIGSTOP)
    wait_until(lambda: service.show("NRestarts") == "1", pause_s=0.1)
    # The client waits in the socket that systemd keeps open, until the next server is ready.
    assert service.ask("/supervisor") != before
    assert "Fatal Python error: Aborted" in service.log
    assert "supervisor.py" in service.log


def test_server_that_lives_is_left_alone_by_the_watchdog(service):
    service.add_settings("WatchdogSec=1\n")
    service.do("start")
    before = service.ask("/supervisor")
    signs: set[str] = set()

    def has_given_seven() -> bool:
        signs.add(service.show("WatchdogTimestampMonotonic"))
        return len(signs) == 7

    wait_until(has_given_seven, pause_s=0.05)
    assert service.show("NRestarts") == "0"
    assert service.ask("/supervisor") == before


def test_server_that_was_killed_is_started_again(service):
    service.do("start")
    before = service.ask("/supervisor")
    os.kill(service.pid, signal.SIGKILL)
    wait_until(lambda: service.show("NRestarts") == "1", pause_s=0.1)
    assert service.ask("/supervisor") != before


def test_worker_that_was_killed_is_replaced_without_a_restart(service):
    service.do("start")
    worker = service.ask("/pid")
    service.systemd.kill(int(worker))
    wait_until(lambda: service.ask("/pid") != worker, pause_s=0.1)
    assert service.show("NRestarts") == "0"


def test_wrong_configuration_is_not_started_again_and_again(service):
    service.add_settings("Environment=CARBOY_SERVE_THREADS=none\n")
    assert service.do("start", check=False).returncode != 0
    assert service.show("ActiveState") == "failed"
    assert service.show("NRestarts") == "0"
    assert "Setting 'threads'" in service.log


def test_how_to_works_as_written(tmp_path):
    reader = guides.Reader(guides.DOCS / "howto" / "systemd.md", tmp_path)
    reader.follow()
    reader.close()


# ------------------------------------------------------------------------- the service of models

REPLICATED = """
import os
from carboy import Carboy

app = Carboy(__name__)

@app.model("/double", replicas=1)
class Double:
    def predict(self, x: float) -> list[float]:
        return [2 * x, os.getpid()]
"""


def test_models_are_served_to_the_service_of_another_server(systemd, tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "app.py").write_text(REPLICATED)
    unit = "shop-models.service"
    text = (generate(folder, "--models", "--user", "www-data") / unit).read_text()
    out = systemd.home / "asks.log"
    ask = "import app; print(app.app.test_client().post('/double', json=4).text)"
    # The other server sees the files of the project by the same lines.
    shared = re.findall(
        "^(?:User|Working|PrivateTmp|TemporaryFile|BindReadOnly).*$", text, re.MULTILINE
    )
    lines = [
        *("[Unit]", f"Wants={unit}", f"After={unit}", "[Service]", "Type=oneshot", *shared),
        "Environment=CARBOY_MODELS_SOCKET=/run/shop-models/models.sock",
        *(f"StandardOutput=append:{out}", f"StandardError=append:{out}"),
        f'ExecStart={sys.executable} -c "{ask}"',
    ]
    systemd.add_unit(unit, text)
    systemd.add_unit("asks.service", "\n".join(lines) + "\n")
    systemd.systemctl("daemon-reload")
    systemd.systemctl("start", "asks.service")
    before = out.read_text().splitlines()[-1]
    assert before.startswith("[8.0,")
    systemd.systemctl("reload", unit)
    systemd.systemctl("start", "asks.service")
    assert out.read_text().splitlines()[-1] not in (before, "")
    systemd.systemctl("stop", unit)
    assert systemd.show(unit, "Result") == "success"
