"""Let programs that others wrote judge carboy: its code, its examples, and a new project.

    python tests/judged/run.py [--only wapiti] [--write]

A judge that finds something which nobody has accepted, with a reason, fails the run. So does a page
docs/judges.md that says something else than the judges; `--write` renews it. A judge that this
machine cannot run is named.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import difflib
import os
import pathlib
import sys
import time
import traceback
import typing as t
from functools import partial

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "support"))

import contracts
import linters
import observatory
import ownnetwork
import page
import pytest
import scanner
import showcase
import sites
from judgement import Judge, Judgement

# stages.py names a file in this variable; what is written there is the reason for "not run".
NOT_RUN = "STAGE_NOT_RUN"
AT_ONCE = 2

JUDGES = (
    Judge("bandit", linters.bandit, needs_own_network=False),
    Judge("ruff", linters.ruff, needs_own_network=False),
    *(
        Judge(
            " ".join(filter(None, ("schemathesis", *each[:2]))),
            partial(contracts.schemathesis, each),
        )
        for each in contracts.SUBJECTS
    ),
    *(Judge(f"wapiti {name}", partial(scanner.wapiti, name)) for name in sites.EXAMPLES),
    Judge("HTTP Observatory", observatory.http_observatory),
)


class Outcome(t.NamedTuple):
    name: str
    judgement: Judgement | None
    problems: list[str]
    not_run: str


def ask(judge: Judge, no_network: str) -> Outcome:
    """Let a judge judge, and print its verdict."""
    began_s = time.monotonic()
    judgement, problems, not_run = None, [], ""
    try:
        if judge.needs_own_network and no_network:
            pytest.skip(no_network)
        judgement = judge.judge()
        problems = judgement.problems
    except pytest.skip.Exception as reason:
        not_run = str(reason)
    except Exception:  # noqa: BLE001 - one of them must not hide what the others say
        problems = [traceback.format_exc()]
    took_s = time.monotonic() - began_s
    verdict = f"not run: {not_run}" if not_run else "FAILED" if problems else judgement.result
    print(f"  {took_s:5.1f} s  {judge.name:20}  {verdict}", *problems, sep="\n    ", flush=True)
    return Outcome(judge.name, judgement, problems, not_run)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--only", default="", help="judges whose names contain this text")
    parser.add_argument("--write", action="store_true", help="renew docs/judges.md")
    options = parser.parse_args(arguments)
    asked = [each for each in JUDGES if options.only in each.name]
    if not asked:
        parser.error(f"no judge of that name; there are: {', '.join(j.name for j in JUDGES)}")
    if options.write and options.only:
        parser.error("--write needs what all judges say: leave out --only")
    no_network = ownnetwork.enter()
    for name in sites.EXAMPLES:
        showcase.make(name)
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as threads:
        outcomes = list(threads.map(partial(ask, no_network=no_network), asked))
    return conclude(outcomes, write=options.write)


def conclude(outcomes: list[Outcome], *, write: bool) -> int:
    """Compare the page with the judgements, or renew it; sum up, and return the exit status."""
    failed = [each.name for each in outcomes if each.problems]
    left_out = [each for each in outcomes if each.not_run]
    judgements = [each.judgement for each in outcomes if each.judgement and not each.problems]
    if len(judgements) == len(JUDGES) and not settle_page(judgements, write=write):
        failed.append("docs/judges.md")
    elif write and len(judgements) < len(JUDGES):
        print("docs/judges.md stays as it is, because not all judges are content")
    if left_out:
        note(left_out)
    print(f"{len(judgements)} passed, {len(failed)} failed, {len(left_out)} skipped")
    return 1 if failed else 0


def settle_page(judgements: list[Judgement], *, write: bool) -> bool:
    """Renew docs/judges.md, or compare it; return whether it says what the judges say."""
    text = page.PAGE.read_text(encoding="utf-8")
    wanted = page.renewed(text, judgements)
    if write:
        page.PAGE.write_text(wanted, encoding="utf-8")
    elif text != wanted:
        print("docs/judges.md is not what the judges say; write it: make test-judges ARGS=--write")
        print(*difflib.unified_diff(text.splitlines(), wanted.splitlines(), lineterm=""), sep="\n")
    return write or text == wanted


def note(left_out: list[Outcome]) -> None:
    """Say which judges could not run, and why, here and in the summary of all stages."""
    names: dict[str, list[str]] = {}
    for each in left_out:
        names.setdefault(each.not_run, []).append(each.name)
    text = "; ".join(f"{', '.join(those)}: {reason}" for reason, those in names.items())
    print(f"not run: {text}")
    if file := os.environ.get(NOT_RUN):
        pathlib.Path(file).write_text(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
