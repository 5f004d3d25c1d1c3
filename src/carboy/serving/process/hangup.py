"""What SIGHUP means: that the terminal was closed, or that the log file shall be opened again."""

from __future__ import annotations

import os


class Terminal:
    """The terminal in which the server was started, if there is one.

    A terminal that is closed sends SIGHUP, and so does `kill -HUP` of logrotate. Afterwards only a
    closed terminal is gone.
    """

    def __init__(self) -> None:
        self._was_there = _has_terminal()

    def is_closed(self) -> bool:
        """Return whether the terminal was closed since the server was started in it."""
        return self._was_there and not _has_terminal()


def _has_terminal() -> bool:
    """Return whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | getattr(os, "O_NOCTTY", 0)))
    except OSError:
        return False
    return True
