"""`carboy ctl` and probes against a real server, busy or not."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading

import pytest
import spawning
from polling import PATIENCE_S, wait_until

from carboy.errors import ControlClientError
from carboy.serving.management.controlclient import ControlClient, find_control_socket

pytestmark = pytest.mark.integration

APP = """
import ctypes, os, pathlib, time
from carboy import Carboy

app = Carboy(__name__)
answer = "first"

def wait_for_release(mark):
    pathlib.Path(mark).touch()
    while not os.path.exists("release"):
        time.sleep(0.01)
    return "done"

@app.get("/")
def index():
    app.logger.debug("a line for debugging")
    return answer

@app.get("/wait/<mark>")
def wait(mark):
    return wait_for_release(mark)

@app.get("/gil")
def gil():
    pathlib.Path("gil").touch()
    ctypes.PyDLL(None).sleep(600)  # a native call that does not release the GIL

@app.model("/compute", queue=1, deadline_s=None)
def compute(x: int) -> str:
    return wait_for_release("computing")

class Checked:
    def __init__(self):
        while os.path.exists("loading"):
            time.sleep(0.01)

    def predict(self, x: int) -> int:
        return x

    def check(self):
        if os.path.exists("broken"):
            raise OSError("the device is gone")

app.model("/checked")(Checked)
"""
THREADS = 2


class Server:
    """A server in a folder, and how to ask its control socket."""

    def __init__(self, folder, *options, workers=1):
        self.folder = folder
        self.path = os.fspath(folder / "s")
        (folder / "shop.py").write_text(APP)
        self.management_port = spawning.free_port()
        self.options = [
            *("--workers", str(workers), "--threads", str(THREADS), "--control", "s"),
            *("--drain", "0.1"),
            *("--management", f"127.0.0.1:{self.management_port}", "--probes", "yes", *options),
        ]
        self.program = self.start()

    def start(self):
        port = spawning.free_port()
        command = [spawning.script("carboy"), "serve", "shop:app", "--port", str(port)]
        log = self.folder / "log"
        return spawning.start([*command, *self.options], log=log, port=port, cwd=self.folder)

    def wait_until_it_serves(self):
        self.program.wait_until_it_prints("serving shop:app")
        return self

    def wait_until_it_can_be_asked(self):
        """The file of the socket exists a moment before the server listens there."""
        with socket.socket(socket.AF_UNIX) as client:
            wait_until(lambda: client.connect_ex(self.path) == 0)

    def wait_until_it_is_ready(self):
        self.wait_until_it_can_be_asked()
        wait_until(lambda: self.probe()[0] == 200, pause_s=0.02)
        return self

    def restore(self):
        """Load the first code again."""
        (self.folder / "shop.py").write_text(APP)
        assert ctl("reload", "--socket", "s", folder=self.folder)[0] == 0
        wait_until(lambda: self.get("/") == "first")
        self.wait_until_it_is_ready()

    @property
    def client(self):
        return ControlClient(self.path)

    def connections(self):
        """Return new connections to all places that answer probes."""
        return {
            "control socket": UnixConnection(self.path),
            "management": http.client.HTTPConnection("127.0.0.1", self.management_port),
            "app": http.client.HTTPConnection("127.0.0.1", self.program.port),
        }

    def probe(self, path="/readyz"):
        """Ask on the control socket; returns the status and the response's JSON."""
        return ask(UnixConnection(self.path), path)

    def get(self, path):
        """Ask the app."""
        connection = http.client.HTTPConnection("127.0.0.1", self.program.port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().read().decode()

    def predict(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.program.port, timeout=PATIENCE_S)
        with contextlib.closing(connection):
            connection.request("POST", "/compute", "1", {"Content-Type": "application/json"})
            return connection.getresponse().status

    def has(self, name):
        return (self.folder / name).exists()


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=PATIENCE_S)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(connection, path):
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def ctl(*arguments, folder):
    """Run the command; returns exit code, stdout and stderr."""
    done = subprocess.run(
        [spawning.script("carboy"), "ctl", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def start(tmp_path):
    """Return a function that starts the server of the test."""
    servers = []

    def start(*options, **more):
        servers.append(Server(tmp_path, *options, **more))
        return servers[-1]

    yield start
    (tmp_path / "release").touch()
    for server in servers:
        server.program.stop()


@pytest.fixture
def server(start):
    return start().wait_until_it_serves().wait_until_it_is_ready()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A server for tests that leave it as it was, because starting one takes a second."""
    server = Server(tmp_path_factory.mktemp("shared")).wait_until_it_serves()
    yield server.wait_until_it_is_ready()
    server.program.stop()


# ---------------------------------------------------------------------------- a busy server


def test_probes_are_answered_while_all_threads_are_blocked_and_all_queues_are_full(server):
    asked = [
        threading.Thread(target=server.get, args=(f"/wait/{number}",))
        for number in range(2 * THREADS)
    ]
    statuses: list[int] = []
    predictions = [
        threading.Thread(target=lambda: statuses.append(server.predict())) for _ in range(4)
    ]
    for thread in (*asked, *predictions):
        thread.start()
    wait_until(lambda: sum(server.has(str(number)) for number in range(2 * THREADS)) == THREADS)
    wait_until(lambda: server.has("computing"))
    wait_until(lambda: 503 in statuses)  # the queue is full
    failed = [
        (place, path, status)
        for _ in range(20)
        for path in ("/livez", "/readyz", "/startupz")
        for place, connection in server.connections().items()
        if (status := ask(connection, path)[0]) != 200
    ]
    assert failed == []
    assert all(thread.is_alive() for thread in asked)
    (server.folder / "release").touch()
    for thread in (*asked, *predictions):
        thread.join()


def test_stacks_show_where_a_blocked_view_waits(shared):
    blocked = threading.Thread(target=shared.get, args=("/wait/mark",))
    blocked.start()
    wait_until(lambda: shared.has("mark"))
    code, printed, _ = ctl("stacks", "--socket", "s", folder=shared.folder)
    assert code == 0
    supervisor, worker = printed.split("=== ")[1:]
    assert "run_once" in supervisor
    assert worker.startswith("worker 1 (pid ")
    assert 'shop.py", line 11, in wait_for_release' in worker
    (shared.folder / "release").touch()
    blocked.join()
    (shared.folder / "release").unlink()


def test_worker_whose_gil_is_held_writes_its_stacks_to_the_log(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.program.port)
    with contextlib.closing(connection):
        connection.request("GET", "/gil")
        wait_until(lambda: server.has("gil"))
        # The worker answers no question, and the probes count what it said last.
        assert [server.probe()[0] for _ in range(5)] == [200] * 5
        _, worker = server.client.request("stacks")["processes"]
    assert worker["error"].startswith("has not answered within 2 s: native code may hold the GIL")
    server.program.wait_until_it_prints("in gil")
    os.kill(worker["pid"], signal.SIGKILL)  # it cannot stop otherwise


# ------------------------------------------------------------------------------- readiness


def test_server_is_alive_and_not_started_while_it_loads(tmp_path, start):
    (tmp_path / "loading").touch()
    server = start()
    server.wait_until_it_can_be_asked()
    wait_until(lambda: server.probe("/startupz")[1].get("reasons", [{}])[0].get("pid"))
    status, content = server.probe("/startupz")
    assert status == 503
    assert content["reasons"][0]["reason"] == "loading"
    assert server.probe("/readyz")[0] == 503
    assert server.probe("/livez") == (200, {"status": "ok"})
    (tmp_path / "loading").unlink()
    wait_until(lambda: server.probe("/startupz")[0] == 200)
    wait_until(lambda: server.probe("/readyz")[0] == 200)


def test_failed_check_of_a_model_is_told_with_its_reason(tmp_path, start):
    (tmp_path / "broken").touch()
    server = start().wait_until_it_serves()
    wait_until(lambda: "failed" in str(server.probe()))
    (reason,) = server.probe()[1]["reasons"]
    assert reason["model"] == "checked"
    assert reason["reason"] == "its check failed: OSError: the device is gone"
    status = server.client.request("status")
    assert not status["ready"]
    assert status["reasons"] == [reason]
    # On the port of the app, anybody may ask.
    public = ask(server.connections()["app"], "/readyz")[1]
    assert public["reasons"] == [{"model": "checked", "reason": "its check failed"}]


def test_stopping_server_is_not_ready_and_answers_to_its_end(server):
    blocked = threading.Thread(target=server.get, args=("/wait/mark",))
    blocked.start()
    wait_until(lambda: server.has("mark"))
    server.program.process.terminate()
    wait_until(lambda: server.probe("/readyz")[0] == 503)
    assert server.probe("/livez")[0] == 200
    assert server.client.request("status")["stopping"]
    (server.folder / "release").touch()
    blocked.join()
    assert server.program.process.wait(PATIENCE_S) == 0
    assert not server.has("s")


def test_app_without_the_models_that_it_should_have_is_not_ready(start):
    server = start("--min-models", "3").wait_until_it_serves()
    wait_until(lambda: "the app has 2 models" in str(server.probe()))
    for connection in server.connections().values():
        status, content = ask(connection, "/readyz")
        assert status == 503
        assert "the app has 2 models, and at least 3" in content["reasons"][0]["reason"]


# --------------------------------------------------------------------------------- control


def test_status_of_the_server_is_for_people_or_for_programs(shared):
    code, printed, _ = ctl("status", "--socket", "s", folder=shared.folder)
    assert code == 0
    assert printed.startswith(f"shop:app on http://127.0.0.1:{shared.program.port}: ready\n")
    code, printed, _ = ctl("status", "--socket", "s", "--json", folder=shared.folder)
    status = json.loads(printed)
    assert status["pid"] == shared.program.process.pid
    assert [each["phase"] for each in status["processes"]] == ["ready"]


def test_level_of_the_log_changes_in_workers_that_exist_and_in_later_ones(shared):
    shared.get("/")
    assert "a line for debugging" not in shared.program.output
    code, printed, _ = ctl("log-level", "debug", "--socket", "s", folder=shared.folder)
    assert code == 0
    assert "shop: DEBUG" in printed
    shared.get("/")
    shared.program.wait_until_it_prints("a line for debugging")
    before = shared.program.output.count("a line for debugging")
    assert ctl("reload", "--socket", "s", folder=shared.folder)[0] == 0

    def is_logged():
        shared.get("/")
        return shared.program.output.count("a line for debugging") > before

    wait_until(is_logged)
    levels = shared.client.request("log-level", reset=True)["processes"][-1]["levels"]
    assert levels["shop"] == "WARNING (inherited)"


def test_reload_waits_for_the_new_code(shared):
    program = shared.folder / "shop.py"
    program.write_text(APP.replace('"first"', '"second"'))
    code, printed, _ = ctl("reload", "--socket", "s", folder=shared.folder)
    assert (code, printed) == (0, "Reloaded: all workers run the new code.\n")
    wait_until(lambda: shared.get("/") == "second")
    shared.restore()


def test_reload_that_fails_says_why_and_the_old_code_goes_on(shared):
    (shared.folder / "shop.py").write_text("1 / 0\n")
    code, _, error = ctl("reload", "--socket", "s", folder=shared.folder)
    assert code == 1
    assert "ZeroDivisionError" in error
    assert shared.get("/") == "first"
    assert "ZeroDivisionError" in ctl("status", "--socket", "s", folder=shared.folder)[1]
    shared.restore()


def test_pid_of_another_process_is_refused_with_those_of_the_server(shared):
    code, printed, error = ctl("stacks", "1", "--socket", "s", folder=shared.folder)
    assert (code, printed) == (2, "")
    assert (
        f"1 is not a process of this server. Its processes are {shared.program.process.pid} ("
        in (error)
    )


# ------------------------------------------------------------------------------ no server


def test_server_that_was_killed_is_named_and_its_socket_replaced(server):
    server.program.process.kill()
    server.program.process.wait()
    code, _, error = ctl("status", "--socket", "s", folder=server.folder)
    assert code == 2
    assert f"Nobody listens on {server.path}: the server that created it has died" in error
    server.program = server.start()
    server.wait_until_it_serves()
    assert server.client.request("status")["pid"] == server.program.process.pid


@pytest.mark.parametrize(
    ("may_look", "words"),
    [(True, "Run this command as that user: sudo -u '#"), (False, "may not look into")],
)
def test_server_of_another_user_is_named(shared, may_look, words):
    with (
        as_another_user(shared.path, may_look=may_look),
        pytest.raises(ControlClientError, match=words),
    ):
        shared.client.request("status")


@contextlib.contextmanager
def as_another_user(path, *, may_look):
    """Be somebody who may not write the socket, and perhaps not look into its folder. Root may do
    everything, so it becomes another user.
    """
    folder = pathlib.Path(path).parent
    if os.geteuid():
        changed = path if may_look else folder
        mode = os.stat(changed).st_mode
        os.chmod(changed, 0)
        try:
            yield
        finally:
            os.chmod(changed, mode)
        return
    closed = [each for each in (folder, *folder.parents) if not each.stat().st_mode & 0o001]
    if not may_look:
        closed = []
    modes = {each: each.stat().st_mode for each in closed}
    for each in closed:
        each.chmod(modes[each] | 0o011)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        for each, mode in modes.items():
            each.chmod(mode)


def test_socket_is_found_by_the_port(tmp_path, monkeypatch):
    folder = tmp_path / "r" / "carboy"
    folder.mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", os.fspath(tmp_path / "r"))
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(os.fspath(folder / "127.0.0.1:81.sock"))
        living.listen()
        assert find_control_socket(None, port=81) == os.fspath(folder / "127.0.0.1:81.sock")
        with pytest.raises(ControlClientError, match=r"No server of .* is running on port 82"):
            find_control_socket(None, port=82)


def test_program_that_is_not_carboy_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind("s")
        other.listen()

        def answer():
            client, _ = other.accept()
            with client, client.makefile("rwb") as file:
                while file.readline().strip():
                    pass
                file.read(len("{}"))
                file.write(b"HTTP/1.0 200 OK\r\nServer: other\r\n\r\n{}")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ControlClientError, match="is not a carboy server"):
            ControlClient("s").request("status")
        thread.join()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["status", "--socket", "none"], "There is no control socket"),
        (["status", "--socket", "file"], "file is not a socket"),
        (["status", "--socket", "off"], "The control socket is off"),
        (["app.py"], "No such command 'app.py'"),
        (["status", "--socket", "s", "--port", "80"], "both choose the server"),
        (["--socket", "none", "status"], "/none. Start the server"),
        (["--port", "80", "status", "--socket", "s"], "both choose the server"),
        (["log-level", "loud", "--socket", "s"], "'loud' is not one of"),
        (["log-level", "debug", "--reset", "--socket", "s"], "leave out LEVEL"),
    ],
)
def test_wrong_use_is_refused_with_the_reason(tmp_path, arguments, words):
    (tmp_path / "file").touch()
    code, printed, error = ctl(*arguments, folder=tmp_path)
    assert (code, printed) == (2, "")
    assert words in error


# ---------------------------------------------------------------------------- wrong settings


@pytest.fixture
def taken(tmp_path):
    """A folder with a control socket on which somebody listens, and a port with another."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(socket.AF_UNIX) as living,
    ):
        living.bind(os.fspath(tmp_path / "s"))
        living.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--control", "x" * 200], "bytes, a socket's path at most 107) from the option --control"),
        (["--control", "s"], "another server listens on it. Stop that server, or"),
        (["--control", "shop.py"], "there is a file that is not a socket. Remove it, or choose"),
        (["--control", "none/s"], "there is no folder"),
        (["--management", "TAKEN"], "Address already in use. Find who uses the port by 'ss"),
    ],
)
def test_server_does_not_start_with_a_wrong_setting(tmp_path, taken, options, words):
    (tmp_path / "shop.py").write_text("open('loaded', 'w')\n")
    options = [f"127.0.0.1:{taken}" if each == "TAKEN" else each for each in options]
    done = subprocess.run(
        [spawning.script("carboy"), "serve", "shop:app", "--port", "0", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "loaded").exists()
