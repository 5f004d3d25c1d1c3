"""Threads for the callbacks of programs, which may take any time."""

from __future__ import annotations

import os
import threading
import typing as t

from carboy.core.logmasking import get_masked_logger

from .queue.threads import IDLE_S

if t.TYPE_CHECKING:
    from collections import abc as cabc

_logger = get_masked_logger("carboy.models")


class CallbackThreads:
    """Threads that call functions. Functions that come before a thread has woken up are called by
    it one after the other. Those that come later do not wait for them: they get an idle thread, or
    a new one.

    Thread-safe. Idle threads end after a while. A forked child process has threads of its own.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        # As long as functions wait, a thread comes for all of them.
        self._waiting: list[cabc.Callable[[], object]] = []
        self._changed = threading.Condition()
        self._idle = 0

    def call(self, function: cabc.Callable[[], object]) -> None:
        """Let a thread call a function. Returns at once."""
        if self._pid != os.getpid():
            self._begin()
        with self._changed:
            self._waiting.append(function)
            if len(self._waiting) > 1:
                return
            if self._idle:
                self._changed.notify()
                return
        try:
            threading.Thread(target=self._run, name="carboy callbacks", daemon=True).start()
        except RuntimeError:  # the system allows no further thread
            self._call_waiting()

    def _run(self) -> None:
        while self._wait():
            self._call_waiting()

    def _wait(self) -> bool:
        """Block until functions wait. Returns False if none does for long."""
        with self._changed:
            self._idle += 1
            found = self._changed.wait_for(lambda: self._waiting, IDLE_S)
            self._idle -= 1
            return bool(found)

    def _call_waiting(self) -> None:
        with self._changed:
            functions, self._waiting = self._waiting, []
        for each in functions:
            try:
                each()
            except BaseException:  # such as SystemExit, which must not lose the other functions
                _logger.exception("A callback of a prediction failed")
