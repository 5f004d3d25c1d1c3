"""Where the judges are installed, and how they are run. scripts/bootstrap.py has installed them."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts"))

import bootstrap

# None takes more than two minutes, also on a busy machine. One that hangs fails.
LIMIT_S = 600.0
OBSERVATORY = bootstrap.CACHE / "observatory" / "node_modules" / "@mdn" / "mdn-http-observatory"


def run(
    command: t.Sequence[str | os.PathLike[str]],
    *,
    cwd: str | os.PathLike[str] = ROOT,
    env: t.Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a judge, with some variables of its own, and return what it has printed."""
    return subprocess.run(
        [os.fspath(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def script(environment: str, name: str) -> pathlib.Path:
    """Return the path of a console script of an environment in .cache/venvs."""
    return bootstrap.OTHER_VENVS / environment / "bin" / name


def version(environment: str, distribution: str) -> str:
    """Return the version of a package of an environment in .cache/venvs."""
    program = f"import importlib.metadata as m; print(m.version({distribution!r}))"
    return run([script(environment, "python"), "-c", program]).stdout.strip()
