"""Work for thread pools that a test begins and ends, and waiting for what no thread reports."""

from __future__ import annotations

import threading
import typing as t

from polling import PATIENCE_S

if t.TYPE_CHECKING:
    import collections.abc as cabc


class Task:
    """Work that goes on until the test ends it."""

    def __init__(self, begin: cabc.Callable[[], object] = lambda: None) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()
        self.thread = ""
        self._begin = begin

    def __call__(self) -> None:
        self.thread = threading.current_thread().name
        self._begin()
        self.begun.set()
        assert self.may_end.wait(PATIENCE_S)

    def has_begun(self) -> bool:
        return self.begun.wait(PATIENCE_S)

    def end(self) -> None:
        self.may_end.set()


class Blocked:
    """Blocks each `predict` that passes through, until the test opens it."""

    def __init__(self) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()

    def pass_through(self) -> None:
        self.entered.set()
        assert self.opened.wait(PATIENCE_S)
