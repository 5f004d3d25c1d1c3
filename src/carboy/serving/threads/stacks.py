"""The stacks of the threads of this process, as text for the log."""

from __future__ import annotations

import sys
import threading
import traceback
import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc
    import types


def format_stacks(idents: cabc.Collection[int] | None = None) -> str:
    """Return the stacks of threads, the innermost call of each last.

    Args:
        idents: the identifiers of the threads; None for all threads of the process.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames()
    return "\n".join(
        _format(names.get(ident, f"unknown to Python ({ident})"), frame)
        for ident, frame in frames.items()
        if idents is None or ident in idents
    )


def _format(name: str, frame: types.FrameType) -> str:
    return f"Thread {name}:\n{''.join(traceback.format_stack(frame))}".rstrip()
