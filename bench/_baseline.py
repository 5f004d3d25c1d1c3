"""carboy as it was at one commit: a fixed peer, in an environment of its own (_peers.py).

Ratios to other projects change with their versions; the ratio to this commit changes only with
carboy. The commit's tree is exported from this repository's history.
"""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import tarfile
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMIT = "a21d1ed"
NAME = f"carboy {COMMIT}"
SOURCE = ROOT / ".cache" / f"carboy-{COMMIT}"


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
