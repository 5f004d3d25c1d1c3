"""The folder on this machine in which versions are kept that were fetched from a URL.

    CACHE/digits-0b7a4f0c12de/            of one URL; the number is a digest of it
        5d41402abc4b2a76b9719d911017c592/ of one card, and so of the digests of all files
            7/model.joblib
        versions.json                    the versions at the last look that has succeeded
        lock

The name of a version may stand for other files one day, the digest of a card may not. So a folder
of the cache never changes; one that a disk has damaged is fetched again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
import typing as t

import msgspec

from carboy.core.filelocks import locked
from carboy.errors import ModelFileError

from ..saved.card import CARD_NAME, decode_card, read_card
from ..saved.digests import record_of
from ..saved.filestates import incomplete
from ..saved.newfolder import partial_folder, publish, replace_file
from .diskspace import explaining_full_disk
from .versionlist import Choice  # noqa: TC001  # msgspec reads the types of `LastLook`

if t.TYPE_CHECKING:
    from collections import abc as cabc

CACHE_VARIABLE: t.Final = "CARBOY_MODEL_CACHE"
_LAST_LOOK: t.Final = "versions.json"
# How many versions of a source are kept, those that were used last: the one that is served, a
# canary, a shadow, the next one, and some to roll back to.
_KEPT = 6


class LastLook(msgspec.Struct, frozen=True):
    """The versions that a source had when it was last reached.

    Attributes:
        cards: the digests of the cards, by the names of the versions.
    """

    cards: dict[str, str]
    choice: Choice | None = None


class VersionCache:
    """The versions of one source that were fetched.

    Args:
        url: that of the source.
        model: the name of the model, for people who look into the cache.
    """

    def __init__(self, url: str, model: str) -> None:
        self._key = f"{model}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"
        self._noted: LastLook | None = None

    def note(self, look: LastLook) -> None:
        """Note what the source has. A cache that cannot be written notes nothing: the versions in
        it could not be used, either.
        """
        if look == self._noted:
            return
        with contextlib.suppress(OSError, ModelFileError):
            top = os.path.join(cache_folder(), self._key)
            os.makedirs(top, mode=0o700, exist_ok=True)
            replace_file(os.path.join(top, _LAST_LOOK), msgspec.json.encode(look))
        self._noted = look

    def fetched(self) -> tuple[dict[str, str], Choice | None]:
        """Return the folders of the versions that the source had when it was last reached, as far
        as they were fetched, by their names; and the choice.
        """
        top = os.path.join(cache_folder(), self._key)
        try:
            with open(os.path.join(top, _LAST_LOOK), "rb") as file:
                look = msgspec.json.decode(file.read(), type=LastLook)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return {}, None
        found = {}
        for name, digest in look.cards.items():
            if _is_whole(folder := os.path.join(top, digest[:32], name), digest):
                found[name] = folder
        return found, look.choice

    def folder(
        self, card_digest: str, name: str, size: int, fetch: cabc.Callable[[str], object]
    ) -> str:
        """Return the folder of a version. Fetch the version first if the cache does not have it, in
        one process at a time.

        Args:
            card_digest: the SHA-256 of the card, in hexadecimal.
            size: how many bytes are to be fetched.
            fetch: writes the files into the empty folder that it gets.

        Raises:
            OSError: the folder cannot be written.
            ModelFileError: no folder can be used as the cache, or the disk is full.
        """
        top = os.path.join(cache_folder(), self._key)
        entry = os.path.join(top, card_digest[:32])
        found = os.path.join(entry, name)
        if not _is_whole(found, card_digest):
            os.makedirs(entry, mode=0o700, exist_ok=True)
            with _locked(os.path.join(top, "lock")):
                if not _is_whole(found, card_digest):
                    self._fetch(entry, found, size, fetch)
                _forget_old(top, keep=entry)
        os.utime(entry)
        return found

    def keep(self, folder: str) -> None:
        """Let the folder of a version that is loaded count as used now."""
        with contextlib.suppress(OSError):  # somebody has removed it, or may write it no more
            os.utime(os.path.dirname(folder))

    def discard_damaged(self, folder: str) -> bool:
        """Remove the folder of a version if its files are not those on its card any more, so that
        they are fetched again. Reads all of them. Returns whether it was removed.
        """
        try:
            with _locked(os.path.join(cache_folder(), self._key, "lock")):
                if is_damaged := not _has_files_of_card(folder):
                    shutil.rmtree(folder)
        except (OSError, ModelFileError):  # the cache cannot be written any more
            return False
        return is_damaged

    def _fetch(
        self, entry: str, target: str, size: int, fetch: cabc.Callable[[str], object]
    ) -> None:
        _empty(entry)  # from a process that was killed while it fetched, or damaged
        advice = f"Free some, or name a folder on another disk by {CACHE_VARIABLE}."
        with explaining_full_disk(entry, size, advice), partial_folder(entry) as partial:
            fetch(partial)
            with contextlib.suppress(FileExistsError):  # another process had no lock, either
                publish(partial, target)


def cache_folder() -> str:
    """Return the folder of all fetched versions: the one that the environment names, or else one in
    which systemd, the desktop or this user keep caches.

    Raises:
        ModelFileError: none of the folders can be written by this user alone.
    """
    reasons = []
    for folders in _cache_folders():
        for folder in folders:
            try:
                os.makedirs(folder, mode=0o700, exist_ok=True)
                if folder != folders[-1]:
                    _keep_others_out(folder)
                reason = _why_unusable(folder)
            except OSError as exc:
                reason = exc.strerror or str(exc)
            if reason:
                reasons.append(f"{folder!r} {reason}")
                break
        else:
            return folders[-1]
    raise ModelFileError(
        f"No folder can keep models that are fetched from a URL: {'; '.join(reasons)}. Name one by"
        f" {CACHE_VARIABLE}."
    )


def _cache_folders() -> list[tuple[str, ...]]:
    """Return the folders to choose from, each after the folder around it that carboy creates. Who
    could replace that one could replace what is in it.
    """
    environ = os.environ
    if named := environ.get(CACHE_VARIABLE):
        return [(os.path.abspath(os.path.expanduser(named)),)]
    caches = [environ.get("CACHE_DIRECTORY"), environ.get("XDG_CACHE_HOME"), "~/.cache"]
    folders = [os.path.join(os.path.expanduser(each), "carboy") for each in caches if each]
    user = os.geteuid() if hasattr(os, "geteuid") else "user"
    folders.append(os.path.join(tempfile.gettempdir(), f"carboy-cache-{user}"))
    return [(each, os.path.join(each, "models")) for each in folders if os.path.isabs(each)]


def _keep_others_out(folder: str) -> None:
    """Let nobody else write a folder of this user: earlier versions of carboy have created it with
    the permissions that the umask left. What another user has put into it belongs to that user, and
    is refused.
    """
    found = os.lstat(folder)  # the folder to which a link leads may be meant for others
    is_own = hasattr(os, "geteuid") and found.st_uid == os.geteuid()
    if is_own and stat.S_ISDIR(found.st_mode) and found.st_mode & 0o022:
        os.chmod(folder, 0o700)


def _why_unusable(folder: str) -> str:
    """Return why a folder cannot keep models: somebody else could replace their files by others,
    which run as code when they are loaded.
    """
    found = os.stat(folder)
    owners = {found.st_uid, os.lstat(folder).st_uid}  # whose a link is may let it lead elsewhere
    if hasattr(os, "geteuid") and not owners <= {os.geteuid(), 0}:
        return "belongs to another user"
    if stat.S_IMODE(found.st_mode) & 0o022:
        return "can be written by other users"
    return "" if os.access(folder, os.R_OK | os.W_OK | os.X_OK) else "cannot be written"


@contextlib.contextmanager
def _locked(path: str) -> cabc.Iterator[None]:
    """Hold a lock, which the system releases when the process dies. On Windows, processes that
    fetch the same version do so at the same time.
    """
    with open(path, "ab") as file, locked(file.fileno()):
        yield


def _is_whole(folder: str, card_digest: str) -> bool:
    """Return whether a folder has its card, and files of the sizes on it: after a power failure,
    some file systems have files without their content.
    """
    path = os.path.join(folder, CARD_NAME)
    try:
        with open(path, "rb") as file:
            data = file.read()
        is_card = hashlib.sha256(data).hexdigest() == card_digest
        return is_card and not incomplete(folder, decode_card(data, path))
    except (OSError, ModelFileError):
        return False


def _has_files_of_card(folder: str) -> bool:
    try:
        files = read_card(folder).files
        return all(record_of(os.path.join(folder, name)) == files[name] for name in files)
    except (OSError, ModelFileError):
        return False


def _empty(folder: str) -> None:
    for name in os.listdir(folder):
        shutil.rmtree(os.path.join(folder, name), ignore_errors=True)


def _forget_old(top: str, keep: str) -> None:
    """Remove the versions that have not been used for longest. A process that has opened the files
    of one of them can go on using them.
    """
    with os.scandir(top) as entries:
        folders = [(each.stat().st_mtime_ns, each.path) for each in entries if each.is_dir()]
    for _, path in sorted(folders, reverse=True)[_KEPT:]:
        if path != keep:
            shutil.rmtree(path, ignore_errors=True)
