"""What listens at the address of a Ray cluster.

`ray.init` waits long for something that accepts connections and is no Ray, and does not say what it
was. A head node speaks gRPC, which is HTTP/2, so it answers a client's first bytes at once.
"""

from __future__ import annotations

import socket

# How long a connection may take, and how long a head node may take to greet, on a busy machine.
_CONNECT_S, _GREET_S = 3.0, 10.0
# What a client of HTTP/2 sends first, with an empty SETTINGS frame. Source: RFC 9113, 3.4 and 6.5
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_SETTINGS = 4  # the type of a frame is its fourth byte
# The first byte of what a server with TLS answers: an alert, or a handshake. Source: RFC 8446, 5.1
_TLS_RECORDS = (21, 22)
# How much of an answer is shown.
_SHOWN_BYTES = 60


def fault_of(address: str, *, tls: bool) -> str:
    """Return why what listens at an address HOST:PORT is no head node, for a message; "" if it may
    be one.

    Args:
        tls: whether the head node must speak TLS. Then it is only known whether it accepts
            connections: what it says comes after a handshake, which is Ray's.

    Raises:
        OSError: nobody listens there.
        ValueError: that is no address.
    """
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S) as sock:
        return "" if tls else _fault_of(sock)


def _fault_of(sock: socket.socket) -> str:
    sock.settimeout(_GREET_S)
    try:
        sock.sendall(_PREFACE)
        answer = sock.recv(_SHOWN_BYTES)
    except TimeoutError:
        return f"it has not said anything for {_GREET_S:g} s"
    except OSError as exc:
        return f"the connection has ended ({exc})"
    if not answer:
        return "it has closed the connection"
    if answer[0] in _TLS_RECORDS:
        return "it wants TLS: set RAY_USE_TLS=1 with its certificates, as on its nodes"
    if answer[3:4] != bytes([_SETTINGS]):
        return f"it has answered {answer.splitlines()[0]!r}"
    return ""
