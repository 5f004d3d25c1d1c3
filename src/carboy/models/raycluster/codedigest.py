"""A digest of the Python files of an app, by which it is noticed that a node has other code."""

from __future__ import annotations

import hashlib
import os
import sys

# Folders in which no code of the app is.
_LEFT_OUT = frozenset({"__pycache__", "node_modules", "site-packages", "venv", "env"})
# More files than any app has: a server that is started in `/` must not read the whole disk.
_MAX_FILES = 20_000


def code_folder(target: str | None, folder: str) -> str:
    """Return the folder with the code of an app: that of its package, or the one with its module.

    Args:
        target: the import path of the app, which is imported.
        folder: the folder in which the server was started.
    """
    module_name = (target or "").partition(":")[0]
    module = sys.modules.get(module_name.partition(".")[0])
    filename: str | None = getattr(module, "__file__", None)
    if filename is None:
        return folder
    return os.path.dirname(os.path.abspath(filename))


def digest_of(folder: str) -> str:
    """Return the digest of the Python files below a folder: their paths and contents."""
    digest, left = hashlib.blake2b(digest_size=12), _MAX_FILES
    for path, folders, files in os.walk(folder):
        folders[:] = sorted(each for each in folders if not _is_left_out(path, each))
        for name in sorted(files):
            if not name.endswith(".py"):
                continue
            left -= 1
            if left < 0:
                return digest.hexdigest()
            digest.update(os.path.relpath(os.path.join(path, name), folder).encode() + b"\0")
            digest.update(_content(os.path.join(path, name)) + b"\0")
    return digest.hexdigest()


def _is_left_out(path: str, name: str) -> bool:
    return (
        name.startswith(".")
        or name in _LEFT_OUT
        or os.path.lexists(os.path.join(path, name, "pyvenv.cfg"))
    )


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return hashlib.blake2b(file.read(), digest_size=12).digest()
    except OSError:
        return b""
