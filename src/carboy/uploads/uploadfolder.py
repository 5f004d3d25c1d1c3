"""The folder that holds uploaded files.

    7n3k...q2.png                       a stored file: a random name and the suffix of its type
    aen5...4i-7n3k...q2.png             the same, of an owner
    .carboy/lock                        locked while names change; holds the key of the owners' tags
    .carboy/x5o2...7a.part              a file that is not complete yet

A name is random, so that it can be guessed by nobody, and so that two uploads never have the same.
The first part of an owner's files is computed from the owner with the key in the lock file: nobody
who sees the name can find out the owner, not even by trying all user names.

All changes of names are made under one lock, which threads and processes share (`flock`). The lock
is held for renaming only, never while the content of a file is written. A thread that waits for it
gives up if nobody got it for `LOCK_S`.
"""

from __future__ import annotations

import base64
import collections.abc as cabc
import contextlib
import errno
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

from ..core.logmasking import get_masked_logger
from ..core.spooledfile import SpooledFile
from ..globals import _cv_app, current_app
from .contenttypes import BY_SUFFIX, FileType

#: What owns a file: the id of a user, or a session.
Owner: t.TypeAlias = str | int | cabc.MutableMapping[str, t.Any]

# A temporary file that was not written for this time is left from a process that was killed.
STALE_S = 3600.0

# How often a folder is listed again at most, because files were removed while it was listed.
_MORE_LISTINGS = 20

_PRIVATE = ".carboy"
_KEY_BYTES = 32
_COPY_BYTES = 1024 * 1024
_NAME = re.compile(r"(?:([a-z2-7]{16})-)?[a-z2-7]{26}\.([a-z0-9]+)")
# The key under which a session holds the random id by which it owns files.
_SESSION_KEY = "_uploads"


@dataclass(frozen=True)
class SavedFile:
    """A stored file.

    Attributes:
        name: the random name, for `url_for` and for a database.
        path: the absolute path. The file may be read, moved or removed, but must not be written.
        size: bytes.
        media_type: by the content, such as `image/png`.
        client_name: the name that the client has sent, without folders; "" for a file of
            `files()`, because it is not stored. Escape it in HTML, and never use it as a path.
    """

    name: str
    path: str
    size: int
    media_type: str
    client_name: str = ""


class Staged(t.NamedTuple):
    """A complete file under a temporary name."""

    path: str
    size: int
    kind: FileType


def absolute(folder: str | os.PathLike[str]) -> str:
    """Return the absolute path of a folder; a relative one is below the app's `root_path`, as in
    `send_from_directory`.

    Raises:
        ValueError: a relative path, without an active app; or a folder below the app's static
            folder, whose files are sent without any checks.
    """
    path = os.fspath(folder)
    if _cv_app.get(None) is None:
        if not os.path.isabs(path):
            raise ValueError(
                f"folder={path!r}: a relative folder is below the folder of an app, and no app is"
                " active. Use an absolute path, or `with app.app_context():`."
            )
        return path
    path = os.path.abspath(os.path.join(current_app.root_path, path))
    static = current_app.static_folder
    if static is not None and f"{path}{os.sep}".startswith(f"{os.path.abspath(static)}{os.sep}"):
        raise ValueError(
            f"folder={os.fspath(folder)!r} is below the static folder, whose files everybody gets"
            " without any checks. Use a folder beside it, and send its files by"
            " `carboy.uploads.view`."
        )
    return path


# --- names and owners ------------------------------------------------------------------------


def _token(bits: int = 128) -> str:
    return _encoded(secrets.token_bytes(bits // 8))


def _encoded(data: bytes) -> str:
    # Lower case alone, because some file systems do not distinguish case.
    return base64.b32encode(data).decode().rstrip("=").lower()


def identity(owner: Owner) -> str:
    """Return the text that identifies an owner. A session gets a random one on first use.

    Raises:
        TypeError: the owner is neither a text, nor a number, nor a session.
        ValueError: the owner is empty.
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
    """Return the first part of the names of an owner's files."""
    data = owner.encode(errors="surrogatepass")  # half a character may come from JSON ("\\ud800")
    return _encoded(hashlib.blake2b(data, key=key, digest_size=10).digest())


# --- reading ---------------------------------------------------------------------------------


def files(folder: str | os.PathLike[str], *, owner: Owner | None = None) -> list[SavedFile]:
    """Return the files that `save` has stored in a folder, newest first.

    It lists the whole folder each time: 10,000 files take about 0.1 s. Thread-safe.

    Args:
        folder: as for `save`. If it does not exist, there are no files.
        owner: only the files that were saved with this owner.
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
    """Return the stored files, newest first, and whether none was removed meanwhile: one that was
    may have been replaced by a file that is not in the list.
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
    """Return the stored file of a name, which may come from a client; None if there is none."""
    match = _NAME.fullmatch(name)
    if match is None or match[2] not in BY_SUFFIX:
        return None
    path = os.path.join(folder, name)
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):  # `save` makes no links and no folders of such names
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
    except FileNotFoundError:  # removed in this moment
        return 0


# --- writing ---------------------------------------------------------------------------------


def prepare(folder: str) -> None:
    """Create the folder, which only this user may read, and remove old temporary files from it."""
    private = os.path.join(folder, _PRIVATE)
    if not os.path.isdir(private):
        parents = _parents_of_missing(folder)
        os.makedirs(folder, 0o700, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(private, 0o700)
        for parent in parents:
            _sync_names(parent)
    for entry in _entries(private):
        if entry.name.endswith(".part"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - entry.stat().st_mtime > STALE_S:
                    os.unlink(entry.path)


def _parents_of_missing(folder: str) -> list[str]:
    """Return the folders in which this folder, and those above it, must be created."""
    parents = []
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
        parents.append(folder)
    return parents


def _sync_names(folder: str) -> None:
    """Write the names of the files in a folder to the disk; fsync of a file does not do that."""
    try:
        fd = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows; or a folder in which this user may write but not read
        return
    try:
        os.fsync(fd)
    except OSError as exc:
        if exc.errno != errno.EINVAL:  # some file systems (FUSE) cannot do this with folders
            raise
    finally:
        os.close(fd)


def stage(stream: t.IO[bytes], folder: str) -> str:
    """Write a file to the disk under a temporary name, and return its path.

    A long upload is on disk already, in a temporary file without a name; if that is on the same
    file system, it gets a name instead of being copied.
    """
    path = os.path.join(folder, _PRIVATE, f"{_token()}.part")
    if isinstance(stream, SpooledFile) and stream.link_to(path):
        return path
    stream.seek(0)
    try:
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
    """Give complete files their names, all of them or none.

    Args:
        folder: an absolute path.
        staged: what `stage` has written.
        owner: to whom the files belong.
        replace: remove the owner's other files.
        check_room: is called with the bytes that the other files of the folder take; raises an
            error if there is no room.
    """
    with _locked(folder) as key:
        tag = "" if owner is None else f"{_tag(owner, key)}-"
        # PERF: the folder is listed only if it must be: 10 ms for 10,000 files, 50 with their sizes
        entries = _entries(folder) if replace or check_room else []
        old = {each.path for each in entries if replace and each.name.startswith(tag)}
        if check_room is not None:
            check_room(sum(_size(each) for each in entries if each.path not in old))
        made = _rename(staged, folder, tag)
        for path in old:
            # On Windows a file that is being sent cannot be removed; the next `save` removes it.
            with contextlib.suppress(OSError):
                discard(path)
    # After the lock has ended, because others need not wait for the disk. Journals of file systems
    # keep the order of changes, so after a power cut either the old or the new files are there.
    try:
        _sync_names(folder)
    except BaseException:
        discard(*(each.path for each in made))
        raise
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

# A process holds the lock for some milliseconds. If no thread of any process got it for this time,
# the process that holds it is probably stopped, by a debugger or by the freezer of a container.
LOCK_S = 5.0
# The first and the longest pause between two attempts to get the lock. (flock(2) can wait for the
# lock itself, but not for a limited time.)
_PAUSES_S = (0.0005, 0.005)
_RETRY_AFTER_S = 5

_mutexes: weakref.WeakValueDictionary[str, threading.Lock] = weakref.WeakValueDictionary()
_finding_mutex = threading.Lock()
# The folders whose lock a thread has waited for in vain. Until one thread gets it, the others try
# once and do not wait: otherwise all threads of a server would wait, and no view would answer.
_stuck: set[str] = set()


class FolderLockedError(ServiceUnavailable, TimeoutError):
    """Another process has locked the folder of uploads for too long: a 503 with Retry-After.

    The error is also a TimeoutError, for programs that save files outside a request.
    """

    description = "Files cannot be stored at present. Send the file again in some seconds."

    def __init__(self) -> None:
        super().__init__(retry_after=_RETRY_AFTER_S)


@contextlib.contextmanager
def _locked(folder: str) -> cabc.Iterator[bytes]:
    """Lock a folder for all threads and processes, and return its key.

    Raises:
        FolderLockedError: nobody got the lock for `LOCK_S` seconds.
    """
    path = os.path.join(folder, _PRIVATE, "lock")
    with _mutex(folder, path), open(path, "a+b", opener=_open_privately) as file:
        _lock(file.fileno(), folder, path)  # closing the file ends the lock
        os.utime(path)  # tells those who wait that the lock is not stuck
        file.seek(0)
        key = file.read(_KEY_BYTES)
        yield key if len(key) == _KEY_BYTES else _make_key(file, folder)


def _make_key(file: t.BinaryIO, folder: str) -> bytes:
    key = secrets.token_bytes(_KEY_BYTES)
    file.truncate(0)
    file.write(key)
    file.flush()
    os.fsync(file.fileno())
    _sync_names(os.path.join(folder, _PRIVATE))
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
    """Lock a folder for the threads of this process. Systems without locks on files have no other
    lock, and elsewhere one thread at a time waits for the lock on the file.
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
    """Lock an open file for this process."""
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
    """Return when somebody got the lock, in nanoseconds of the file system's clock."""
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
    """Lock an open file if no other process holds the lock. Returns whether it is locked now."""
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
        return True  # a system that has neither; `_mutex_until` locks out threads of this process
    locking: t.Any = vars(msvcrt)
    os.lseek(fd, 2**30, os.SEEK_SET)  # behind the key, because others must be able to read that
    try:
        locking["locking"](fd, locking["LK_NBLCK"], 1)
    except PermissionError:
        return False
    return True


def _read_key(folder: str) -> bytes:
    """Return the key of a folder; b"" if nothing was ever stored in it."""
    try:
        with open(os.path.join(folder, _PRIVATE, "lock"), "rb") as file:
            return file.read(_KEY_BYTES)
    except FileNotFoundError:
        return b""


def _open_privately(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
