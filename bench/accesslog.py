"""What the access log of `carboy serve` costs: requests per second of a text view with and without
it.

    python bench/accesslog.py [--quick] [--connections 32] [--rounds 20]

All servers run at once, with one worker each, and are asked in interleaved rounds, in turn in one
and the other order. The ratios are taken within the rounds. The CPU time is that of the worker
alone; writing the log file is the supervisor's.
"""

from __future__ import annotations

import os
import pathlib
import statistics
import tempfile

import _client
import _measure
import _servers
from apps import shapes

TARGET = 0.95
BASIC_CONFIG = """\
import logging

from apps.carboy_app import app

logging.basicConfig(filename=__file__ + ".log", level=logging.INFO)
"""


def kinds(folder: str) -> list[_servers.Kind]:
    pathlib.Path(folder, "configured.py").write_text(BASIC_CONFIG)
    (base,) = (kind for kind in _servers.KINDS if kind.name == "carboy serve")
    paths = os.pathsep.join([folder, str(_servers.HERE), os.environ.get("PYTHONPATH", "")])

    def kind(name: str, setting: str, target: str = "apps.carboy_app:app") -> _servers.Kind:
        command = tuple(target if part == "apps.carboy_app:app" else part for part in base.command)
        env = {"PYTHONPATH": paths, "CARBOY_SERVE_ACCESS_LOG": setting}
        if setting in {"text", "json"} and target == "apps.carboy_app:app":
            env["CARBOY_LOG_FILE"] = os.path.join(folder, f"{setting}.log")
        return _servers.Kind(name, command, env=env)

    return [
        kind("off", "off"),
        kind("text, LOG_FILE", "text"),
        kind("JSON, LOG_FILE", "json"),
        kind("basicConfig(filename=...)", "auto", "configured:app"),
    ]


def worker_cpu_s(server: _servers.Server) -> float:
    """Return the CPU time of the worker's threads."""
    _, worker = server.pids()
    tasks = pathlib.Path(f"/proc/{worker}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def main() -> None:
    parser = _measure.arguments(__doc__)
    parser.add_argument("--connections", type=int, default=_client.CONNECTIONS)
    parser.add_argument("--rounds", type=int)
    options = parser.parse_args()
    rounds = options.rounds or (4 if options.quick else 20)
    shape = shapes.BY_KEY["text"]
    _measure.print_machine("carboy")
    with (
        tempfile.TemporaryDirectory() as folder,
        _servers.running(kinds(folder), threads=16) as servers,
    ):
        rates: dict[str, list[float]] = {name: [] for name in servers}
        cpu_us: dict[str, list[float]] = {name: [] for name in servers}
        for turn in range(rounds + 1):
            for name in list(servers)[:: 1 if turn % 2 else -1]:
                server, used_s = servers[name], worker_cpu_s(servers[name])
                load = _client.load(
                    server.port, shape, None, seconds=1, connections=options.connections
                )
                if turn:  # the first round is not counted: caches, specialised bytecode
                    rates[name].append(load.requests_per_s)
                    used_s = worker_cpu_s(server) - used_s
                    cpu_us[name].append(used_s / load.requests_per_s * 1e6)
    lines = []
    for name in servers:
        rate = statistics.median(a / b for a, b in zip(rates[name], rates["off"], strict=True))
        cpu = statistics.median(a / b for a, b in zip(cpu_us[name], cpu_us["off"], strict=True))
        least = min(cpu_us[name])
        lines.append((name, f"{rate:.3f}", f"{cpu:.3f}", f"{least:.1f}"))
    head = ("text view, access log", "requests/s to off", "CPU to off", "least CPU us per request")
    print(_measure.table(head, lines))
    found = float(lines[1][1])
    print(f"text to off: {found:.3f}, target >= {TARGET}: {'pass' if found >= TARGET else 'MISS'}")


if __name__ == "__main__":
    main()
