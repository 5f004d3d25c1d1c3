"""Programs that a test starts, waits for, and stops."""

from __future__ import annotations

import atexit
import collections
import contextlib
import dataclasses
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import typing as t

from polling import wait_until

# How long a server may take from its start to its open port on a busy machine with two cores.
START_S = 30.0
# How long a program may take to exit after SIGTERM.
STOP_S = 15.0
# Half a second of `--drain` after each test that serves would be minutes of waiting. Tests with
# clients that connect while a server stops give the option.
DEFAULTS = {"PYTHONUNBUFFERED": "1", "CARBOY_SERVE_DRAIN_S": "0.05"}


# The sockets of `free_port`, which keep the latest ports from being given out again.
_reserved: collections.deque[socket.socket] = collections.deque(maxlen=64)
atexit.register(lambda: [each.close() for each in _reserved])


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is reserved for a server of the test.

    Nobody else gets the port in the meantime: neither another call, in this process or another, nor
    an outgoing connection. Linux looks at the options of a socket at the time of the other's
    `bind`, so a socket that is bound without options and gets them later excludes all but servers,
    which set one of them. Elsewhere the port is only free at the moment.
    """
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    port = t.cast("int", sock.getsockname()[1])
    if sys.platform != "linux":
        sock.close()
        return port
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if len(_reserved) == _reserved.maxlen:
        _reserved.popleft().close()
    _reserved.append(sock)
    return port


def can_connect(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=5):
        return True
    return False


def script(name: str) -> str:
    """Return the path of a console script of the environment that runs the tests."""
    return os.path.join(os.path.dirname(sys.executable), name)


@dataclasses.dataclass
class Program:
    """A running program, its port, and its output."""

    process: subprocess.Popen[bytes]
    port: int
    log: pathlib.Path
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_until_it_listens(self, within_s: float = START_S) -> None:
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode}:\n{self.output}")
            if can_connect(self.host, self.port):
                return
            time.sleep(0.02)  # the kernel offers no event to wait for
        raise AssertionError(f"does not listen after {within_s} s:\n{self.output}")

    def wait_until_it_prints(self, text: str, within_s: float = START_S) -> None:
        until = time.monotonic() + within_s
        while text not in self.output:
            if self.process.poll() is not None and text not in self.output:
                raise AssertionError(f"ended with {self.process.returncode}:\n{self.output}")
            if time.monotonic() > until:
                raise AssertionError(f"no {text!r} after {within_s} s:\n{self.output}")
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Stop the program and its children, and return its exit status."""
        if self.process.poll() is None:
            os.kill(self.pid, how)
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"still there {STOP_S} s after {how.name}:\n{self.output}"
            ) from None
        finally:
            # Kill remaining children: the program is the leader of its own process group.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def suspend(pid: int) -> None:
    """Stop a process by SIGSTOP, and wait until all of its threads have stopped: on a busy machine,
    they go on for a moment after the signal.
    """
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: _states_of_threads(pid) == {"T"})


def is_asleep(pid: int) -> bool:
    """Whether no thread of a process runs."""
    return _states_of_threads(pid) == {"S"}


def _states_of_threads(pid: int) -> set[str]:
    """Return the states of a process's threads as letters. Source: proc_pid_stat(5)"""
    states = set()
    for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            states.add((thread / "stat").read_text().rpartition(") ")[2][0])
    return states


def start(
    command: t.Sequence[str | os.PathLike[str]],
    *,
    log: pathlib.Path,
    port: int,
    cwd: str | os.PathLike[str] | None = None,
    env: t.Mapping[str, str] | None = None,
    pass_fds: t.Sequence[int] = (),
    preexec_fn: t.Callable[[], object] | None = None,
) -> Program:
    """Start a program in its own process group, with its output in `log`."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [os.fspath(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env={**os.environ, **DEFAULTS, **(env or {})},
            start_new_session=True,
            pass_fds=pass_fds,
            preexec_fn=preexec_fn,  # noqa: PLW1509  # no other way to start it in a group
        )
    return Program(process, port, log)


def serve(folder: pathlib.Path, name: str, text: str, *options: str) -> Program:
    """Write an app into a folder, serve it with one worker of `carboy serve`, and wait until it is
    ready.
    """
    (folder / f"{name}.py").write_text(text)
    port = free_port()
    program = start(
        [
            *(script("carboy"), "--app", f"{name}:app", "serve"),
            *("--port", str(port), "--workers", "1", *options),
        ],
        log=folder / "program.log",
        port=port,
        cwd=folder,
    )
    try:
        program.wait_until_it_prints(f"serving {name}:app")
    except BaseException:
        program.stop()
        raise
    return program
