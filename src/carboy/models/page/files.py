"""The assets (scripts and style sheets) of the models' pages, read once per process.

Their digest is part of each URL, so that browsers may cache them.
"""

from __future__ import annotations

import hashlib
import os
import typing as t
from functools import lru_cache

_HOME = os.path.join(os.path.dirname(__file__), "assets")
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Asset(t.NamedTuple):
    """One asset, uncompressed and compressed by gzip."""

    data: bytes
    zipped: bytes
    media_type: str


class Assets(t.NamedTuple):
    """All assets by file name, and one digest of all their contents."""

    by_name: dict[str, Asset]
    digest: str

    @property
    def modules(self) -> list[str]:
        """The names of the scripts that `main.js` imports."""
        apart = ("main.js", "ask.js")
        return [name for name in self.by_name if name.endswith(".js") and name not in apart]


@lru_cache(maxsize=1)
def load() -> Assets:
    """Read and compress all assets (about 60 kB). Only the first call reads; later calls return the
    same object.
    """
    import gzip

    by_name: dict[str, Asset] = {}
    digest = hashlib.sha256()
    for folder, _, names in sorted(os.walk(_HOME)):
        for name in sorted(names):
            media_type = _MEDIA_TYPES.get(os.path.splitext(name)[1])
            if media_type is None:  # not an asset, for example an editor's temporary file
                continue
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                data = file.read()
            key = os.path.relpath(path, _HOME).replace(os.sep, "/")
            digest.update(f"{key}\0{len(data)}\0".encode() + data)
            by_name[key] = Asset(data, gzip.compress(data, 9, mtime=0), media_type)
    return Assets(by_name, digest.hexdigest()[:12])
