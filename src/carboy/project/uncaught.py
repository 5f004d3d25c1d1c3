"""End a program whose configuration cannot be used, as the commands of carboy end: with the text of
the error and exit code 2.
"""

from __future__ import annotations

import sys
import typing as t

from ..errors import ProjectError

if t.TYPE_CHECKING:
    import types


def end_without_traceback() -> None:
    """Let Python print only the text of a `ProjectError` that the program does not catch, and end
    with exit code 2.

    If the program, or a tool that collects errors, has replaced `sys.excepthook`, nothing is done.
    """
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _report


def _report(
    kind: type[BaseException], exc: BaseException, traceback: types.TracebackType | None
) -> None:
    # The traceback of an error with a cause leads to the line of `config.py` that failed.
    if not isinstance(exc, ProjectError) or exc.__cause__ is not None:
        sys.__excepthook__(kind, exc, traceback)
    else:
        sys.stderr.write(f"Error: {exc}\n")
    if isinstance(exc, ProjectError):
        raise SystemExit(2)  # Python ends with the exit code of the SystemExit of its hook
