"""Waits until the disk has what was written, so that it is there after a power failure."""

from __future__ import annotations

import errno
import os


def sync_names(folder: str) -> None:
    """Write the names of the files in a folder to the disk. (fsync of a file writes its content
    only.)
    """
    _sync(folder)


def sync_tree(folder: str) -> None:
    """Write the files in a folder and in those below it to the disk, and their names."""
    for place, _, names in os.walk(folder):
        for name in names:
            if os.path.isfile(path := os.path.join(place, name)):
                _sync(path)
        sync_names(place)


def _sync(path: str) -> None:
    try:
        fd = os.open(path, os.O_RDONLY)
    except PermissionError:
        # Windows opens no folders; on other systems, this user may write but not read it.
        return
    try:
        os.fsync(fd)
    except OSError as exc:
        # Some file systems (FUSE) have no fsync of folders, and Windows none of files that were
        # opened for reading.
        if exc.errno not in (errno.EINVAL, errno.EBADF):
            raise
    finally:
        os.close(fd)
