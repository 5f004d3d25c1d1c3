"""The soak test: many requests of all kinds to a real `carboy serve`, while things go wrong.

    python tests/soak/run.py [--requests 1000000] [--seconds 1800] [--rate 0] ...

Workers are killed by SIGKILL, the server gets SIGHUP, the disk under the log is full for a while,
the log is renamed as by logrotate, clients are slow or leave in the middle, and a thousand
connections are idle. In the last third of the run nothing goes wrong, so that the memory of
processes that live for long can be compared.

Each request has a number, its answer depends on it, and each answer is compared with the expected
one. A request counts as lost if it is not answered, unless a process that may have had it was
killed in that time. Prints a report; exits with 1 if a check fails.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import pathlib
import resource
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

import kinds
import loglines
import processes
from client import Connection
from contents import FILE_BYTES
from faults import Faults, SmallDisk
from report import Result
from tally import Tally
from traffic import CLIENTS, Traffic

HERE = pathlib.Path(__file__).resolve().parent
START_S = 60.0
STOP_S = 60.0
# How long the server has after the load until all connections are closed and a reload has ended.
SETTLE_S = 20.0
# The part of the run in which faults are caused.
FAULTY = 2 / 3
# Descriptors that a worker may have more after the load than a new worker: of libraries that open
# something once, such as a device for random numbers.
SPARE_DESCRIPTORS = 2


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--requests", type=int, default=1_000_000, help="end after so many requests")
    add("--seconds", type=float, default=1800.0, help="end after so many seconds")
    add("--rate", type=float, default=0.0, help="requests a second of steady clients; 0: no limit")
    add("--clients", type=int, default=8, help="steady clients")
    add("--idle", type=int, default=1000, help="idle connections")
    add("--workers", type=int, default=2, help="workers of the server")
    add("--kill-every", type=float, default=20.0, help="seconds between kills of workers; 0: none")
    add("--reload-every", type=float, default=60.0, help="seconds between SIGHUPs; 0: none")
    add("--full-disk-every", type=float, default=45.0, help="seconds between full disks; 0: none")
    add("--sample-every", type=float, default=2.0, help="seconds between samples of memory")
    add("--tls", action="store_true", help="let clients speak HTTPS (needs the command openssl)")
    add("--serve", default="", help="further options of `carboy serve`, as one argument")
    add("--keep", help="a folder for the logs; without it they are removed at the end")
    return parser.parse_args(arguments)


class Server:
    """A running `carboy serve`, with its log on the small disk."""

    def __init__(
        self, folder: pathlib.Path, log: pathlib.Path, options: argparse.Namespace
    ) -> None:
        self.port = _free_port()
        self.output = folder / "output.txt"
        (folder / "sent.bin").write_bytes(FILE_BYTES)
        env = {key: value for key, value in os.environ.items() if not _is_setting(key)}
        env |= {
            "SOAK_FOLDER": str(folder),
            "CARBOY_LOG_FILE": str(log),
            "CARBOY_LOG_MAX_BYTES": "0",
        }
        command = [
            *(sys.executable, "-m", "carboy", "serve", "served:app"),
            *("--port", str(self.port), "--workers", str(options.workers)),
            *("--access-log", "text", *shlex.split(options.serve)),
        ]
        self.tls: ssl.SSLContext | None = None
        if options.tls:
            self.tls, files = make_certificate(folder)
            command += files
        with self.output.open("wb") as out:
            self.process = subprocess.Popen(
                command,
                cwd=HERE,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_until_ready(self, workers: int) -> None:
        end_s = time.monotonic() + START_S
        while processes.listeners(self.port) < workers:
            if self.process.poll() is not None or time.monotonic() > end_s:
                raise SystemExit(f"the server does not start:\n{self.output.read_text()}")
            time.sleep(0.05)

    def write_stacks(self) -> None:
        """Let the workers write the stacks of their threads to the server's output."""
        for pid in processes.children(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGQUIT)

    def stop(self) -> list[str]:
        """Stop the server by SIGTERM; return what is wrong with how it has ended."""
        tree = [self.pid, *processes.children(self.pid)]
        self.process.send_signal(signal.SIGTERM)
        problems = []
        try:
            code = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            problems.append(f"did not end within {STOP_S:g} s")
        else:
            if code:
                problems.append(f"ended with exit code {code}")
        left = [pid for pid in tree if processes.state(pid)]
        if left:
            problems.append(f"processes are left: {left}")
        return problems

    def kill(self) -> None:
        """Kill what is left of the server."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()


def make_certificate(folder: pathlib.Path) -> tuple[ssl.SSLContext, list[str]]:
    """Make a certificate for 127.0.0.1; return a context of clients that trust no other one, and
    the options of the server.
    """
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = [
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext"),
        *("subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)),
    ]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.create_default_context(cafile=str(cert))
    context.check_hostname = False
    return context, ["--tls-cert", str(cert), "--tls-key", str(key)]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _is_setting(name: str) -> bool:
    return name.startswith(("CARBOY_", "FLASK_")) or name in {"HOST", "PORT", "WEB_CONCURRENCY"}


class Soak:
    """One run against one server."""

    def __init__(self, options: argparse.Namespace, folder: pathlib.Path, disk: SmallDisk) -> None:
        self.options, self.disk = options, disk
        self.archive = folder / "archive"
        self.archive.mkdir()
        self.tally = Tally(options.requests + 1, kinds.NAMES, CLIENTS)
        self.server = Server(folder, disk.folder / "soak.log", options)

    def run(self) -> Result:
        options, server, tally = self.options, self.server, self.tally
        server.wait_until_ready(options.workers)
        watch = processes.Watch(server.pid, lambda: tally.count, options.sample_every)
        watch.sample()
        limits = _descriptor_limits(watch)
        faults, traffic = self._faults(), self._traffic()
        tally.began_s = time.monotonic()
        for part in (watch, faults, traffic):
            part.start()
        try:
            calm_s = self._wait_for_the_end(traffic, faults)
        finally:
            traffic.stop()
            took_s = time.monotonic() - tally.began_s
            faults.stop()
            watch.stop()
        unsettled = self._wait_until_settled(limits)
        watch.sample()
        workers = processes.children(server.pid)
        stopped = server.stop()
        lines = self._read_logs()
        return Result(
            options=options,
            tally=tally,
            took_s=took_s,
            calm_s=calm_s,
            watch=watch,
            workers=workers,
            errors=traffic.errors + faults.errors,
            left_out=f"a full disk under the log ({self.disk.reason})" if self.disk.reason else "",
            unsettled=unsettled,
            stopped=stopped,
            lines=lines,
        )

    def _faults(self) -> Faults:
        options = self.options
        return Faults(
            self.server.pid,
            self.server.port,
            self.tally,
            self.disk,
            self.archive,
            workers=options.workers,
            kill_s=options.kill_every,
            reload_s=options.reload_every,
            full_s=options.full_disk_every,
        )

    def _traffic(self) -> Traffic:
        options = self.options
        return Traffic(
            functools.partial(Connection, self.server.port, self.server.tls),
            self.tally,
            rate=options.rate,
            steady=options.clients,
            idle_count=options.idle,
        )

    def _wait_for_the_end(self, traffic: Traffic, faults: Faults) -> float:
        """Wait until enough requests or seconds have passed; return when the faults ended."""
        options, tally = self.options, self.tally
        calm_s = 0.0
        while not traffic.stopping.wait(0.2):
            elapsed_s = time.monotonic() - tally.began_s
            share = max(elapsed_s / options.seconds, tally.count / options.requests)
            if not calm_s and share >= FAULTY:
                faults.calm()
                calm_s = time.monotonic()
            if share >= 1 or self.server.process.poll() is not None:
                break
        return calm_s or time.monotonic()

    def _wait_until_settled(self, limits: tuple[int, int]) -> list[str]:
        """Wait until a reload that was in progress has ended, and no process has more descriptors
        than when it was new. Return what is not so after a while.
        """
        end_s = time.monotonic() + SETTLE_S
        while (problems := self._unsettled(limits)) and time.monotonic() < end_s:
            time.sleep(0.1)
        if problems:
            self.server.write_stacks()
        return problems

    def _unsettled(self, limits: tuple[int, int]) -> list[str]:
        of_supervisor, of_worker = limits
        workers = processes.children(self.server.pid)
        allowed = dict.fromkeys(workers, of_worker + SPARE_DESCRIPTORS)
        allowed[self.server.pid] = of_supervisor
        problems = [
            f"process {pid}: {count} descriptors, limit {limit}"
            for pid, limit in allowed.items()
            if (count := processes.descriptors(pid)) > limit
        ]
        if len(workers) != self.options.workers:
            problems.append(f"{len(workers)} workers, not {self.options.workers}")
        return problems

    def _read_logs(self) -> loglines.Lines:
        lines = loglines.Lines(self.tally.most)
        for path in (*self.archive.iterdir(), *self.disk.folder.iterdir(), self.server.output):
            lines.read(path)
        return lines


def _descriptor_limits(watch: processes.Watch) -> tuple[int, int]:
    """Return the descriptors that the supervisor and a new worker have without a connection."""
    counts = {pid: each.samples[0].descriptors for pid, each in watch.histories.items()}
    supervisor = counts.pop(watch.supervisor)
    return supervisor, max(counts.values())


def allow_descriptors(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    allow_descriptors(options.idle + 500)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="soak-"))
    disk = SmallDisk(folder / "disk")
    soak = None
    try:
        soak = Soak(options, folder, disk)
        result = soak.run()
        print(result.text())
        return 1 if result.problems else 0
    finally:
        if soak is not None:
            soak.server.kill()
        if options.keep:
            shutil.copytree(folder, options.keep, dirs_exist_ok=True)
        disk.close()
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
