"""Run targets of the Makefile one after the other, all of them, and sum up.

A failing stage does not hide what the later ones would say; the exit status is that of the whole.
A stage that this machine cannot run is "not run", with the reason, and fails nothing. Each stage
has a budget of seconds, printed beside what it took: growth beyond it is seen at once, while a busy
machine makes no stage fail.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile
import time
import typing as t

from debian_pythons import NOT_RUN

# Seconds on two quiet cores with the environments made; together less than 44 minutes.
BUDGETS_S = {
    "check": 30,
    "unit": 680,
    "lowest": 110,
    "conformance": 40,
    "extensions": 60,
    "wheel": 30,
    "test-docs": 90,
    "test-servers": 120,
    "test-webservers": 120,
    "test-containers": 300,
    "test-ray": 300,
    "test-newcomer": 180,
    "test-judges": 180,
    "soak": 180,  # with SOAK_S=150, as in .ci/run
    "newest": 210,
}

ROOT = pathlib.Path(__file__).resolve().parent.parent


class Result(t.NamedTuple):
    name: str
    outcome: t.Literal["passed", "FAILED", "not run"]
    took_s: float
    reason: str  # of "not run"


def run_stage(name: str) -> Result:
    print(f"\n=== make {name}", flush=True)
    began_s = time.monotonic()
    command = ["make", "--no-print-directory", name, f"PYTHON={sys.executable}"]
    with tempfile.NamedTemporaryFile("r") as note:
        env = {**os.environ, NOT_RUN: note.name}
        done = subprocess.run(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, check=False)
        reason = note.read()
    took_s = time.monotonic() - began_s
    if done.returncode:
        return Result(name, "FAILED", took_s, "")
    return Result(name, "not run" if reason else "passed", took_s, reason)


def main(names: list[str]) -> int:
    # A make above this one hands down flags that hold for it alone.
    for flags in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        os.environ.pop(flags, None)
    results = [run_stage(name) for name in names]
    print("\n=== all stages")
    for name, outcome, took_s, reason in results:
        budget_s = BUDGETS_S[name]
        over = "  over its budget" if took_s > budget_s else ""
        took = f"{took_s:6.1f} s of {budget_s:3} s"
        print(f"  {outcome:7}  make {name:14} {took}{over}  {reason}".rstrip())
    failed = [each.name for each in results if each.outcome == "FAILED"]
    left_out = [each.name for each in results if each.outcome == "not run"]
    summary = f"FAILED: {', '.join(failed)}" if failed else "everything passed"
    print(f"carboy: {summary}" + (f", but not run: {', '.join(left_out)}" if left_out else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
