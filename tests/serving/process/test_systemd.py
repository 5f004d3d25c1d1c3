"""Messages to systemd, received by a socket of the test."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import resource
import signal
import socket
import time
import typing as t

import pytest
from polling import wait_until

from carboy.errors import ConfigError
from carboy.serving.process.systemd import RETRY_S, SystemdNotifier

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
def make_notifier() -> cabc.Iterator[cabc.Callable[[dict[str, str]], SystemdNotifier]]:
    with contextlib.ExitStack() as at_end:

        def make(environ: dict[str, str]) -> SystemdNotifier:
            notifier = SystemdNotifier(environ)
            at_end.callback(notifier.close)
            return notifier

        yield make


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


def test_without_systemd_nothing_is_sent_and_no_sign_is_due(make_notifier):
    notifier = make_notifier({"WATCHDOG_USEC": "1000"})
    notifier.say_ready()
    assert notifier.sign_at_s is None


def test_abstract_socket_is_used(tmp_path, make_notifier):
    name = f"carboy-{os.getpid()}"
    systemd = Systemd(f"\0{name}")
    with systemd.socket:
        make_notifier({"NOTIFY_SOCKET": f"@{name}"}).say_ready()
        assert systemd.has("READY=1")


def test_status_is_sent_when_it_changes(systemd, tmp_path, make_notifier):
    notifier = make_notifier({"NOTIFY_SOCKET": f"{tmp_path}/notify"})
    for text in ("a", "a", "b"):
        notifier.say_status(text)
    assert systemd.has("STATUS=b")
    assert systemd.messages == ["STATUS=a", "STATUS=b"]


def test_sign_of_life_is_sent_when_it_is_due(systemd, tmp_path, make_notifier):
    environ = {"NOTIFY_SOCKET": f"{tmp_path}/notify", "WATCHDOG_USEC": "3000000"}
    environ["WATCHDOG_PID"] = str(os.getpid())
    notifier = make_notifier(environ)
    start_s = t.cast("float", notifier.sign_at_s)
    for passed_s in (0, 0.5, 0.99, 1.01, 1.5):
        notifier.say_alive(start_s + passed_s)
    assert systemd.has("WATCHDOG=1", "WATCHDOG=1")
    assert len(systemd.messages) == 2


def test_socket_that_is_gone_is_logged_once(tmp_path, caplog, make_notifier):
    notifier = make_notifier({"NOTIFY_SOCKET": f"{tmp_path}/notify"})
    with caplog.at_level("ERROR", "carboy.serving"):
        notifier.say_ready()
        notifier.say_stopping()
    (record,) = caplog.records
    assert "cannot tell systemd what the server does" in record.getMessage()


def filled(systemd: Systemd) -> None:
    """Fill the queue of messages that systemd has not read, so that it takes none of anybody."""
    while _send_all(systemd.socket.getsockname()):  # each sender has a limit of its own
        pass


def _send_all(address: str) -> int:
    """Send messages by a new socket until that fails; return how many were sent."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        for sent in itertools.count():
            try:
                sender.sendto(b"X=1", address)
            except BlockingIOError:
                return sent
    raise AssertionError


FAILURES = ["EAGAIN", "ENOBUFS", "ENOMEM"]


@pytest.fixture(params=FAILURES)
def busy(request, systemd, monkeypatch) -> cabc.Iterator[cabc.Callable[[], None]]:
    """Until the function is called, no message can be sent."""
    if request.param == "EAGAIN":
        filled(systemd)
        yield systemd._receive
        return

    class Full(socket.socket):
        def sendto(self, *args: object) -> t.NoReturn:  # type: ignore[override]
            raise OSError(getattr(errno, request.param), "full")

    monkeypatch.setattr("carboy.serving.process.systemd.socket.socket", Full)
    yield lambda: delattr(Full, "sendto")


def test_message_that_fails_for_a_moment_is_sent_again(
    busy, systemd, tmp_path, caplog, make_notifier
):
    notifier = make_notifier({"NOTIFY_SOCKET": f"{tmp_path}/notify", "WATCHDOG_USEC": "3000000"})
    now_s = t.cast("float", notifier.sign_at_s)
    for _ in range(2):
        notifier.say_status("one")
        notifier.say_ready()
        notifier.say_reloading()
        notifier.say_alive(now_s)
    assert len(caplog.records) <= 1  # at the first failure, unless systemd is busy
    busy()
    systemd.messages.clear()
    notifier.say_status("one")
    due_s = t.cast("float", notifier.due_s)
    assert due_s <= time.monotonic() + RETRY_S
    notifier.say_alive(due_s)
    assert systemd.has("STATUS=one", "READY=1", "RELOADING=1", "READY=1", "RELOADING=1")
    notifier.say_alive(now_s + 1)
    assert systemd.has("WATCHDOG=1")


def test_messages_go_on_without_descriptors(systemd, tmp_path, make_notifier):
    notifier = make_notifier({"NOTIFY_SOCKET": f"{tmp_path}/notify", "WATCHDOG_USEC": "3000000"})
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        notifier.say_ready()
        notifier.say_alive(time.monotonic())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert systemd.has("READY=1", "WATCHDOG=1")


def test_server_that_stops_is_not_said_to_be_ready_any_more(systemd, tmp_path, make_notifier):
    notifier = make_notifier({"NOTIFY_SOCKET": f"{tmp_path}/notify"})
    filled(systemd)
    notifier.say_ready()
    systemd._receive()
    notifier.say_stopping()
    assert notifier.due_s is None
    notifier.say_alive(time.monotonic() + RETRY_S)
    assert systemd.has("STOPPING=1")
    assert "READY=1" not in systemd.messages


def test_message_is_sent_again_without_the_loop_of_a_supervisor(systemd, tmp_path, make_notifier):
    notifier = make_notifier({"NOTIFY_SOCKET": f"{tmp_path}/notify"})
    filled(systemd)
    notifier.say_ready()
    notifier.keep_alive(lambda function: function())
    wait_until(lambda: systemd.has("READY=1"))


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
