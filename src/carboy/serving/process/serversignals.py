"""The signals that the supervisor receives, and what each asks for.

SIGTERM, SIGINT, SIGQUIT  stop; a second SIGINT stops without waiting for requests
SIGHUP                    load the code again; stop, if the terminal was closed
SIGUSR1                   open the log files again
SIGUSR2                   nothing
SIGCHLD                   nothing: its arrival wakes the supervisor, because a worker has ended
"""

from __future__ import annotations

import signal
import socket
import typing as t

from .hangup import Terminal

if t.TYPE_CHECKING:
    import types


def stop_signals() -> list[signal.Signals]:
    """Return the signals that stop the server, as far as this system has them.

    Only Windows has SIGBREAK (Ctrl+Break, or the console was closed).
    """
    names = ("SIGTERM", "SIGINT", "SIGBREAK", "SIGQUIT")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


def hangup_signals() -> list[signal.Signals]:
    """Return SIGHUP, or nothing if this system does not have it, or if the server was started by
    `nohup`, which has disabled it.
    """
    number = getattr(signal, "SIGHUP", None)
    return [] if number is None or signal.getsignal(number) == signal.SIG_IGN else [number]


class ServerSignals:
    """Counts the signals that arrive, and wakes the supervisor's loop, which acts on them.

    Attributes:
        wakeup: becomes readable when a signal arrives, and when `wake` is called.
        stop_requests: how many signals to stop have arrived.
        stop_signal: the name of the first of them.
        stops_at_once: whether the user does not want to wait for requests.
        reloads: how many signals to load the code again have arrived since the last `take`.
        reopens: how many signals to open the log files again have arrived since the last `take`.
    """

    def __init__(self) -> None:
        self.stop_requests = 0
        self.stop_signal = ""
        self.stops_at_once = False
        self.reloads = 0
        self.reopens = 0
        self._terminal = Terminal()
        self.wakeup, self._waker = socket.socketpair()
        self.wakeup.setblocking(False)
        self._waker.setblocking(False)
        self._handlers_before: dict[signal.Signals, t.Any] = {}
        self._fd_before = -1

    def install(self) -> None:
        """Handle signals from now on. Must be called on the main thread."""
        for number in stop_signals():
            self._handle(number, self._on_stop)
        for number in hangup_signals():
            self._handle(number, self._on_hangup)
        self._handle(signal.SIGUSR1, self._on_reopen)
        # SIGUSR2 asks other servers to start a new version of themselves; without a handler it
        # would kill this process.
        for number in (signal.SIGCHLD, signal.SIGUSR2):
            self._handle(number, lambda *_: None)
        self._fd_before = signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)

    def _handle(self, number: signal.Signals, handler: t.Any) -> None:
        self._handlers_before[number] = signal.signal(number, handler)

    def restore(self) -> None:
        """Let signals be handled as before `install`."""
        signal.set_wakeup_fd(self._fd_before)
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)
        self.wakeup.close()
        self._waker.close()

    def wake(self) -> None:
        """Wake the supervisor's loop. Thread-safe."""
        try:
            self._waker.send(b"x")
        except OSError:
            pass  # the buffer is full, so the loop will wake; or the server has stopped

    def clear_wakeup(self) -> None:
        """Read the bytes that have woken the loop."""
        self.wakeup.recv(4096)

    def take_reload(self) -> bool:
        """Return whether a signal to load the code again has arrived since the last call."""
        asked, self.reloads = self.reloads > 0, 0
        return asked

    def take_reopen(self) -> bool:
        """Return whether a signal to open the log files again has arrived since the last call."""
        asked, self.reopens = self.reopens > 0, 0
        return asked

    def _on_stop(self, number: int, frame: types.FrameType | None) -> None:
        self.stop_requests += 1
        self.stop_signal = self.stop_signal or signal.Signals(number).name
        if self.stop_requests > 1 and number == signal.SIGINT:
            self.stops_at_once = True

    def _on_hangup(self, number: int, frame: types.FrameType | None) -> None:
        if self._terminal.is_closed():
            self._on_stop(number, frame)
        else:
            self.reloads += 1

    def _on_reopen(self, number: int, frame: types.FrameType | None) -> None:
        self.reopens += 1
