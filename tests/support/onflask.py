"""Run a program on real Flask in another process, because `flask` may be carboy in this one."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import typing as t

SUPPORT = pathlib.Path(__file__).parent


def recorded_on_flask(site: pathlib.Path, *arguments: str | os.PathLike[str]) -> t.Any:
    """Return what a program writes as JSON.

    Args:
        site: the folder in which Flask is installed (the fixture `flask_site`).
        arguments: of Python: the program's file, or `-c` and its text.
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        env=os.environ | {"PYTHONPATH": f"{site}{os.pathsep}{SUPPORT}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
