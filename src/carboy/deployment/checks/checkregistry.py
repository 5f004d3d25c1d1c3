"""The registry of all checks, and the findings of those that are made."""

from __future__ import annotations

import importlib
import os
import typing as t

from ...core.advice import did_you_mean
from ...errors import DeploymentError

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..facts import Facts

    Find = cabc.Callable[[Facts], cabc.Iterable["Found"]]

Severity = t.Literal["error", "warning"]

# The modules that define checks, relative to this package.
_MODULES = (
    ".appchecks",
    ".configchecks",
    ".dockerfilechecks",
    ".folderchecks",
    ".gitchecks",
    ".modelfilechecks",
    ".requestchecks",
    ".serverchecks",
    ".startchecks",
)  # fmt: skip
# Severities, by the letter in a code: E in carboy.E001.
_SEVERITIES: t.Mapping[str, Severity] = {"E": "error", "W": "warning"}
SILENCED_KEY = "CHECK_SILENCED"
# The check that finds wrong values in the configuration. With one, other checks may fail, which are
# made later because their codes are larger.
CONFIG_CODE = "carboy.E002"

_checks: dict[str, Check] = {}


class Found(t.NamedTuple):
    """A mistake that a check has found.

    Attributes:
        place: where it is, such as "shop.py:12", "Dockerfile:3" or "environment variable
            CARBOY_DEBUG".
        message: what is wrong there, in sentences.
    """

    place: str
    message: str


class Finding(t.NamedTuple):
    """What the user is told: a mistake, where it is, and how to correct it."""

    code: str
    severity: Severity
    place: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return (
            f"{self.place}: {self.severity}: {self.message} [{self.code}]\n"
            f"    Remedy: {self.remedy}\n"
        )


class Check(t.NamedTuple):
    """A kind of mistake, and the function that finds it.

    Attributes:
        code: the stable name of the check, such as "carboy.E001": E for errors, W for warnings.
        title: the mistake in general, in one sentence, for the table in the documentation.
        remedy: what the user has to do, in sentences.
        deploy: whether the check is made with `--deploy` only, because what it finds is a mistake
            in production and none during development.
        find: finds the mistake in an app and its project.
    """

    code: str
    title: str
    remedy: str
    deploy: bool
    find: Find

    @property
    def severity(self) -> Severity:
        return _SEVERITIES[self.code.partition(".")[2][0]]

    def findings(self, facts: Facts) -> cabc.Iterator[Finding]:
        for found in self.find(facts):
            place, message = map(_one_line, found)
            yield Finding(self.code, self.severity, place, message, self.remedy)


class Findings(t.NamedTuple):
    """The findings of all checks that were made, in the order of their codes.

    Attributes:
        shown: the findings whose codes are not silenced.
        silenced: the other findings.
        not_made: the codes of the checks that failed because of a wrong value in the configuration,
            which `shown` or `silenced` names.
    """

    shown: list[Finding]
    silenced: list[Finding]
    not_made: list[str]

    @property
    def has_wrong_config(self) -> bool:
        return any(each.code == CONFIG_CODE for each in (*self.shown, *self.silenced))


def _one_line(text: str) -> str:
    """Return a text in which characters that cannot be printed are escaped: the name of a file may
    contain a newline, or codes that control the terminal.
    """
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def check(
    code: str, title: str, *, remedy: str, deploy: bool = False
) -> cabc.Callable[[Find], Find]:
    """Decorate a function that finds a mistake, so that `carboy check` calls it.

    The function gets the `Facts` of the app, and yields a `Found` for each place of the mistake.
    The arguments are the attributes of `Check`.
    """

    def register(find: Find) -> Find:
        if code in _checks:
            raise ValueError(f"Two checks have the code {code!r}: give this one a new number.")
        _checks[code] = Check(code, title, remedy, deploy, find)
        return find

    return register


def all_checks() -> list[Check]:
    """Return all checks in the order of their codes: errors first, then warnings."""
    for module in _MODULES:
        importlib.import_module(module, __package__)
    return [_checks[code] for code in sorted(_checks)]


def run_checks(facts: Facts, *, deploy: bool) -> Findings:
    """Make all checks of an app and its project.

    Args:
        facts: the app and its project.
        deploy: whether the checks for production are made, too.

    Raises:
        DeploymentError: the config key CHECK_SILENCED names a code that does not exist.
    """
    silenced = silenced_codes(facts)
    findings = Findings([], [], [])
    for each in all_checks():
        if deploy or not each.deploy:
            found = findings.silenced if each.code in silenced else findings.shown
            try:
                found.extend(each.findings(facts))
            except Exception:
                if not findings.has_wrong_config:
                    raise
                findings.not_made.append(each.code)
    return findings


def silenced_codes(facts: Facts) -> list[str]:
    """Return the codes that the config key CHECK_SILENCED lists."""
    _refuse_ignored_variable(facts)
    value = facts.app.config.get(SILENCED_KEY) or []
    is_list = isinstance(value, list | tuple | set | frozenset)
    if not is_list or not all(isinstance(code, str) for code in value):
        raise DeploymentError(
            f"{SILENCED_KEY}: expected a list of codes, such as ['carboy.W001'], got {value!r}."
        )
    codes = [each.code for each in all_checks()]
    for code in value:
        if code not in codes:
            raise DeploymentError(
                f"{SILENCED_KEY}: there is no check {code!r}.{did_you_mean(code, codes)}"
            )
    return list(value)


def _refuse_ignored_variable(facts: Facts) -> None:
    """Refuse the environment variable for CHECK_SILENCED if the app does not read it."""
    for name in (f"CARBOY_{SILENCED_KEY}", f"FLASK_{SILENCED_KEY}"):
        if os.environ.get(name) and SILENCED_KEY not in facts.app.config:
            raise DeploymentError(
                f"The environment variable {name} has no effect, because the app does not call"
                f" app.config.from_project(). Call it, or set app.config[{SILENCED_KEY!r}]."
            )
