"""Report why a command has failed: in one line if carboy refuses what was asked for, else by a
traceback that contains only frames of the user's code.
"""

from __future__ import annotations

import contextlib
import os
import traceback
import typing as t

import click

from ..core.masking import mask_text
from ..core.tracebacks import is_full_traceback_requested
from ..errors import CarboyError, ConfigError, ProjectError

if t.TYPE_CHECKING:
    import collections.abc as cabc

_CARBOY = tuple(
    os.path.dirname(os.path.abspath(path)) + os.sep
    for path in (os.path.dirname(__file__), click.__file__)
)
_STDLIB = os.path.dirname(os.path.abspath(os.__file__)) + os.sep


class RefusedCommandError(click.ClickException):
    """An error of a command that click shows in one line, with exit code 2. (For a `UsageError`,
    click would show the usage of the command as well.)
    """

    exit_code = 2


@contextlib.contextmanager
def config_errors_in_one_line() -> cabc.Iterator[None]:
    """Turn a ConfigError into an error message of one line, with exit code 2."""
    try:
        yield
    except ConfigError as exc:
        raise RefusedCommandError(str(exc)) from None


def format_for_user(exc: BaseException) -> str:
    """Format a traceback without the frames of carboy; with all frames if there are no others.
    Secrets are masked.
    """
    return mask_text(_format(exc))


def _format(exc: BaseException) -> str:
    from ..models.saved.loadfailures import explain_failure

    advice = explain_failure(exc)
    if advice and advice not in getattr(exc, "__notes__", ()):
        exc.add_note(advice)
    shown = traceback.TracebackException.from_exception(exc)
    if is_full_traceback_requested():
        return "".join(shown.format())
    if isinstance(exc, ProjectError):  # the text names the place, which no frame shows
        return f"{exc}\n"
    if is_internal(exc):
        if isinstance(exc, CarboyError):
            return f"{exc}\n"
        return "".join(shown.format())
    for part in _chain(shown):
        part.stack[:] = [frame for frame in part.stack if not _is_carboys(frame.filename)]
    return "".join(shown.format())


def report(exc: Exception) -> None:
    """Write the traceback of a failed command to stderr, without frames of carboy."""
    click.secho(format_for_user(exc).rstrip(), err=True, fg="red")


def exit_code(exc: BaseException) -> int:
    """Return the exit code of a process that could not load the app because of an exception."""
    return 2 if isinstance(exc, ConfigError) else 1


def is_internal(exc: BaseException) -> bool:
    """Return whether a traceback has no frame of the user's code."""
    # A syntax error in a file of the user has no stack frame of this file, because the file did not
    # run; but the error names the file.
    if isinstance(exc, SyntaxError):
        return False
    return all(
        _is_carboys(name) or _is_pythons(name)
        for name in (frame.f_code.co_filename for frame, _ in traceback.walk_tb(exc.__traceback__))
    )


def _is_carboys(filename: str) -> bool:
    return filename.startswith(("<frozen ", *_CARBOY))


def _is_pythons(filename: str) -> bool:
    return filename.startswith(_STDLIB) and "site-packages" not in filename


def _chain(
    shown: traceback.TracebackException,
) -> cabc.Iterator[traceback.TracebackException]:
    """Yield an exception and all exceptions in its traceback: causes, contexts, and members of
    exception groups.
    """
    waiting, seen = [shown], set[int]()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        nearby = (part.__cause__, part.__context__, *(getattr(part, "exceptions", None) or ()))
        waiting += [other for other in nearby if other is not None]
