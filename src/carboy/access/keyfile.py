"""Change the file of API keys that servers read: whole or not at all, by one process at a time."""

from __future__ import annotations

import contextlib
import os
import typing as t

from carboy.core.filelocks import HAS_LOCKS, locked
from carboy.errors import ConfigError
from carboy.project.privatefiles import replace_private

from .keystore import no_file, read_keys, to_text

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from .apikey import ApiKey


@contextlib.contextmanager
def changing(path: str, *, must_exist: bool = False) -> cabc.Iterator[dict[str, ApiKey]]:
    """Yield the keys of a file, by id, and write them back if the block has changed them.

    Args:
        must_exist: do not create folder and file if they do not exist.

    Raises:
        ConfigError: the file cannot be read or written, or is not one of keys.
    """
    path = os.path.realpath(path)
    if must_exist and not os.path.lexists(path):
        raise no_file(path)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with _locked(os.path.dirname(path)) as folder:
            keys = read_keys(path, missing={})
            before = dict(keys)
            yield keys
            if keys != before:
                is_new = not os.path.exists(path)
                replace_private(path, to_text(keys.values()))
                if is_new:
                    _give_to_owner_of(folder, path)
    except OSError as exc:
        raise ConfigError(
            f"The file of API keys {path!r} cannot be changed: {exc.strerror}. You must be able to"
            " write it, and into its folder."
        ) from exc


@contextlib.contextmanager
def _locked(folder: str) -> cabc.Iterator[str]:
    """Let other processes wait that change a file of the folder. On systems without `flock`, of two
    that do so at the same time the last one wins.
    """
    if not HAS_LOCKS:
        yield folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with locked(descriptor):
            yield folder
    finally:
        os.close(descriptor)


def _give_to_owner_of(folder: str, path: str) -> None:
    """Let the owner of the folder read a new file that root has made: the server runs as another
    user.
    """
    if os.name == "posix" and os.geteuid() == 0:
        owner = os.stat(folder)
        os.chown(path, owner.st_uid, owner.st_gid)
