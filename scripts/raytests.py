"""Run tests/deployed/ray: apps whose models compute on a Ray cluster. Arguments go to pytest.

On a Python for which Ray has no wheel they are not run, which is said and fails nothing. The tests
of several nodes need root for networks of their own, and nginx.
"""

from __future__ import annotations

import os
import subprocess
import sys

import bootstrap
from debian_pythons import NOT_RUN

# Ray 2.60.0 has wheels for 3.10 to 3.14.
NEWEST = (3, 14)


def main(arguments: list[str]) -> int:
    if sys.version_info[:2] > NEWEST:
        reason = f"Ray has no wheel for Python {sys.version_info.major}.{sys.version_info.minor}"
        bootstrap.say(f"make test-ray: not run: {reason}")
        if note := os.environ.get(NOT_RUN):
            with open(note, "w", encoding="utf-8") as file:
                file.write(reason)
        return 0
    bootstrap.ray()
    python = bootstrap.OTHER_VENVS / "ray" / "bin" / "python"
    command = [os.fspath(python), "-m", "pytest", "tests/deployed/ray", *arguments]
    return subprocess.run(command, cwd=bootstrap.ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
