"""Options of listening sockets: stop accepting without losing clients, and TCP keepalive.

When a listening socket closes, the kernel resets the connections in its backlog, although their
clients are connected and may have sent a request. So the server first attaches a packet filter that
drops the first packet of new clients (they retry after a second), and accepts what is in the
backlog. Linux only; on other systems a connection may be lost at that moment.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys

# From <asm-generic/socket.h>; Python's `socket` module lacks the constant.
_SO_ATTACH_FILTER = 26
# From <linux/filter.h>: one instruction, "accept 0 bytes of the packet".
_BPF_RET_K = 0x06
# A client whose machine or network is down is detected after 60 + 3 * 10 s of silence.
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


def refuse_new(listener: socket.socket) -> bool:
    """Prevent new connections to a listening socket; returns False if the system cannot do that."""
    if sys.platform != "linux":
        return False
    instruction = ctypes.create_string_buffer(struct.pack("HBBI", _BPF_RET_K, 0, 0, 0))
    program = struct.pack("HP", 1, ctypes.addressof(instruction))
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError:
        return False
    return True


def enable_keepalive(listener: socket.socket) -> None:
    """Enable TCP keepalive on accepted connections, to detect dead clients."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        for name, value in _KEEPALIVE.items():
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
