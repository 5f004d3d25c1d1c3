"""Write files that contain secrets: whole or not at all, and readable for their owner only."""

from __future__ import annotations

import os
import stat
import tempfile


def create_private(path: str, text: str) -> None:
    """Write a new file that only its owner may read.

    Raises:
        FileExistsError: there is a file already; it is left as it is.
        OSError: the file cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        _write(descriptor, text)
    except OSError:
        os.unlink(path)
        raise


def replace_private(path: str, text: str, like: str | None = None) -> None:
    """Write a file, or replace it in one step: a reader sees the old text or the new one.

    The new file has the owner of the old one, and its mode, which may let the group read it. But if
    the mode gives rights to everybody, it was not chosen for a secret, and only the owner may read
    the new file. If `path` is a symbolic link, the file to which it points is replaced.

    Args:
        path: the file.
        text: its new content.
        like: the file whose owner and mode a file at `path` gets if there is none yet.

    Raises:
        OSError: the file cannot be written; the old file is left as it is.
    """
    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    descriptor, new = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
    try:
        _write(descriptor, text)
        _copy_owner_and_mode(path if like is None or os.path.exists(path) else like, new)
        os.replace(new, path)
    except BaseException:
        os.unlink(new)
        raise


def _copy_owner_and_mode(path: str, new: str) -> None:
    try:
        old = os.stat(path)
    except FileNotFoundError:
        return
    made = os.stat(new)
    if (made.st_uid, made.st_gid) != (old.st_uid, old.st_gid):
        os.chown(new, old.st_uid, old.st_gid)
    mode = stat.S_IMODE(old.st_mode)
    os.chmod(new, 0o600 if mode & stat.S_IRWXO else mode)


def _write(descriptor: int, text: str) -> None:
    with open(descriptor, "w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
