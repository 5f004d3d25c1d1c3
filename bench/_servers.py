"""Start each peer's real server on a free port of the loopback, wait until it responds, stop it.

A server is its own process group, so that exactly its own workers end with it.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import dataclasses
import http.client
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

import _baseline

HERE = pathlib.Path(__file__).parent
BASELINE_PYTHON = _baseline.ROOT / ".cache" / "venvs" / "bench-baseline" / "bin" / "python"
START_S = 30.0
STOP_S = 5.0


@dataclasses.dataclass(frozen=True)
class Kind:
    """How a peer is started. PORT, WORKERS and THREADS in the command stand for the numbers."""

    name: str
    command: tuple[str, ...]
    needs: str = ""
    """The module without which this peer is skipped."""
    python: str = sys.executable
    env: cabc.Mapping[str, str] = dataclasses.field(default_factory=dict)
    tls: bool = False


GRANIAN = (
    "-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", "PORT",
    "--workers", "WORKERS", "--blocking-threads", "THREADS", "--no-ws", "--log-level", "warning",
)  # fmt: skip
# gunicorn's documentation: threads for one core's worth of blocking work, keep-alive longer than
# the proxy's; the C parser is installed by gunicorn[fast] and found automatically.
GUNICORN = (
    "-m", "gunicorn", "--bind", "127.0.0.1:PORT", "--workers", "WORKERS",
    "--worker-class", "gthread", "--threads", "THREADS", "--keep-alive", "30",
    "--no-control-socket", "--log-level", "warning",
)  # fmt: skip
UVICORN = (
    "-m", "uvicorn", "--host", "127.0.0.1", "--port", "PORT", "--workers", "WORKERS",
    "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning",
)  # fmt: skip

KINDS: tuple[Kind, ...] = (
    Kind("bare WSGI on granian", (*GRANIAN, "apps.bare_app:app"), "granian"),
    Kind(
        "carboy serve",
        ("-m", "carboy", "--app", "apps.carboy_app:app", "serve", "--host", "127.0.0.1",
         "--port", "PORT", "--workers", "WORKERS", "--threads", "THREADS"),
        "carboy.serving.process.command",
    ),
    Kind(
        _baseline.NAME,
        ("-m", "carboy", "--app", "apps.carboy_app:app", "serve", "--host", "127.0.0.1",
         "--port", "PORT", "--workers", "WORKERS", "--threads", "THREADS"),
        python=str(BASELINE_PYTHON),
    ),
    Kind("carboy on granian", (*GRANIAN, "apps.carboy_app:app"), "carboy"),
    Kind("Flask on granian", (*GRANIAN, "apps.flask_app:app"), "flask"),
    Kind("Flask on gunicorn", (*GUNICORN, "apps.flask_app:app"), "gunicorn"),
    Kind("Falcon on granian", (*GRANIAN, "apps.falcon_app:app"), "falcon"),
    Kind("FastAPI on uvicorn", (*UVICORN, "apps.fastapi_app:app"), "fastapi"),
    Kind("BlackSheep on uvicorn", (*UVICORN, "apps.blacksheep_app:app"), "blacksheep"),
    Kind("Robyn", ("-m", "apps.robyn_app", "PORT", "THREADS"), "robyn"),
)  # fmt: skip
BY_NAME = {kind.name: kind for kind in KINDS}


class Server:
    """A running peer."""

    def __init__(self, kind: Kind, *, threads: int, workers: int = 1) -> None:
        self.name = kind.name
        self.tls = kind.tls
        self.port = free_port()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        words = {"PORT": str(self.port), "THREADS": str(threads), "WORKERS": str(workers)}
        command = [words.get(word, word.replace("PORT", words["PORT"])) for word in kind.command]
        env = {**os.environ, "PYTHONPATH": str(HERE), "PYTHONUNBUFFERED": "1"}
        env |= {k: v.replace("PORT", words["PORT"]) for k, v in kind.env.items()}
        self.process = subprocess.Popen(
            [kind.python, *command], cwd=HERE, env=env, stdin=subprocess.DEVNULL,
            stdout=self._log, stderr=self._log, start_new_session=True,
        )  # fmt: skip

    def wait(self, every_s: float = 0.05) -> None:
        """Return when the server responds, or raise with its output."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = self._connection()
                connection.request("GET", "/")
                connection.getresponse().read()
                connection.close()
                return
            time.sleep(every_s)
        raise RuntimeError(f"{self.name} does not answer on port {self.port}:\n{self.printed()}")

    def _connection(self) -> http.client.HTTPConnection:
        if not self.tls:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        context = ssl._create_unverified_context()  # the certificate is one of this run
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=5, context=context)

    def printed(self) -> str:
        """Return the end of the server's output."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-2000:]

    def pids(self) -> list[int]:
        """Return the ids of the server's process and all below it."""
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    todo += map(int, children.read_text().split())
        return found

    def freeze(self) -> None:
        """Stop the whole process tree until `thaw`, so that it uses no CPU time in another's
        turn.
        """
        self._signal(signal.SIGSTOP, self.pids())

    def thaw(self) -> None:
        self._signal(signal.SIGCONT, reversed(self.pids()))

    def cpu_s(self) -> float:
        """Return the CPU time that the whole process tree has used."""
        ticks = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    @staticmethod
    def _signal(number: signal.Signals, pids: cabc.Iterable[int]) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def stop(self) -> None:
        """Send SIGTERM, and later SIGKILL, to the process group and tree that this object
        started.
        """
        tree = {pid: _started(pid) for pid in self.pids()}
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            # Processes that created their own group and have not been replaced by another process.
            left = [pid for pid, at in tree.items() if at is not None and _started(pid) == at]
            self._signal(signal.SIGKILL, left)
            self.process.wait()
            self._log.close()


def _started(pid: int) -> str | None:
    """Return when a process began, which with its id identifies it. None if it has ended."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def confined(cpus: set[int]) -> cabc.Iterator[None]:
    """Let the processes that are started meanwhile run on these CPUs only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def running(
    kinds: cabc.Iterable[Kind], *, threads: int, workers: int = 1
) -> cabc.Iterator[dict[str, Server]]:
    """Run all peers at once; peers that do not start are reported and skipped."""
    servers: dict[str, Server] = {}
    try:
        for kind in kinds:
            servers[kind.name] = Server(kind, threads=threads, workers=workers)
        for name, server in list(servers.items()):
            try:
                server.wait()
            except RuntimeError as failed:
                print(f"left out: {failed}")
                servers.pop(name).stop()
        yield servers
    finally:
        for server in servers.values():
            server.stop()
