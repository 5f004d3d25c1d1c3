"""The private folders in which a user's servers have the sockets by which other processes of the
user find them.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import socket
import stat
import tempfile
import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc


def runtime_folders(environ: cabc.Mapping[str, str] = os.environ) -> list[str]:
    """Return the folders where this user's servers have these sockets by default. A server uses
    the first that it can create; whoever looks for a server searches all of them, because it may
    run with another environment.
    """
    folders = []
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        folders.append(os.path.join(runtime, "carboy"))
    if os.geteuid() == 0:
        folders.append("/run/carboy")
    try:
        folders.append(os.path.join(tempfile.gettempdir(), f"carboy-{os.geteuid()}"))
    except FileNotFoundError:  # no temporary folder can be written, as on a read-only root
        pass
    return list(dict.fromkeys(map(os.path.normpath, folders)))


def create_private(folder: str) -> None:
    """Create a folder for this user alone, unless it exists.

    Raises:
        OSError: it cannot be created, or it exists and other users may write to it.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    reason = why_not_private(folder)
    if reason:
        raise OSError(errno.EPERM, reason)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def why_not_private(folder: str) -> str:
    """Return why a folder may contain files of other users, or "" if it cannot: in a folder for all
    users, such as /tmp, another user may have created it first.
    """
    found = os.lstat(folder)
    if not stat.S_ISDIR(found.st_mode):
        return "it is not a folder"
    if found.st_uid != os.geteuid():
        return f"it belongs to {user_name(found.st_uid)}"
    return "other users may write to it" if found.st_mode & 0o022 else ""


def served_sockets(suffix: str) -> list[str]:
    """Return the paths of the sockets in these folders whose names end with a suffix, and on which
    servers of this user listen.
    """
    return [
        path
        for folder in runtime_folders()
        if os.path.isdir(folder) and not why_not_private(folder)
        for path in sorted(glob.glob(f"{glob.escape(folder)}/*{suffix}"))
        if is_reachable(path)
    ]


def is_reachable(path: str) -> bool:
    """Return whether a server listens on the Unix socket at a path that this user may open."""
    try:
        return is_served(path)
    except OSError:
        return False


def is_served(path: str) -> bool:
    """Return whether a server listens on the Unix socket at a path.

    Raises:
        OSError: the system does not let this user find out.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # Do not block: connecting to a living server waits if its backlog is full.
        probe.setblocking(False)
        code = probe.connect_ex(path)
    if code in (errno.ECONNREFUSED, errno.ENOENT):
        return False
    if code in (0, errno.EAGAIN, errno.EINPROGRESS):
        return True
    raise OSError(code, os.strerror(code))


def user_name(uid: int) -> str:
    """Return how a message names a user, such as "user shop (uid 1000)"."""
    import pwd

    try:
        return f"user {pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"
