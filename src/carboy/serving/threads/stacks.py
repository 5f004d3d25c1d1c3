"""The stacks of the threads of this process: as text for the log, and as data for `carboy ctl`."""

from __future__ import annotations

import sys
import threading
import traceback
import typing as t

from ...core.masking import mask_text

if t.TYPE_CHECKING:
    import collections.abc as cabc
    import types


def format_stacks(idents: cabc.Collection[int] | None = None) -> str:
    """Return the stacks of threads, the innermost call of each last.

    Args:
        idents: the identifiers of the threads; None for all threads of the process.
    """
    return "\n".join(
        f"Thread {name}:\n{_format(frame)}"
        for ident, name, frame in _threads()
        if idents is None or ident in idents
    )


def stacks_of_others() -> list[dict[str, t.Any]]:
    """Return the stacks of all threads but the calling one, that of the main thread first. Threads
    with the same stack, such as those that wait for work, share one entry.
    """
    by_stack: dict[str, list[str]] = {}
    main, own = threading.main_thread().ident, threading.get_ident()
    for ident, name, frame in sorted(_threads(), key=lambda each: each[0] != main):
        if ident != own:
            by_stack.setdefault(mask_text(_format(frame)), []).append(name)
    return [{"threads": threads, "stack": stack} for stack, threads in by_stack.items()]


def _threads() -> cabc.Iterator[tuple[int, str, types.FrameType]]:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        yield ident, names.get(ident, f"unknown to Python ({ident})"), frame


def _format(frame: types.FrameType) -> str:
    return "".join(traceback.format_stack(frame)).rstrip()
