"""`carboy models list`, `push`, `switch` and `rollback`, and the same by the management API."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess
import threading
import typing as t

import pytest
import spawning
from clirunner import separate_runner
from modelversions import Counting, write_version
from polling import wait_until

from carboy import Carboy
from carboy.errors import ControlClientError
from carboy.serving.management.controlclient import ControlClient
from carboy.serving.management.versioncommands import models_group

APP = """
import json
from carboy import Carboy
from carboy.models import Golden
from modelversions import Counting

app = Carboy(__name__)
app.model("/net", source="models/net")(Counting)
app.model("/tried", source="models/tried", canary={"3": 0.1})(Counting)

@app.model("/plain")
def plain(x: int) -> int:
    return x
"""


@pytest.fixture
def net(tmp_path) -> pathlib.Path:
    return tmp_path / "models" / "net"


@pytest.fixture(params=[{}])
def command(tmp_path, net, monkeypatch, request):
    """Runs a command of `carboy models` without a server. The parameter is the options of the model
    "net".
    """
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setattr("carboy.core.runtimefolders.runtime_folders", list)
    app = Carboy(__name__, root_path=str(tmp_path))
    app.model("/net", source="models/net", **request.param)(Counting)
    app.model("/plain")(plain)

    def run(*arguments: object):
        runner = separate_runner(app.test_cli_runner)
        return runner.invoke(models_group, [str(each) for each in arguments])

    return run


def plain(x: int) -> int:
    return x


def make_build(tmp_path: pathlib.Path, **contents: object) -> pathlib.Path:
    folder = tmp_path / "build"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "version.json").write_text(json.dumps({"name": "x", **contents}))
    return folder


def rows_of(result) -> list[list[str]]:
    """Return the model, version and state in the source of each line of a table."""
    lines = result.stdout.splitlines()
    titles = lines[0]
    start, end = titles.index("Source"), titles.index("Servers")
    return [[*line.split()[:2], line[start:end].strip()] for line in lines[2:]]


# --- without a server ----------------------------------------------------------------------------


def test_push_adds_numbered_versions_and_list_shows_the_newest_first(command, tmp_path):
    build = make_build(tmp_path)
    assert command("push", "net", build).stdout.startswith("net: version 1 is in ")
    assert command("push", "net", build, "--version", "10").exit_code == 0
    assert rows_of(command("list")) == [["net", "10", "newest"], ["net", "1", "older"]]


def test_roll_back_is_one_command_and_switch_goes_anywhere(command, net):
    for name in "123":
        write_version(net, name)
    assert command("rollback", "net").stdout.startswith("net: version 2 instead of 3,")
    assert command("rollback", "net").stdout.startswith("net: version 1 instead of 2,")
    expected = [["net", "3", "rolled back"], ["net", "2", "rolled back"], ["net", "1", "chosen"]]
    assert rows_of(command("list", "net")) == expected
    refused = command("rollback", "net")
    assert refused.exit_code == 2
    assert "There is no version to roll back to" in refused.stderr
    assert command("switch", "net", "3").exit_code == 0
    assert rows_of(command("list"))[0] == ["net", "3", "chosen"]
    assert command("rollback", "net", "--to", "1").exit_code == 0
    write_version(net, "4")
    assert rows_of(command("list"))[0] == ["net", "4", "newest"]


def test_version_that_was_pushed_is_served_although_its_name_is_older(command, net, tmp_path):
    write_version(net, "9")
    command("push", "net", make_build(tmp_path), "--version", "8-fixed")
    assert rows_of(command("list")) == [["net", "9", "rolled back"], ["net", "8-fixed", "chosen"]]


@pytest.mark.parametrize(
    "command", [{"canary": {"3": 0.1}, "shadow": "4"}], ids=[""], indirect=True
)
def test_versions_on_trial_are_not_those_that_all_clients_get(command, net, tmp_path):
    """Version 2 answers most clients, so that is the one to roll back from."""
    for name in ("1", "2", "3"):
        write_version(net, name)

    def rows() -> list[list[str]]:
        return [line.split()[1:3] for line in command("list", "net").stdout.splitlines()[2:]]

    assert rows() == [["3", "canary"], ["2", "newest"], ["1", "older"]]
    assert command("rollback", "net").stdout.startswith("net: version 1 instead of 2,")
    assert rows() == [["3", "canary"], ["2", "rolled"], ["1", "chosen"]]
    assert command("rollback", "net").exit_code == 2
    command("push", "net", make_build(tmp_path))
    assert rows()[0] == ["4", "shadow"]
    assert rows()[3] == ["1", "chosen"]
    assert command("switch", "net", "3").exit_code == 0
    assert rows()[1] == ["3", "chosen"]


def test_version_that_cannot_be_used_is_listed_with_its_reason(command, net):
    write_version(net, "7")
    (net / "8").mkdir()
    result = command("list")
    assert rows_of(result)[0] == ["net", "8", "unusable"]
    assert "net 8: it has no card.json" in result.stdout


def test_folder_whose_name_is_not_utf_8_is_listed_with_its_reason(command, net):
    write_version(net, "7")
    os.mkdir(os.fsencode(net) + b"/caf\xe9\x1b[2J")
    result = command("list")
    assert re.search(r"net +caf\\xe9\\x1b\[2J +unusable", result.stdout)
    assert rows_of(result)[0] == ["net", "7", "newest"]
    assert "\x1b" not in result.stdout


def test_list_prints_json_for_programs(command, net):
    write_version(net, "7")
    (found,) = json.loads(command("list", "--json").stdout)
    (version,) = found["versions"]
    assert (found["model"], found["source"]) == ("net", str(net))
    assert (version["version"], version["wanted"], version["fault"]) == ("7", True, "")


def test_push_without_a_server_says_so(command, tmp_path):
    assert "No running server" in command("push", "net", make_build(tmp_path)).stderr
    assert command("push", "net", make_build(tmp_path), "--no-wait").stderr == ""


@pytest.mark.parametrize("named", ["off", "nobody.sock"])
def test_server_that_the_environment_names_need_not_run(command, tmp_path, monkeypatch, named):
    path = named if named == "off" else str(tmp_path / named)
    monkeypatch.setenv("CARBOY_SERVE_CONTROL", path)
    pushed = command("push", "net", make_build(tmp_path))
    assert (pushed.exit_code, pushed.stderr) == (
        0,
        "No running server of this user has this model.\n",
    )
    assert rows_of(command("list")) == [["net", "1", "newest"]]


def test_server_that_an_option_names_must_run(command, net, tmp_path):
    refused = command("push", "net", make_build(tmp_path), "--socket", tmp_path / "nobody.sock")
    assert refused.exit_code == 2
    assert "There is no control socket" in refused.stderr
    assert not net.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("push", "net", "nothere"), "does not exist"),
        (("push", "nett", "build"), "Did you mean 'net'?"),
        (("push", "plain", "build"), "has no source, and so no versions"),
        (("push", "net", "build", "--version", "../8"), "cannot be the name of a version"),
        (("push", "net", "empty"), "has no files of a model"),
        (("rollback", "net", "--to", "9"), "There is no version '9'"),
        (("rollback", "net", "--to", "7"), "'7' is the version to serve"),
        (("switch", "net", "9"), "There is no version '9' in .*, which has 7."),
        (("list", "plain"), "has no source, and so no versions"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_use_is_refused_in_one_line(command, net, tmp_path, monkeypatch, arguments, says):
    write_version(net, "7")
    make_build(tmp_path)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    result = command(*arguments)
    assert result.exit_code == 2
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert re.search(says, line)


# --- with a server -------------------------------------------------------------------------------


class Served:
    """A server with two workers, and the commands that a user types beside it."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.socket = os.fspath(folder / "s")
        support = pathlib.Path(spawning.__file__).parent
        self._env = {
            "PYTHONPATH": str(support),
            "CARBOY_SERVE_CONTROL": self.socket,
            "CARBOY_APP": "shop:app",
        }
        (folder / "shop.py").write_text(APP)
        self.program = spawning.start(
            [
                *(spawning.script("carboy"), "serve", "shop:app", "--workers", "2"),
                *("--port", str(spawning.free_port())),
            ],
            log=folder / "log",
            port=0,
            cwd=folder,
            env=self._env,
        )
        self.program.wait_until_it_prints("serving shop:app")

    def command(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [spawning.script("carboy"), "models", *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, **self._env},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    def request(self, name: str, **arguments: object) -> dict[str, object]:
        return ControlClient(self.socket).request(f"models/{name}", timeout_s=50, **arguments)

    def versions(self, model: str = "net") -> dict[str, list[str]]:
        """Return what the workers do with each version. The server leaves out a worker that does
        not answer in time, so it is asked again until both have.
        """
        found: list[dict[str, t.Any]] = []

        def ask() -> bool:
            found[:] = self.request("versions", model=model)["versions"]
            return len({each["pid"] for version in found for each in version["workers"]}) == 2

        wait_until(ask)
        return {
            each["version"]: sorted(worker["state"] for worker in each["workers"]) for each in found
        }


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    write_version(folder / "models" / "net", "1")
    write_version(folder / "models" / "tried", "1")
    server = Served(folder)
    yield server
    server.program.stop()


@pytest.mark.integration
def test_push_returns_when_all_workers_serve_the_version(served):
    pushed = served.command("push", "net", make_build(served.folder))
    assert pushed.returncode == 0, pushed.stderr
    version = pushed.stdout.split("version ")[1].split()[0]
    assert pushed.stdout.splitlines()[1] == f"net: version {version} is served ({served.socket})."
    assert served.versions()[version] == ["serving", "serving"]


@pytest.mark.integration
def test_version_that_fails_is_refused_with_its_reason_and_the_old_one_goes_on(served):
    before = served.request("push", model="net", folder=str(make_build(served.folder)))["version"]
    pushed = served.command("push", "net", make_build(served.folder, fails="init"))
    assert pushed.returncode == 1
    assert "the weights are missing" in pushed.stderr
    assert "the weights are missing" in served.program.output
    assert served.versions()[before] == ["serving", "serving"]
    listed = served.command("list").stdout
    assert "1 failed" in listed or "2 failed" in listed
    assert "2 serving" in listed
    assert "the weights are missing" in listed
    assert served.request("rollback", model="net")["version"] == before


@pytest.mark.integration
def test_roll_back_and_switch_reach_all_workers(served):
    folder = str(make_build(served.folder))
    first = served.request("push", model="net", folder=folder)["version"]
    second = served.request("push", model="net", folder=folder)["version"]
    assert served.request("rollback", model="net") == {
        "model": "net",
        "version": first,
        "state": "serving",
        "before": second,
    }
    assert served.versions()[first] == ["serving", "serving"]
    served.request("switch", model="net", version=second)
    assert served.versions()[second] == ["serving", "serving"]


@pytest.mark.integration
def test_what_becomes_of_a_canary_that_is_pushed_is_said(served):
    folder = make_build(served.folder)
    assert served.request("push", model="tried", folder=str(folder))["state"] == "serving"
    failing = make_build(served.folder, fails="init")
    with pytest.raises(ControlClientError, match=r"not served: .*the weights are missing"):
        served.request("push", model="tried", folder=str(failing))
    shutil.rmtree(served.folder / "models" / "tried" / "3")
    pushed = served.command("push", "tried", make_build(served.folder), "--version", "3")
    assert pushed.returncode == 0, pushed.stderr
    assert pushed.stdout.splitlines()[1] == f"tried: version 3 is a canary ({served.socket})."
    assert served.versions("tried")["2"] == ["serving", "serving"]
    assert served.versions("tried")["3"] == ["canary", "canary"]
    assert served.request("rollback", model="tried")["before"] == "2"
    assert served.versions("tried")["1"] == ["serving", "serving"]


@pytest.mark.integration
def test_pushes_at_the_same_time_end_with_one_version_in_all_workers(served):
    folder = str(make_build(served.folder))
    pushed = []

    def push() -> None:
        pushed.append(served.request("push", model="net", folder=folder)["version"])

    threads = [threading.Thread(target=push) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    newest = max(pushed, key=int)
    assert len(set(pushed)) == 3
    served.request("refresh", model="net")
    assert served.versions()[newest] == ["serving", "serving"]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("push", {"model": "net"}, "folder: expected a text, got None"),
        ("push", {"model": "net", "folder": "build"}, "expected an absolute path"),
        ("push", {"model": "net", "folder": "/nothere"}, "does not exist"),
        ("push", {"model": "net", "dir": "/x"}, "dir: unknown argument"),
        ("switch", {"model": "net", "version": 7}, "version: expected a text, got 7"),
        ("switch", {"model": "net", "version": "999"}, "There is no version '999'"),
        ("versions", {"model": "nett"}, "No model 'nett'"),
        ("refresh", {"model": "nett"}, "No model 'nett'"),
        ("rollback", {"model": "plain"}, "The model 'plain' has no source"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_requests_that_cannot_be_done_say_why(served, name, arguments, says):
    with pytest.raises(ControlClientError, match=says):
        served.request(name, **arguments)


@pytest.mark.integration
def test_server_without_the_model_is_not_told(served, tmp_path):
    (tmp_path / "other.py").write_text(APP)
    result = subprocess.run(
        [
            *(spawning.script("carboy"), "--app", "other:app", "models", "list"),
            *("--socket", served.socket, "net"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(pathlib.Path(spawning.__file__).parent)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert result.returncode == 2
    assert "has no model 'net' with the source" in result.stderr
