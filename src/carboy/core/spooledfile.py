"""The temporary file that holds an uploaded file of a form: a short one in memory, a long one on
disk in a file without a name.

Python's `SpooledTemporaryFile` does the same, but its file on disk can never get a name. The file
of this module can, so that a long upload is stored without copying it. If the process is killed,
the system removes a file without a name.
"""

from __future__ import annotations

import errno
import os
import typing as t
from tempfile import SpooledTemporaryFile, TemporaryFile, gettempdir

from werkzeug.exceptions import RequestEntityTooLarge

from .logmasking import get_masked_logger

# The largest size of an uploaded file that is kept in memory, the same as in Werkzeug. A larger
# file is moved to disk.
MAX_IN_MEMORY_BYTES = 500 * 1024

# The errors that mean that a file system has no room for a file: the disk is full, the user's quota
# is used up, or the file would be longer than the system allows.
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
        """Move the content from memory to a file on disk. Python calls this when the content
        becomes longer than the `max_size` of the file.
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
        """Give the file on disk the name `path`, and wait until the disk has its content (fsync).

        Args:
            path: the new name; no file of this name may exist.

        Returns:
            True; or False if the file cannot get the name, because its content is in memory, `path`
            is on another file system, or the system lacks `linkat`.
        """
        if not self._is_linkable:
            return False
        self.flush()
        fd = self.fileno()
        try:
            os.utime(fd)
            # NOTE: `src_dir_fd` is passed only to let Python call `linkat`. Without it Python calls
            # `link`, which does not follow the symbolic link in /proc (python/cpython#81793). The
            # system ignores its value, because the path is absolute.
            os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)
        except OSError:
            return False
        os.fsync(fd)
        return True


def _open_without_name() -> tuple[t.IO[bytes], bool]:
    """Open a temporary file without a name. Return it, and whether it can get a name later."""
    try:
        # `TemporaryFile` is not used here, because it adds O_EXCL: such a file can never get a
        # name.
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
    """Return an empty temporary file into which a form parser writes one uploaded file. (Werkzeug's
    parser calls this function as its `stream_factory`, with these arguments.)
    """
    return SpooledFile(MAX_IN_MEMORY_BYTES, "rb+")


class SpoolFullError(RequestEntityTooLarge, OSError):
    """The disk has no room for the temporary file of an uploaded file. The client gets a 413.

    The error is also an OSError, because programs written for Flask may catch that: Flask raises
    it in this case.
    """

    description = "The server has no room for files of this size at present."


def is_without_room(error: OSError, folder: str | None = None) -> bool:
    """Return whether storing a file failed because the disk is full. If so, the error is logged,
    because the client gets a 413 only, and the operator must make room.

    Args:
        error: the error that storing the file has raised.
        folder: the folder of the file, for the log; None for the folder of temporary files.
    """
    if error.errno not in _NO_ROOM:
        return False
    logger = get_masked_logger("carboy.uploads")
    logger.error("no room for an upload in %s: %s", folder or gettempdir(), error)
    return True
