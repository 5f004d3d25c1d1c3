"""Options of listening sockets: stop accepting connections without losing clients, and TCP
keepalive.

When a listening socket is closed, the kernel resets the connections in its backlog, although their
clients are connected and may have sent a request. So before the server closes the socket, it
attaches a packet filter, which drops the packets that open a connection (SYN), and then accepts the
connections in the backlog. Clients send a dropped packet again after a second. The filter passes
all other packets, because the last packet of a handshake and a request behind it arrive at the
listening socket too. Linux only; on other systems a connection may be lost when the socket closes.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys

# The value of SO_ATTACH_FILTER in <asm-generic/socket.h>; Python's `socket` module lacks the
# constant.
_SO_ATTACH_FILTER = 26
# A packet filter that drops packets with the flag SYN, which open a connection: a server that stops
# lets no client connect any more. Each instruction is
# (code, jump if true, jump if false, value), as in <linux/filter.h>; offsets count from the
# beginning of the TCP header.
_DROP_SYN = [
    (0x30, 0, 0, 13),  # load the byte of TCP flags (BPF_LD | BPF_B | BPF_ABS)
    (0x45, 0, 1, 0x02),  # skip the next instruction unless SYN is set (BPF_JMP | BPF_JSET)
    (0x06, 0, 0, 0),  # drop the packet: pass 0 bytes of it (BPF_RET)
    (0x06, 0, 0, 0xFFFFFFFF),  # pass the whole packet (BPF_RET)
]
# TCP keepalive: if a client's machine or network is down, this is detected after 60 + 3 * 10 s of
# silence.
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


def refuse_new(listener: socket.socket) -> bool:
    """Let the kernel drop new connections to a listening socket, so that those in its backlog can
    be accepted before it is closed. Returns False if the system cannot do that.
    """
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


def enable_keepalive(listener: socket.socket) -> None:
    """Enable TCP keepalive on the connections that a listening socket accepts, to detect clients
    that have vanished.
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):  # macOS lacks the first name in `_KEEPALIVE`
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
