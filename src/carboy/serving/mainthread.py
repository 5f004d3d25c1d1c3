"""Waiting on the main thread, on which Python runs the signal handlers of a process.

The system may let any thread of a process receive a signal. Python then notes that the handler must
run, but does not wake the main thread if that sleeps: on a busy machine, two signals that arrive
shortly after each other are received by another thread.
"""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from collections import abc as cabc

# How late a signal handler may run.
WAKES_S = 0.5


def wait_on_main_thread(wait: cabc.Callable[[float], bool]) -> None:
    """Wait for an event, and let signal handlers run meanwhile, at most `WAKES_S` late.

    Args:
        wait: waits for the event, at most for the seconds that it gets, and returns whether it has
            happened; such as the method `wait` of a `threading.Event`.
    """
    while not wait(WAKES_S):
        pass
