"""How an exception is shown at the command line: the user's lines, not ours.

Frames of carboy, click and the import system are left out, as are the lines that carboy itself
added below the user's. What remains is where the user can do something.
"""

from __future__ import annotations

import os
import traceback
import typing as t

import click

from ..core.tracebacks import is_full_traceback_requested
from ..errors import CarboyError

if t.TYPE_CHECKING:
    import collections.abc as cabc

_OURS = tuple(
    os.path.dirname(os.path.abspath(path)) + os.sep
    for path in (os.path.dirname(__file__), click.__file__)
)
_STDLIB = os.path.dirname(os.path.abspath(os.__file__)) + os.sep


def format_for_user(exc: BaseException) -> str:
    """The traceback without frames that are not the user's; whole if then nothing would remain."""
    shown = traceback.TracebackException.from_exception(exc)
    if is_full_traceback_requested():
        return "".join(shown.format())
    if is_ours_only(exc):
        if isinstance(exc, CarboyError):
            return f"{exc}\n"
        return "".join(shown.format())
    for part in _chain(shown):
        part.stack[:] = [frame for frame in part.stack if not _is_ours(frame.filename)]
    return "".join(shown.format())


def report(exc: Exception) -> None:
    """Write what went wrong to stderr, as the last words of a command."""
    click.secho(format_for_user(exc).rstrip(), err=True, fg="red")


def is_ours_only(exc: BaseException) -> bool:
    """Whether no line of the user's, nor of a package of theirs, had a part in it."""
    # A syntax error names the user's file itself, without a frame in it.
    if isinstance(exc, SyntaxError):
        return False
    return all(
        _is_ours(name) or _is_pythons(name)
        for name in (frame.f_code.co_filename for frame, _ in traceback.walk_tb(exc.__traceback__))
    )


def _is_ours(filename: str) -> bool:
    return filename.startswith(("<frozen ", *_OURS))


def _is_pythons(filename: str) -> bool:
    return filename.startswith(_STDLIB) and "site-packages" not in filename


def _chain(
    shown: traceback.TracebackException,
) -> cabc.Iterator[traceback.TracebackException]:
    """The exception, and those it names as its cause, context, or parts."""
    waiting, seen = [shown], set[int]()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        nearby = (part.__cause__, part.__context__, *(getattr(part, "exceptions", None) or ()))
        waiting += [other for other in nearby if other is not None]
