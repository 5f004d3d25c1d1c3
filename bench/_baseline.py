"""carboy as it was at one commit, in an environment of its own: a fixed peer.

Ratios to other projects change with their versions; the ratio to this commit changes only with
carboy. The commit's tree is exported from this repository's history.
"""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMIT = "a21d1ed"
NAME = f"carboy {COMMIT}"
SOURCE = ROOT / ".cache" / f"carboy-{COMMIT}"
HOME = ROOT / ".cache" / "venvs" / f"bench-{COMMIT}"
PYTHON = HOME / "bin" / "python"


def export() -> pathlib.Path:
    """Write the commit's tree below `.cache`; return the folder.

    Raises:
        RuntimeError: the commit is not in this clone, as in a shallow one.
    """
    if SOURCE.is_dir():
        return SOURCE
    with tempfile.TemporaryFile() as packed:
        command = ["git", "-C", str(ROOT), "archive", "--format=tar", COMMIT]
        done = subprocess.run(command, stdout=packed, stderr=subprocess.PIPE, check=False)
        if done.returncode:
            raise RuntimeError(
                f"commit {COMMIT} cannot be exported: {done.stderr.decode().strip()}."
                " Fetch the whole history: git fetch --unshallow"
            )
        packed.seek(0)
        unpacked = SOURCE.with_suffix(".new")
        shutil.rmtree(unpacked, ignore_errors=True)
        with tarfile.open(fileobj=packed) as archive:
            archive.extractall(unpacked, filter="data")
        unpacked.rename(SOURCE)
    return SOURCE


def install() -> pathlib.Path:
    """Make the environment unless it stands; return its interpreter.

    Raises:
        RuntimeError: it cannot be made; the message says why.
    """
    sys.path.insert(0, str(ROOT / "scripts"))
    import bootstrap

    try:
        python = bootstrap.venv(HOME)
        stamp = bootstrap.Stamp(HOME / ".stamps" / "content", COMMIT, bootstrap.LOCK)
        if not stamp.holds():
            bootstrap.say(f"installing {NAME} into {HOME.relative_to(ROOT)}")
            bootstrap.pip(python, export())
            stamp.set()
    except SystemExit as failed:
        raise RuntimeError(str(failed)) from None
    return python
