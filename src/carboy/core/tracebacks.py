"""Tracebacks for the log: from the user's first line on.

The frames by which carboy came to it are the same each time and say nothing. What is below the
user's code stays as it is, carboy's own frames included.
"""

from __future__ import annotations

import os
import typing as t

from ..errors import CarboyError

if t.TYPE_CHECKING:
    from types import TracebackType

#: Set to anything but 0 it keeps all frames, here and at the command line.
FULL_ENV_VAR = "CARBOY_FULL_TRACEBACK"
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def wants_all_frames() -> bool:
    return os.environ.get(FULL_ENV_VAR, "0") != "0"


def begin_with_user(exc: BaseException) -> None:
    """Cut carboy's first frames off the tracebacks of an exception and of those behind it.

    Where there are no others, an error of carboy's has none: its message says it all. Any other
    exception keeps them: they say where it may come from.
    """
    if wants_all_frames():
        return
    waiting: list[BaseException | None] = [exc]
    seen = set[int]()
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        cut = _of_user(each.__traceback__)
        if cut is not None or isinstance(each, CarboyError):
            each.__traceback__ = cut
        waiting += [each.__cause__, each.__context__]


def _of_user(first: TracebackType | None) -> TracebackType | None:
    while first is not None and first.tb_frame.f_code.co_filename.startswith(_OURS):
        first = first.tb_next
    return first
