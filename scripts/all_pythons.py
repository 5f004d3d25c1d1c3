"""Run `make test` on every Python from 3.11 on that is installed here, each in its own folder."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys

import bootstrap

VERSIONS = ("3.11", "3.12", "3.13", "3.14")


def find(version: str) -> str | None:
    """The interpreter of a version: on PATH, or the newest that pyenv keeps."""
    pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    kept = sorted(glob.glob(os.path.join(pyenv, "versions", f"{version}.*", "bin", "python3")))
    for candidate in (shutil.which(f"python{version}"), *reversed(kept)):
        # A shim of pyenv's is on PATH for versions that are not switched on, and then fails.
        if candidate and _starts(candidate, version):
            return candidate
    return None


def _starts(python: str, version: str) -> bool:
    asked = [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    return answer.stdout.strip() == version


def main() -> int:
    results = {}
    for version in VERSIONS:
        python = find(version)
        if python is None:
            results[version] = "not installed here"
            continue
        bootstrap.say(f"make test on Python {version} ({python})")
        folder = os.path.join(".cache", "venvs", version, "main")
        command = ["make", "--no-print-directory", "test", f"PYTHON={python}", f"VENV={folder}"]
        done = subprocess.run(command, cwd=bootstrap.ROOT, stdin=subprocess.DEVNULL, check=False)
        results[version] = "FAILED" if done.returncode else "passed"
    for version, result in results.items():
        print(f"  Python {version}: {result}")
    return int("FAILED" in results.values())


if __name__ == "__main__":
    sys.exit(main())
