"""Listening sockets: closed without a connection lost, and noticed when clients have vanished.

When a listening socket closes, the system resets the connections that wait on it, although their
clients have connected and may have sent their request. So let no new ones come to it first: a
filter on the socket drops their first packet, which a client sends again after a second, while the
server goes on accepting those that are there. Linux only; elsewhere that moment stays as it is.
"""

from __future__ import annotations

import ctypes
import os
import socket
import stat
import struct
import sys

# <asm-generic/socket.h>; the module `socket` does not have it.
_SO_ATTACH_FILTER = 26
# <linux/filter.h>: one instruction, "accept 0 bytes of the packet".
_BPF_RET_K = 0x06
# A client whose machine or network is gone is noticed after 60 + 3 * 10 s of silence.
_KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


def stop_new_connections(port: int) -> bool:
    """Let no connection come to this process's listening sockets at the port; whether that worked.

    The sockets stay open, so that what has come already can be accepted.
    """
    if sys.platform != "linux":
        return False
    found = False
    for fd in _listening(port):
        with socket.fromfd(fd, socket.AF_INET, socket.SOCK_STREAM) as listener:
            found = _drop_packets(listener) or found
    return found


def refuse_new(listener: socket.socket) -> bool:
    """The same for a socket that is at hand."""
    return sys.platform == "linux" and _drop_packets(listener)


def notice_vanished_clients(port: int) -> None:
    """Let the system ask silent clients of this process's sockets at the port whether they live.

    A client that vanishes in the middle of its body would hold a thread for ever otherwise. Linux
    hands these settings on from a listening socket to its connections.
    """
    if sys.platform != "linux":
        return
    for fd in _listening(port):
        with socket.fromfd(fd, socket.AF_INET, socket.SOCK_STREAM) as listener:
            keep_asking(listener)


def keep_asking(listener: socket.socket) -> None:
    """Let the system ask silent clients of a listening socket whether they live."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        for name, value in _KEEP_ALIVE.items():
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _listening(port: int) -> list[int]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            # `fromfd` copies the descriptor of whatever it is, and would leave the copy of a pipe.
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            with socket.fromfd(int(name), socket.AF_INET, socket.SOCK_STREAM) as candidate:
                listens = candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                if listens and candidate.getsockname()[1] == port:
                    found.append(int(name))
        except OSError:
            continue  # No socket, or closed meanwhile.
    return found


def _drop_packets(listener: socket.socket) -> bool:
    instruction = ctypes.create_string_buffer(struct.pack("HBBI", _BPF_RET_K, 0, 0, 0))
    program = struct.pack("HP", 1, ctypes.addressof(instruction))
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError:
        return False
    return True
