"""Digests of model files, and where people record them: in a card, in `NAME.sha256`, and in lists
SHA256SUMS.
"""

from __future__ import annotations

import hashlib
import os
import re
import typing as t

from carboy.core.textfiles import read_text

from .card import CARD_NAME, FileRecord, card_beside

if t.TYPE_CHECKING:
    import collections.abc as cabc

# Files that list the digests of others, as `sha256sum` writes them.
_LISTS = ("SHA256SUMS", "SHA256SUMS.txt", "sha256sums.txt")
_HEX = re.compile(r"\b[0-9a-f]{64}\b", re.IGNORECASE)


_CHUNK_BYTES = 1024 * 1024


class RecordedDigest(t.NamedTuple):
    """A digest in hexadecimal, and the path of the file that records it."""

    digest: str
    place: str


def digest_of(path: str) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record_of(path: str) -> FileRecord:
    return FileRecord(bytes=os.path.getsize(path), sha256=digest_of(path))


def copy_file(source: t.BinaryIO, target: t.BinaryIO) -> FileRecord:
    """Copy the rest of a file, and return the size and the digest of what was copied."""
    size, digest = 0, hashlib.sha256()
    while chunk := source.read(_CHUNK_BYTES):
        target.write(chunk)
        digest.update(chunk)
        size += len(chunk)
    return FileRecord(bytes=size, sha256=digest.hexdigest())


def recorded_digest(path: str, root: str) -> RecordedDigest | None:
    """Return the digest that is recorded for a file: in the card of a saved model, in a file of the
    same name with ".sha256" appended, or in a list SHA256SUMS in the file's folder or in one above
    it, up to `root`. None if there is none.
    """
    if found := card_beside(path):
        card, name = found
        folder = os.path.abspath(path).removesuffix(name.replace("/", os.sep))
        return RecordedDigest(card.files[name].sha256, os.path.join(folder, CARD_NAME))
    beside = f"{path}.sha256"
    if match := _HEX.search(read_text(beside)):
        return RecordedDigest(match[0].lower(), beside)
    for folder in _folders_above(path, root):
        for name in _LISTS:
            listing = os.path.join(folder, name)
            if digest := _listed(listing, os.path.relpath(path, folder)):
                return RecordedDigest(digest, listing)
    return None


def _folders_above(path: str, root: str) -> cabc.Iterator[str]:
    folder = os.path.dirname(path)
    yield folder
    while folder != root and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
        yield folder


def _listed(listing: str, name: str) -> str | None:
    for line in read_text(listing).splitlines():
        digest, _, listed = line.partition(" ")
        if os.path.normpath(listed.lstrip(" *")) == name and _HEX.fullmatch(digest):
            return digest.lower()
    return None
