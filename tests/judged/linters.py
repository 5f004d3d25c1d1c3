"""bandit, and the rules S of ruff: both read the code of src/.

One comment silences both: `# noqa: S102 - the reason`, as bandit's B102 and ruff's S102 are one
rule. bandit's own comment, `# nosec B102 - the reason`, stands where ruff finds nothing.
"""

from __future__ import annotations

import json
import pathlib
import sys

import environments
import silenced
from judgement import Accepted, Judgement

SRC = environments.ROOT / "src"
# Rules that are left out as a whole, with what they find.
LEFT_OUT = {
    "S101": ("assert", "mypy needs it; never for a user's mistake"),
    "S403": ("import pickle", "an import does nothing; calls are judged one by one (S301)"),
    "S404": ("import subprocess", "an import does nothing; calls are judged one by one (S603)"),
}


def bandit() -> Judgement:
    done = _run(
        *(environments.script("judges", "bandit"), "--recursive", SRC, "--quiet"),
        *("--format", "json", "--ignore-nosec"),
    )
    found = json.loads(done)
    judgement = _judge("bandit", environments.version("judges", "bandit"))
    judgement.problems += [f"{each['filename']}: {each['reason']}" for each in found["errors"]]
    for each in found["results"]:
        rule = f"S{each['test_id'][1:]}"
        lines = range(min(each["line_range"]), max(each["line_range"]) + 1)
        _settle(
            judgement,
            pathlib.Path(each["filename"]),
            [each["line_number"], *lines],
            rule,
            each["issue_text"],
        )
    return judgement


def ruff() -> Judgement:
    program = str(pathlib.Path(sys.executable).with_name("ruff"))
    options = ("--select", "S", "--ignore-noqa", "--no-fix", "--output-format", "json")
    found = json.loads(_run(program, "check", *options, "--exit-zero", SRC))
    judgement = _judge("ruff, rules S", _run(program, "--version").split()[1])
    for each in found:
        line = each["noqa_row"] or each["location"]["row"]
        _settle(judgement, pathlib.Path(each["filename"]), [line], each["code"], each["message"])
    return judgement


def _judge(name: str, version: str) -> Judgement:
    return Judgement(name, version, "`src/`", "no finding without a reason")


def _settle(
    judgement: Judgement, path: pathlib.Path, lines: list[int], rule: str, message: str
) -> None:
    """Count a finding as a problem, unless its rule is left out, or a comment on its lines silences
    it with a reason.
    """
    if rule in LEFT_OUT:
        what, reason = LEFT_OUT[rule]
        judgement.accept(Accepted(f"{rule} ({what})", "`src/`", reason))
        return
    comments = silenced.comments(path)
    for line in lines:
        comment = comments.get(line)
        if comment is not None and rule in comment.rules and comment.reason:
            return
    place = path.relative_to(environments.ROOT)
    judgement.problems.append(f"{place}:{lines[0]}: {rule} {message}")


def _run(*command: str | pathlib.Path) -> str:
    done = environments.run(command)
    if not done.stdout:
        raise AssertionError(done.stderr)
    return done.stdout
