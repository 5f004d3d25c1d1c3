"""A disk that is too small for the files of a model."""

from __future__ import annotations

import contextlib
import errno
import shutil
import typing as t

from carboy.errors import NoRoomError

if t.TYPE_CHECKING:
    from collections import abc as cabc


def is_disk_full(exc: OSError) -> bool:
    return exc.errno in (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def explaining_full_disk(folder: str, needed_bytes: int, advice: str) -> cabc.Iterator[None]:
    """Refuse to write files for which the disk has no space, before it is full: other programs
    write to it, too. The disk may get full in the meantime, or the user may have a quota, which is
    explained in the same way.

    Args:
        advice: a sentence that says what to do.

    Raises:
        NoRoomError: the files do not fit.
    """
    if shutil.disk_usage(folder).free < needed_bytes:
        raise _full(folder, needed_bytes, advice)
    try:
        yield
    except OSError as exc:
        if not is_disk_full(exc):
            raise
        raise _full(folder, needed_bytes, advice) from None


def _full(folder: str, needed_bytes: int, advice: str) -> NoRoomError:
    free_bytes = shutil.disk_usage(folder).free
    return NoRoomError(
        f"The disk of {folder!r} is full: the version has {needed_bytes:,} bytes, and"
        f" {free_bytes:,} bytes are free. {advice}"
    )
