"""Write the folder of a new project: all of it, or nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
import typing as t

from ..errors import StarterError
from .names import check_name
from .packing import pack_wheel
from .sources import project_files

if t.TYPE_CHECKING:
    import collections.abc as cabc

WHEELS = "wheels"


def create_project(parent: str, name: str, parts: cabc.Collection[str]) -> list[str]:
    """Create the project `name` as a new folder of the folder `parent`.

    Args:
        parent: an existing folder.
        name: the name of the project.
        parts: the keys of `PARTS` that the project contains.

    Returns:
        The paths of the files, relative to the project.

    Raises:
        StarterError: the name is not valid, or a file or folder of this name exists in `parent`.
        OSError: the files cannot be written.
    """
    check_name(name)
    target = os.path.join(parent, name)
    _refuse_existing(target)
    wheel = pack_wheel()
    files = project_files(name, parts, wheel.name)
    files[f"{WHEELS}/{wheel.name}"] = wheel.content
    # Write the files into a folder of another name and rename the folder at the end, so that nobody
    # sees an unfinished project, and nothing is left after a failure.
    unfinished = tempfile.mkdtemp(prefix=f".{name}-", dir=parent)
    try:
        for path, content in files.items():
            _write(os.path.join(unfinished, *path.split("/")), content)
        os.chmod(unfinished, _usual_mode(unfinished))
        _rename(unfinished, target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return sorted(files)


def _refuse_existing(target: str) -> None:
    if os.path.lexists(target):
        kind = "folder" if os.path.isdir(target) else "file"
        raise StarterError(
            f"There is a {kind} {os.path.basename(target)!r} here already, which is left as it is."
            " Choose another name, or rename it."
        )


def _write(path: str, content: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "xb") as file:
        file.write(content)


def _usual_mode(folder: str) -> int:
    """Return the permissions that a new folder usually gets (umask). The folder of a project gets
    them, because `mkdtemp` has created it so that only its owner may read it.
    """
    probe = os.path.join(folder, ".mode")
    os.mkdir(probe)
    try:
        return os.stat(probe).st_mode & 0o777
    finally:
        os.rmdir(probe)


def _rename(unfinished: str, target: str) -> None:
    try:
        os.rename(unfinished, target)
    except OSError:
        # If renaming failed because another program has just created the target, the error says
        # this.
        _refuse_existing(target)
        raise
