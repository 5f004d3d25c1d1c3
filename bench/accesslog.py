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
import tempfile

import _compare
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


def report(found: dict[str, _compare.Measured], head: str, target: float) -> None:
    """Print the ratios of all servers to the first, which has the feature off, and whether the
    second reaches the target.
    """
    off = next(iter(found.values()))
    rows = []
    for name, each in found.items():
        rate, cpu = each.ratios_to(off)
        rows.append((name, f"{rate:.3f}", f"{cpu:.3f}", f"{min(each.cpu_us):.1f}"))
    head_row = (head, "requests/s to off", "CPU to off", "least CPU us per request")
    print(_measure.table(head_row, rows))
    name, rate_text, *_ = rows[1]
    verdict = "pass" if float(rate_text) >= target else "MISS"
    print(f"{name} to off: {rate_text}, target >= {target}: {verdict}")


def main() -> None:
    options = _compare.add_arguments(_measure.arguments(__doc__))
    _measure.print_machine("carboy")
    with (
        tempfile.TemporaryDirectory() as folder,
        _servers.running(kinds(folder), threads=16) as servers,
    ):
        found = _compare.compare(servers, shapes.BY_KEY["text"], options, worker_cpu_s)
    report(found, "text view, access log", TARGET)


if __name__ == "__main__":
    main()
