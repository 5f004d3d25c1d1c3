"""The temporary file of one file in a form: in memory first, later on disk without a name.

Python's `SpooledTemporaryFile` does the same, but its file on disk can never get a name. Here it
can, so that storing a long upload need not copy it. Nothing is left of it if the process is killed.
"""

from __future__ import annotations

import errno
import os
import typing as t
from tempfile import SpooledTemporaryFile, TemporaryFile, gettempdir

from werkzeug.exceptions import RequestEntityTooLarge

from .logmasking import get_masked_logger

# The file is in memory up to this size, as in Werkzeug.
MAX_IN_MEMORY_BYTES = 500 * 1024

# The errors of a file system that has no room: the disk is full, the user's quota is used up, or
# the file would exceed the largest size of a file.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class SpooledFile(SpooledTemporaryFile[bytes]):
    """A `SpooledTemporaryFile` whose file on disk can be given a name by `link_to`.

    The file on disk is in the folder that `tempfile.gettempdir()` names (variable `TMPDIR`).
    """

    _is_linkable = False

    if t.TYPE_CHECKING:
        _file: t.IO[bytes]
        _rolled: bool

    def rollover(self) -> None:
        """Move the content from memory to disk. Python calls this when the file becomes too long
        for memory.
        """
        if self._rolled:
            return
        in_memory = self._file
        self._file, self._is_linkable = _open_without_name()
        position = in_memory.tell()
        self._file.write(t.cast("t.Any", in_memory).getvalue())
        self._file.seek(position)
        self._rolled = True

    def link_to(self, path: str) -> bool:
        """Give the file a name, and write it to the disk (fsync).

        Args:
            path: where no file exists yet.

        Returns:
            Whether that was possible. It is not if the content is in memory, if `path` is on
            another file system, or if the system lacks `linkat`.
        """
        if not self._is_linkable:
            return False
        self.flush()
        fd = self.fileno()
        try:
            os.utime(fd)
            # NOTE: without `src_dir_fd` Python calls `link`, which does not follow the symbolic
            # link in /proc (python/cpython#81793). The descriptor itself is ignored, because the
            # path is absolute.
            os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)
        except OSError:
            return False
        os.fsync(fd)
        return True


def _open_without_name() -> tuple[t.IO[bytes], bool]:
    """Open a temporary file without a name, and return whether it can get one."""
    try:
        # `TemporaryFile` adds O_EXCL, which forbids a name for ever.
        fd = os.open(gettempdir(), os.O_RDWR | os.O_TMPFILE, 0o600)
    except (AttributeError, OSError):  # not Linux, or a file system that lacks O_TMPFILE
        return TemporaryFile("rb+"), False
    return open(fd, "rb+"), True


def spool(
    total_content_length: int | None = None,
    content_type: str | None = None,
    filename: str | None = None,
    content_length: int | None = None,
) -> t.IO[bytes]:
    """Return an empty file for one file of a form: the `stream_factory` of a form parser."""
    return SpooledFile(MAX_IN_MEMORY_BYTES, "rb+")


class SpoolFullError(RequestEntityTooLarge, OSError):
    """The disk is full, so that a file of a form could not be stored until the view reads it.

    The error is also an OSError, because Flask raises that.
    """

    description = "The server has no room for files of this size at present."


def is_without_room(error: OSError, folder: str | None = None) -> bool:
    """Return whether an error means that a disk is full, and if so, log it: the client gets a 413,
    and the operator must learn of it, too.

    Args:
        folder: where the file would have been stored; by default the folder of temporary files.
    """
    if error.errno not in _NO_ROOM:
        return False
    logger = get_masked_logger("carboy.uploads")
    logger.error("no room for an upload in %s: %s", folder or gettempdir(), error)
    return True
