"""How fast probes are answered while a server does all it can: every thread of every worker runs a
view, every queue is full, and every model computes.

    python bench/probes.py [--quick] [--workers 2] [--probes 2000] [--seconds 120]

There are two loads: views that wait and a model in native code that gives up the GIL, and views and
a model that compute in Python. The target is 100 ms (p99) for each kind of probe. The first row is
a bare process that answers on a socket and does nothing else: its delay is that of the machine.
"""

from __future__ import annotations

import http.client
import multiprocessing
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import typing as t

import _measure
import _results

TARGET_MS = 100.0
BARE = "bare process"
# A value of a row is that of so many probes: the 99th percentile of each part of all.
PARTS = 5
THREADS = 8
QUEUE = 16
APP = f"""\
import hashlib
import time

from carboy import Carboy

app = Carboy(__name__)


def spin(seconds):
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


@app.get("/busy")
def busy():
    spin(0.5)
    return "done"


@app.get("/wait")
def wait():
    time.sleep(0.5)
    return "done"


@app.model("/python", batch=4, queue={QUEUE}, deadline_s=None)
def python(x: list[int]) -> list[int]:
    spin(0.2)
    return x


@app.model("/native", queue={QUEUE}, deadline_s=None)
def native(x: int) -> int:
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 500_000)
    return x
"""


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def load(port: int, workers: int, view: str, models: tuple[str, ...]) -> None:
    """Keep all threads of a server busy, and all its queues full, until this process is killed."""
    kinds = [("GET", view, 2 * THREADS), *(("POST", path, 2 * QUEUE) for path in models)]
    for method, path, clients in kinds:
        for _ in range(clients * workers):
            threading.Thread(target=ask_always, args=(port, method, path)).start()


def ask_always(port: int, method: str, path: str) -> None:
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        try:
            body = "1" if method == "POST" else None
            connection.request(method, path, body, {"Content-Type": "application/json"})
            if connection.getresponse().status == 503:
                time.sleep(0.5)  # the queue is full: leave the processors to the server
        except OSError:
            time.sleep(0.1)
        finally:
            connection.close()


# What the server does, the URL of the view, and those of the models.
LOADS = (
    ("views wait, models compute natively", "/wait", ("/native",)),
    ("views and models compute in Python", "/busy", ("/python", "/native")),
)


def answer_barely(listener: socket.socket) -> None:
    """Answer each connection with an empty response, until this process is killed."""
    while True:
        client, _ = listener.accept()
        with client:
            client.recv(4096)
            client.sendall(b"HTTP/1.0 200 OK\r\n\r\n")


def probe_ms(connect: t.Callable[[], http.client.HTTPConnection], path: str) -> tuple[float, int]:
    connection = connect()
    began_s = time.perf_counter()
    connection.request("GET", path)
    response = connection.getresponse()
    response.read()
    took_ms = 1000 * (time.perf_counter() - began_s)
    connection.close()
    return took_ms, response.status


def main() -> None:
    parser = _measure.arguments(__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--probes", type=int)
    parser.add_argument("--seconds", type=float, default=120.0, help="measure no longer than this")
    options = parser.parse_args()
    count = options.probes or (100 if options.quick else 2000)
    how = f"{count} probes of each kind; {options.workers} workers"
    record = _results.Record("probes", options, "carboy", how=how)
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "busyapp.py").write_text(APP)
        control, port, management = f"{folder}/s", free_port(), free_port()
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "carboy", "serve", "busyapp:app", "--port", str(port)),
                *("--workers", str(options.workers), "--threads", str(THREADS)),
                *("--control", control, "--probes", "yes"),
                *("--management", f"127.0.0.1:{management}"),
            ],
            cwd=folder,
            env={**os.environ, "CARBOY_SERVE_WORKER_TIMEOUT_S": "0"},
        )
        try:
            listener = socket.create_server(("127.0.0.1", 0))
            bare_port = listener.getsockname()[1]
            kinds: dict[str, t.Callable[[], http.client.HTTPConnection]] = {
                BARE: lambda: http.client.HTTPConnection("127.0.0.1", bare_port),
                "control socket": lambda: UnixConnection(control),
                "--management": lambda: http.client.HTTPConnection("127.0.0.1", management),
                "--probes (app's port)": lambda: http.client.HTTPConnection("127.0.0.1", port),
            }
            wait_until_started(kinds["control socket"])
            bare = multiprocessing.get_context("spawn").Process(
                target=answer_barely, args=(listener,), daemon=True
            )
            bare.start()
            for number, (title, view, models) in enumerate(LOADS):
                clients = multiprocessing.get_context("spawn").Process(
                    target=load, args=(port, options.workers, view, models), daemon=True
                )
                clients.start()
                time.sleep(3)
                try:
                    for path in ("/livez", "/readyz"):
                        row = record.row(f"{path[1:]}-{number}", f"{path}: {title}", ours=BARE)
                        measure(row, kinds, path, count, options.seconds)
                finally:
                    clients.kill()
                time.sleep(3)
            bare.kill()
        finally:
            server.send_signal(signal.SIGINT)
            time.sleep(0.2)
            server.send_signal(signal.SIGINT)
            server.wait()
    record.close()


def wait_until_started(connect: t.Callable[[], http.client.HTTPConnection]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if probe_ms(connect, "/startupz")[1] == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit("the server has not started")


def measure(
    row: _results.Row,
    kinds: dict[str, t.Callable[[], http.client.HTTPConnection]],
    path: str,
    count: int,
    seconds: float,
) -> None:
    for name in kinds:
        row.targets.append(_results.Target("p99_ms", name, "", "most", TARGET_MS))
    for _ in range(PARTS):
        took_ms: dict[str, list[float]] = {name: [] for name in kinds}
        until_s = time.monotonic() + seconds / PARTS
        while len(took_ms[BARE]) < count / PARTS and time.monotonic() < until_s:
            for name, connect in kinds.items():
                took_ms[name].append(probe_ms(connect, path)[0])
            time.sleep(0.01)
        for name, each in took_ms.items():
            p99 = statistics.quantiles(each, n=100, method="inclusive")[98]
            row.add(name, p99_ms=p99, p50_ms=statistics.median(each), worst_ms=max(each))


if __name__ == "__main__":
    main()
