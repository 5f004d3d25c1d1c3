"""Where the judges are installed: scripts/bootstrap.py has made these environments."""

from __future__ import annotations

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts"))

import bootstrap

OBSERVATORY = bootstrap.CACHE / "observatory" / "node_modules" / "@mdn" / "mdn-http-observatory"


def script(environment: str, name: str) -> pathlib.Path:
    """Return the path of a console script of an environment in .cache/venvs."""
    return bootstrap.OTHER_VENVS / environment / "bin" / name


def version(environment: str, distribution: str) -> str:
    """Return the version of a package of an environment in .cache/venvs."""
    program = f"import importlib.metadata as m; print(m.version({distribution!r}))"
    command = [script(environment, "python"), "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()
