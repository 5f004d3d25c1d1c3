"""Write the versions that tests install anew: the newest that pyproject.toml allows today.

Tests install by these files, so that a release on PyPI cannot fail a run in which nothing of ours
changed. Run it on the oldest Python, whose versions the newer ones can install too.

    scripts/constraints.txt          what `make test` installs
    tests/conformance/newest.*       the newest Flask, pre-releases included, with what it needs
"""

from __future__ import annotations

import hashlib
import pathlib
import re
import subprocess
import tempfile

import bootstrap
import hashedpins

HEAD = """\
# The versions that `make test` installs, whatever pyproject.toml allows beside them. Written by
# `make pins`; the environments for Flask's tests and for extensions have lists of their own.
"""
NEWEST_HEAD = """\
# What `make conformance` installs for the tests of the newest Flask; pre-releases of its own and of
# the projects that it is made of are included. Written by `make pins`.
"""
# Flask is made of these. A bound that names a pre-release allows pre-releases.
PALLETS = ("blinker", "click", "itsdangerous", "jinja2", "markupsafe", "werkzeug")


def constraints() -> None:
    with tempfile.TemporaryDirectory() as name:
        python = bootstrap.venv(pathlib.Path(name) / "pins")
        bootstrap.say("resolving the newest versions")
        dev = f"{bootstrap.PYPROJECT}:dev"
        bootstrap.pip(python, "--editable", bootstrap.ROOT, "--group", dev, constraints=None)
        frozen = [str(python), "-m", "pip", "freeze", "--exclude-editable"]
        listed = subprocess.run(frozen, capture_output=True, text=True, check=True).stdout
    bootstrap.LOCK.write_text(HEAD + listed)
    bootstrap.say(f"{len(listed.splitlines())} versions in {bootstrap.LOCK.name}")


def newest_flask() -> None:
    with hashedpins.resolver() as resolve:
        (version,) = re.findall(r"^flask==(\S+)", resolve(["flask>=0.dev0"], False), re.MULTILINE)
        beside = (bootstrap.NEWEST.parent / "requirements.txt").read_text().splitlines()
        needed = [f"{name}>=0.dev0" for name in PALLETS]
        needed += [line for line in beside if line and not line.startswith("#")]
        text = resolve(needed, True)
    bootstrap.NEWEST.with_suffix(".txt").write_text(NEWEST_HEAD + text)
    bootstrap.NEWEST.write_text(
        "# The source distribution of the newest Flask. Written by `make pins`.\n"
        f'version = "{version}"\nsha256 = "{sha256_of_flask(version)}"\n'
    )
    bootstrap.say(f"Flask {version} and what it needs in tests/conformance/newest.*")


def sha256_of_flask(version: str) -> str:
    """Return the hash of the source distribution that the index has."""
    python = bootstrap.venv(bootstrap.VENV)
    with tempfile.TemporaryDirectory() as folder:
        bootstrap.run(
            *(python, "-m", "pip", "download", "-qq", "--no-deps", "--no-binary", "flask"),
            *(f"flask=={version}", "--dest", folder),
            quiet=True,
        )
        (archive,) = pathlib.Path(folder).iterdir()
        return hashlib.sha256(archive.read_bytes()).hexdigest()


if __name__ == "__main__":
    constraints()
    newest_flask()
