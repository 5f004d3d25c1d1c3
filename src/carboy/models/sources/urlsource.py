"""A folder of versions in a bucket, or on another machine, by an fsspec URL.

Such stores have no rename. So a version is written file by file, and its card last: what has a card
is complete. fsspec is imported when the source is first looked at.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import typing as t

from carboy.core.logmasking import get_masked_logger
from carboy.core.masking import mask_text
from carboy.errors import ModelFileError, UnreachableSourceError

from ..saved.card import CARD_NAME, decode_card, encode_card
from ..saved.versionnames import fault_in_header, printable, refuse_name
from .build import Build, copy_checked
from .diskspace import is_disk_full
from .versioncache import LastLook, VersionCache
from .versionlist import (
    CHOICE_NAME,
    Choice,
    SourceVersion,
    VersionList,
    existing,
    order_key,
    read_choice,
    refused_addition,
    write_choice,
)

if t.TYPE_CHECKING:
    from collections import abc as cabc

    from ..saved.card import Card

_logger = get_masked_logger("carboy.models")

# How often a push without a name tries to get one that no other process takes.
_TRIES = 20
# How the name of the file begins by which a process claims the name of a version that it writes.
_CLAIM: t.Final = ".writing-"


class _StoredCard(t.NamedTuple):
    """The card of a version, and the bytes of its file."""

    card: Card
    data: bytes

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


class UrlSource:
    """The versions below an fsspec URL, such as `s3://bucket/models/digits`, or a single version,
    which has a card of its own. Files are fetched into a cache on this machine.
    """

    # Each look is about four requests, which buckets charge for.
    poll_s = 30.0

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self.location = mask_text(self._url)
        self._model = self._url.rpartition("/")[2]
        self._cache = VersionCache(self._url, self._model)
        self._was_reached = self._was_recalled = False
        self._is_single = False
        self._opened: tuple[int, t.Any, str] | None = None
        self._cards: dict[str, _StoredCard] = {}

    def look(self) -> VersionList:
        try:
            found = self._look()
        except UnreachableSourceError as exc:
            if self._was_reached:
                raise
            return self._recall(exc)
        self._was_reached = True
        cards = {each.name: each.fingerprint for each in found.versions if not each.fault}
        self._cache.note(LastLook(cards, found.choice))
        return found

    def _recall(self, unreachable: UnreachableSourceError) -> VersionList:
        """Return the versions that this machine has fetched before, so that a server can be
        restarted while the store is down.
        """
        folders, choice = self._cache.fetched()
        for name, folder in folders.items():
            with open(os.path.join(folder, CARD_NAME), "rb") as file:
                data = file.read()
            self._cards[name] = _StoredCard(decode_card(data, folder), data)
        if not folders:
            raise unreachable
        if not self._was_recalled:
            _logger.warning(
                "%s. Until it can be, the versions are used that were fetched before: %s.",
                unreachable,
                ", ".join(folders),
            )
        self._was_recalled = True
        versions = [
            SourceVersion(name, self._cards[name].digest, card=self._cards[name].card)
            for name in sorted(folders, key=order_key)
        ]
        return VersionList(tuple(versions), choice)

    def _look(self) -> VersionList:
        with self._explaining() as (files, top):
            files.invalidate_cache()
            # Some stores list the folder itself, of which an empty object is the mark.
            entries = {
                _base_name(each): each["type"]
                for each in files.ls(top, detail=True)
                if str(each["name"]).strip("/") != top.strip("/")
            }
            self._is_single = CARD_NAME in entries
            if self._is_single:
                single = self._version(files, top, self._model, again=True)
                return VersionList((single,), is_fixed=True)
            choice = self._choice(files, top)
            folders = [
                name
                for name, kind in entries.items()
                if kind == "directory" and not name.startswith(".")
            ]
            names = sorted(folders, key=order_key)
            # A version is never overwritten, but one that was broken may have been written again.
            again = {*names[-1:], choice.version if choice else ""}
            versions = [
                self._version(files, f"{top}/{name}", name, again=name in again) for name in names
            ]
            return VersionList(tuple(versions), choice)

    def folder(self, name: str) -> str:
        found = self._cards.get(name) or self._look_for(name)
        card, data = found

        def fetch(folder: str) -> None:
            for file, record in card.files.items():
                copy = os.path.join(folder, file)
                os.makedirs(os.path.dirname(copy), exist_ok=True)
                with self._explaining() as (files, top), open(copy, "xb") as target:
                    place = top if self._is_single else f"{top}/{name}"
                    with files.open(f"{place}/{file}") as source:
                        copy_checked(source, target, record, f"{self.location}/{name}/{file}")
            with open(os.path.join(folder, CARD_NAME), "xb") as target:
                target.write(data)

        return self._cache.folder(found.digest, name, card.size_bytes, fetch)

    def keep(self, folder: str) -> None:
        self._cache.keep(folder)

    def discard_damaged(self, folder: str) -> bool:
        return self._cache.discard_damaged(folder)

    def _look_for(self, name: str) -> _StoredCard:
        """Return the card of a version that was not there at the last look, or could not be used.

        Raises:
            ModelFileError: it is still not there, or still cannot be used.
        """
        fault = self.look().find(name, self.location).fault
        if fault:
            raise ModelFileError(f"Version {name!r} in {self.location!r} cannot be used: {fault}")
        return self._cards[name]

    def choose(self, name: str) -> None:
        choice = self._look().choose(name, self.location)
        with self._explaining() as (files, top):
            files.pipe_file(f"{top}/{CHOICE_NAME}", write_choice(choice))

    def push(self, folder: str, name: str | None = None) -> str:
        build = Build(folder)
        if name is not None:
            refuse_name(name)
        with self._explaining() as (files, top):
            if files.exists(f"{top}/{CARD_NAME}"):
                raise refused_addition(self.location)
            for _ in range(_TRIES):
                version = name or self._next_name(files, top)
                with _claiming(files, f"{top}/{version}") as is_ours:
                    if is_ours and not files.exists(f"{top}/{version}/{CARD_NAME}"):
                        _write(files, f"{top}/{version}", build, self._model, version)
                        return version
                if name is not None and is_ours:
                    raise existing(name, self.location)
                if name is not None:
                    break
        raise ModelFileError(
            f"Another process is writing version {version!r} to {self.location!r}. If it has died,"
            f" remove the files {_CLAIM}* in the folder {version!r} there, or choose another name."
        )

    def _next_name(self, files: t.Any, top: str) -> str:
        return self._look().next_name(self.location) if files.exists(top) else "1"

    # --- files ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _explaining(self) -> cabc.Iterator[tuple[t.Any, str]]:
        """Give access to the file system and the path of the source, and explain its errors, which
        may be of any class: each store has a library of its own.
        """
        try:
            yield self._open()
        except ModelFileError:
            raise
        except FileNotFoundError:
            raise ModelFileError(
                f"{self.location!r} does not exist, or a file in it is missing. 'carboy models"
                " push' creates it with the first version of the model."
            ) from None
        except OSError as exc:
            if is_disk_full(exc):
                raise
            raise self._unreachable(exc) from exc
        except Exception as exc:
            raise self._unreachable(exc) from exc

    def _unreachable(self, exc: Exception) -> UnreachableSourceError:
        return UnreachableSourceError(
            f"{self.location!r} cannot be reached: {mask_text(f'{type(exc).__name__}: {exc}')}"
        )

    def _open(self) -> tuple[t.Any, str]:
        """Return the file system of the URL, and the path in it. A process that was forked opens it
        again, because the clients of stores must not be used after a fork.
        """
        opened = self._opened
        if opened is None or opened[0] != os.getpid():
            import fsspec

            try:
                files, top = fsspec.core.url_to_fs(self._url, skip_instance_cache=True)
            except (ImportError, ValueError) as exc:
                raise ModelFileError(
                    f"{self.location!r} cannot be opened: {mask_text(str(exc))}"
                ) from None
            opened = self._opened = os.getpid(), files, top.rstrip("/")
        return opened[1:]

    def _version(self, files: t.Any, place: str, name: str, *, again: bool) -> SourceVersion:
        if fault := fault_in_header(name):
            return SourceVersion(printable(name), fingerprint="", fault=fault)
        known = None if again else self._cards.get(name)
        found = known or self._read_card(files, place)
        if isinstance(found, str):
            self._cards.pop(name, None)
            return SourceVersion(name, fingerprint="", fault=found)
        self._cards[name] = found
        return SourceVersion(name, found.digest, card=found.card)

    def _read_card(self, files: t.Any, place: str) -> _StoredCard | str:
        """Return the card of a version, or why there is none."""
        try:
            data = files.cat_file(f"{place}/{CARD_NAME}")
            return _StoredCard(decode_card(data, f"{place}/{CARD_NAME}"), data)
        except FileNotFoundError:
            return f"it has no {CARD_NAME}, which is written last: it may not be complete yet."
        except ModelFileError as exc:
            return str(exc)
        except (PermissionError, IsADirectoryError, NotADirectoryError) as exc:
            return mask_text(f"its {CARD_NAME} cannot be read: {type(exc).__name__}: {exc}")

    def _choice(self, files: t.Any, top: str) -> Choice | None:
        try:
            data = files.cat_file(f"{top}/{CHOICE_NAME}")
        except FileNotFoundError:
            return None
        return read_choice(data, f"{self.location}/{CHOICE_NAME}")


def _base_name(entry: cabc.Mapping[str, t.Any]) -> str:
    return str(entry["name"]).rstrip("/").rpartition("/")[2]


@contextlib.contextmanager
def _claiming(files: t.Any, place: str) -> cabc.Iterator[bool]:
    """Claim the name of a version, and return whether no other process does so at the same time.

    Each process first writes a file of its own and then lists the files of all. Of two processes,
    the one that writes later sees the file of the other, so that never both get the name; both may
    fail to get it.
    """
    claim = f"{_CLAIM}{secrets.token_hex(8)}"
    files.makedirs(place, exist_ok=True)
    files.pipe_file(f"{place}/{claim}", b"")
    try:
        files.invalidate_cache()
        names = map(_base_name, files.ls(place, detail=True))
        yield not any(each.startswith(_CLAIM) and each != claim for each in names)
    finally:
        with contextlib.suppress(FileNotFoundError):  # `_write` may have removed it
            files.rm_file(f"{place}/{claim}")


def _write(files: t.Any, place: str, build: Build, model: str, version: str) -> None:
    """Write all files of a version, the card last. If that fails, remove what was written."""
    try:
        for name, record in build.card.files.items():
            files.makedirs(f"{place}/{name}".rpartition("/")[0], exist_ok=True)
            with build.open(name) as source, files.open(f"{place}/{name}", "wb") as target:
                copy_checked(source, target, record, build.path(name))
        files.pipe_file(f"{place}/{CARD_NAME}", encode_card(build.card_for(model, version)))
    except BaseException:
        with contextlib.suppress(Exception):  # the first failure is the one to report
            files.rm(place, recursive=True)
        raise
