"""Versions of a model change in all workers of a real `carboy serve`, or in none."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal
import sys
import threading
import typing as t
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
import spawning
from controlgroups import limited_group
from modelversions import write_version
from polling import PATIENCE_S, wait_until

from carboy.errors import ControlError
from carboy.serving.management.controlclient import ControlClient

if t.TYPE_CHECKING:
    import collections.abc as cabc

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a control socket"),
]

APP = """
import json, os, pathlib
from carboy import Carboy

app = Carboy(__name__)
here = pathlib.Path(__file__).parent

@app.model("/m", source="versions", example=1)
class M:
    def __init__(self, path: pathlib.Path) -> None:
        content = json.loads((path / "version.json").read_text())
        self.name = content["name"]
        # With "only", the first worker that loads the version succeeds, and no other one.
        if content.get("only") and not self._is_first():
            raise RuntimeError("the second copy does not fit")
        if content.get("kills") and (here / "armed").exists():
            (here / "armed").unlink()
            os.kill(os.getpid(), 9)
        if content.get("always_kills"):
            with open(here / "killed", "a") as file:
                file.write(f"{os.getpid()} ")
            os.kill(os.getpid(), 9)
        if content.get("fails"):
            raise RuntimeError("a secret of the device")

    def _is_first(self) -> bool:
        try:
            with open(here / f"loaded-{self.name}", "x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            return (here / f"loaded-{self.name}").read_text() == str(os.getpid())
        return True

    def predict(self, x: int) -> dict[str, str | int]:
        return {"version": self.name, "x": x}

class Batched(M):
    def predict(self, xs: list[int]) -> list[str]:
        return [f"{self.name}:{x}" for x in xs]

app.model("/canary", source="versions", batch=8, canary={"2": 0.5})(Batched)
app.model("/shadow", source="versions", batch=8, shadow="2")(Batched)
app.model("/alone", source="versions", shadow="2")(M)
"""


REPLICATED = """
import json, os, pathlib, time
from carboy import Carboy

app = Carboy(__name__)

@app.model("/m", source="versions", replicas=1, batch=8)
class M:
    def __init__(self, path: pathlib.Path) -> None:
        content = json.loads((path / "version.json").read_text())
        self.name = content["name"]
        pathlib.Path(f"loading-{self.name}").write_text(str(os.getpid()))
        while content.get("waits") and not os.path.exists(f"go-{self.name}"):
            time.sleep(0.005)
        if content.get("fails"):
            raise RuntimeError("a secret of the device")
        if content.get("kills"):
            os.kill(os.getpid(), 9)

    def predict(self, xs: list[int]) -> list[dict[str, str | int]]:
        return [{"version": self.name, "x": x} for x in xs]
"""


class Server(t.NamedTuple):
    program: spawning.Program
    control: ControlClient
    store: pathlib.Path

    def add(self, name: str, **contents: object) -> None:
        write_version(self.store, name, **contents)

    def serving(self) -> list[str]:
        """Return the versions that the workers serve, one per worker that is ready."""
        return [each["version"] for each in self.described("m")]

    def described(self, name: str) -> list[dict[str, t.Any]]:
        """Return what each worker says of a model."""
        processes = self.control.request("models")["processes"]
        models = [model for each in processes for model in each.get("models", ())]
        return [model for model in models if model["name"] == name]

    def answered(self) -> set[str]:
        """Return the versions of the answers to several connections, which reach all workers."""
        found = set()
        for x in range(20):
            answer = requests.post(f"{self.program.url}/m", json=x, timeout=PATIENCE_S)
            assert answer.json() == {"version": answer.headers["X-Model-Version"], "x": x}
            found.add(answer.headers["X-Model-Version"])
        return found

    def states(self) -> list[dict[str, str]]:
        """Return the state of each version of the model "m", by worker."""
        return self.states_of("m")

    def states_of(self, name: str) -> list[dict[str, str]]:
        return [
            {each["version"]: each["state"] for each in model["versions"]}
            for model in self.described(name)
        ]

    def reasons(self) -> list[str]:
        return [each["reason"] for model in self.described("m") for each in model["versions"]]

    def pids(self) -> list[int]:
        found = self.control.request("status")["processes"]
        return [each["pid"] for each in found if each["phase"] == "ready"]

    def phases(self) -> list[tuple[str, str, int]]:
        """Return the version, phase and process of each replica."""
        found = self.control.request("status")["replicas"]
        return [(each["version"], each["phase"], each["pid"]) for each in found]

    def replica(self, version: str) -> int:
        """Return the process of the replica of a version that is ready; 0 if there is none."""
        ready = (pid for name, phase, pid in self.phases() if (name, phase) == (version, "ready"))
        return next(ready, 0)

    def begin_change(self, name: str) -> None:
        """Add a version, and return when its replica has begun to load it: that ends when
        `end_change` is called.
        """
        self.add(name, waits=True)
        wait_until((self.store.parent / f"loading-{name}").exists)

    def end_change(self, name: str) -> None:
        (self.store.parent / f"go-{name}").touch()
        wait_until(lambda: self.serving() == [name, name])

    def refresh(self) -> None:
        self.control.request("models/refresh", timeout_s=PATIENCE_S, model="m")


@contextlib.contextmanager
def serving(
    folder: pathlib.Path,
    app: str,
    *options: str,
    preexec_fn: cabc.Callable[[], object] | None = None,
    **first: object,
) -> cabc.Iterator[Server]:
    """Serve an app, whose model has a first version with these contents, by two workers."""
    (folder / "versioned.py").write_text(app)
    store = folder / "versions"
    write_version(store, "1", **first)
    port, control = spawning.free_port(), folder / "control.sock"
    words = [spawning.script("carboy"), "serve", "versioned:app", "--port", str(port)]
    words += ["--workers", "2", "--control", str(control), *options]
    program = spawning.start(
        words, log=folder / "log", port=port, cwd=folder, preexec_fn=preexec_fn
    )
    program.wait_until_it_prints("serving versioned:app")
    try:
        yield Server(program, ControlClient(str(control)), store)
    finally:
        program.stop()


@pytest.fixture
def server(tmp_path) -> cabc.Iterator[Server]:
    with serving(tmp_path, APP) as server:
        yield server


@contextlib.contextmanager
def load_of(server: Server) -> cabc.Iterator[list[str]]:
    """Send requests all the time, each of which must be answered by one version. Begins when some
    have been answered.
    """
    stopped, seen, failures = threading.Event(), [], []

    def ask() -> None:
        with requests.Session() as session:
            while not stopped.is_set():
                try:
                    answer = session.post(f"{server.program.url}/m", json=1, timeout=PATIENCE_S)
                    assert answer.status_code == 200, answer.text
                    version = answer.headers["X-Model-Version"]
                    assert answer.json()["version"] == version
                    seen.append(version)
                except Exception as exc:  # noqa: BLE001  # reported below
                    failures.append(repr(exc))
                    return

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: seen or failures)
        yield seen
    finally:
        stopped.set()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert failures == []


def test_version_that_appears_is_served_by_all_workers_without_a_lost_request(server):
    assert server.answered() == {"1"}
    with load_of(server) as seen:
        server.add("2")
        wait_until(lambda: server.serving() == ["2", "2"])
        wait_until(lambda: "2" in seen)
    assert server.answered() == {"2"}
    assert set(seen) == {"1", "2"}
    assert server.program.output.count("model 'm': all workers serve '2'") == 1


def test_twenty_changes_under_load_lose_no_request_and_mix_no_versions(server):
    with load_of(server) as seen:
        for number in range(2, 22):
            server.add(str(number))
            server.refresh()
            assert server.serving() == [str(number)] * 2
    assert server.answered() == {"21"}
    assert len(set(seen)) > 5


def test_version_that_one_worker_cannot_load_is_served_by_none(server):
    server.add("2", only=True)
    wait_until(lambda: "so no worker does" in server.program.output)
    wait_until(lambda: server.states() == [{"1": "serving", "2": "failed"}] * 2)
    assert server.answered() == {"1"}
    server.add("3")
    wait_until(lambda: server.answered() == {"3"})


def test_who_asks_for_a_bad_version_learns_why_it_is_not_served_each_time(server):
    server.add("2", fails=True)
    for _ in range(2):
        with pytest.raises(ControlError, match=r"version '2' .*a secret of the device"):
            server.refresh()
    assert server.serving() == ["1", "1"]
    assert server.answered() == {"1"}


def test_worker_that_is_killed_during_a_change_serves_the_new_version_afterwards(server):
    (server.store.parent / "armed").touch()
    server.add("2", kills=True)
    wait_until(lambda: not (server.store.parent / "armed").exists())
    wait_until(lambda: server.serving() == ["2", "2"])
    assert server.answered() == {"2"}


def killed(server: Server) -> int:
    """Return how many processes a version has killed."""
    return len((server.store.parent / "killed").read_text().split())


def test_version_whose_loading_kills_two_processes_of_one_worker_is_refused_by_all(tmp_path):
    """The first of them may have died of something else, so its replacement tries again."""
    app_of_one_model = APP.partition("class Batched")[0]
    with serving(tmp_path, app_of_one_model) as server:
        other = server.pids()[1]
        server.add("3", always_kills=True)
        with pytest.raises(ControlError, match=r"killed by SIGKILL .*while it loaded version '3'"):
            server.refresh()
        wait_until(lambda: server.states() == [{"1": "serving", "3": "failed"}] * 2)
        wait_until(lambda: sum("killed by SIGKILL" in each for each in server.reasons()) == 2)
        assert other in server.pids()
        assert server.answered() == {"1"}
        assert killed(server) == 2


@pytest.mark.parametrize("killer", ["2", "3"], ids=["on-trial", "newest"])
def test_version_that_kills_the_first_process_is_refused_when_the_server_starts(tmp_path, killer):
    """The version "2" is a canary and a shadow of models of this app."""
    write_version(tmp_path / "versions", killer, always_kills=True)
    with serving(tmp_path, APP) as server:
        wait_until(lambda: len(server.states()) == 2)
        assert server.answered() == {"1"}
        assert all(each[killer] == "failed" for each in server.states_of("canary"))
        assert killed(server) < 8
    assert "serving versioned:app" in server.program.output


def test_app_whose_only_version_kills_each_process_is_not_started_for_ever(tmp_path):
    with pytest.raises(AssertionError), serving(tmp_path, APP, always_kills=True):
        pass
    assert len((tmp_path / "killed").read_text().split()) == 2


def test_worker_that_starts_later_serves_what_the_others_serve_and_not_a_refused_version(server):
    server.add("2", fails=True)
    wait_until(lambda: server.states() == [{"1": "serving", "2": "failed"}] * 2)
    before = server.pids()
    os.kill(before[0], signal.SIGKILL)
    wait_until(lambda: len(set(server.pids()) - {before[0]}) == 2)
    assert server.states() == [{"1": "serving", "2": "failed"}] * 2
    for pid in server.pids():  # other users can read the command lines
        assert b"secret" not in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    wait_until(lambda: sum("a secret of the device" in each for each in server.reasons()) == 2)
    assert server.answered() == {"1"}


def post(server: Server, path: str, value: object) -> requests.Response:
    return requests.post(f"{server.program.url}{path}", json=value, timeout=PATIENCE_S)


def test_canary_computes_its_share_and_the_same_request_stays_with_it(server):
    server.add("2")
    wait_until(lambda: all("2" in each for each in server.states_of("canary")))
    answers = [post(server, "/canary", x) for x in (*range(30), *range(30))]
    versions = [each.headers["X-Model-Version"] for each in answers]
    assert set(versions) == {"1", "2"}
    assert versions[:30] == versions[30:]
    assert [each.json() for each in answers] == [
        f"{version}:{x}" for version, x in zip(versions, (*range(30), *range(30)), strict=True)
    ]


@pytest.mark.parametrize("path", ["shadow", "alone"])
def test_shadow_computes_what_was_answered_and_its_answers_are_not_sent(server, path):
    server.add("2")
    wait_until(lambda: all(each["shadow"] for each in server.described(path)))
    answers = [post(server, f"/{path}", x) for x in range(20)]
    assert {each.headers["X-Model-Version"] for each in answers} == {"1"}
    wait_until(lambda: sum(each["shadow"]["compared"] for each in server.described(path)) == 20)
    for each in server.described(path):
        report = each["shadow"]
        assert (report["agreed"], report["failed"], report["skipped"]) == (0, 0, 0)
        for worst in report["worst"]:
            assert worst["served"].replace("1", "2", 1) == worst["shadow"]


def test_replicas_of_a_version_are_started_beside_those_of_the_one_before(tmp_path):
    with serving(tmp_path, REPLICATED) as server, load_of(server) as seen:
        server.add("2")
        server.refresh()
        assert (server.serving(), server.answered()) == (["2", "2"], {"2"})
        server.add("3", fails=True)
        with pytest.raises(ControlError, match=r"version '3' .*a secret of the device"):
            server.refresh()
        server.add("4", kills=True)
        with pytest.raises(ControlError, match=r"version '4' .*SIGKILL"):
            server.refresh()
        assert server.answered() == {"2"}
    assert set(seen) == {"1", "2"}


def test_processes_that_are_killed_during_a_change_lose_nothing_but_what_was_inside_them(tmp_path):
    """A replica, a worker and the supervisor are killed while the replica of the next version loads
    its model.
    """
    with serving(tmp_path, REPLICATED) as server:
        with load_of(server) as seen:
            server.begin_change("2")
            os.kill(killed := server.replica("1"), signal.SIGKILL)
            wait_until(lambda: server.replica("1") not in (0, killed))
            server.end_change("2")
            wait_until(lambda: "2" in seen)
        server.begin_change("3")
        before = server.pids()
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda: len(set(server.pids()) - {before[0]}) == 2)
        server.end_change("3")
        assert server.answered() == {"3"}
        wait_until(
            lambda: [(name, phase) for name, phase, _ in server.phases()] == [("3", "ready")]
        )
        server.begin_change("4")
        left = [*server.pids(), *(pid for _, _, pid in server.phases())]
        os.kill(server.program.process.pid, signal.SIGKILL)
        wait_until(lambda: not any(map(_lives, left)))


def _lives(pid: int) -> bool:
    try:
        return ") Z" not in pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_requests_of_a_canary_whose_replicas_have_died_are_computed_by_the_current_version(
    tmp_path,
):
    """Also those that wait for the canary; not those that were being computed, which may be the
    cause. None waits for its deadline.
    """
    canary = "replicas=1, deadline_s=600.0, canary={'2': 1.0}"
    ill = "        if pathlib.Path('ill').exists(): raise OSError\n"
    busy = "        pathlib.Path(f'computes-{self.name}').touch()\n"
    busy += "        while self.name == '2' and os.path.exists('busy'): time.sleep(0.005)\n"
    text = REPLICATED.replace("replicas=1", canary).replace("batch=8", "batch=1")
    text = text.replace("xs: list[int]) -> list[dict[str, str | int]]", "x: int) -> int")
    text = text.replace("        if content", f"{ill}        if content", 1)
    text = text.replace("        return [", f"{busy}        return x #", 1)
    write_version(tmp_path / "versions", "2")

    def version(server: Server) -> str | None:
        return post(server, "/m", 1).headers.get("X-Model-Version")

    with serving(tmp_path, text) as server, ThreadPoolExecutor(9) as threads:
        wait_until(lambda: version(server) == "2")
        (tmp_path / "computes-2").unlink()
        (tmp_path / "busy").touch()
        asked = [threads.submit(post, server, "/m", 1) for _ in range(9)]
        wait_until((tmp_path / "computes-2").exists)
        (tmp_path / "ill").touch()
        os.kill(server.replica("2"), signal.SIGKILL)
        answers = [each.result() for each in asked]
        lost = [each.json()["code"] for each in answers if each.status_code != 200]
        assert set(lost) <= {"replica-lost"}
        assert len(lost) <= 1
        assert {each.headers["X-Model-Version"] for each in answers if each.ok} == {"1"}
        (tmp_path / "ill").unlink()
        (tmp_path / "busy").unlink()
        wait_until(lambda: version(server) == "2")


# --- versions that do not fit into the memory together -------------------------------------------

MIB = 1 << 20


@contextlib.contextmanager
def serving_in_little_memory(folder: pathlib.Path, options: str) -> cabc.Iterator[Server]:
    """Serve a model that takes 160 MiB, in a group of 420 MiB."""
    text = REPLICATED.replace("replicas=1", options)
    weights = "        self.weights = b'0' * (160 << 20)\n"
    text = text.replace("        if content", f"{weights}        if content", 1)
    with (
        limited_group(memory_bytes=420 * MIB, quota_us=1_600_000) as group,
        serving(folder, text, preexec_fn=group.enter) as server,
    ):
        yield server


@pytest.fixture
def crowded(tmp_path) -> cabc.Iterator[Server]:
    with serving_in_little_memory(tmp_path, f"replicas=1, hold_s={PATIENCE_S}") as server:
        yield server


def test_replicas_end_first_if_those_of_the_next_version_have_no_memory_beside_them(crowded):
    """Predictions of all workers wait meanwhile, and none is lost, whether the next version can be
    loaded or not.
    """
    with load_of(crowded) as seen:
        crowded.add("2")
        crowded.refresh()
        assert (crowded.serving(), crowded.answered()) == (["2", "2"], {"2"})
        crowded.add("3", fails=True)
        with pytest.raises(ControlError, match=r"version '3' .*a secret of the device"):
            crowded.refresh()
        assert (crowded.serving(), crowded.answered()) == (["2", "2"], {"2"})
    assert set(seen) == {"1", "2"}
    output = crowded.program.output
    # The watch of a worker may have tried version 3, too, just before.
    waits = re.findall(r"version '(\d)': predictions wait for at most", output)
    assert sorted(set(waits)) == ["1", "2"]
    assert "was killed by SIGKILL" not in output


IN_PROCESS = """
from carboy.models.versions import memoryroom
memoryroom.available_bytes = lambda: 0
"""


def test_predictions_that_wait_for_a_version_are_answered_before_a_stopped_server_ends(tmp_path):
    """The next version loads for longer than the server may take to stop."""
    text = REPLICATED.replace("replicas=1", f"hold_s={PATIENCE_S}") + IN_PROCESS
    text = text.replace(
        "        if content", "        self.weights = b'0' * 2**23\n        if content", 1
    )
    options = ("--workers", "1", "--grace", "6")
    with serving(tmp_path, text, *options) as server, ThreadPoolExecutor(2) as threads:
        server.begin_change("2")
        waiting = [threads.submit(post, server, "/m", 1) for _ in range(2)]
        wait_until(lambda: [each["waiting"] for each in server.described("m")] == [2])
        assert server.program.stop() == 0
        answers = [each.result() for each in waiting]
    assert [(each.status_code, each.json()["code"]) for each in answers] == [
        (503, "model-closed")
    ] * 2
    assert "has not finished its requests" not in server.program.output
