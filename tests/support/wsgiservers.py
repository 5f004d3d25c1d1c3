"""Start other WSGI servers for the app of the tests, each as its users start it."""

from __future__ import annotations

import os
import pathlib
import signal
import sys
import typing as t

import deployedapp
import pytest
import spawning

ROOT = pathlib.Path(__file__).resolve().parents[2]
_VENVS = ROOT / ".cache" / "venvs" / "{}.{}".format(*sys.version_info)
# Environments that `scripts/bootstrap.py servers` makes.
BIN = _VENVS / "servers" / "bin"
DEBIAN_BIN = _VENVS / "debian" / "bin"


def program(name: str) -> str:
    """Return the path of a server in the environment of servers, or skip the test."""
    path = BIN / name
    if not path.exists():
        pytest.skip(_MISSING)
    return str(path)


_MISSING = "the WSGI servers are not installed: run `make test-servers`"


class Server(t.NamedTuple):
    """A WSGI server, and how it is used.

    Attributes:
        command: the command line; `{port}` stands for the port.
        differs: requests that this server answers in another way than `carboy serve`, with the
            reasons. docs/howto/other-servers.md has them for users.
        stops_on: the signal by which the server stops.
        exit_code: what it then ends with.
    """

    command: list[str]
    differs: dict[str, str] = {}
    stops_on: signal.Signals = signal.SIGTERM
    exit_code: int = 0


# Without this, a client may lose a response that is sent before the body was read.
UWSGI_BODIES = ("--post-buffering", "65536")
_UNTOLD = "the server ends the body as if it were complete"
_UWSGI = {
    "chunked body": "uWSGI does not decode it, and the app gets an empty body",
    "stream that fails": _UNTOLD,
}
# bjoern has no command, and its documentation starts it by such a program.
_BJOERN = """
import bjoern
from app import app
try:
    bjoern.run(app, "127.0.0.1", {port})
except KeyboardInterrupt:
    pass
"""


def servers() -> dict[str, Server]:
    """Return the servers, as the tests start them in the folder of the project."""
    at = "127.0.0.1:{port}"
    two = ["--workers", "2"]
    return {
        "gunicorn sync": Server([str(BIN / "gunicorn"), "app:app", "-b", at, *two]),
        "gunicorn gthread": Server(
            [str(BIN / "gunicorn"), "app:app", "-b", at, *two, "--threads", "4"]
        ),
        "gunicorn --preload": Server(
            [str(BIN / "gunicorn"), "app:app", "-b", at, *two, "--threads", "4", "--preload"]
        ),
        "uWSGI http": Server(
            [
                *(str(BIN / "uwsgi"), "--http", at, "--module", "app:app", "--master"),
                *("--processes", "2", "--threads", "4", "--enable-threads", "--die-on-term"),
                *UWSGI_BODIES,
            ],
            _UWSGI,
        ),
        "cheroot": Server(
            [str(BIN / "cheroot"), "app:app", "--bind", at],
            {"encoded slash in a path": "cheroot leaves `%2F` as it is"},
            stops_on=signal.SIGINT,
            exit_code=-signal.SIGINT,
        ),
        "waitress": Server(
            [str(BIN / "waitress-serve"), "--listen", at, "app:app"],
            {"chunked body": "waitress decodes it first, and the app sees its length"},
            stops_on=signal.SIGINT,
        ),
        "bjoern": Server(
            [str(BIN / "python"), "-c", _BJOERN],
            {"stream that fails": _UNTOLD},
            stops_on=signal.SIGINT,
        ),
    }  # fmt: skip


def uwsgi_behind_nginx() -> Server:
    """Return uWSGI as nginx connects to it by `uwsgi_pass`; a test starts both."""
    more = {"empty body": "the content type of a request without one is an empty text"}
    return Server([str(BIN / "uwsgi"), "uwsgi.ini"], _UWSGI | more)


def start(
    server: Server,
    project: pathlib.Path,
    log: pathlib.Path,
    port: int | None = None,
    env: t.Mapping[str, str] | None = None,
) -> spawning.Program:
    """Start a server in the project's folder, and wait until it listens."""
    if not os.path.exists(server.command[0]):
        pytest.skip(_MISSING)
    port = port or spawning.free_port()
    started = spawning.start(
        [part.replace("{port}", str(port)) for part in server.command],
        log=log,
        port=port,
        cwd=project,
        # cheroot finds modules of the current folder only in this way
        env={"PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1", **(env or {})},
    )
    try:
        started.wait_until_it_listens()
    except BaseException:
        started.stop(signal.SIGKILL)
        raise
    return started


def unexpected_differences(
    server: Server,
    reference: dict[str, deployedapp.Answer],
    answers: dict[str, deployedapp.Answer],
) -> dict[str, str]:
    """Return what a server answers in another way than `carboy serve`, and no reason is known; and
    the known differences that no longer exist.
    """
    found = deployedapp.differences(reference, answers)
    gone = {name: "no longer differs" for name in server.differs if name not in found}
    return {name: text for name, text in found.items() if name not in server.differs} | gone
