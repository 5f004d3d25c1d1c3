"""Workers are replaced: new code, limits, threads that hang. No request is lost, and a worker ends
only when its successor is ready.
"""

from __future__ import annotations

import collections
import http.client
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import typing as t

import pytest
import requests
from polling import PATIENCE_S, wait_until
from spawning import STOP_S, suspend

from carboy.errors import ServingError
from carboy.serving import serve_here
from carboy.serving.settings import make_settings

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from spawning import Program

pytestmark = pytest.mark.integration

APP = """
import os, threading
from carboy import Carboy

app = Carboy(__name__)
kept = []

@app.get("/")
def index():
    return "old"

@app.get("/pid")
def pid():
    return str(os.getpid())

@app.get("/grow")
def grow():
    kept.append(bytearray(os.urandom(1 << 20)) * 40)
    return str(os.getpid())

@app.get("/hang")
def hang():
    threading.Event().wait(600)
"""
NEW = APP.replace('"old"', '"new"')
BROKEN = "import nothing_of_this_name\n"
# Tells that it is being imported, and waits until it may go on.
SLOW = (
    NEW
    + """
import pathlib, time
pathlib.Path(f"loading-{os.getpid()}").touch()
while not pathlib.Path("go").exists():
    time.sleep(0.01)
"""
)


@pytest.fixture
def serve(spawn, carboy_command, tmp_path) -> cabc.Callable[..., Program]:
    """Serve APP; returns the program once all its workers are ready."""
    deploy(tmp_path, APP)

    def serve(*options: str, **arguments: t.Any) -> Program:
        words = ("serve", "shop:app", "--port", "{port}", "--drain", "0.3", *options)
        program: Program = spawn(carboy_command, *words, **arguments)
        program.wait_until_it_prints("serving shop:app")
        return program

    return serve


def deploy(folder: pathlib.Path, text: str) -> None:
    """Write the module of the app, at once as programs that deploy do."""
    (folder / "shop.next").write_text(text)
    (folder / "shop.next").rename(folder / "shop.py")


def children(server: Program) -> list[int]:
    pid = server.process.pid
    words = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(word) for word in words]


def ask(server: Program, path: str = "/") -> str:
    return requests.get(f"{server.url}{path}", timeout=30).text


class Load:
    """Clients that send one request after another, half of them on connections that they keep.

    Attributes:
        answers: how often each text, or each error, was the answer.
    """

    def __init__(self, server: Program, clients: int = 6, path: str = "/") -> None:
        self.answers: collections.Counter[str] = collections.Counter()
        self._port, self._path = server.port, path
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(number % 2 == 0,)) for number in range(clients)
        ]

    def __enter__(self) -> t.Self:
        for thread in self._threads:
            thread.start()
        wait_until(lambda: self.answers)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, keep_alive: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        headers = {} if keep_alive else {"Connection": "close"}
        while not self._stop.is_set():
            try:
                connection.request("GET", self._path, headers=headers)
                self.answers[connection.getresponse().read().decode()] += 1
            except (OSError, http.client.HTTPException) as exc:
                self.answers[repr(exc)] += 1
                connection.close()
        connection.close()


# --- new code ---------------------------------------------------------------------------------


def test_reload_under_load_loses_no_request(serve, tmp_path):
    server = serve("--workers", "2")
    before = children(server)
    with Load(server) as load:
        deploy(tmp_path, NEW)
        server.process.send_signal(signal.SIGHUP)
        server.wait_until_it_prints("reloaded: all workers run the new code")
        assert not set(before) & set(children(server))
        seen = load.answers["new"]
        wait_until(lambda: load.answers["new"] > seen + 50)
    assert load.answers.keys() == {"old", "new"}
    assert ask(server) == "new"
    assert len(children(server)) == 2


def listening_sockets(server: Program) -> set[str]:
    """Return the inodes of the sockets that listen on the server's port."""
    lines = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = [line.split() for line in lines]
    end, listen = f":{server.port:04X}", "0A"
    return {each[9] for each in fields if each[1].endswith(end) and each[3] == listen}


def test_successor_listens_on_the_socket_of_the_process_that_it_replaces(serve):
    server = serve("--workers", "2")
    before = listening_sockets(server)
    server.process.send_signal(signal.SIGHUP)
    server.wait_until_it_prints("reloaded: all workers")
    assert len(before) == 2
    assert listening_sockets(server) == before


def test_worker_that_is_killed_leaves_no_socket_on_which_clients_would_wait(serve):
    server = serve("--workers", "2")
    before = listening_sockets(server)
    os.kill(children(server)[0], signal.SIGKILL)
    server.wait_until_it_prints("starting another now")
    wait_until(lambda: server.output.count(" is ready") == 3)
    after = listening_sockets(server)
    assert (len(after), len(after & before)) == (2, 1)


def test_code_that_cannot_be_imported_leaves_the_old_code_serving(serve, tmp_path):
    server = serve("--workers", "2")
    before = children(server)
    with Load(server, clients=2) as load:
        deploy(tmp_path, BROKEN)
        server.process.send_signal(signal.SIGHUP)
        server.wait_until_it_prints("the reload has failed")
        wait_until(lambda: children(server) == before)
    assert load.answers.keys() == {"old"}
    assert "No module named 'nothing_of_this_name'" in server.output
    deploy(tmp_path, NEW)
    server.process.send_signal(signal.SIGHUP)
    server.wait_until_it_prints("reloaded")
    wait_until(lambda: len(children(server)) == 2)
    assert ask(server) == "new"
    assert server.stop() == 0


def test_server_reloads_after_its_first_code_was_loaded(spawn, carboy_command, tmp_path):
    deploy(tmp_path, SLOW)
    words = ("serve", "shop:app", "--port", "{port}", "--workers", "1", "--drain", "0.1")
    server = spawn(carboy_command, *words, listens=False)
    wait_until(lambda: list(tmp_path.glob("loading-*")))
    deploy(tmp_path, APP)
    server.process.send_signal(signal.SIGHUP)
    server.wait_until_it_prints("SIGHUP: loading shop:app again")
    (tmp_path / "go").touch()
    server.wait_until_it_prints("reloaded")
    assert ask(server) == "old"


def successor_of(server: Program, folder: pathlib.Path, before: list[int]) -> int:
    """Return the pid of the process that loads SLOW to replace one of the processes `before`."""
    wait_until(lambda: len(children(server)) > len(before))
    (pid,) = set(children(server)) - set(before)
    wait_until((folder / f"loading-{pid}").exists)
    return pid


def begin_reload(server: Program, folder: pathlib.Path, before: list[int]) -> int:
    """Begin a reload with SLOW; return the pid of the process that loads it."""
    deploy(folder, SLOW)
    server.process.send_signal(signal.SIGHUP)
    return successor_of(server, folder, before)


def test_successor_that_is_killed_leaves_the_old_code_serving(serve, tmp_path):
    server = serve("--workers", "1")
    before = children(server)
    with Load(server, clients=2) as load:
        os.kill(begin_reload(server, tmp_path, before), signal.SIGKILL)
        server.wait_until_it_prints("the reload has failed")
    assert "was killed by SIGKILL" in server.output
    assert load.answers.keys() == {"old"}
    assert children(server) == before


def test_successor_takes_the_place_of_a_worker_that_is_killed(serve, tmp_path):
    server = serve("--workers", "1")
    (before,) = children(server)
    successor = begin_reload(server, tmp_path, [before])
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: children(server) == [successor])
    (tmp_path / "go").touch()
    server.wait_until_it_prints("reloaded")
    assert ask(server, "/pid") == str(successor)
    assert children(server) == [successor]


def test_second_sighup_restarts_the_reload(serve, tmp_path):
    """The code that is being loaded may already be out of date."""
    server = serve("--workers", "1")
    before = children(server)
    successor = begin_reload(server, tmp_path, before)
    deploy(tmp_path, NEW)
    server.process.send_signal(signal.SIGHUP)
    server.wait_until_it_prints("reloaded")
    assert ask(server) == "new"
    assert successor not in children(server)
    assert f"worker 1 (pid {successor}) was stopped while it loaded the app" in server.output
    assert server.output.count("is ready") == 2


# --- limits -------------------------------------------------------------------------------------


def test_max_requests_replaces_workers_under_load_without_losing_a_request(serve):
    server = serve("--workers", "2", "--max-requests", "200")
    before = children(server)
    with Load(server) as load:
        wait_until(lambda: server.output.count("has ended after its last request") >= 3)
    assert load.answers.keys() == {"old"}
    assert not set(before) & set(children(server))
    counts = [int(n) for n in re.findall(r"it has answered (\d+) requests", server.output)]
    assert min(counts) >= 180


def test_worker_at_its_limit_goes_on_until_a_successor_can_be_loaded(serve, tmp_path):
    server = serve("--workers", "1", "--max-requests", "10")
    (before,) = children(server)
    deploy(tmp_path, BROKEN)
    for _ in range(10):
        assert ask(server) == "old"
    server.wait_until_it_prints(f"and worker 1 (pid {before}) goes on; starting another in 0.5 s")
    assert ask(server, "/pid") == str(before)
    deploy(tmp_path, NEW)
    wait_until(lambda: before not in children(server))
    assert ask(server) == "new"


def test_max_rss_replaces_a_worker_that_has_grown(serve):
    server = serve("--workers", "1", "--max-rss", "150M")
    first = ask(server, "/grow")
    for _ in range(3):
        ask(server, "/grow")
    server.wait_until_it_prints(f"replacing worker 1 (pid {first}): it uses")
    wait_until(lambda: first not in map(str, children(server)))
    assert ask(server, "/pid") != first
    assert "MiB of resident memory (--max-rss is 150 MiB)" in server.output


def test_worker_whose_threads_all_hang_is_replaced(serve):
    limits = ("--threads", "2", "--view-timeout", "0.5", "--grace", "0.5")
    server = serve("--workers", "1", *limits)
    (first,) = children(server)
    lost = collections.Counter[str]()

    def hang() -> None:
        try:
            requests.get(f"{server.url}/hang", timeout=30)
        except requests.ConnectionError:
            lost["hang"] += 1

    clients = [threading.Thread(target=hang)]
    clients[0].start()
    server.wait_until_it_prints("GET /hang has taken more than 0.5 s (--view-timeout)")
    assert "in hang\n" in server.output
    assert children(server) == [first], "the other thread still answers"
    clients.append(threading.Thread(target=hang))
    clients[1].start()
    server.wait_until_it_prints("all 2 threads hang")
    wait_until(lambda: first not in children(server))
    assert int(ask(server, "/pid")) != first
    for client in clients:
        client.join()
    assert lost["hang"] == 2
    assert f"replacing worker 1 (pid {first}): its 2 threads all hang" in server.output


def exit_of(
    command: str, folder: pathlib.Path, *options: str, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run the server, which must end by itself."""
    return subprocess.run(
        [command, "serve", "shop:app", "--port", "0", *options],
        env={**os.environ, **environ},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("options", "environ", "words"),
    [
        pytest.param(
            ["--workers", "0.5"],
            {},
            "Setting 'workers': expected a whole number, at least 0, got '0.5' from the option"
            " --workers",
            id="half a worker",
        ),
        pytest.param(
            ["--workers", "1", "--max-rss", "5M"],
            {},
            "which is not below the limit of 5 MiB: it would be replaced for ever",
            id="too little memory",
        ),
        pytest.param(
            [],
            {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
            "systemd expects signs of life from the process 1",
            id="watchdog of another process",
        ),
        pytest.param(
            [], {"NOTIFY_SOCKET": "run/x"}, "expected the absolute path of a socket", id="path"
        ),
        pytest.param(
            [],
            {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1m"},
            "expected a number of microseconds, at least 1, got '1m'",
            id="watchdog time",
        ),
    ],
)
def test_wrong_configuration_ends_the_server_with_code_2(
    carboy_command, tmp_path, options, environ, words
):
    deploy(tmp_path, APP)
    done = exit_of(carboy_command, tmp_path, *options, **environ)
    assert done.returncode == 2, done.stderr
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "limit",
    [
        {"max_requests": 5},
        {"max_rss": "1G"},
        {"view_timeout_s": 5},
        {"worker_timeout_s": 5},
        {"min_models": 1},
    ],
)
@pytest.mark.parametrize("workers", [{"workers": 0}, {}], ids=["asked for", "not importable"])
def test_limits_of_workers_are_refused_without_workers(app, workers, limit):
    with pytest.raises(ServingError, match="no effect without workers"):
        serve_here(app, make_settings({"port": 0, **workers, **limit}, {}))


# --- signals ------------------------------------------------------------------------------------


def hang(server: Program) -> socket.socket:
    """Return the connection of a request that a worker handles, and that never ends."""
    client = socket.create_connection(("127.0.0.1", server.port), PATIENCE_S)
    client.sendall(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
    assert ask(server) == "old"  # the worker has read both requests
    return client


def test_clients_of_a_worker_that_gets_sigterm_are_answered_by_its_successor(serve):
    server = serve("--workers", "1")
    (old,) = children(server)
    with hang(server), Load(server, path="/pid") as load:
        os.kill(old, signal.SIGTERM)
        wait_until(lambda: len(load.answers) > 1)
        (new,) = {*load.answers} - {str(old)}
        seen = load.answers[new]
        wait_until(lambda: load.answers[new] > seen + 50)
        assert old in children(server), "its request goes on"
    assert load.answers.keys() == {str(old), new}
    assert f"replacing worker 1 (pid {old}): it got SIGTERM" in server.output
    server.stop(signal.SIGKILL)  # the request never ends


def test_grace_holds_for_a_worker_that_gets_sigterm(serve):
    server = serve("--workers", "1", "--grace", "0.2")
    (old,) = children(server)
    with hang(server) as client:
        os.kill(old, signal.SIGTERM)
        assert client.recv(1) == b""
    server.wait_until_it_prints(f"worker 1 (pid {old}) has not finished its requests: killed")


def test_worker_that_gets_sigterm_during_a_reload_waits_for_its_successor(serve, tmp_path):
    server = serve("--workers", "1")
    (old,) = children(server)
    new = begin_reload(server, tmp_path, [old])
    os.kill(old, signal.SIGTERM)
    with Load(server, clients=2) as load:
        (tmp_path / "go").touch()
        server.wait_until_it_prints("reloaded: all workers run the new code")
        wait_until(lambda: load.answers["new"])
    assert load.answers.keys() == {"old", "new"}
    assert children(server) == [new]
    assert f"worker 1 (pid {old}) has ended after its last request" in server.output


def test_second_sigterm_ends_a_worker_before_its_successor_is_ready(serve, tmp_path):
    server = serve("--workers", "1")
    (old,) = children(server)
    deploy(tmp_path, SLOW)
    os.kill(old, signal.SIGTERM)
    new = successor_of(server, tmp_path, [old])
    os.kill(old, signal.SIGTERM)
    wait_until(lambda: children(server) == [new])
    (tmp_path / "go").touch()
    server.wait_until_it_prints(f"worker 1 (pid {new}) is ready")
    assert ask(server, "/pid") == str(new)


def test_second_sigterm_ends_a_worker_whose_supervisor_is_suspended(serve):
    server = serve("--workers", "1")
    (worker,) = children(server)
    suspend(server.pid)
    os.kill(worker, signal.SIGTERM)
    assert ask(server, "/pid") == str(worker)
    state = pathlib.Path(f"/proc/{worker}/stat")

    def has_ended() -> bool:
        os.kill(worker, signal.SIGTERM)  # again and again: signals that meet count as one
        return ") Z " in state.read_text()

    wait_until(has_ended)
    server.process.send_signal(signal.SIGCONT)
    wait_until(lambda: server.output.count("is ready") == 2)


def test_sigterm_to_all_processes_during_a_reload_is_no_failure_of_the_reload(serve, tmp_path):
    server = serve("--workers", "1")
    (old,) = children(server)
    successor = begin_reload(server, tmp_path, [old])
    suspend(server.pid)
    os.killpg(server.pid, signal.SIGTERM)
    wait_until(lambda: ") Z " in pathlib.Path(f"/proc/{successor}/stat").read_text())
    server.process.send_signal(signal.SIGCONT)
    assert server.process.wait(STOP_S) == 0
    assert "the reload has failed" not in server.output


def test_sigterm_to_all_processes_stops_the_server_and_replaces_no_worker(serve):
    server = serve("--workers", "2")
    before = children(server)
    os.killpg(server.pid, signal.SIGTERM)
    assert server.process.wait(STOP_S) == 0
    assert "stopping on SIGTERM" in server.output
    assert "replacing" not in server.output
    assert server.output.count("is ready") == len(before)


def test_signals_that_other_servers_know_end_neither_supervisor_nor_worker(serve, tmp_path):
    (tmp_path / ".env").write_text("LOG_FILE=app.log\n")
    deploy(tmp_path, APP + "import logging\napp.config.from_project()\n")
    server = serve("--workers", "1")
    (worker,) = children(server)
    for number in (signal.SIGUSR2, signal.SIGWINCH, signal.SIGUSR1):
        server.process.send_signal(number)
    server.wait_until_it_prints(f"SIGUSR1: opening {tmp_path}/app.log again")
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH):
        os.kill(worker, number)
        if number != signal.SIGWINCH:
            server.wait_until_it_prints(
                f"{number.name} has no effect on this process, which is a worker. Send it to the"
                f" supervisor, the process {server.process.pid}"
            )
    assert ask(server, "/pid") == str(worker)
    assert server.stop(signal.SIGQUIT) == 0
