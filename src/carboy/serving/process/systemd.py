"""Tell systemd what the server does: that it is ready, reloads, stops, and lives (watchdog).

systemd sets the environment variable NOTIFY_SOCKET for services of `Type=notify` and
`Type=notify-reload`, and WATCHDOG_USEC for services with `WatchdogSec=`. Each message is one
datagram of lines `NAME=value`. Without these variables nothing is sent.

A message may fail for a moment, because systemd is busy or memory is short. systemd waits for
READY=1 and RELOADING=1, so these are sent again until they arrive. Others follow soon anyway.

Source: sd_notify(3), sd_watchdog_enabled(3), systemd.service(5)
"""

from __future__ import annotations

import collections
import errno
import faulthandler
import os
import socket
import sys
import threading
import time
import typing as t

from ...errors import ConfigError
from .. import log

if t.TYPE_CHECKING:
    import collections.abc as cabc

# The variables that concern the supervisor alone. Workers do not inherit them, because a program
# that the app starts would take them for its own.
VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
# Signs of life are sent this many times in the time that systemd waits for one.
_SIGNS = 3
# The time between two attempts to send a message.
RETRY_S = 0.5
# The errors that say that nobody will receive messages any more.
_GONE = (errno.ENOENT, errno.ECONNREFUSED)


class SystemdNotifier:
    """Sends messages to systemd, if systemd has started this process.

    Args:
        environ: the environment variables.

    Attributes:
        sign_at_s: when the next sign of life is due, by the monotonic clock; None if systemd does
            not wait for any.

    Raises:
        ConfigError: a variable is not valid, or does not concern this process.
        OSError: there is no descriptor left.
    """

    def __init__(self, environ: cabc.Mapping[str, str] = os.environ) -> None:
        self._address = _read_address(environ)
        self._status = ""
        self._interval_s = _read_interval_s(environ) if self._address else None
        self.sign_at_s = None if self._interval_s is None else time.monotonic()
        # The messages that must be sent again, in their order, and when.
        self._unsent: collections.deque[str] = collections.deque()
        self._retry_at_s = 0.0
        self._has_failed = False
        # Opened once: later there may be no descriptor left.
        self._socket = _open_socket() if self._address else None

    @property
    def due_s(self) -> float | None:
        """When `say_alive` has something to do; None if it has not."""
        if self._unsent:
            return min(self._retry_at_s, self.sign_at_s or self._retry_at_s)
        return self.sign_at_s

    def say_ready(self) -> None:
        """Say that the server serves, or that it has finished a reload, whether or not the reload
        has succeeded.
        """
        self._send_surely("READY=1")

    def say_reloading(self) -> None:
        # systemd compares this time with the time of its own SIGHUP, so that it does not take the
        # end of an earlier reload for the end of this one.
        self._send_surely(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def say_stopping(self) -> None:
        self._unsent = collections.deque()  # a late READY=1 would be wrong
        self._send("STOPPING=1")

    def say_status(self, text: str) -> None:
        """Send the line that `systemctl status` shows, if it has changed."""
        if text != self._status and self._send(f"STATUS={text}"):
            self._status = text

    def say_alive(self, now_s: float) -> None:
        """Send a sign of life, and the messages that must be sent again, if they are due."""
        if self._unsent and now_s >= self._retry_at_s:
            self._send_again(now_s)
        if self.sign_at_s is not None and self._interval_s is not None and now_s >= self.sign_at_s:
            self.sign_at_s = now_s + self._interval_s
            self._send("WATCHDOG=1")

    def keep_alive(self, call: cabc.Callable[[cabc.Callable[[], object]], object]) -> None:
        """Call `say_alive` from now on whenever it is due, each time by `call`, which lets the
        thread that must be alive call a function. For a process without the supervisor's loop.
        """
        if self.due_s is not None:
            threading.Thread(target=self._keep_alive, args=(call,), daemon=True).start()

    def _keep_alive(self, call: cabc.Callable[[cabc.Callable[[], object]], object]) -> None:
        while self._address and self.due_s is not None:
            call(lambda: self.say_alive(time.monotonic()))
            pause_s = self._interval_s or RETRY_S
            time.sleep(min(pause_s, RETRY_S) if self._unsent else pause_s)

    def explain_abort(self) -> None:
        """Let this process write the stacks of its threads to stderr before it dies, because
        systemd ends a process that gives no sign of life by SIGABRT.
        """
        if self._interval_s is not None and sys.stderr is not None:
            faulthandler.enable()

    def close(self) -> None:
        """Send nothing from now on."""
        self._address = ""
        self._unsent = collections.deque()
        if self._socket is not None:
            self._socket.close()

    def _send_surely(self, message: str) -> None:
        self._unsent.append(message)
        self._send_again(time.monotonic())

    def _send_again(self, now_s: float) -> None:
        """Send the messages that were not sent, in their order, up to the first that fails."""
        unsent = self._unsent
        while unsent and self._send(unsent[0]):
            unsent.popleft()
        self._retry_at_s = now_s + RETRY_S

    def _send(self, message: str) -> bool:
        """Send a message. Returns False if it should be sent again."""
        if not self._address or self._socket is None:
            return True
        try:
            self._socket.sendto(message.encode(), self._address)
        except BlockingIOError:  # systemd is busy
            return False
        except OSError as exc:
            self._explain(exc)
            return False
        self._has_failed = False
        return True

    def _explain(self, exc: OSError) -> None:
        """Log why a message was not sent, once, and give up if nobody will receive any."""
        is_gone = exc.errno in _GONE
        if is_gone or not self._has_failed:
            log.logger.error(
                "cannot tell systemd what the server does%s: NOTIFY_SOCKET is %r: %s",
                "" if is_gone else " at the moment",
                self._address.replace("\0", "@"),
                exc.strerror or exc,
            )
        self._has_failed = True
        if is_gone:
            self.close()


def _open_socket() -> socket.socket:
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    opened.setblocking(False)
    return opened


def _read_address(environ: cabc.Mapping[str, str]) -> str:
    """Return the address of systemd's socket; "" if there is none."""
    text = environ.get("NOTIFY_SOCKET", "")
    if text and text[0] not in "/@":
        raise ConfigError(
            "The environment variable NOTIFY_SOCKET: expected the absolute path of a socket, or @"
            f" and the name of an abstract one, got {text!r}. systemd sets it; unset it to start"
            " the server without systemd."
        )
    return f"\0{text[1:]}" if text.startswith("@") else text


def _read_interval_s(environ: cabc.Mapping[str, str]) -> float | None:
    """Return the time between two signs of life; None if systemd does not wait for any."""
    text = environ.get("WATCHDOG_USEC", "")
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise ConfigError(
            "The environment variable WATCHDOG_USEC: expected a number of microseconds, at least 1,"
            f" got {text!r}. systemd sets it by WatchdogSec=; unset it to start the server without"
            " a watchdog."
        )
    pid = environ.get("WATCHDOG_PID", "")
    if pid and pid != str(os.getpid()):
        raise ConfigError(
            f"The environment variable WATCHDOG_PID: systemd expects signs of life from the process"
            f" {pid}, but the server is the process {os.getpid()}, so that systemd would kill it."
            " Let ExecStart= start the server itself, or end the script that starts it with 'exec"
            " carboy serve ...'. If systemd did not start the server, unset WATCHDOG_USEC and"
            " WATCHDOG_PID."
        )
    return int(text) / 1e6 / _SIGNS
