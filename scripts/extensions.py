"""Run tests/extensions twice: with Flask nowhere, and with real Flask installed as well.

Whatever is installed, an extension's `import flask` must get carboy. Arguments go to pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys

import bootstrap


def extension_tests(arguments: list[str], *, flask_installed: bool) -> int:
    python = bootstrap.OTHER_VENVS / "extensions" / "bin" / "python"
    # Dash's own pytest plugin would import Flask before any conftest is read. What other projects'
    # code warns of is not for us to fix; what they are warned of by carboy stays an error.
    options = ["-p", "no:dash", "-o", "filterwarnings=default\nerror:::carboy"]
    command = [os.fspath(python), "-m", "pytest", "tests/extensions", *options, *arguments]
    env = dict(os.environ)
    env.pop("PYTHONPATH", None)
    if flask_installed:
        env["PYTHONPATH"] = os.fspath(bootstrap.FLASK_HOME / "site")
    return subprocess.run(command, cwd=bootstrap.ROOT, env=env, check=False).returncode


def main(arguments: list[str]) -> int:
    failed = 0
    for flask_installed in (False, True):
        how = "beside Flask" if flask_installed else "without Flask"
        bootstrap.say(f"extensions on carboy, {how}")
        failed |= extension_tests(arguments, flask_installed=flask_installed)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
