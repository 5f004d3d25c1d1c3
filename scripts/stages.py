"""Run targets of the Makefile one after the other, all of them, and sum up.

A failing stage does not hide what the later ones would say; the exit status is that of the whole.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run_stage(name: str) -> tuple[bool, float]:
    print(f"\n=== make {name}", flush=True)
    began_s = time.monotonic()
    command = ["make", "--no-print-directory", name, f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False)
    return done.returncode == 0, time.monotonic() - began_s


def main(names: list[str]) -> int:
    # A make above this one hands down flags that hold for it alone.
    for flags in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        os.environ.pop(flags, None)
    results = [(name, *run_stage(name)) for name in names]
    print("\n=== all stages")
    for name, passed, took_s in results:
        print(f"  {'passed' if passed else 'FAILED'}  make {name:14} {took_s:6.1f} s")
    failed = [name for name, passed, _ in results if not passed]
    print(f"carboy: {'FAILED: ' + ', '.join(failed) if failed else 'everything passed'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
