"""Settings of listening sockets: refuse new clients, and notice clients that have vanished.

When a listening socket closes, the system resets the connections in its backlog, although their
clients have connected and may have sent their request. So no new client is let in first: a filter
on the socket drops the first packet, which the client sends again after a second, while the server
accepts those in the backlog. Linux only; elsewhere a connection may be lost at that moment.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys

# <asm-generic/socket.h>; the module `socket` does not have it.
_SO_ATTACH_FILTER = 26
# <linux/filter.h>: one instruction, "accept 0 bytes of the packet".
_BPF_RET_K = 0x06
# A client whose machine or network is gone is noticed after 60 + 3 * 10 s of silence.
_KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


def refuse_new(listener: socket.socket) -> bool:
    """Let no new client connect to a listening socket; whether the system can do that."""
    if sys.platform != "linux":
        return False
    instruction = ctypes.create_string_buffer(struct.pack("HBBI", _BPF_RET_K, 0, 0, 0))
    program = struct.pack("HP", 1, ctypes.addressof(instruction))
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError:
        return False
    return True


def keep_asking(listener: socket.socket) -> None:
    """Let the system ask silent clients of a listening socket whether they live."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        for name, value in _KEEP_ALIVE.items():
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
