"""`carboy models serve`: replicas for processes that carboy has not started."""

from __future__ import annotations

import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import typing as t

import pytest
from polling import PATIENCE_S, wait_until

from carboy.errors import ModelLoadError, UnavailableError
from carboy.models.options import Options
from carboy.models.replicas.modelssocket import named_directory
from carboy.models.replicas.modelssocketclient import ModelsSocketClient
from carboy.models.replicas.supervision import AppIdentity, GivesBack, Hangs, wanted_replicas

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from spawning import Program

pytestmark = pytest.mark.integration

APP = """
import os
from carboy import Carboy

app = Carboy(__name__)

@app.model("/where", replicas=1, deadline_s=30)
class Where:
    version = "old"
    def predict(self, x: int) -> list[int | str]:
        return [x, os.getpid(), self.version]
"""
# Answers each line of its input, as a process of another server answers requests.
CLIENT = """
import sys
from shop import app
for line in sys.stdin:
    try:
        print(*app.models["where"].predict(int(line)), flush=True)
    except Exception as exc:
        print(type(exc).__name__, exc, flush=True)
"""


@pytest.fixture
def serve(spawn, carboy_command, tmp_path) -> cabc.Callable[..., Program]:
    """Serve the models of an app; returns the program once it is ready."""
    (tmp_path / "shop.py").write_text(APP)

    def serve(*options: str) -> Program:
        words = (carboy_command, "models", "serve", "shop:app", "--control", "off")
        sockets = ("--socket", str(tmp_path / "m.sock"))
        program: Program = spawn(*words, *sockets, *options, listens=False)
        program.wait_until_it_prints("serving the models of shop:app")
        return program

    return serve


class Client:
    """A process that runs the same app, without a server."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CLIENT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            env={**os.environ, "CARBOY_MODELS_SOCKET": str(folder / "m.sock")},
            text=True,
        )

    def send(self, x: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{x}\n")
        self._process.stdin.flush()

    def ask(self, x: int) -> list[str]:
        assert self._process.stdout is not None
        self.send(x)
        return self._process.stdout.readline().split()

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def clients(tmp_path) -> cabc.Iterator[cabc.Callable[[], Client]]:
    started: list[Client] = []

    def start() -> Client:
        started.append(Client(tmp_path))
        return started[-1]

    yield start
    for each in started:
        each.kill()


def test_processes_of_other_servers_share_the_replicas(serve, clients):
    serve()
    first, second = clients(), clients()
    answers = [first.ask(1), second.ask(2), first.ask(3)]
    assert [answer[0] for answer in answers] == ["1", "2", "3"]
    assert len({answer[1] for answer in answers}) == 1, "one replica"


def test_process_that_dies_with_a_token_in_its_hand_does_not_idle_the_replica(serve, clients):
    serve()
    other = clients()
    assert other.ask(1)[0] == "1"
    for _ in range(3):
        killed = clients()
        killed.ask(1)
        for x in range(1000):
            killed.send(x)
        killed.kill()
        assert other.ask(2)[0] == "2"


def test_clients_go_on_when_the_supervisor_is_killed_and_follow_the_next(serve, clients):
    server, client = serve(), clients()
    _, replica, _ = client.ask(1)
    server.process.kill()
    server.process.wait()
    assert client.ask(2) == ["2", replica, "old"]
    serve()
    wait_until(lambda: client.ask(3)[1] != replica)
    wait_until(lambda: not os.path.exists(f"/proc/{replica}"))


def test_clients_get_the_replicas_with_the_new_code_after_a_reload(serve, clients, tmp_path):
    server, client = serve(), clients()
    assert client.ask(1)[2] == "old"
    (tmp_path / "shop.py").write_text(APP.replace('"old"', '"new"'))
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: client.ask(2)[2] == "new")
    assert server.stop() == 0
    assert "Traceback" not in server.output


def test_without_the_supervisor_the_error_says_what_to_start(serve, clients):
    client = clients()
    assert "Start `carboy models serve`" in " ".join(client.ask(1))
    serve()
    assert client.ask(2)[0] == "2"


def test_app_whose_models_have_no_replicas_is_refused(spawn, carboy_command, tmp_path):
    (tmp_path / "shop.py").write_text(APP.replace("replicas=1, ", ""))
    server = spawn(carboy_command, "models", "serve", "shop:app", "--control", "off", listens=False)
    assert server.process.wait(PATIENCE_S) == 2
    assert "The app has no models with replicas (models: where)" in server.output


def test_version_whose_files_were_replaced_gets_replicas_of_its_own(serve, tmp_path):
    server = serve()
    client = ModelsSocketClient(lambda: str(tmp_path / "m.sock"))
    keys = []
    for files in ("old", "old", "new"):
        want = wanted_replicas("where", Options(replicas=1), files=files)
        granted, tokens_fd = client.want(want, lambda *_: None)
        os.close(tokens_fd)
        assert granted["key"] == want["key"]
        keys.append(want["key"])
    assert server.output.count("is ready: loaded") == 3, "two more, and the one for all others"
    # A client that gives up a batch may say so just after the replica has returned from it.
    client.report(Hangs(key=keys[0], replica=2, took_s=5.0))
    server.wait_until_it_prints("has returned from a batch that a client had given up")
    large = wanted_replicas("where", Options(replicas=1), files="large", files_bytes=10**15)
    with pytest.raises(ModelLoadError, match=r"needs about \d+ MiB of memory beside version ''"):
        client.want({**large, "beside": keys[2]}, lambda *_: None)
    client.release(GivesBack(key=keys[0]))
    server.wait_until_it_prints("no process needs these replicas any more")
    want = wanted_replicas("where", Options(replicas=1), files="new")
    granted, tokens_fd = client.want(want, lambda *_: None)
    os.close(tokens_fd)
    assert server.output.count("is ready: loaded") == 3, "those of the new files go on"
    client.release(GivesBack(key=keys[2]))


def test_replicas_of_another_app_are_not_used(serve, tmp_path):
    serve()
    client = ModelsSocketClient(lambda: str(tmp_path / "m.sock"))
    here = os.path.realpath(tmp_path)
    for app, runs in (
        (AppIdentity("other", here), "the app 'other'"),
        (AppIdentity("shop", "/srv/other"), "another one of this name"),
    ):
        want = wanted_replicas("where", Options(replicas=1), app=app)
        with pytest.raises(UnavailableError, match=rf"serves the app 'shop'.*runs {runs}.*m\.sock"):
            client.want(want, User())
    want = wanted_replicas("where", Options(replicas=1), app=AppIdentity("shop", here))
    _, tokens_fd = client.want(want, User())
    os.close(tokens_fd)
    client.release(GivesBack(key=want["key"]))


def test_app_has_any_name_and_folder_if_its_socket_is_named(serve, tmp_path, monkeypatch):
    """`carboy models serve project.web` and gunicorn with `web:app` are one app."""
    serve()
    monkeypatch.setenv("CARBOY_MODELS_SOCKET", str(tmp_path / "m.sock"))
    client = named_directory()
    want = wanted_replicas("where", Options(replicas=1), app=AppIdentity("web", "/srv/other"))
    _, tokens_fd = client.want(want, User())
    os.close(tokens_fd)
    client.release(GivesBack(key=want["key"]))


class User:
    """What uses the replicas of a version."""

    def __init__(self) -> None:
        self.has_moved = threading.Event()

    def moved(self, granted: t.Any, fd: int) -> None:
        os.close(fd)
        self.has_moved.set()

    def set_ready(self, is_ready: bool) -> None: ...


def test_process_follows_the_next_supervisor_on_the_same_socket_alone(serve, tmp_path):
    server, user = serve(), User()
    paths = [str(tmp_path / "m.sock"), "the socket of another app"]
    client = ModelsSocketClient(lambda: paths.pop(0))
    want = wanted_replicas("where", Options(replicas=1))
    _, tokens_fd = client.want(want, t.cast("t.Any", user))
    os.close(tokens_fd)
    server.process.kill()
    server.process.wait()
    serve()
    assert user.has_moved.wait(PATIENCE_S)
    assert paths == ["the socket of another app"]
    client.release(GivesBack(key=want["key"]))


def test_path_that_is_too_long_for_a_socket_is_refused(spawn, carboy_command, tmp_path):
    (tmp_path / "shop.py").write_text(APP)
    server = spawn(
        *(carboy_command, "models", "serve", "shop:app", "--control", "off"),
        *("--socket", str(tmp_path / ("x" * 120))),
        listens=False,
    )
    assert server.process.wait(PATIENCE_S) == 2
    assert "bytes, a socket's path at most 1" in server.output
    assert "None" not in server.output


def test_folder_of_a_killed_supervisor_stays_while_its_replicas_work(serve, clients, tmp_path):
    server, client = serve(), clients()
    _, replica, _ = client.ask(1)
    links = [os.readlink(fd) for fd in pathlib.Path(f"/proc/{server.process.pid}/fd").iterdir()]
    (folder,) = {pathlib.Path(link) for link in links if "/replicas-" in link}
    server.process.kill()
    server.process.wait()
    serve()
    assert folder.exists() or not os.path.exists(f"/proc/{replica}")
    wait_until(lambda: client.ask(3)[1] != replica)
    wait_until(lambda: not os.path.exists(f"/proc/{replica}"))
    serve("--socket", str(tmp_path / "other.sock"))
    assert not folder.exists()


def test_second_supervisor_of_the_same_socket_is_refused(serve, spawn, carboy_command, tmp_path):
    serve()
    again = spawn(
        *(carboy_command, "models", "serve", "shop:app", "--control", "off"),
        *("--socket", str(tmp_path / "m.sock")),
        listens=False,
    )
    assert again.process.wait(PATIENCE_S) == 2
    assert "another server listens on it" in again.output


def test_garbage_on_the_models_socket_disconnects_its_sender_alone(serve, clients, tmp_path):
    server, client = serve(), clients()
    assert client.ask(1)[0] == "1"
    for noise in (b"hello\n", b'["want", {}]\n', b"\x00" * 100, b"[1]\n", b'["hangs", 7]\n'):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(PATIENCE_S)
            sock.connect(str(tmp_path / "m.sock"))
            sock.sendall(noise)
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(100) == b""
    assert client.ask(2)[0] == "2"
    assert "Traceback" not in server.output
