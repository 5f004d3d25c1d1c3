"""Start-up cost: `import carboy` compared with `import flask`, and the memory of one idle worker.

Each import is a process, run one after the other in interleaved rounds and measured by the CPU time
that
the kernel counts for the child; the time of an interpreter that imports nothing is subtracted. The
memory
of a server is the proportional share (PSS) of all its processes after some requests.

    python bench/importing.py [--quick] [--json FILE] [--no-servers]
"""

from __future__ import annotations

import argparse
import os
import pathlib
import statistics
import sys
import time
import urllib.request

import _measure
import _servers

DISTRIBUTIONS = ("carboy", "flask", "werkzeug", "jinja2", "granian", "gunicorn")
IMPORT_TARGET, MEMORY_TARGET = 1.0, 1.3
STATEMENTS = {
    "nothing": "pass",
    "carboy": "import carboy",
    "flask": "import flask",
    # The minimum of a program: an app has a logger, a JSON provider, a URL map.
    "carboy app": "import carboy; carboy.Flask('x')",
    "flask app": "import flask; flask.Flask('x')",
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


def measure_imports(rounds: int) -> dict[str, tuple[_measure.Timing, float]]:
    """Measure the time of each statement, and its memory in MiB beyond the bare interpreter's."""
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    sizes: dict[str, list[int]] = {name: [] for name in STATEMENTS}
    names = list(STATEMENTS)
    for statement in STATEMENTS.values():  # write bytecode and fill the file cache
        spent(statement)
    for turn in range(rounds):
        first = turn % len(names)
        for name in (*names[first:], *names[:first]):
            took, size = spent(STATEMENTS[name])
            times[name].append(took)
            sizes[name].append(size)
    nothing = _measure.Timing("nothing", tuple(times["nothing"]))
    floor = statistics.median(sizes["nothing"])
    return {
        name: (
            _measure.Timing(name, tuple(times[name])).minus(nothing),
            (statistics.median(sizes[name]) - floor) / 2**20,
        )
        for name in names
        if name != "nothing"
    }


def pss_mib(pids: list[int]) -> float:
    """Return the memory of these processes, with shared pages counted proportionally."""
    total_kb = 0
    for pid in pids:
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total_kb += int(line.split()[1])
    return total_kb / 1024


def measure_servers(names: list[str]) -> dict[str, float]:
    """Measure the PSS of each server with one worker that has responded and is idle."""
    kinds = [_servers.BY_NAME[name] for name in names]
    found = {}
    with _servers.running(kinds, threads=1) as servers:
        for name, server in servers.items():
            for _ in range(WARM_UP):
                urllib.request.urlopen(f"http://127.0.0.1:{server.port}/items/42").read()
            found[name] = pss_mib(server.pids())
    return found


def show_imports(found: dict[str, tuple[_measure.Timing, float]]) -> list[dict[str, object]]:
    rows, lines = [], []
    for what in ("", " app"):
        ours, theirs = found[f"carboy{what}"], found[f"flask{what}"]
        ratio = _measure.ratio(ours[0], theirs[0])
        target = IMPORT_TARGET if not what else None
        verdict = "-" if target is None else "pass" if ratio.median <= target else "MISS"
        title = "import" if not what else "import and make an app"
        lines.append((
            title, f"{ours[0].median_ns / 1e6:.1f}", f"{theirs[0].median_ns / 1e6:.1f}",
            f"{ratio.median:.2f}", f"{ratio.low:.2f}-{ratio.high:.2f}",
            "-" if target is None else f"<= {target}", verdict,
            f"{ours[1]:.1f}", f"{theirs[1]:.1f}",
        ))  # fmt: skip
        rows.append({
            "key": title, "title": title, "target": target, "verdict": verdict,
            "ratio": ratio.median, "low": ratio.low, "high": ratio.high,
            "carboy_ms": ours[0].median_ns / 1e6, "flask_ms": theirs[0].median_ns / 1e6,
            "carboy_mib": ours[1], "flask_mib": theirs[1],
        })  # fmt: skip
    head = ("", "carboy ms", "Flask ms", "ratio", "middle half", "target", "",
            "carboy MiB", "Flask MiB")  # fmt: skip
    print(_measure.table(head, lines))
    return rows


def show_servers(found: dict[str, float]) -> list[dict[str, object]]:
    base = found.get("Flask on gunicorn")
    lines, rows = [], []
    for name, mib in found.items():
        ratio = mib / base if base else None
        ours = name == "carboy serve"
        verdict = "-" if ratio is None or not ours else "pass" if ratio <= MEMORY_TARGET else "MISS"
        limit = f"<= {MEMORY_TARGET}" if ours else "-"
        lines.append((name, f"{mib:.1f}", f"{ratio:.2f}" if ratio else "-", limit, verdict))
        rows.append({"key": name, "title": f"idle memory, {name}", "mib": mib, "ratio": ratio,
                     "target": MEMORY_TARGET if ours else None, "verdict": verdict})  # fmt: skip
    head = ("one idle worker", "PSS MiB", "to Flask on gunicorn", "target", "")
    print("\n" + _measure.table(head, lines))
    return rows


def parse() -> argparse.Namespace:
    parser = _measure.arguments(__doc__)
    parser.add_argument("--no-servers", action="store_true", help="imports only")
    return parser.parse_args()


def main() -> None:
    options = parse()
    started = time.monotonic()
    _measure.print_machine(*DISTRIBUTIONS)
    rows = show_imports(measure_imports(5 if options.quick else 25))
    if not options.no_servers:
        names = ["carboy serve", "carboy on granian", "Flask on granian", "Flask on gunicorn"]
        rows += show_servers(measure_servers(names))
    print(f"\n{time.monotonic() - started:.0f} s")
    if options.json:
        _measure.report_json(options.json, rows, *DISTRIBUTIONS)


if __name__ == "__main__":
    main()
