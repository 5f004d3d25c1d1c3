"""Start-up: `import carboy` beside `import flask`, the first answer of servers, idle memory.

Each import is a process, run one after the other in interleaved rounds and measured by the CPU time
that the kernel counts for the child; the time of an interpreter that imports nothing is subtracted.
The memory of a server is the proportional share (PSS) of all its processes after some requests.

    python bench/importing.py [--quick] [--json FILE] [--no-servers]
"""

from __future__ import annotations

import os
import pathlib
import sys
import time
import urllib.request

import _measure
import _results
import _servers

DISTRIBUTIONS = ("carboy", "flask", "werkzeug", "jinja2", "granian", "gunicorn")
IMPORT_TARGET = 1.0
SERVERS = ("carboy serve", "carboy on granian", "Flask on granian", "Flask on gunicorn")
STATEMENTS = {
    "nothing": "pass",
    "carboy": "import carboy",
    "Flask": "import flask",
    # The minimum of a program: an app has a logger, a JSON provider, a URL map.
    "carboy app": "import carboy; carboy.Flask('x')",
    "Flask app": "import flask; flask.Flask('x')",
}
# PYTHONDONTWRITEBYTECODE would compile the checkout at each import, but not Flask.
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
WARM_UP = 200  # requests before a worker counts as idle


def spent(statement: str) -> tuple[float, int]:
    """Return the CPU nanoseconds and the peak resident bytes of one interpreter."""
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", statement], ENVIRONMENT)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"`{statement}` fails")
    return (usage.ru_utime + usage.ru_stime) * 1e9, usage.ru_maxrss * 1024


def measure_imports(record: _results.Record, rounds: int) -> None:
    """Measure the time and the memory of each statement, beyond the bare interpreter's."""
    names = list(STATEMENTS)
    for statement in STATEMENTS.values():  # write bytecode and fill the file cache
        spent(statement)
    target = _results.Target("ms", "carboy", "Flask", "most", IMPORT_TARGET)
    rows = {
        "": record.row("import", "import", targets=[target]),
        " app": record.row("import-app", "import and make an app"),
    }
    for turn in range(rounds):
        first = turn % len(names)
        found = {name: spent(STATEMENTS[name]) for name in (*names[first:], *names[:first])}
        floor_ns, floor_bytes = found.pop("nothing")
        for name, (took_ns, size) in found.items():
            peer, _, what = name.partition(" ")
            row = rows[f" {what}" if what else ""]
            row.add(peer, ms=(took_ns - floor_ns) / 1e6, mib=(size - floor_bytes) / 2**20)


def pss_mib(pids: list[int]) -> float:
    """Return the memory of these processes, with shared pages counted proportionally."""
    total_kb = 0
    for pid in pids:
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total_kb += int(line.split()[1])
    return total_kb / 1024


def measure_servers(record: _results.Record, rounds: int) -> None:
    """Measure how soon each server with one worker answers, and its PSS when it is idle again."""
    targets = [_results.Target("idle_mib", "carboy serve", "Flask on gunicorn", "most", 1.3)]
    row = record.row("servers", "one worker", ours="carboy serve", targets=targets)
    for turn in range(rounds):
        for name in SERVERS[:: 1 if turn % 2 else -1]:
            began_s = time.perf_counter()
            server = _servers.Server(_servers.BY_NAME[name], threads=1)
            try:
                server.wait(every_s=0.005)
                took_s = time.perf_counter() - began_s
                for _ in range(WARM_UP):
                    urllib.request.urlopen(f"http://127.0.0.1:{server.port}/items/42").read()
                row.add(name, first_answer_s=took_s, idle_mib=pss_mib(server.pids()))
            finally:
                server.stop()


def main() -> None:
    parser = _measure.arguments(__doc__)
    parser.add_argument("--no-servers", action="store_true", help="imports only")
    options = parser.parse_args()
    record = _results.Record("importing", options, *DISTRIBUTIONS, how="a process per import")
    measure_imports(record, _measure.rounds_of(options))
    if not options.no_servers:
        measure_servers(record, 1 if options.quick else 5)
    record.close()


if __name__ == "__main__":
    main()
