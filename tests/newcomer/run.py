"""Try carboy as a new user does, on a fresh Debian: what README and tutorial say, word for word.

    python tests/newcomer/run.py                     Debian as on this machine, with its Python
    python tests/newcomer/run.py --newest            Debian's testing suite, with Python 3.14
    python tests/newcomer/run.py --with-tests        and `make test`: its set-up, its first tests

Prints the time of each step, and the seconds of CPU, which a busy machine changes less. The first
step that fails ends the run with exit status 1. A machine that cannot run it says so by name, and
fails with CI=true only.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(HERE.parent / "support")]

import machine
import steps

import bootstrap
import chroots
import debian_pythons


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--newest", action="store_true", help="on Python 3.14 of Debian's testing")
    parser.add_argument("--with-tests", action="store_true", help="and the first tests")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    suite, python = chroots.own_suite(), "python3"
    if options.newest:
        suite, python = debian_pythons.SUITE, f"python{debian_pythons.NEWEST}"
    try:
        fresh = machine.make(suite, python)
    except chroots.CannotRunError as error:
        bootstrap.say(f"not run: the trial on a fresh machine: {error}")
        if os.environ.get("CI"):  # nothing may be skipped there
            return 1
        if note := os.environ.get(debian_pythons.NOT_RUN):
            pathlib.Path(note).write_text(str(error))
        return 0
    print(f"Debian {suite}: {fresh.run(f'{python} --version').strip()}", flush=True)
    chosen = steps.STEPS + (steps.TESTS if options.with_tests else ())
    total = machine.Spent(0, 0)
    for step in chosen:
        began = machine.Spent.until_now()
        try:
            step.take(fresh)
        except AssertionError as error:
            print(f"FAILED: {step.name}\n{error}")
            return 1
        spent = machine.Spent.until_now().since(began)
        total = machine.Spent(total.wall_s + spent.wall_s, total.cpu_s + spent.cpu_s)
        show(spent, step.name)
        if step is steps.PAGE:
            show(total, "from the clone to the page")
    show(total, "all steps")
    return 0


def show(spent: machine.Spent, what: str) -> None:
    print(f"  {spent.wall_s:6.1f} s  {spent.cpu_s:6.1f} s of CPU  {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
