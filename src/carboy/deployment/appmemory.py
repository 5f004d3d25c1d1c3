"""Measure how much memory an app takes, by starting the server once."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import typing as t

from ..core.processmemory import memory_of
from ..errors import ControlClientError, DeploymentError
from ..serving.management.controlclient import ControlClient
from ..serving.process.capacity import Measurement
from ..serving.settings import SETTINGS

# How often the server is asked whether it has loaded the app, in seconds.
_PAUSE_S = 0.1
# The variables that are not passed on to the server: those of hosting platforms that set its
# options, because the measurement sets other ones, and those by which systemd passes sockets and
# expects messages.
_NOT_PASSED = {name for setting in SETTINGS for name in setting.platforms} | {
    *("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"),
    *("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"),
}
# The server's own variables are passed on as empty texts, because .env may set those that are
# missing.
_EMPTY = {
    name: "" for setting in SETTINGS for name in setting.variables if name not in setting.platforms
}
# Starts Python with the arguments of this program, so that it gets SIGTERM when its parent ends,
# even by SIGKILL (PR_SET_PDEATHSIG, prctl(2)). Otherwise the server would go on, and nobody would
# know of it.
_END_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def measure_app(target: str | None) -> Measurement:
    """Start a server with one worker in the current folder, wait until it has loaded the app and
    its models, and measure its processes. It listens on a private Unix socket.

    Args:
        target: the app as the user has named it; None to let the server find it.

    Raises:
        DeploymentError: the app cannot be started; or the system does not tell how much memory a
            process has.
    """
    if memory_of(os.getpid()) is None:
        raise DeploymentError("This system does not tell how much memory the app takes.")
    with tempfile.TemporaryDirectory(prefix="carboy-") as folder, _start(target, folder) as server:
        try:
            control = ControlClient(os.path.join(folder, "control.sock"))
            status = _wait_until_ready(server, control, folder)
            worker = memory_of(status["processes"][0]["pid"])
            found = (memory_of(each["pid"]) for each in status["replicas"] if each["pid"])
            replicas = [each for each in found if each is not None]
            models = status["capacity"]["models"]
            return Measurement(worker, memory_of(server.pid), models, replicas)
        finally:
            server.terminate()


def _start(target: str | None, folder: str) -> subprocess.Popen[bytes]:
    chosen = [] if target is None else ["--app", target]
    options = {
        "--bind": f"unix:{os.path.join(folder, 'app.sock')}",
        "--control": os.path.join(folder, "control.sock"),
        "--workers": "1",
        "--memory-limit": "0",
        "--drain": "0",
    }
    command = [sys.executable, "-c", _END_WITH_PARENT, "-m", "carboy", *chosen, "serve"]
    with open(_log(folder), "wb") as log:
        return subprocess.Popen(  # noqa: S603 - the running Python, and the app of the user
            [*command, *(word for option in options.items() for word in option)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={
                **{name: each for name, each in os.environ.items() if name not in _NOT_PASSED},
                **_EMPTY,
            },
        )


def _log(folder: str) -> str:
    return os.path.join(folder, "server.log")


def _wait_until_ready(
    server: subprocess.Popen[bytes], control: ControlClient, folder: str
) -> dict[str, t.Any]:
    """Return the status of the server as soon as it has loaded the app."""
    while server.poll() is None:
        try:
            status = control.request("status")
        except ControlClientError:  # the control socket is not there yet
            status = {}
        if status.get("serving"):
            return status
        time.sleep(_PAUSE_S)
    with open(_log(folder), encoding="utf-8", errors="replace") as log:
        printed = log.read().strip().splitlines() or ["it has printed nothing"]
    raise DeploymentError(
        f"The app cannot be started to measure its memory: {printed[-1]} ('carboy serve' shows the"
        " whole error.)"
    )
