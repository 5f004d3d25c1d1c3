"""Shorten tracebacks for the log, so that they begin at the first frame of the user's code.

carboy's frames before the first frame of the user's code are the same in every traceback and tell
nothing. All frames after them are kept.
"""

from __future__ import annotations

import os
import typing as t

from ..errors import CarboyError

if t.TYPE_CHECKING:
    from types import TracebackType

#: The environment variable that keeps all frames in tracebacks, in the log and on the command line,
#: unless it is 0.
FULL_ENV_VAR = "CARBOY_FULL_TRACEBACK"
_PACKAGE_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def is_full_traceback_requested() -> bool:
    return os.environ.get(FULL_ENV_VAR, "0") != "0"


def drop_leading_frames(exc: BaseException) -> None:
    """Remove carboy's leading frames from an exception, its causes and its contexts.

    If a traceback has only frames of carboy, a `CarboyError` loses all of them, because its message
    is sufficient. Any other exception keeps its frames, because they show where it was raised.
    """
    if is_full_traceback_requested():
        return
    waiting: list[BaseException | None] = [exc]
    seen = set[int]()
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        cut = _first_user_frame(each.__traceback__)
        if cut is not None or isinstance(each, CarboyError):
            each.__traceback__ = cut
        waiting += [each.__cause__, each.__context__]


def _first_user_frame(first: TracebackType | None) -> TracebackType | None:
    while first is not None and first.tb_frame.f_code.co_filename.startswith(_PACKAGE_FOLDER):
        first = first.tb_next
    return first
