"""Sockets that systemd has opened and passes to this process (socket activation).

systemd passes them as the file descriptors 3, 4, ... and describes them in environment variables:
LISTEN_FDS is their number, LISTEN_PID the process for which they are meant, and LISTEN_FDNAMES
their names, separated by colons. Source: the manual page sd_listen_fds(3).
"""

from __future__ import annotations

import os
import socket
import typing as t

from ..errors import AddressError
from .http.address import Address, address_of

if t.TYPE_CHECKING:
    import collections.abc as cabc

_FIRST_FD = 3
_VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


def passed_count(environ: cabc.Mapping[str, str]) -> int:
    """Return how many sockets are passed to this process.

    Variables with another LISTEN_PID are meant for a parent process, which left them in the
    environment.
    """
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return 0
    text = environ.get("LISTEN_FDS", "")
    if not (text.isascii() and text.isdecimal() and len(text) <= 4):
        raise AddressError(
            f"The environment variable LISTEN_FDS must be the number of sockets that systemd"
            f" passes, but it is {text!r}. Start the server by a systemd unit, or unset LISTEN_PID."
        )
    return int(text)


def take_passed_sockets() -> list[tuple[Address, socket.socket]]:
    """Return the sockets that are passed to this process, with their addresses, and remove the
    variables from the environment, because they are not meant for child processes.

    Raises:
        AddressError: one of them is not a listening stream socket.
    """
    count = passed_count(os.environ)
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    for variable in _VARIABLES:
        os.environ.pop(variable, None)
    found = []
    for index in range(count):
        fd = _FIRST_FD + index
        name = names[index] if index < len(names) and names[index] else "without a name"
        found.append(_take(fd, f"The file descriptor {fd} ({name}) that systemd has passed"))
    return found


def _take(fd: int, subject: str) -> tuple[Address, socket.socket]:
    try:
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
    except OSError as exc:
        raise AddressError(
            f"{subject} is not a socket ({exc.strerror}). In the .socket unit, use"
            " ListenStream= only."
        ) from None
    families = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
    if sock.type != socket.SOCK_STREAM or sock.family not in families:
        raise AddressError(
            f"{subject} is a socket of another kind. In the .socket unit, use ListenStream= with a"
            " port, an address or a path."
        )
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise AddressError(
            f"{subject} is the connection of one client. In the .socket unit, set Accept=no."
        )
    return address_of(sock), sock
