"""A file that somebody sent, as the argument of a view."""

from __future__ import annotations

import os
import typing as t

if t.TYPE_CHECKING:
    from werkzeug.datastructures import FileStorage


class Upload:
    """One file of a form, or a body that is nothing but a file.

    `name` and `media_type` are what the sender says; decide neither a path nor a program by them.

    Attributes:
        name: the sender's file name, without folders; empty for a raw body.
        media_type: the sender's, without parameters.
        stream: open for reading, at the start; closed when the request ends.
    """

    __slots__ = ("_size", "media_type", "name", "stream")

    def __init__(
        self, stream: t.BinaryIO, *, name: str = "", media_type: str = "", size: int | None = None
    ) -> None:
        self.stream = stream
        self.name = name
        self.media_type = media_type
        self._size = size

    @classmethod
    def of(cls, file: FileStorage) -> t.Self:
        """Make an upload of Werkzeug's file, at its start."""
        file.stream.seek(0)
        # Old browsers send whole paths, of either kind.
        name = (file.filename or "").replace("\\", "/").rpartition("/")[2]
        return cls(t.cast("t.BinaryIO", file.stream), name=name, media_type=file.mimetype)

    @property
    def size(self) -> int:
        """Return the number of bytes in the file."""
        if self._size is None:
            here = self.stream.tell()
            self._size = self.stream.seek(0, os.SEEK_END)
            self.stream.seek(here)
        return self._size

    def read(self, size: int = -1) -> bytes:
        return self.stream.read(size)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file to a path that you chose, replacing what is there."""
        import shutil

        self.stream.seek(0)
        with open(path, "wb") as target:
            shutil.copyfileobj(self.stream, target)

    def __repr__(self) -> str:
        return f"<Upload {self.name!r} of {self.size} bytes>"
