"""Settings of listening sockets: refuse new clients, and notice clients that have vanished.

When a listening socket closes, the system resets the connections in its backlog, although their
clients have connected and may have sent their request. So no new client is let in first: a filter
on the socket drops the packet that opens a connection (SYN), which the client sends again after a
second, while the server accepts those in the backlog. The filter must let all other packets pass:
the packet that ends a handshake, and a request right behind it, arrive at the listening socket too.
Linux only; elsewhere a connection may be lost at that moment.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys

# <asm-generic/socket.h>; the module `socket` does not have it.
_SO_ATTACH_FILTER = 26
# <linux/filter.h>: (code, jump if true, jump if false, value); offsets are those of the TCP header.
_DROP_SYN = [
    (0x30, 0, 0, 13),  # load the byte of the flags (BPF_LD | BPF_B | BPF_ABS)
    (0x45, 0, 1, 0x02),  # SYN? (BPF_JMP | BPF_JSET)
    (0x06, 0, 0, 0),  # accept 0 bytes of the packet (BPF_RET)
    (0x06, 0, 0, 0xFFFFFFFF),  # accept all of it
]
# A client whose machine or network is gone is noticed after 60 + 3 * 10 s of silence.
_KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


def refuse_new(listener: socket.socket) -> bool:
    """Let no new client connect to a listening socket; whether the system can do that."""
    if sys.platform != "linux":
        return False
    instructions = b"".join(struct.pack("HBBI", *each) for each in _DROP_SYN)
    buffer = ctypes.create_string_buffer(instructions)
    program = struct.pack("HP", len(_DROP_SYN), ctypes.addressof(buffer))
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
