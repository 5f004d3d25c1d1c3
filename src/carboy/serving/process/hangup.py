"""Find out what a SIGHUP signal means: the server's terminal was closed, or a program such as
logrotate asks the server to open its log file again.
"""

from __future__ import annotations

import os


class Terminal:
    """The terminal in which the server was started, if there is one.

    The system sends SIGHUP when the terminal is closed, and logrotate sends the same signal to ask
    for a new log file. `is_closed` tells the two cases apart.
    """

    def __init__(self) -> None:
        self._was_there = _has_terminal()

    def is_closed(self) -> bool:
        """Return whether the server was started in a terminal that has been closed since."""
        return self._was_there and not _has_terminal()


def _has_terminal() -> bool:
    """Return whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | getattr(os, "O_NOCTTY", 0)))
    except OSError:
        return False
    return True
