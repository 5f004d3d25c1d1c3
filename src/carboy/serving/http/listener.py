"""Listening sockets: open them, and close them without losing clients.

When a listening socket is closed, the kernel resets the connections in its backlog, although their
clients are connected and may have sent a request. So before the server closes the socket, it
attaches a packet filter, which drops the packets that open a connection (SYN), and then accepts the
connections in the backlog. Clients send a dropped packet again after a second. The filter passes
all other packets, because the last packet of a handshake and a request behind it arrive at the
listening socket too. Linux only; on other systems a connection may be lost when the socket closes.
"""

from __future__ import annotations

import socket
import struct
import sys
import typing as t
from array import array

from ..machine import bind_exclusively

if t.TYPE_CHECKING:
    import ssl

    from .address import Address

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


class Listener:
    """A socket on which the server listens.

    Args:
        address: where clients connect to.
        sock: the bound socket. Without it, `open` binds one, whose port may be shared with the
            sockets of other processes (SO_REUSEPORT).
        is_shared: whether other processes listen on the same socket.
        tls: the certificate and options of TLS; None if connections are not encrypted.

    Attributes:
        environ: entries of the WSGI environ that all connections to this address share.
    """

    def __init__(
        self,
        address: Address,
        sock: socket.socket | None = None,
        *,
        is_shared: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.address = address
        self.tls = tls
        self.is_shared = is_shared
        self._socket = sock
        self.environ: dict[str, t.Any] = {
            "wsgi.url_scheme": "https" if tls else "http",
            # PEP 3333 asks for a name and a port, which a Unix socket does not have. They are used
            # only for requests of HTTP/1.0 without a Host header.
            "SERVER_NAME": address.host or "localhost",
            "SERVER_PORT": "80" if address.path else str(address.port),
        }

    def open(self, backlog: int) -> None:
        """Begin to listen.

        Raises:
            OSError: the address cannot be used.
        """
        try:
            self._socket = self._socket or bind(self.address)
            self._socket.setblocking(False)
            if not self.address.path:
                enable_keepalive(self._socket)
            if not self.is_shared:
                self._socket.listen(backlog)
        except OSError as exc:
            self.close()
            raise OSError(f"carboy cannot listen on {self.address}: {exc.strerror}") from None

    def fileno(self) -> int:
        """Return the descriptor of the socket; -1 if it is not open."""
        return -1 if self._socket is None else self._socket.fileno()

    def accept(self) -> tuple[socket.socket, str, int]:
        """Return the socket of a new client and the client's host and port, "" and 0 for a client
        of a Unix socket.

        Raises:
            BlockingIOError: no client waits.
        """
        assert self._socket is not None
        sock, address = self._socket.accept()
        if self.address.path:
            return sock, "", 0
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock, address[0], address[1]

    def refuse_new(self) -> bool:
        """Let the kernel drop new connections, so that those in the backlog can be accepted before
        the socket is closed. Returns False if that is not possible, or if other processes go on
        listening on the socket.
        """
        return not self.is_shared and self._socket is not None and refuse_new(self._socket)

    @property
    def bound_to(self) -> tuple[str, int] | str:
        """The name of the open socket: host and port, or the path of a Unix socket."""
        assert self._socket is not None
        name = self._socket.getsockname()
        return name[:2] if isinstance(name, tuple) else name

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def bind(address: Address) -> socket.socket:
    """Return a socket that is bound to a port, and does not listen yet. The sockets of other
    workers may be bound to the same port.

    Raises:
        OSError: the address cannot be used.
    """
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        if hasattr(socket, "SO_REUSEPORT"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bind_exclusively(sock, (address.host, address.port))
    except OSError:
        sock.close()
        raise
    return sock


def refuse_new(listener: socket.socket) -> bool:
    """Let the kernel drop new connections to a listening socket, so that those in its backlog can
    be accepted before it is closed. Returns False if the system cannot do that.
    """
    if sys.platform != "linux":
        return False
    instructions = array("B", b"".join(struct.pack("HBBI", *each) for each in _DROP_SYN))
    address, _ = instructions.buffer_info()
    program = struct.pack("HP", len(_DROP_SYN), address)
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
