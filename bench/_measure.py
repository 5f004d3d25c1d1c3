"""Interleaved timing for the programs in bench/: rounds, medians, ratios, and a description of the
machine.

Absolute times are meaningless on a shared machine, so these rules apply:

* The clock is the CPU time of this process, so the measured code must not wait.
* Peers are timed in turn, a short slice each, round after round, in an order that is rotated by one
  each round: a busy machine slows all of them alike.
* A ratio is the median over the rounds of the ratio *within* a round, never a ratio of two runs.
* The garbage collector is treated the same for all: it runs before each slice and stays enabled, as
  in a server. Objects that exist before the first slice are frozen, so that one peer's ten thousand
  routes are not scanned during another peer's slice.

Usage::

    cases = [Case("carboy", one_carboy_request), Case("flask", one_flask_request)]
    timings = measure(cases, rounds=15)
    row.add_times(timings)      # a row of a record: _results.py

A case's callable takes no arguments and does the work once.
"""

from __future__ import annotations

import argparse
import collections.abc as cabc
import dataclasses
import gc
import importlib.metadata
import itertools
import os
import pathlib
import platform
import sys
import time

# Long enough that the two clock reads and cold caches do not matter, and short enough that a change
# in the machine's load affects every peer.
SLICE_S = 0.02
DEFAULT_ROUNDS = 25
QUICK_ROUNDS = 3


@dataclasses.dataclass(frozen=True)
class Case:
    """One peer: `call` does the work once."""

    name: str
    call: cabc.Callable[[], object]


@dataclasses.dataclass(frozen=True)
class Timing:
    """Nanoseconds per call, one value per round."""

    name: str
    rounds_ns: tuple[float, ...]

    def minus(self, other: Timing) -> Timing:
        """Subtract another timing, round by round (for the framework's share)."""
        pairs = zip(self.rounds_ns, other.rounds_ns, strict=True)
        return Timing(self.name, tuple(mine - theirs for mine, theirs in pairs))


def measure(
    cases: cabc.Sequence[Case], *, rounds: int = DEFAULT_ROUNDS, slice_s: float = SLICE_S
) -> dict[str, Timing]:
    """Time all cases in interleaved rounds, and return the timings by case name."""
    counts = {case.name: _calls_per_slice(case.call, slice_s) for case in cases}
    taken: dict[str, list[float]] = {case.name: [] for case in cases}
    gc.collect()
    gc.freeze()
    try:
        for turn in range(rounds):
            first = turn % len(cases)
            for case in (*cases[first:], *cases[:first]):
                count = counts[case.name]
                gc.collect()
                taken[case.name].append(_slice_ns(case.call, count) / count)
    finally:
        gc.unfreeze()
    return {name: Timing(name, tuple(each)) for name, each in taken.items()}


def _slice_ns(call: cabc.Callable[[], object], count: int) -> int:
    # The CPU time of all threads of this process: the measured code does not wait, and time that
    # other processes take is not counted.
    start_ns = time.process_time_ns()
    for _ in itertools.repeat(None, count):
        call()
    return time.process_time_ns() - start_ns


def _calls_per_slice(call: cabc.Callable[[], object], slice_s: float) -> int:
    """Warm the case up (caches, lazy set-up, specialised bytecode) and determine the calls per
    slice.
    """
    deadline = time.perf_counter() + 4 * slice_s
    count = 1
    while True:
        spent_s = _slice_ns(call, count) / 1e9
        if time.perf_counter() > deadline or spent_s > slice_s:
            return max(1, int(count * slice_s / max(spent_s, 1e-9)))
        count *= 2


def machine() -> dict[str, str]:
    """Describe the machine, without names or paths."""
    model = platform.processor() or platform.machine()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "cpu": model,
        "cores": str(len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def versions(*distributions: str) -> dict[str, str]:
    """Return the installed versions; a missing peer is reported instead of failing the run."""
    found = {}
    for name in distributions:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def print_machine(*distributions: str) -> None:
    """Print the two lines above every table."""
    about = machine()
    print(f"{about['python']}, {about['cores']} x {about['cpu']}, {about['system']}")
    print(", ".join(f"{k} {v}" for k, v in versions(*distributions).items()))


def table(head: cabc.Sequence[str], rows: cabc.Iterable[cabc.Sequence[str]]) -> str:
    """Return a plain table: the first column aligned left, the others right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Add the options that all programs share."""
    first_line = (description or "").strip().partition("\n")[0]
    parser = argparse.ArgumentParser(description=first_line)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a look, not a figure")
    parser.add_argument("--json", metavar="FILE", help="write the result to FILE as well")
    return parser


def rounds_of(options: argparse.Namespace) -> int:
    """Return the number of rounds of a program that measures in process."""
    return QUICK_ROUNDS if options.quick else DEFAULT_ROUNDS
