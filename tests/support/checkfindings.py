"""Make one check of `carboy check` in the process of the test."""

from __future__ import annotations

import os
import typing as t

from carboy.deployment.checks.checkregistry import Finding, all_checks
from carboy.deployment.facts import Facts
from carboy.serving.settings import make_settings

if t.TYPE_CHECKING:
    from carboy import Carboy


def findings_of(
    code: str, app: Carboy, root: str | os.PathLike[str] = ".", **settings: t.Any
) -> list[Finding]:
    """Return what the check with a code finds in an app and the folder `root`.

    Args:
        settings: settings of the server, as arguments of `app.serve()`.
    """
    (check,) = (each for each in all_checks() if each.code == code)
    facts = Facts(app, None, os.path.abspath(root), make_settings(settings, {}))
    return list(check.findings(facts))
