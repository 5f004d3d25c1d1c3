"""Folders and files that appear complete, so that nobody sees half of one."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import typing as t

from carboy.core.disksync import sync_names, sync_tree

if t.TYPE_CHECKING:
    import collections.abc as cabc


@contextlib.contextmanager
def partial_folder(parent: str) -> cabc.Iterator[str]:
    """Create an empty folder, whose name begins with a dot, for files that `publish` lets appear.
    What has not been published at the end is removed.
    """
    os.makedirs(parent, exist_ok=True)
    # `tempfile.mkdtemp` would let only its own user read the folder. The server may be another one.
    partial = os.path.join(parent, f".partial-{secrets.token_hex(8)}")
    os.mkdir(partial)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def publish(partial: str, target: str) -> None:
    """Give a folder that is not empty its final name, when the disk has all of its files.

    Raises:
        OSError: the disk does not take them.
        FileExistsError: the name is taken. Of processes that publish under one name at the same
            time, all but one get this error.
    """
    if os.path.lexists(target):  # `os.rename` would replace an empty folder
        raise FileExistsError(target)
    sync_tree(partial)
    try:
        os.rename(partial, target)
    except OSError:
        if os.path.lexists(target):  # another process has published meanwhile
            raise FileExistsError(target) from None
        raise
    sync_names(os.path.dirname(os.path.abspath(target)))


def replace_file(path: str, data: bytes) -> None:
    """Write a file that may exist. Of processes that do so at the same time, the last one wins."""
    partial = f"{path}.{secrets.token_hex(8)}.partial"
    try:
        with open(partial, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            os.remove(partial)
        raise
