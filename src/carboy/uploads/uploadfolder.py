"""The folder that holds uploaded files.

    7n3k...q2.png                       a stored file: a random name and the suffix of its type
    aen5...4i-7n3k...q2.png             a stored file with an owner: the owner's tag comes first
    .carboy/lock                        locked while names change; holds the key for owners' tags
    .carboy/x5o2...7a.part              a file that is not complete yet

The name of a file is random, so that nobody can guess it, and no two files have the same name. An
owner's tag is a hash of the owner (such as the id of a user) with the key in the lock file. So
nobody who sees a name can find out the owner, not even by trying all user names.

A thread that gives files their names, or removes old files, holds a lock on the folder, which all
threads and processes share (`flock`). The lock is never held while the content of a file is
written. A thread that waits for the lock gives up if no thread of any process gets it for
`LOCK_S` seconds.
"""

from __future__ import annotations

import base64
import collections.abc as cabc
import contextlib
import hashlib
import os
import re
import secrets
import shutil
import stat
import threading
import time
import typing as t
import weakref
from dataclasses import dataclass

from werkzeug.exceptions import ServiceUnavailable

from ..core.disksync import sync_names
from ..core.filelocks import unlocking
from ..core.logmasking import get_masked_logger
from ..core.spooledfile import SpooledFile
from ..core.statics import is_public
from ..globals import _cv_app, current_app
from .contenttypes import BY_SUFFIX, FileType

#: The owner of a file, as programs pass it: the id of a user, or a session.
Owner: t.TypeAlias = str | int | cabc.MutableMapping[str, t.Any]

# A temporary file to which nothing was written for so many seconds is removed, because the process
# that created it was probably killed.
STALE_S = 3600.0

# How often `files` lists a folder again at most, if files were removed while the folder was listed.
_MORE_LISTINGS = 20

_PRIVATE = ".carboy"
_KEY_BYTES = 32
# How many random bytes the name of a stored file has.
_TOKEN_BYTES = 16
_COPY_BYTES = 1024 * 1024
_NAME = re.compile(r"(?:([a-z2-7]{16})-)?[a-z2-7]{26}\.([a-z0-9]+)")
# The key under which a session holds the random id by which it owns files.
_SESSION_KEY = "_uploads"


@dataclass(frozen=True)
class SavedFile:
    """A stored file: its names, its size and its type.

    Attributes:
        name: the random name of the file in its folder, for `url_for` and for a database.
        path: the absolute path. The file may be read, moved or removed, but must not be written.
        size: the number of bytes in the file.
        media_type: the media type that was recognised by the content, such as `image/png`.
        client_name: the name that the client has sent, without folders. It is "" in the results of
            `files()`, because carboy does not store it. Escape it in HTML, and never use it as a
            path.
    """

    name: str
    path: str
    size: int
    media_type: str
    client_name: str = ""


class Staged(t.NamedTuple):
    """A file that `stage` has written completely, and that has only a temporary name so far.

    Attributes:
        path: the path of the file under its temporary name.
        size: the number of bytes in the file.
        kind: the type of the file, which decides the suffix of its final name.
    """

    path: str
    size: int
    kind: FileType


def absolute(folder: str | os.PathLike[str]) -> str:
    """Return the absolute path of a folder; a relative one is below the app's `root_path`, as in
    `send_from_directory`.

    Raises:
        ValueError: the path is relative and no app is active.
    """
    path = os.fspath(folder)
    if _cv_app.get(None) is None:
        if not os.path.isabs(path):
            raise ValueError(
                f"folder={path!r}: a relative folder is below the folder of an app, and no app is"
                " active. Use an absolute path, or `with app.app_context():`."
            )
        return path
    return os.path.abspath(os.path.join(current_app.root_path, path))


def refuse_public(folder: str) -> None:
    """Raise ValueError if a folder is below a static folder of the active app or one of its
    blueprints, because everybody gets the files of those folders.
    """
    if _cv_app.get(None) is not None and is_public(folder, current_app):
        raise ValueError(
            f"folder={folder!r} is below a static folder, whose files everybody gets without any"
            " checks. Use a folder beside it, and send its files by `carboy.uploads.view`."
        )


# --- names and owners ------------------------------------------------------------------------


def _token() -> str:
    return _encoded(secrets.token_bytes(_TOKEN_BYTES))


def _encoded(data: bytes) -> str:
    # Base32 in lower case, because some file systems do not distinguish upper and lower case.
    return base64.b32encode(data).decode().rstrip("=").lower()


def identity(owner: Owner) -> str:
    """Return a text that identifies an owner. For a session, it contains a random id, which is
    stored in the session when the session first owns a file.

    Raises:
        TypeError: the owner is neither a str, nor an int, nor a session.
        ValueError: the owner is an empty str.
    """
    if isinstance(owner, cabc.MutableMapping):
        if _SESSION_KEY not in owner:
            owner[_SESSION_KEY] = _token()
        return f"session:{owner[_SESSION_KEY]}"
    if isinstance(owner, bool) or not isinstance(owner, str | int):
        raise TypeError(f"owner={owner!r}: expected the id of a user (str, int), or a session.")
    if owner == "":
        raise ValueError("owner='': expected the id of a user, or a session.")
    return f"{'text' if isinstance(owner, str) else 'number'}:{owner}"


def _tag(owner: str, key: bytes) -> str:
    """Return the tag with which the names of an owner's files begin: a hash of the owner with the
    folder's key.
    """
    # "surrogatepass", because an id from JSON may contain half a character ("\\ud800").
    data = owner.encode(errors="surrogatepass")
    return _encoded(hashlib.blake2b(data, key=key, digest_size=10).digest())


# --- reading ---------------------------------------------------------------------------------


def files(folder: str | os.PathLike[str], *, owner: Owner | None = None) -> list[SavedFile]:
    """Return the files that `save` has stored in a folder, newest first.

    Each call lists the whole folder: 10,000 files take about 0.1 s. Thread-safe.

    Args:
        folder: the folder that was passed to `save`. If it does not exist, the result is empty.
        owner: return only the files that were saved with this owner. None: all files.
    """
    path = absolute(folder)
    tag = None if owner is None else _tag(identity(owner), _read_key(path))
    listed, is_current = _list(path, tag)
    for _ in range(_MORE_LISTINGS):
        if is_current:
            break
        listed, is_current = _list(path, tag)
    return listed


def _list(folder: str, tag: str | None) -> tuple[list[SavedFile], bool]:
    """Return the stored files with the owner's tag (None: all), newest first, and whether the list
    is current.

    It is not current if a file was removed while the folder was listed, because the file that has
    replaced it may be missing in the list.
    """
    found: list[tuple[int, SavedFile]] = []
    is_current = True
    for entry in _entries(folder):
        match = _NAME.fullmatch(entry.name)
        if match is None or match[2] not in BY_SUFFIX or tag not in {None, match[1]}:
            continue
        try:
            status, kind = entry.stat(), BY_SUFFIX[match[2]]
        except FileNotFoundError:
            is_current = False
            continue
        saved = SavedFile(entry.name, entry.path, status.st_size, kind.media_type)
        found.append((status.st_mtime_ns, saved))
    found.sort(key=lambda each: (each[0], each[1].name), reverse=True)
    return [saved for _, saved in found], is_current


def find(folder: str, name: str) -> SavedFile | None:
    """Return the stored file with this name; None if the folder has no such file.

    The name may come from a client: a path is never looked up.
    """
    match = _NAME.fullmatch(name)
    if match is None or match[2] not in BY_SUFFIX:
        return None
    path = os.path.join(folder, name)
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):  # a link or a folder, which `save` has not made
        return None
    return SavedFile(name, path, status.st_size, BY_SUFFIX[match[2]].media_type)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [each for each in entries if each.is_file(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:  # the file was removed after the folder was listed
        return 0


# --- writing ---------------------------------------------------------------------------------


def prepare(folder: str) -> None:
    """Create a folder for uploads, which only this user of the system may read, if it is missing.
    Remove the temporary files that killed processes have left in it.
    """
    private = os.path.join(folder, _PRIVATE)
    if not os.path.isdir(private):
        parents = _parents_of_missing(folder)
        os.makedirs(folder, 0o700, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(private, 0o700)
        for parent in parents:
            sync_names(parent)
    for entry in _entries(private):
        if entry.name.endswith(".part"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - entry.stat().st_mtime > STALE_S:
                    os.unlink(entry.path)


def _parents_of_missing(folder: str) -> list[str]:
    """Return the parents of all folders that must be created so that `folder` exists: of `folder`
    itself, and of each missing folder above it.
    """
    parents = []
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
        parents.append(folder)
    return parents


def stage(stream: t.IO[bytes], folder: str) -> str:
    """Write an uploaded file to the disk under a temporary name, and return the path of this file.

    A long upload is on disk already, in a file without a name. If that is on the same file system
    as the folder, it gets the temporary name, and nothing is copied.
    """
    path = os.path.join(folder, _PRIVATE, f"{_token()}.part")
    try:
        if isinstance(stream, SpooledFile) and stream.link_to(path):
            return path
        stream.seek(0)
        with open(path, "xb", opener=_open_privately) as target:
            shutil.copyfileobj(stream, target, _COPY_BYTES)
            target.flush()
            os.fsync(target.fileno())
    except BaseException:
        discard(path)
        raise
    return path


def discard(*paths: str) -> None:
    """Remove files, some of which may be missing."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def publish(
    folder: str,
    staged: t.Sequence[Staged],
    *,
    owner: str | None,
    replace: bool,
    check_room: cabc.Callable[[int], object] | None,
) -> list[SavedFile]:
    """Give files that `stage` has written their final names, all of them or none.

    Args:
        folder: the absolute path of the folder.
        staged: the files that `stage` has written.
        owner: the owner of the files, as `identity` returns it; None if they have no owner.
        replace: whether to remove the files that this owner had before.
        check_room: a function that raises an error if the folder has no room for the new files. It
            is called with the number of bytes that the files which stay in the folder take. None:
            nothing is checked.
    """
    with _locked(folder) as key:
        tag = "" if owner is None else f"{_tag(owner, key)}-"
        # PERF: the folder is listed only if files are replaced or a limit is checked, because the
        # names of 10,000 files take 10 ms, and their sizes 50 ms.
        entries = _entries(folder) if replace or check_room else []
        old = {each.path for each in entries if replace and each.name.startswith(tag)}
        if check_room is not None:
            check_room(sum(_size(each) for each in entries if each.path not in old))
        made = _rename(staged, folder, tag)
    # The names are written to the disk after the lock was released, so that other threads do not
    # wait for the disk. The old files are removed when the new names are on the disk, so that the
    # owner keeps them if that fails.
    try:
        sync_names(folder)
    except BaseException:
        discard(*(each.path for each in made))
        raise
    for path in old:
        # Windows does not remove a file that is open, because a view just sends it. It is removed
        # when this owner's files are replaced next time.
        with contextlib.suppress(OSError):
            discard(path)
    return made


def _rename(staged: t.Sequence[Staged], folder: str, tag: str) -> list[SavedFile]:
    made: list[SavedFile] = []
    try:
        for each in staged:
            name = f"{tag}{_token()}.{each.kind.suffix}"
            path = os.path.join(folder, name)
            os.rename(each.path, path)
            made.append(SavedFile(name, path, each.size, each.kind.media_type))
    except BaseException:
        discard(*(each.path for each in made))
        raise
    return made


# --- the lock --------------------------------------------------------------------------------

# After so many seconds in which no thread of any process got the lock, waiting threads give up. A
# process usually holds the lock for some milliseconds, so the process that holds it is probably
# stopped: by a debugger, or because its container is paused.
LOCK_S = 5.0
# The shortest and the longest pause between two attempts of a thread to get the lock. The thread
# tries repeatedly, because flock(2) cannot wait for a limited time.
_PAUSES_S = (0.0005, 0.005)
_RETRY_AFTER_S = 5

_mutexes: weakref.WeakValueDictionary[str, threading.Lock] = weakref.WeakValueDictionary()
_finding_mutex = threading.Lock()
# The folders whose lock a thread could not get within `LOCK_S`. Until a thread gets the lock of
# such a folder, each thread that needs it tries once and gives up at once. If the threads waited,
# soon all threads of the server would wait, and none would be left to answer other requests.
_stuck: set[str] = set()


def _forget_mutexes() -> None:
    """Forget in a forked process the locks of threads that run in its parent only."""
    global _finding_mutex  # noqa: PLW0603 - another thread may have held it
    _finding_mutex = threading.Lock()
    _mutexes.clear()
    _stuck.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_mutexes)


class FolderLockedError(ServiceUnavailable, TimeoutError):
    """No thread could lock the folder of uploads for `LOCK_S` seconds, because another thread or
    process holds the lock. The client gets a 503 with Retry-After.

    The error is also a TimeoutError, for programs that save files outside a request.
    """

    description = "Files cannot be stored at present. Send the file again in some seconds."

    def __init__(self) -> None:
        super().__init__(retry_after=_RETRY_AFTER_S)


@contextlib.contextmanager
def _locked(folder: str) -> cabc.Iterator[bytes]:
    """Lock a folder against all other threads and processes during the `with` block, which gets the
    folder's key for the tags of owners.

    Raises:
        FolderLockedError: no thread of any process got the lock for `LOCK_S` seconds.
    """
    path = os.path.join(folder, _PRIVATE, "lock")
    with _mutex(folder, path), open(path, "a+b", opener=_open_privately) as file:
        _lock(file.fileno(), folder, path)
        # Windows, where `unlocking` does nothing, releases the lock when the file is closed.
        with unlocking(file.fileno()):
            os.utime(path)  # the new time tells waiting threads that the lock still changes hands
            file.seek(0)
            key = file.read(_KEY_BYTES)
            yield key if len(key) == _KEY_BYTES else _make_key(file, folder)


def _make_key(file: t.BinaryIO, folder: str) -> bytes:
    key = secrets.token_bytes(_KEY_BYTES)
    file.truncate(0)
    file.write(key)
    file.flush()
    os.fsync(file.fileno())
    sync_names(os.path.join(folder, _PRIVATE))
    matches = [_NAME.fullmatch(each.name) for each in _entries(folder)]
    orphans = sum(each is not None and each[1] is not None for each in matches)
    if orphans:
        get_masked_logger("carboy.uploads").error(
            "the key in %s was missing, and a new one is made. Files that have lost their owner:"
            " %d. Put the old key back, for example from a backup, before more files are saved",
            file.name,
            orphans,
        )
    return key


@contextlib.contextmanager
def _mutex(folder: str, path: str) -> cabc.Iterator[None]:
    """Lock a folder against the other threads of this process.

    A thread calls this before it locks the lock file, so that only one thread of each process waits
    for the lock file. On systems that cannot lock files, this is the only lock.
    """
    with _finding_mutex:
        mutex = _mutexes.setdefault(folder, threading.Lock())
    before = _locked_at(path)
    while not mutex.acquire(timeout=0.0 if folder in _stuck else LOCK_S):
        if folder in _stuck or before == (before := _locked_at(path)):
            _give_up(folder)
    try:
        yield
    finally:
        mutex.release()


def _lock(fd: int, folder: str, path: str) -> None:
    """Lock the open lock file of a folder against other processes; wait if one has locked it.

    Raises:
        FolderLockedError: no process got the lock for `LOCK_S` seconds.
    """
    pause_s, longest_s = _PAUSES_S
    before, end_s = _locked_at(path), time.monotonic() + LOCK_S
    while not _try_lock(fd):
        if before != (before := _locked_at(path)):
            end_s = time.monotonic() + LOCK_S
        if folder in _stuck or time.monotonic() >= end_s:
            _give_up(folder)
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, longest_s)
    _stuck.discard(folder)


def _locked_at(path: str) -> int:
    """Return the modification time of a lock file in nanoseconds, which each thread that gets the
    lock sets to the present time; 0 if the file does not exist.
    """
    try:
        return os.stat(path).st_mtime_ns
    except FileNotFoundError:
        return 0


def _give_up(folder: str) -> t.NoReturn:
    if folder not in _stuck:
        _stuck.add(folder)
        get_masked_logger("carboy.uploads").error(
            "another process or thread has locked %s for %g s, and may be stopped. Uploads to this"
            " folder are refused (503) until it ends the lock",
            os.path.join(folder, _PRIVATE, "lock"),
            LOCK_S,
        )
    raise FolderLockedError


def _try_lock(fd: int) -> bool:
    """Try to lock an open file, without waiting. Return False if another process holds the lock,
    else True.
    """
    try:
        import fcntl
    except ImportError:
        return _try_lock_on_windows(fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _try_lock_on_windows(fd: int) -> bool:
    try:
        import msvcrt
    except ImportError:
        return True  # this system cannot lock files; `_mutex` still stops the other threads
    locking: t.Any = vars(msvcrt)
    # Lock a byte far behind the key: Windows lets no other process read a locked byte, but other
    # processes must read the key.
    os.lseek(fd, 2**30, os.SEEK_SET)
    try:
        locking["locking"](fd, locking["LK_NBLCK"], 1)
    except PermissionError:
        return False
    return True


def _read_key(folder: str) -> bytes:
    """Return the key for the tags of owners, which the lock file of a folder holds; b"" if no file
    was ever stored in the folder.
    """
    try:
        with open(os.path.join(folder, _PRIVATE, "lock"), "rb") as file:
            return file.read(_KEY_BYTES)
    except FileNotFoundError:
        return b""


def _open_privately(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
