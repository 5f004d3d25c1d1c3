"""Models with replicas under `carboy serve`: the processes are started, shared by all workers,
watched and replaced, and no death of a process loses more than what was inside it.
"""

from __future__ import annotations

import collections
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import tempfile
import threading
import typing as t

import pytest
import requests
import spawning
from polling import PATIENCE_S, wait_until

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from spawning import Program

pytestmark = pytest.mark.integration

# `/pid` answers with the process that has computed.
APP = """
import os, pathlib, sys, time
from carboy import Carboy

app = Carboy(__name__)

class Where:
    def __init__(self):
        pathlib.Path("loaded").open("a").write(f"{os.getpid()}\\n")
        import fractions  # only the model imports it
        self.kept = []

    def predict(self, x: int) -> list[int]:
        return [os.getpid(), x]

@app.get("/worker")
def worker():
    return {"pid": os.getpid(), "imported": "fractions" in sys.modules}
"""
TWO = APP + '\napp.model("/where", replicas=2)(Where)\n'
ONE = APP + '\napp.model("/where", replicas=1)(Where)\n'
HELD = """
class Held:
    def predict(self, x: int) -> int:
        pathlib.Path(f"began-{x}").open("a").write(f"{os.getpid()}\\n")
        while x and not pathlib.Path(f"go-{x}").exists():
            time.sleep(0.005)
        return os.getpid()
"""


def held(**options: object) -> str:
    """Return an app whose prediction of x takes until the file `go-x` exists."""
    given = ", ".join(f"{name}={value!r}" for name, value in options.items())
    return APP + f"\n@app.model('/held', replicas=1, {given})" + HELD


@pytest.fixture
def serve(spawn, carboy_command, tmp_path) -> cabc.Callable[..., Program]:
    """Serve an app; returns the program once all its workers are ready."""

    def serve(text: str, *options: str, **arguments: t.Any) -> Program:
        (tmp_path / "shop.py").write_text(text)
        control = str(tmp_path / "control.sock")
        words = ("serve", "shop:app", "--port", "{port}", "--drain", "0.1", "--control", control)
        program: Program = spawn(carboy_command, *words, *options, **arguments)
        program.wait_until_it_prints("serving shop:app")
        return program

    return serve


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> cabc.Iterator[tuple[Program, pathlib.Path]]:
    """A server with two workers and two replicas, and its folder. Tests may kill its processes, if
    they wait for the next ones.
    """
    folder = tmp_path_factory.mktemp("shared")
    control = ("--control", str(folder / "control.sock"))
    program = spawning.serve(folder, "shop", TWO, "--workers", "2", "--drain", "0.1", *control)
    yield program, folder
    program.stop()


@pytest.fixture
def status(carboy_command, tmp_path) -> cabc.Callable[..., dict[str, t.Any]]:
    """Return what `carboy ctl status` tells of the server in a folder."""

    def status(folder: pathlib.Path = tmp_path) -> dict[str, t.Any]:
        command = [carboy_command, "ctl", "status", "--json", "--socket"]
        done = subprocess.run(
            [*command, str(folder / "control.sock")], capture_output=True, check=True, timeout=60
        )
        return t.cast("dict[str, t.Any]", json.loads(done.stdout))

    return status


def post(server: Program, path: str, value: object) -> requests.Response:
    return requests.post(f"{server.url}{path}", json=value, timeout=60)


def replicas_of(server: Program) -> list[int]:
    """Return the processes of replicas that are running, by their command lines."""
    return [pid for pid in children(server) if b"replicaprocess" in read(f"/proc/{pid}/cmdline")]


def workers_of(server: Program) -> list[int]:
    return [pid for pid in children(server) if b"process.worker" in read(f"/proc/{pid}/cmdline")]


def children(server: Program) -> list[int]:
    pid = server.process.pid
    return [int(word) for word in read(f"/proc/{pid}/task/{pid}/children").split()]


def read(path: str) -> bytes:
    try:
        return pathlib.Path(path).read_bytes()
    except OSError:
        return b""


def lines(path: pathlib.Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


class Load:
    """Clients that post one prediction after another.

    Attributes:
        outcomes: how often each status, or each error, was the outcome.
        pids: the processes that have answered.
    """

    def __init__(self, server: Program, clients: int = 4) -> None:
        self.outcomes: collections.Counter[object] = collections.Counter()
        self.pids: set[int] = set()
        self._server = server
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> t.Self:
        for thread in self._threads:
            thread.start()
        wait_until(lambda: self.outcomes)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        number = 0
        with requests.Session() as session:
            while not self._stop.is_set():
                number += 1
                try:
                    answer = session.post(f"{self._server.url}/where", json=number, timeout=60)
                except requests.RequestException as exc:
                    self.outcomes[repr(exc)] += 1
                    continue
                self.outcomes[answer.status_code] += 1
                if answer.status_code == 200:
                    pid, echoed = answer.json()
                    self.pids.add(pid)
                    assert echoed == number, "the answer of another request"


# --- one copy for all workers -------------------------------------------------------------------


def test_all_workers_share_the_replicas_and_load_no_model(shared, status):
    server, folder = shared
    assert {int(pid) for pid in lines(folder / "loaded")} >= set(replicas_of(server))
    replicas = set(replicas_of(server))
    assert len(replicas) == 2
    with Load(server) as load:
        wait_until(lambda: load.pids == replicas)
    assert set(load.outcomes) == {200}
    told = requests.get(f"{server.url}/worker", timeout=30).json()
    assert told["imported"] is False
    assert told["pid"] in workers_of(server)
    shown = status(folder)["replicas"]
    assert [(each["model"], each["number"], each["phase"]) for each in shown] == [
        ("where", 1, "ready"),
        ("where", 2, "ready"),
    ]
    assert {each["pid"] for each in shown} == replicas
    assert all(each["resident_bytes"] > 1_000_000 for each in shown)


def test_ctl_reaches_the_processes_of_replicas(shared, carboy_command):
    server, folder = shared

    def ctl(*words: str) -> str:
        command = [carboy_command, "ctl", *words, "--socket", str(folder / "control.sock")]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout

    pid = replicas_of(server)[0]
    shown = ctl("stacks", str(pid))
    assert f"of model 'where' (pid {pid})" in shown
    assert "run_replica" in shown
    assert f"of model 'where' (pid {pid})" in ctl("log-level")


def test_replicas_end_after_the_server_has_answered_its_last_request(serve, tmp_path):
    server = serve(held())
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(post(server, "/held", 1).status_code))
    asking.start()
    wait_until(lambda: lines(tmp_path / "began-1"))
    (replica,) = replicas_of(server)
    server.process.send_signal(signal.SIGTERM)
    server.wait_until_it_prints("stopping on SIGTERM")
    (tmp_path / "go-1").touch()
    asking.join()
    assert answers == [200]
    assert server.process.wait(PATIENCE_S) == 0
    assert not os.path.exists(f"/proc/{replica}")
    assert "Traceback" not in server.output


def test_ctrl_c_ends_all_processes(serve):
    server = serve(TWO)
    replicas = replicas_of(server)
    # A terminal sends the signal to the whole group.
    os.killpg(server.process.pid, signal.SIGINT)
    assert server.process.wait(PATIENCE_S) == 0
    assert not any(os.path.exists(f"/proc/{pid}") for pid in replicas)
    assert "Traceback" not in server.output


# --- processes that die -------------------------------------------------------------------------


def test_death_of_one_of_two_replicas_under_load_loses_no_request(shared):
    server, _ = shared
    ready = server.output.count("is ready: loaded")
    with Load(server) as load:
        for more in (1, 2):
            os.kill(replicas_of(server)[0], signal.SIGKILL)
            wait_until(lambda more=more: server.output.count("is ready: loaded") == ready + more)
    assert set(load.outcomes) == {200}
    assert "was killed by SIGKILL (out of memory?)" in server.output


def test_deaths_of_replicas_leave_no_descriptors_and_no_sockets(shared):
    server, _ = shared

    def die() -> None:
        ready = server.output.count("is ready: loaded")
        os.kill(replicas_of(server)[0], signal.SIGKILL)
        wait_until(lambda: server.output.count("is ready: loaded") > ready)
        for x in range(16):  # both workers connect to the new process
            assert post(server, "/where", x).status_code == 200

    def count() -> tuple[int, int]:
        sockets = pathlib.Path(sockets_folder_of(server)).glob("*.sock")
        return len(os.listdir(f"/proc/{server.process.pid}/fd")), len(list(sockets))

    die()
    before = count()
    for _ in range(3):
        die()
    wait_until(lambda: count() == before)


def test_death_of_the_only_replica_lets_predictions_wait_for_the_next(serve):
    server = serve(ONE)
    with Load(server) as load:
        os.kill(replicas_of(server)[0], signal.SIGKILL)
        wait_until(lambda: server.output.count("is ready: loaded") >= 2)
    assert set(load.outcomes) == {200}, "the batch inside it was tried again"


def test_batch_that_must_not_be_repeated_is_503_after_the_death_of_its_replica(serve, tmp_path):
    server = serve(held(retry=False))
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(post(server, "/held", 1).status_code))
    asking.start()
    wait_until(lambda: lines(tmp_path / "began-1"))
    os.kill(replicas_of(server)[0], signal.SIGKILL)
    asking.join()
    assert answers == [503]
    assert len(lines(tmp_path / "began-1")) == 1
    assert post(server, "/held", 0).status_code == 200


def test_death_of_a_worker_keeps_the_replicas(shared):
    server, folder = shared
    loaded = lines(folder / "loaded")
    ready = server.output.count(") is ready\n")
    with Load(server):
        os.kill(workers_of(server)[0], signal.SIGKILL)
        wait_until(lambda: server.output.count(") is ready\n") > ready)
    assert lines(folder / "loaded") == loaded
    with Load(server) as load:
        wait_until(lambda: load.pids == set(replicas_of(server)))
    assert set(load.outcomes) == {200}


def test_worker_that_dies_with_a_token_in_its_hand_does_not_idle_a_replica(serve, tmp_path):
    server = serve(ONE, "--workers", "1")
    for _ in range(3):
        # Stopped in the middle of whatever it does, then killed: it may hold the only token.
        with Load(server):
            (worker,) = workers_of(server)
            os.kill(worker, signal.SIGKILL)
            ready = server.output.count(") is ready\n")
            wait_until(lambda ready=ready: server.output.count(") is ready\n") > ready)
        assert post(server, "/where", 1).status_code == 200
    assert len(lines(tmp_path / "loaded")) == 1


def test_death_of_the_supervisor_ends_all_processes_after_their_requests(serve, tmp_path):
    server = serve(held(), "--workers", "1")
    pids = children(server)
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(post(server, "/held", 1).status_code))
    asking.start()
    wait_until(lambda: lines(tmp_path / "began-1"))
    server.process.kill()
    server.process.wait()
    (tmp_path / "go-1").touch()
    asking.join()
    assert answers == [200]
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))


@pytest.fixture
def runtime_folder():
    """A folder whose path is short enough for sockets in it, which `tmp_path` may not be."""
    with tempfile.TemporaryDirectory() as path:
        folder = pathlib.Path(path, "carboy")
        folder.mkdir(mode=0o700)
        yield folder


def test_sockets_of_a_killed_server_are_removed_by_the_next(serve, runtime_folder):
    env = {"XDG_RUNTIME_DIR": str(runtime_folder.parent)}
    server = serve(ONE, env=env)
    (left,) = runtime_folder.glob("replicas-*")
    pids = children(server)
    server.process.kill()
    server.process.wait()
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))
    server = serve(ONE, env=env)
    assert not left.exists()
    server.stop()
    assert list(runtime_folder.glob("replicas-*")) == []


# --- replicas that do not work ------------------------------------------------------------------


def test_replica_that_hangs_past_its_deadline_is_replaced(serve, tmp_path):
    server = serve(held(deadline_s=3))
    (hanging,) = replicas_of(server)
    assert post(server, "/held", 1).status_code == 504
    wait_until(lambda: server.output.count("is ready: loaded") == 2)
    assert post(server, "/held", 0).status_code == 200
    assert server.output.count(" hangs") == 1
    assert "hangs: it has computed a batch for" in server.output
    assert "in predict" in server.output, "the stack of the thread that hangs"
    assert lines(tmp_path / "began-1") == [str(hanging)], "it was not tried again"


WRITES = """
import socket

@app.model("/writes", replicas=1)
class Writes:
    def predict(self, x: bool) -> int:
        for number in range(3, 100 if x else 0):
            try:
                socket.socket(fileno=os.dup(number)).send(b"no message\\n")
            except OSError:
                pass
        return os.getpid()
"""


def test_replica_that_writes_to_descriptors_of_others_is_replaced(serve):
    server = serve(APP + WRITES)
    (replica,) = replicas_of(server)
    assert post(server, "/writes", value=True).status_code == 503
    wait_until(lambda: post(server, "/writes", value=False).json() not in (replica, None))
    assert "something that is no message: killed" in server.output
    assert "was killed by the supervisor after" in server.output


# `libc.fork` calls no functions of `os.register_at_fork`, as native libraries that fork.
FORKS = """
import ctypes

libc = ctypes.PyDLL(None)

@app.model("/held", replicas=2)
class Forks:
    def __init__(self):
        if libc.fork() == 0:
            pathlib.Path("forked").open("a").write(f"{os.getpid()}\\n")
            time.sleep(600)
            os._exit(0)
""" + HELD.partition("class Held:")[2]


@pytest.mark.parametrize("fork", ["os.fork()", "libc.fork()"])
def test_replica_that_dies_and_leaves_a_forked_child_is_replaced(serve, tmp_path, fork):
    server = serve(APP + FORKS.replace("libc.fork()", fork), "--workers", "1")
    wait_until(lambda: len(lines(tmp_path / "forked")) == 2)
    try:
        answers: list[requests.Response] = []
        asking = threading.Thread(target=lambda: answers.append(post(server, "/held", 1)))
        asking.start()
        wait_until(lambda: lines(tmp_path / "began-1"))
        os.kill(int(lines(tmp_path / "began-1")[0]), signal.SIGKILL)
        wait_until(lambda: server.output.count("is ready: loaded") == 3)
        assert post(server, "/held", 0).status_code == 200
    finally:
        (tmp_path / "go-1").touch()
        asking.join()
        for pid in lines(tmp_path / "forked"):
            os.kill(int(pid), signal.SIGKILL)
    assert answers[0].status_code == 200
    assert len(lines(tmp_path / "began-1")) == 2, "the other replica has computed it"


@pytest.mark.parametrize("processes_of", [replicas_of, workers_of])
def test_process_that_cannot_be_started_again_is_tried_again(serve, processes_of):
    server = serve(ONE)

    def answers() -> bool:
        try:
            return post(server, "/where", 1).ok
        except requests.ConnectionError:
            return False

    pid = server.process.pid
    before = len(os.listdir(f"/proc/{pid}/fd"))
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    for process in processes_of(server):
        os.kill(process, signal.SIGKILL)
    server.wait_until_it_prints("; trying again in 1 s")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    wait_until(answers)
    wait_until(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= before)


def test_supervisor_raises_its_limit_on_descriptors(serve):
    """So that the replicas of many models, each with a socket and pipes, find some."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = 256
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    try:
        server = serve(ONE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)[0] > few


def test_folder_of_the_sockets_that_was_removed_is_created_again(serve):
    """Its replicas are replaced, because a worker that is started later could not connect to them,
    and those that die are started again.
    """
    server = serve(ONE, "--workers", "1")
    (before,) = replicas_of(server)
    folder = sockets_folder_of(server)
    with Load(server, clients=2) as load:
        shutil.rmtree(folder)
        server.process.send_signal(signal.SIGUSR1)  # it looks whenever something happens
        wait_until(lambda: before not in replicas_of(server))
    assert set(load.outcomes) == {200}
    server.wait_until_it_prints("was removed, and is created again")
    for process in (*replicas_of(server), *workers_of(server)):
        os.kill(process, signal.SIGKILL)
    ready = server.output.count(") is ready\n")
    wait_until(lambda: server.output.count(") is ready\n") > ready)
    assert post(server, "/where", 1).status_code == 200


def sockets_folder_of(server: Program) -> str:
    """Return the folder with the sockets of the replicas, which the supervisor has opened."""
    links = [os.readlink(fd) for fd in pathlib.Path(f"/proc/{server.process.pid}/fd").iterdir()]
    (folder,) = [link for link in links if "/replicas-" in link]
    return folder


def test_replica_that_takes_too_much_memory_is_replaced_without_losing_a_request(serve):
    app = (
        APP
        + "\n@app.model('/where', replicas=1, max_rss='200M')\nclass Grows(Where):"
        + (
            "\n    def predict(self, x: int) -> list[int]:"
            "\n        self.kept.append(bytearray(os.urandom(1 << 20)) * 5)"
            "\n        return super().predict(x)\n"
        )
    )
    server = serve(app)
    with Load(server, clients=2) as load:
        wait_until(lambda: len(load.pids) >= 2)
        wait_until(lambda: "has ended after its last batch" in server.output)
    assert set(load.outcomes) == {200}
    assert "of resident memory (max_rss=200 MiB)" in server.output


def test_replica_whose_check_fails_is_replaced(serve, tmp_path):
    app = (
        APP
        + "\n@app.model('/where', replicas=1)\nclass Checked(Where):"
        + (
            "\n    def check(self):"
            "\n        if pathlib.Path(f'ill-{os.getpid()}').exists():"
            "\n            raise OSError('the card is gone')\n"
        )
    )
    server = serve(app)
    (ill,) = replicas_of(server)
    (tmp_path / f"ill-{ill}").touch()
    with Load(server, clients=1) as load:
        wait_until(lambda: len(load.pids) >= 2)
        wait_until(lambda: ill not in replicas_of(server))
    assert set(load.outcomes) == {200}
    assert "OSError: the card is gone" in server.output


def test_replica_whose_device_is_broken_is_replaced(serve):
    app = (
        APP
        + "\n@app.model('/where', replicas=1)\nclass Broken(Where):"
        + (
            "\n    def predict(self, x: int) -> list[int]:"
            "\n        if x == -1 and not pathlib.Path('broken').exists():"
            "\n            pathlib.Path('broken').touch()"
            "\n            raise RuntimeError('CUDA error: an illegal memory access')"
            "\n        return super().predict(x)\n"
        )
    )
    server = serve(app)
    (broken,) = replicas_of(server)
    answer = post(server, "/where", -1)
    assert answer.status_code == 200, "tried again by the replica that has replaced it"
    assert answer.json()[0] != broken
    assert "illegal memory access" in server.output


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise OSError('no weights')", "OSError: no weights"),
        ("os._exit(7)", "exited with code 7 while loading"),
        ("time.sleep(600)", "has not loaded the model within 1 s (start_timeout_s)"),
        ("self.kept = [bytearray(os.urandom(1 << 20)) * 150]", "Raise max_rss, or leave it out"),
    ],
)
def test_model_that_cannot_be_loaded_ends_the_server_with_the_reason(
    spawn, carboy_command, tmp_path, body, message
):
    limit = "start_timeout_s=1" if "sleep" in body else "max_rss='120M'"
    model = f"\n@app.model('/where', replicas=2, {limit})\nclass Fails(Where):"
    (tmp_path / "shop.py").write_text(f"{APP}{model}\n    def __init__(self):\n        {body}\n")
    server = spawn(carboy_command, "serve", "shop:app", "--port", "{port}", listens=False)
    assert server.process.wait(PATIENCE_S) == 1
    assert message in server.output
    assert children(server) == []


def test_signal_to_all_processes_that_load_a_model_is_no_failure_of_the_model(
    spawn, carboy_command, tmp_path
):
    """A replica that has only just been started does not handle SIGTERM yet; SIGKILL takes its
    place. The supervisor learns of both at the same moment.
    """
    body = "\n        super().__init__()\n        time.sleep(600)\n"
    model = f"\n@app.model('/where', replicas=1)\nclass Slow(Where):\n    def __init__(self):{body}"
    (tmp_path / "shop.py").write_text(APP + model)
    server = spawn(carboy_command, "serve", "shop:app", "--port", "{port}", listens=False)
    wait_until(lambda: lines(tmp_path / "loaded"))
    (replica,) = replicas_of(server)
    spawning.suspend(server.pid)
    os.kill(replica, signal.SIGKILL)
    wait_until(lambda: b") Z " in read(f"/proc/{replica}/stat"))
    server.process.send_signal(signal.SIGTERM)
    server.process.send_signal(signal.SIGCONT)
    assert server.process.wait(spawning.STOP_S) == 0
    assert "cannot load" not in server.output


def test_replica_that_can_no_longer_be_loaded_is_started_again_with_a_growing_delay(
    serve, status, tmp_path
):
    app = (
        APP
        + "\n@app.model('/where', replicas=2)\nclass Fails(Where):"
        + (
            "\n    def __init__(self):"
            "\n        super().__init__()"
            "\n        if pathlib.Path('gone').exists():"
            "\n            raise OSError('no weights')\n"
        )
    )
    server = serve(app)
    (tmp_path / "gone").touch()
    os.kill(replicas_of(server)[0], signal.SIGKILL)
    server.wait_until_it_prints("starting another in 0.5 s")
    assert "no weights" in server.output
    assert post(server, "/where", 1).status_code == 200, "the other replica goes on"
    assert status()["ready"]
    (tmp_path / "gone").unlink()
    wait_until(lambda: [each["phase"] for each in status()["replicas"]] == ["ready", "ready"])


# --- new code -----------------------------------------------------------------------------------


def test_reload_replaces_workers_and_replicas_without_losing_a_request(serve, tmp_path):
    server = serve(TWO, "--workers", "2")
    old = set(replicas_of(server))
    with Load(server) as load:
        (tmp_path / "shop.py").write_text(TWO + "\n# new\n")
        server.process.send_signal(signal.SIGHUP)
        server.wait_until_it_prints("reloaded: all workers run the new code")
        wait_until(lambda: not old & set(replicas_of(server)))
    assert set(load.outcomes) == {200}
    assert len(lines(tmp_path / "loaded")) == 4


def test_reload_whose_model_cannot_be_loaded_keeps_the_old_replicas(serve, tmp_path):
    server = serve(TWO)
    old = replicas_of(server)
    broken = TWO.replace("import fractions", "import nothing_of_this_name")
    (tmp_path / "shop.py").write_text(broken)
    with Load(server) as load:
        server.process.send_signal(signal.SIGHUP)
        server.wait_until_it_prints("the reload has failed")
    assert set(load.outcomes) == {200}
    wait_until(lambda: replicas_of(server) == old)
    assert "nothing_of_this_name" in server.output


# --- devices ------------------------------------------------------------------------------------


def test_replica_sees_its_own_device_and_its_share_of_the_cores(serve):
    app = APP + (
        "\n@app.model('/device', replicas=2, device=['cuda:1', 'cpu'])"
        "\ndef device(x: int) -> list[str | None]:"
        "\n    time.sleep(0.05)"
        "\n    return [os.environ.get(k) for k in ('CUDA_VISIBLE_DEVICES', 'OMP_NUM_THREADS')]\n"
    )
    server = serve(app, env={"CUDA_VISIBLE_DEVICES": "4,6"})
    seen: set[tuple[str, ...]] = set()

    def ask() -> bool:
        asking = [threading.Thread(target=once) for _ in range(4)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        return len(seen) == 2

    def once() -> None:
        seen.add(tuple(post(server, "/device", 1).json()))

    wait_until(ask)
    share = str(max(1, len(os.sched_getaffinity(0)) // 2))
    assert seen == {("6", share), ("", share)}


def test_device_that_is_not_visible_is_refused(spawn, carboy_command, tmp_path):
    (tmp_path / "shop.py").write_text(TWO.replace("replicas=2", "replicas=2, device='cuda:3'"))
    server = spawn(
        *(carboy_command, "serve", "shop:app", "--port", "{port}"),
        listens=False,
        env={"CUDA_VISIBLE_DEVICES": "0"},
    )
    assert server.process.wait(PATIENCE_S) == 1
    assert "device='cuda:3' is not visible: CUDA_VISIBLE_DEVICES is '0'" in server.output
