"""Write scripts/constraints.txt anew: the newest versions that pyproject.toml allows today.

Tests install by that file, so that a release on PyPI cannot fail a run in which nothing of ours
changed. Run it on the oldest Python, whose versions the newer ones can install too.
"""

from __future__ import annotations

import pathlib
import subprocess
import tempfile

import bootstrap

HEAD = """\
# The versions that `make test` installs, whatever pyproject.toml allows beside them. Written by
# `make pins`; the environments for Flask's tests and for extensions have lists of their own.
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        python = bootstrap.venv(pathlib.Path(name) / "pins")
        bootstrap.say("resolving the newest versions")
        named = ("dev", "site")
        groups = [part for name in named for part in ("--group", f"{bootstrap.PYPROJECT}:{name}")]
        carboy = f"{bootstrap.ROOT}[ray]"
        bootstrap.pip(python, "--editable", carboy, *groups, constraints=None)
        frozen = [str(python), "-m", "pip", "freeze", "--exclude-editable"]
        listed = subprocess.run(frozen, capture_output=True, text=True, check=True).stdout
    bootstrap.LOCK.write_text(HEAD + listed)
    bootstrap.say(f"{len(listed.splitlines())} versions in {bootstrap.LOCK.name}")


if __name__ == "__main__":
    main()
