"""What pickles say about themselves: the versions of the libraries that have written them, and the
modules that they need. Nothing is unpickled, because a pickle runs code when it is loaded.
"""

from __future__ import annotations

import bz2
import lzma
import re
import typing as t
import zlib

from .card import CARD_NAME
from .libraries import MadeBy

if t.TYPE_CHECKING:
    import collections.abc as cabc

#: Files that Python's pickle reads: of pickle itself, joblib, dill and torch.
PICKLE_NAMES = ("*.ckpt", "*.dill", "*.joblib", "*.pickle", "*.pkl", "*.pt", "*.pth", "*.sav")
#: Files of models in all formats, and their cards.
MODEL_FILES = (*PICKLE_NAMES, CARD_NAME, "*.h5", "*.keras", "*.onnx", "*.safetensors", "*.ubj")
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
_CHUNK_BYTES = 64 * 1024
# scikit-learn adds the attribute `_sklearn_version` to each estimator. A pickle contains this name,
# the instruction that stores it in the memo, perhaps the start of a frame, and the version: its
# length in one byte, or in four of which the first counts, and its text.
_SKLEARN_VERSION = re.compile(
    rb"_sklearn_version(?:\x94|q.|r....)?(?:\x95.{8})?(?:\x8c(.)|X(.)\0\0\0)(?=\d)", re.DOTALL
)
# The name of NumPy's internal modules since version 2, which pickles of arrays contain.
_NUMPY_2 = re.compile(rb"numpy\._core")
# How pickles name a class or function, with the instructions that store names in the memo: before
# version 4 in lines of text, since then as two strings, each of which may be in the memo already.
_LINES = re.compile(rb"c([A-Za-z_][\w.]*)\n[A-Za-z_][\w.]*\n")
_STRINGS = re.compile(
    rb"\x8c.([A-Za-z_][\w.]*)\x94?(?:\x95.{8})?(?:\x8c.[\w.]+\x94?|h.|j.{4})(?:\x95.{8})?\x93",
    re.DOTALL,
)
_OVERLAP_BYTES = 400
# What a damaged file raises while it is decompressed.
_DAMAGES = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)


def begins_as_pickle(path: str) -> bool:
    """Return whether a file may be a pickle. Files with the same ending and another content are
    none, such as a pointer of Git LFS, or a .sav file of SPSS.
    """
    try:
        with open(path, "rb") as file:
            return file.read(8).startswith(_STARTS)
    except OSError:
        return False


def makers_of(path: str) -> set[MadeBy]:
    """Return the libraries that have written a pickle, as far as it names their versions."""
    makers: set[MadeBy] = set()
    try:
        for data in _overlapping_chunks(path):
            makers.update(MadeBy("scikit-learn", version) for version in _sklearn_versions(data))
            if _NUMPY_2.search(data):
                makers.add(MadeBy("numpy", "2"))
    except _DAMAGES:
        pass  # what was read before counts
    return makers


def modules_in(path: str) -> set[str]:
    """Return the names of the modules that a pickle imports when it is loaded. In version 0 of the
    format, which is text, other words may be among them.
    """
    modules: set[bytes] = set()
    try:
        for data in _overlapping_chunks(path):
            modules.update(_LINES.findall(data))
            modules.update(_STRINGS.findall(data))
    except _DAMAGES:
        pass  # what was read before counts
    return {name.decode("ascii", "replace") for name in modules}


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
