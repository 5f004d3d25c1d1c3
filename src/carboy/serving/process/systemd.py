"""Tell systemd what the server does: that it is ready, reloads, stops, and lives (watchdog).

systemd sets the environment variable NOTIFY_SOCKET for services of `Type=notify` and
`Type=notify-reload`, and WATCHDOG_USEC for services with `WatchdogSec=`. Each message is one
datagram of lines `NAME=value`. Without these variables nothing is sent.

Source: sd_notify(3), sd_watchdog_enabled(3), systemd.service(5)
"""

from __future__ import annotations

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


class SystemdNotifier:
    """Sends messages to systemd, if systemd has started this process.

    Args:
        environ: the environment variables.

    Attributes:
        sign_at_s: when the next sign of life is due, by the monotonic clock; None if systemd does
            not wait for any.

    Raises:
        ConfigError: a variable is not valid, or does not concern this process.
    """

    def __init__(self, environ: cabc.Mapping[str, str] = os.environ) -> None:
        self._address = _read_address(environ)
        self._status = ""
        self._interval_s = _read_interval_s(environ) if self._address else None
        self.sign_at_s = None if self._interval_s is None else time.monotonic()

    def say_ready(self) -> None:
        """Say that the server serves, or that it has finished a reload, whether or not the reload
        has succeeded.
        """
        self._send("READY=1")

    def say_reloading(self) -> None:
        # systemd compares this time with the time of its own SIGHUP, so that it does not take the
        # end of an earlier reload for the end of this one.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def say_stopping(self) -> None:
        self._send("STOPPING=1")

    def say_status(self, text: str) -> None:
        """Send the line that `systemctl status` shows, if it has changed."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def say_alive(self, now_s: float) -> None:
        """Send a sign of life, if it is due."""
        if self.sign_at_s is not None and self._interval_s is not None and now_s >= self.sign_at_s:
            self.sign_at_s = now_s + self._interval_s
            self._send("WATCHDOG=1")

    def keep_alive(self, call: cabc.Callable[[cabc.Callable[[], object]], object]) -> None:
        """Send signs of life from now on, each by `call`, which lets the thread that must be alive
        call a function. For a process without the supervisor's loop.
        """
        if self._interval_s is not None:
            threading.Thread(target=self._keep_alive, args=(call,), daemon=True).start()

    def _keep_alive(self, call: cabc.Callable[[cabc.Callable[[], object]], object]) -> None:
        while self._address and self._interval_s is not None:
            call(lambda: self.say_alive(time.monotonic()))
            time.sleep(self._interval_s)

    def explain_abort(self) -> None:
        """Let this process write the stacks of its threads to stderr before it dies, because
        systemd ends a process that gives no sign of life by SIGABRT.
        """
        if self._interval_s is not None and sys.stderr is not None:
            faulthandler.enable()

    def close(self) -> None:
        """Send nothing from now on."""
        self._address = ""

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto("\n".join(lines).encode(), self._address)
        except BlockingIOError:
            pass  # systemd is busy; the next message tells it as much
        except OSError as exc:
            log.logger.error(
                "cannot tell systemd what the server does: NOTIFY_SOCKET is %r: %s",
                self._address.replace("\0", "@"),
                exc.strerror or exc,
            )
            self.close()


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
