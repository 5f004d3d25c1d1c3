"""Messages to systemd, received by a socket of the test."""

from __future__ import annotations

import os
import signal
import socket
import time
import typing as t

import pytest
from polling import wait_until

from carboy.errors import ConfigError
from carboy.serving.process.systemd import SystemdNotifier

if t.TYPE_CHECKING:
    import collections.abc as cabc
    import pathlib

APP = """
import os
from carboy import Carboy

app = Carboy(__name__)

@app.get("/environ")
def environ():
    return {name: value for name, value in os.environ.items() if "NOTIFY" in name}
"""


class Systemd:
    """The receiving end of NOTIFY_SOCKET.

    Attributes:
        messages: the lines of all messages, in their order.
    """

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)
        self.messages: list[str] = []

    def has(self, *messages: str) -> bool:
        """Return whether these messages were received, in this order."""
        self._receive()
        found = iter(self.messages)
        return all(message in found for message in messages)

    def _receive(self) -> None:
        try:
            while True:
                self.messages += self.socket.recv(4096).decode().split("\n")
        except BlockingIOError:
            pass


@pytest.fixture
def systemd(tmp_path: pathlib.Path) -> cabc.Iterator[Systemd]:
    systemd = Systemd(f"{tmp_path}/notify")
    yield systemd
    systemd.socket.close()


@pytest.fixture
def hangup_is_not_ignored() -> cabc.Iterator[None]:
    before = signal.signal(signal.SIGHUP, lambda *_: None)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.integration
def test_systemd_is_told_of_start_reload_and_stop(
    spawn, carboy_command, tmp_path, systemd, hangup_is_not_ignored
):
    (tmp_path / "shop.py").write_text(APP)
    began_us = time.monotonic_ns() // 1000
    words = ("serve", "shop:app", "--port", "{port}", "--workers", "1", "--drain", "0.1")
    environ = {"NOTIFY_SOCKET": f"{tmp_path}/notify", "WATCHDOG_USEC": "600000"}
    server = spawn(carboy_command, *words, env=environ)
    wait_until(lambda: systemd.has("STATUS=loading shop:app", "READY=1", "WATCHDOG=1"))
    wait_until(lambda: systemd.has("STATUS=1 of 1 workers are ready", "WATCHDOG=1", "WATCHDOG=1"))
    systemd.messages.clear()
    (tmp_path / "shop.py").write_text("import nothing_of_this_name\n")
    server.process.send_signal(signal.SIGHUP)
    status = "STATUS=1 of 1 workers are ready; the last reload has failed, see the log"
    wait_until(lambda: systemd.has("RELOADING=1", "READY=1", status))
    (reloaded,) = (line for line in systemd.messages if line.startswith("MONOTONIC_USEC="))
    now_us = time.monotonic_ns() // 1000
    assert began_us < int(reloaded.partition("=")[2]) < now_us
    systemd.messages.clear()
    assert server.stop() == 0
    assert systemd.has("STOPPING=1")
    assert "READY=1" not in systemd.messages


@pytest.mark.integration
def test_workers_do_not_inherit_the_socket(spawn, carboy_command, tmp_path, systemd):
    """A program that the app starts must not tell systemd that the service is ready."""
    (tmp_path / "shop.py").write_text(APP)
    words = ("serve", "shop:app", "--port", "{port}", "--workers", "1")
    server = spawn(carboy_command, *words, env={"NOTIFY_SOCKET": f"{tmp_path}/notify"})
    import requests

    assert requests.get(f"{server.url}/environ", timeout=30).json() == {}


@pytest.mark.integration
def test_systemd_is_told_by_a_server_without_workers(spawn, tmp_path, systemd, free_port):
    import sys

    program = f"{APP}\napp.serve(workers=0, port={free_port})\n"
    (tmp_path / "shop.py").write_text(program)
    environ = {"NOTIFY_SOCKET": f"{tmp_path}/notify", "WATCHDOG_USEC": "600000"}
    server = spawn(sys.executable, "shop.py", env=environ)
    wait_until(lambda: systemd.has("READY=1", "WATCHDOG=1", "WATCHDOG=1"))
    assert server.stop() == 0
    assert systemd.has("STOPPING=1")


@pytest.mark.integration
def test_watchdog_that_ends_the_server_finds_out_where_it_hangs(
    spawn, carboy_command, tmp_path, systemd
):
    (tmp_path / "shop.py").write_text(APP)
    words = ("serve", "shop:app", "--port", "{port}", "--workers", "1")
    environ = {"NOTIFY_SOCKET": f"{tmp_path}/notify", "WATCHDOG_USEC": "60000000"}
    server = spawn(carboy_command, *words, env=environ)
    server.stop(signal.SIGABRT)
    assert "Fatal Python error: Aborted" in server.output
    assert "supervisor.py" in server.output


def test_without_systemd_nothing_is_sent_and_no_sign_is_due():
    notifier = SystemdNotifier({"WATCHDOG_USEC": "1000"})
    notifier.say_ready()
    assert notifier.sign_at_s is None


def test_abstract_socket_is_used(tmp_path):
    name = f"carboy-{os.getpid()}"
    systemd = Systemd(f"\0{name}")
    with systemd.socket:
        SystemdNotifier({"NOTIFY_SOCKET": f"@{name}"}).say_ready()
        assert systemd.has("READY=1")


def test_status_is_sent_when_it_changes(systemd, tmp_path):
    notifier = SystemdNotifier({"NOTIFY_SOCKET": f"{tmp_path}/notify"})
    for text in ("a", "a", "b"):
        notifier.say_status(text)
    assert systemd.has("STATUS=b")
    assert systemd.messages == ["STATUS=a", "STATUS=b"]


def test_sign_of_life_is_sent_when_it_is_due(systemd, tmp_path):
    environ = {"NOTIFY_SOCKET": f"{tmp_path}/notify", "WATCHDOG_USEC": "3000000"}
    environ["WATCHDOG_PID"] = str(os.getpid())
    notifier = SystemdNotifier(environ)
    start_s = t.cast("float", notifier.sign_at_s)
    for passed_s in (0, 0.5, 0.99, 1.01, 1.5):
        notifier.say_alive(start_s + passed_s)
    assert systemd.has("WATCHDOG=1", "WATCHDOG=1")
    assert len(systemd.messages) == 2


def test_socket_that_is_gone_is_logged_once(tmp_path, caplog):
    notifier = SystemdNotifier({"NOTIFY_SOCKET": f"{tmp_path}/notify"})
    with caplog.at_level("ERROR", "carboy.serving"):
        notifier.say_ready()
        notifier.say_stopping()
    (record,) = caplog.records
    assert "cannot tell systemd what the server does" in record.getMessage()


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"NOTIFY_SOCKET": "notify"}, "the absolute path of a socket"),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "soon"}, "a number of microseconds"),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "0"}, "at least 1"),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}, "the process 1"),
    ],
)
def test_wrong_variable_is_refused(environ, words):
    with pytest.raises(ConfigError, match=words):
        SystemdNotifier(environ)
