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

from .. import log
from .hangup import Terminal

if t.TYPE_CHECKING:
    import collections.abc as cabc
    import types

    _Handler = cabc.Callable[[int, types.FrameType | None], object]


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


def say_stopping(asked_by: str, grace_s: float) -> None:
    """Log that the server begins to stop, because the signal `asked_by` has arrived."""
    log.logger.info(
        "stopping on %s: requests that have begun may take %g s more", asked_by, grace_s
    )


def handlers_without_workers(
    stop: cabc.Callable[[str], object], stop_at_once: cabc.Callable[[str], object]
) -> dict[signal.Signals, _Handler]:
    """Return the signal handlers of a server that serves from one process, without a supervisor.

    Args:
        stop: stops the server, because of the signal whose name it gets; returns at once.
        stop_at_once: stops it without waiting for requests, for the reason that it gets, because
            SIGINT or SIGTERM arrives when the server already stops; returns at once.
    """
    terminal = Terminal()
    stopping = False

    def on_stop(number: int, frame: types.FrameType | None) -> None:
        nonlocal stopping
        name = signal.Signals(number).name
        if not stopping:
            stopping = True
            stop(name)
        elif number in (signal.SIGINT, signal.SIGTERM):
            stop_at_once(f"{name} while the server stops")

    def on_hangup(number: int, frame: types.FrameType | None) -> None:
        if terminal.is_closed():
            on_stop(number, frame)
        else:
            log.logger.error(
                "SIGHUP: the server cannot load the code again, because it serves from the process"
                " that has loaded it. Serve with workers (carboy serve), or start it again"
            )

    handlers: dict[signal.Signals, _Handler] = {
        **dict.fromkeys(stop_signals(), on_stop),
        **dict.fromkeys(hangup_signals(), on_hangup),
    }
    # SIGUSR1 asks to open the log files again, which each line does by itself if its file was
    # renamed. SIGUSR2 asks for nothing. Without a handler they would end this process.
    for name in ("SIGUSR1", "SIGUSR2"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            handlers[number] = lambda *_: None
    return handlers


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

    def close(self) -> None:
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
