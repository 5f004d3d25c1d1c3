"""`carboy check`: make all checks, and print the findings for people, programs and CI."""

from __future__ import annotations

import json
import sys
import typing as t

import click

from ...cli.discovery import ScriptInfo, pass_script_info
from ...cli.failures import RefusedCommandError
from ...cli.results import results_on_stdout
from ...config import get_env
from ...errors import DeploymentError
from ..collectfacts import collect_facts
from .checkregistry import CONFIG_CODE, run_checks

if t.TYPE_CHECKING:
    from ..facts import Facts
    from .checkregistry import Finding, Findings

# Value of `--fail-level` -> severities of findings that make the exit code 1.
_FAILING = {"error": {"error"}, "warning": {"error", "warning"}, "never": set[str]()}


@click.command("check", short_help="Find mistakes in the app and its project.")
@click.argument("target", metavar="[MODULE:APP]", required=False)
@click.option("--deploy", is_flag=True, help="Also find mistakes that matter in production only.")
@click.option("--json", "as_json", is_flag=True, help="Write JSON instead of text.")
@click.option(
    "--fail-level",
    type=click.Choice(list(_FAILING)),
    default="error",
    show_default=True,
    help="Lowest severity of a finding that makes the exit code 1.",
)
@results_on_stdout
@pass_script_info
def check_command(
    info: ScriptInfo,
    /,
    target: str | None,
    deploy: bool,
    as_json: bool,
    fail_level: str,
    out: t.TextIO,
) -> None:
    """Find mistakes in the app, its configuration and its project. With '--deploy', also find what
    is a mistake in production only, such as debug mode.

    Each finding has a code, such as carboy.E001. The config key CHECK_SILENCED lists the codes that
    are not reported. The exit code is 1 if a finding is as severe as '--fail-level' says, or
    more, and 2 if the app cannot be checked.

    The app is checked with the configuration that it has on this machine. To check the one that it
    has on a server, run the command there, or set CARBOY_ENV and the other variables of the server.
    """
    try:
        facts = _facts(info, target)
        findings = run_checks(facts, deploy=deploy)
    except DeploymentError as exc:
        raise RefusedCommandError(str(exc)) from None
    out.write(_as_json(facts, findings, deploy) if as_json else _as_text(findings))
    if any(each.severity in _FAILING[fail_level] for each in findings.shown):
        sys.exit(1)


def _facts(info: ScriptInfo, target: str | None) -> Facts:
    """Load the app as a server does. Debug mode is what its code and its configuration say, because
    this command does not set it.
    """
    info.choose_app(target)
    info.set_debug_flag = False
    return collect_facts(info)


def _as_text(findings: Findings) -> str:
    return "".join(map(str, findings.shown)) + _summary(findings)


def _summary(findings: Findings) -> str:
    """Return the last line: how many findings there are, which codes are silenced, and which checks
    were not made.
    """
    counts = [
        f"{number} {severity}{'s' if number != 1 else ''}"
        for severity in ("error", "warning")
        if (number := sum(each.severity == severity for each in findings.shown))
    ]
    silenced = ", ".join(sorted({each.code for each in findings.silenced}))
    note = f" Silenced by CHECK_SILENCED: {silenced}." if silenced else ""
    if findings.not_made:
        note += f" Not made because of {CONFIG_CODE}: {', '.join(findings.not_made)}."
    return f"{' and '.join(counts) or 'No mistakes'} found.{note}\n"


def _as_json(facts: Facts, findings: Findings, deploy: bool) -> str:
    about = {
        "environment": facts.app.config.get("ENV") or get_env(),
        "deploy": deploy,
        "findings": _as_dicts(findings.shown),
        "silenced": _as_dicts(findings.silenced),
        "not_made": findings.not_made,
    }
    return f"{json.dumps(about, indent=2, ensure_ascii=False)}\n"


def _as_dicts(findings: list[Finding]) -> list[dict[str, str]]:
    return [each._asdict() for each in findings]
