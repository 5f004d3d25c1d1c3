"""Run `make test` on every Python from 3.11 on that is installed here, each in its own folder.

On the versions of debian_pythons.py that are not installed, run the quick tests by chroot.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys

import bootstrap
import chroots
import debian_pythons

VERSIONS = ("3.11", "3.12", "3.13", *debian_pythons.VERSIONS)


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


def make_test(version: str, python: str) -> str:
    """Run `make test` with an interpreter that is installed; return what became of it."""
    bootstrap.say(f"make test on Python {version} ({python})")
    folder = os.path.join(".cache", "venvs", version, "main")
    command = ["make", "--no-print-directory", "test", f"PYTHON={python}", f"VENV={folder}"]
    done = subprocess.run(command, cwd=bootstrap.ROOT, stdin=subprocess.DEVNULL, check=False)
    return "FAILED" if done.returncode else "passed"


def quick_tests(version: str) -> str:
    """Run the quick tests on a version that is not installed; return what became of it."""
    if version not in debian_pythons.VERSIONS:
        return "not run: not installed here"
    try:
        failed = debian_pythons.run_quick_tests(version)
    except chroots.CannotRunError as error:
        return f"not run: not installed here, and {error}"
    except SystemExit as error:  # of a command that failed while the folder was made
        print(error, file=sys.stderr)
        failed = 1
    return "FAILED (quick tests)" if failed else "passed (quick tests)"


def main() -> int:
    results = {}
    for version in VERSIONS:
        python = find(version)
        results[version] = quick_tests(version) if python is None else make_test(version, python)
    for version, result in results.items():
        print(f"  Python {version}: {result}")
    return int(any(result.startswith("FAILED") for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
