"""Run the suites of benchmarks one after the other, write results/*.json, render the documentation.

    python bench/run.py [--quick] [--only NAME ...] [--plan] [--again]

`make bench` calls it in the environment of the benchmarks. It prints how long it will take before
it starts. A suite with a result of the present commit is not run again, so that a run that was
interrupted continues, except if `--again` or `--only` asks for it. Results of quick runs go into
results/quick/, which git ignores and no documentation shows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import typing as t

import _results
import render

QUICK = _results.RESULTS / "quick"


class Suite(t.NamedTuple):
    """A program with its arguments. `minutes` is a guess, until a result says how long it took."""

    name: str
    command: str
    minutes: float
    what: str
    quick: str = ""
    """Further arguments of a quick run."""


SUITES = (
    Suite("overhead", "overhead.py", 1, "time in the framework for one request, in process"),
    Suite("overhead-one-app", "overhead.py --one-app", 1, "the same, all views in one app"),
    Suite("typed", "typed.py", 1, "a typed endpoint, in process"),
    Suite("answers", "answers.py", 1, "what checking answers costs, in process"),
    Suite("routing", "routing.py", 6, "the matcher alone, 12 to 12,000 routes"),
    Suite("forms", "forms.py", 3, "the parser of forms alone, and bodies made to be slow"),
    Suite("tables", "tables.py", 2, "reading and writing tables, in process"),
    Suite("tensors", "tensors.py", 2, "reading tensors, in process"),
    Suite("importing", "importing.py", 2, "import, first answer, idle memory"),
    Suite("footprint", "footprint.py", 6, "installed size, and that of an image (root, Debian)"),
    Suite("serve-two-cores", "serve.py --workers 2", 15, "served: two cores, two workers",
          "--only text post"),
    Suite("serve-defaults", "serve.py --defaults", 15, "served: each server with its defaults",
          "--only text"),
    Suite("serve-one-worker", "serve.py --workers 1", 15, "served: two cores, one worker",
          "--only text"),
    Suite("serve-one-core", "serve.py --cores 1", 15, "served: one core, one worker",
          "--only text post"),
    Suite("serve-one-core-two-workers", "serve.py --cores 1 --workers 2 --only text post", 5,
          "served: one core, two workers", "--only text"),
    Suite("operations", "operations.py", 8, "access log, metrics, rates, TLS; one core",
          "--only metrics TLS"),
    Suite("operations-two-cores", "operations.py --cores 2", 8, "the same, two cores",
          "--only metrics TLS"),
    Suite("uploads", "uploads.py", 3, "long uploads beside writing the same bytes"),
    Suite("wires", "wires.py", 1, "tensors: binary data beside JSON"),
    Suite("probes", "probes.py", 8, "probes of a server that does all it can", "--seconds 10"),
    Suite("compute-threads", "compute_threads.py", 3, "processes that compute on shares of cores"),
    Suite("batching", "batching.py", 6, "the queue of a model alone"),
    Suite("simulate", "simulate.py", 9, "`carboy models simulate` against real runs"),
    Suite("scaling", "scaling.py", 25, "routes, connections, batch, body, workers, models"),
    Suite("settings", "settings.py", 20, "which documented settings of the peers are best",
          "--peers mosec"),
    Suite("models", "models.py", 35, "predictions over HTTP, nine peers; installs 5 GB once",
          "--peers carboy mosec --only digits-32"),
    Suite("cluster", "cluster.py", 10, "the same computed on a Ray cluster of this machine"),
    Suite("replicas", "replicas.py", 35, "the same by two processes, five peers",
          "--peers carboy mosec --only digits-32"),
)  # fmt: skip
BY_NAME = {suite.name: suite for suite in SUITES}


def result_of(suite: Suite, quick: bool) -> dict[str, t.Any]:
    """Return what a result says of its making; nothing if there is none."""
    path = (QUICK if quick else _results.RESULTS) / f"{suite.name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def minutes_of(suite: Suite, quick: bool) -> float:
    took_s = result_of(suite, quick).get("took_s")
    return took_s / 60 if took_s else suite.minutes / 10 if quick else suite.minutes


def run(suite: Suite, quick: bool) -> bool:
    """Run a suite; return whether it ended well."""
    target = (QUICK if quick else _results.RESULTS) / f"{suite.name}.json"
    program, *arguments = suite.command.split()
    extra = ["--quick", *suite.quick.split()] if quick else []
    command = [sys.executable, program, *arguments, *extra, "--json", str(target)]
    print(f"\n=== {suite.name}: {suite.what}", flush=True)
    return subprocess.run(command, cwd=render.HERE, check=False).returncode == 0


def plan(suites: list[Suite], quick: bool) -> None:
    total = sum(minutes_of(suite, quick) for suite in suites)
    for suite in suites:
        print(f"  {minutes_of(suite, quick):5.1f} min  {suite.name:27} {suite.what}")
    print(f"  {total:5.1f} min  in all, besides installing; load now {os.getloadavg()[0]:.1f}")
    if not quick:
        print("For figures that count, nothing else may run on this machine.")
    print(flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a short round each: not for figures")
    parser.add_argument("--only", nargs="+", choices=list(BY_NAME), metavar="NAME",
                        help=f"some suites: {', '.join(BY_NAME)}")  # fmt: skip
    parser.add_argument("--plan", action="store_true", help="say what would be run, and how long")
    parser.add_argument("--again", action="store_true", help="also what this commit has results of")
    options = parser.parse_args()
    suites = [BY_NAME[name] for name in options.only] if options.only else list(SUITES)
    if not (options.only or options.again):
        suites = [
            suite for suite in suites
            if result_of(suite, options.quick).get("commit") != _results.commit()
        ]  # fmt: skip
    plan(suites, options.quick)
    if options.plan:
        return 0
    began_s = time.monotonic()
    failed = [suite.name for suite in suites if not run(suite, options.quick)]
    if not options.quick:
        render.write()
    print(f"\n{(time.monotonic() - began_s) / 60:.1f} min for {len(suites)} suites")
    if failed:
        print(f"FAILED: {', '.join(failed)}. `make bench` continues with these.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
