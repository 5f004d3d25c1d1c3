"""Limit the memory that the pictures and tables of one request take together.

A file of 4 kB may become a picture of 128 MiB. Each picture and each table has a limit of its own,
but a request may hold a thousand of them: in a list, in records, in parameters. So each adds its
size here, before it is decoded if its header says the size.
"""

from __future__ import annotations

import threading
import typing as t
from functools import wraps

from ...errors import InputTooLargeError

if t.TYPE_CHECKING:
    import collections.abc as cabc

P = t.ParamSpec("P")
R = t.TypeVar("R")

#: Pictures and tables of one request may take this much, or as much as `_MOST_AT_LIMIT` of them do
#: if each is as large as its own limit allows.
MOST_BYTES: t.Final = 2**29
_MOST_AT_LIMIT = 4


class _Request(threading.local):
    """What the pictures and tables of the request take that this thread reads; None outside of a
    request.
    """

    bytes: int | None = None


_request = _Request()


def limited(read: cabc.Callable[P, R]) -> cabc.Callable[P, R]:
    """Wrap a function that reads a request, so that the sizes which `add` gets are limited."""

    @wraps(read)
    def counted(*args: P.args, **options: P.kwargs) -> R:
        if _request.bytes is not None:
            return read(*args, **options)
        _request.bytes = 0
        try:
            return read(*args, **options)
        finally:
            _request.bytes = None

    return counted


def attempt(read: cabc.Callable[P, R]) -> cabc.Callable[P, R]:
    """Wrap a function that reads a request or a part of it, so that nothing which it has passed to
    `add` is counted if it fails: the request may be read in another way then.
    """

    def counted(*args: P.args, **options: P.kwargs) -> R:
        before = _request.bytes
        try:
            return read(*args, **options)
        except BaseException:
            _request.bytes = before
            raise

    return counted


def start_again() -> None:
    """Count from 0, because the whole request is read again."""
    if _request.bytes is not None:
        _request.bytes = 0


def add(size: int, path: str, *, limit: int) -> None:
    """Count a picture or a table of the request that this thread reads.

    Args:
        size: bytes that it takes when it is decoded.
        path: where it is in the request, for the error.
        limit: bytes that a single one may take.

    Raises:
        InputTooLargeError: those of the request take too much together.
    """
    if _request.bytes is None:
        return
    _request.bytes += size
    most = max(MOST_BYTES, _MOST_AT_LIMIT * limit)
    if _request.bytes > most:
        raise InputTooLargeError.at(
            path,
            expected=f"pictures and tables of at most {most:,} bytes together when decoded",
            got=f"{_request.bytes:,} up to this one",
            hint="Send them in several requests.",
        )
