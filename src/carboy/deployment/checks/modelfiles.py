"""What model files say about themselves: a digest beside them, and the versions of the libraries
that have written them. Nothing is unpickled, because a pickle runs code when it is loaded.
"""

from __future__ import annotations

import bz2
import hashlib
import importlib.metadata
import lzma
import os
import re
import typing as t
import zlib

from ..projectfiles import files_named, read_text

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from ..facts import Facts

# Files that Python's pickle reads: of pickle itself, joblib, dill and torch.
_NAMES = ("*.ckpt", "*.dill", "*.joblib", "*.pickle", "*.pkl", "*.pt", "*.pth", "*.sav")
# Files of models in all formats.
MODEL_FILES = (*_NAMES, "*.h5", "*.keras", "*.onnx", "*.safetensors", "*.ubj")
# Beginning of a file that joblib has compressed -> function that makes a decompressor for it.
_COMPRESSED: t.Mapping[bytes, cabc.Callable[[], cabc.Callable[[bytes], bytes]]] = {
    b"\x1f\x8b": lambda: zlib.decompressobj(16 + zlib.MAX_WBITS).decompress,  # gzip
    b"BZh": lambda: bz2.BZ2Decompressor().decompress,
    b"\xfd7zXZ": lambda: lzma.LZMADecompressor().decompress,
    b"]\0\0": lambda: lzma.LZMADecompressor().decompress,
    b"x": lambda: zlib.decompressobj().decompress,
}
# Beginnings of pickles: \x80 since version 2 of their format, before it one of these instructions.
# Files of torch are ZIP archives that contain a pickle ("PK").
_STARTS = (b"\x80", b"(", b"]", b"c", b"}", b"PK", *_COMPRESSED)
# Files that list the digests of others, as `sha256sum` writes them.
_LISTS = ("SHA256SUMS", "SHA256SUMS.txt", "sha256sums.txt")
_HEX = re.compile(r"\b[0-9a-f]{64}\b", re.IGNORECASE)
_CHUNK_BYTES = 64 * 1024
# scikit-learn adds the attribute `_sklearn_version` to each estimator. A pickle contains this name,
# the instruction that stores it in the memo, perhaps the start of a frame, and the version: its
# length in one byte, or in four of which the first counts, and its text.
_SKLEARN_VERSION = re.compile(
    rb"_sklearn_version(?:\x94|q.|r....)?(?:\x95.{8})?(?:\x8c(.)|X(.)\0\0\0)(?=\d)", re.DOTALL
)
# The name of NumPy's internal modules since version 2, which pickles of arrays contain.
_NUMPY_2 = re.compile(rb"numpy\._core")
_OVERLAP_BYTES = 100


class MadeBy(t.NamedTuple):
    """A library that has written a file: the name of its distribution, and its version."""

    library: str
    version: str


def pickles_of(facts: Facts) -> list[str]:
    """Return the paths of the model files of a project that pickle reads. Files with the same
    ending and another content are left out, such as a pointer of Git LFS, or a .sav file of SPSS.
    """
    paths = (os.path.join(facts.root, path) for path in files_named(facts, *_NAMES))
    return list(filter(_begins_as_pickle, paths))


def _begins_as_pickle(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(8).startswith(_STARTS)
    except OSError:
        return False


def digest_of(path: str) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def recorded_digest(path: str, root: str) -> tuple[str, str] | None:
    """Return the digest that is recorded for a file, and the path of the file that records it: a
    file of the same name with ".sha256" appended, or a list SHA256SUMS in the file's folder or in
    one above it, up to `root`. None if there is none.
    """
    beside = f"{path}.sha256"
    if found := _HEX.search(read_text(beside)):
        return found[0].lower(), beside
    folder = os.path.dirname(path)
    while True:
        for name in _LISTS:
            listing = os.path.join(folder, name)
            if digest := _listed(listing, os.path.relpath(path, folder)):
                return digest, listing
        if folder == root or os.path.dirname(folder) == folder:
            return None
        folder = os.path.dirname(folder)


def _listed(listing: str, name: str) -> str | None:
    for line in read_text(listing).splitlines():
        digest, _, listed = line.partition(" ")
        if os.path.normpath(listed.lstrip(" *")) == name and _HEX.fullmatch(digest):
            return digest.lower()
    return None


def makers_of(path: str) -> set[MadeBy]:
    """Return the libraries that have written a pickle, as far as it names their versions."""
    makers: set[MadeBy] = set()
    try:
        for data in _overlapping_chunks(path):
            makers.update(MadeBy("scikit-learn", version) for version in _sklearn_versions(data))
            if _NUMPY_2.search(data):
                makers.add(MadeBy("numpy", "2"))
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
        pass  # a damaged file: what was read before counts
    return makers


def _sklearn_versions(data: bytes) -> cabc.Iterator[str]:
    for found in _SKLEARN_VERSION.finditer(data):
        end = found.end() + ord(found[1] or found[2])
        if end <= len(data):  # else the next chunk contains the whole version
            yield data[found.end() : end].decode("ascii", "replace")


def _overlapping_chunks(path: str) -> cabc.Iterator[bytes]:
    """Yield the decompressed content of a file. Each chunk begins with the end of the one before,
    so that a short text, such as a version, is whole in one of them.
    """
    with open(path, "rb") as file:
        decompress = _decompressor_for(file.peek(8)[:8])
        end = b""
        while data := file.read(_CHUNK_BYTES):
            chunk = end + decompress(data)
            yield chunk
            end = chunk[-_OVERLAP_BYTES:]


def _decompressor_for(start: bytes) -> cabc.Callable[[bytes], bytes]:
    """Return what decompresses a file that begins with `start`."""
    makers = (make for magic, make in _COMPRESSED.items() if start.startswith(magic))
    return next(makers, lambda: bytes)()


def installed_version(library: str) -> str | None:
    """Return the version of an installed distribution; None if it is not installed."""
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None
