"""`Upload`: a file that a client has sent, as the argument of a view."""

from __future__ import annotations

import os
import typing as t

if t.TYPE_CHECKING:
    from werkzeug.datastructures import FileStorage


class Upload:
    """One file of a form, or a request body that is one file.

    The client chooses `name` and `media_type`: do not use them as a path or to select a program.

    Attributes:
        name: the client's file name, without folders; "" for a request body.
        sent_name: the same as the client has sent it, which may be a path, such as `../../x`.
        media_type: the client's media type, without parameters.
        stream: a binary file, positioned at its start; closed when the request ends.
    """

    __slots__ = ("_size", "media_type", "name", "sent_name", "stream")

    def __init__(
        self, stream: t.BinaryIO, *, name: str = "", media_type: str = "", size: int | None = None
    ) -> None:
        self.stream = stream
        self.name = self.sent_name = name
        self.media_type = media_type
        self._size = size

    @classmethod
    def of(cls, file: FileStorage) -> t.Self:
        """Wrap an uploaded file of Werkzeug, and rewind it to its start."""
        file.stream.seek(0)
        # Old browsers send the whole path of the file, with slashes or backslashes.
        name = (file.filename or "").replace("\\", "/").rpartition("/")[2]
        upload = cls(t.cast("t.BinaryIO", file.stream), name=name, media_type=file.mimetype)
        upload.sent_name = file.filename or ""
        return upload

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
        """Write the file to a path of the server; an existing file is replaced."""
        import shutil

        self.stream.seek(0)
        with open(path, "wb") as target:
            shutil.copyfileobj(self.stream, target)

    def __repr__(self) -> str:
        return f"<Upload {self.name!r} of {self.size} bytes>"
