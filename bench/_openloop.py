"""An open-loop load generator: requests are sent at moments that are known in advance, whether or
not earlier ones have been answered.

One thread with non-blocking sockets, a request at a time on each; a request for which no connection
is idle opens one. How late each request was sent is part of the result: a generator that is late
sends another load than was planned.
"""

from __future__ import annotations

import collections
import collections.abc as cabc
import dataclasses
import re
import selectors
import socket
import time

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
# A wait in the kernel ends this much before a request is due; meanwhile the thread spins.
SPIN_S = 0.0005


@dataclasses.dataclass
class Sent:
    """One request. Times are seconds since the first one was due."""

    due_s: float
    sent_s: float = 0.0
    answered_s: float = 0.0
    status: int = 0


class _Client:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.received = b""
        self.request: Sent | None = None

    def read(self) -> int | None:
        """Return the status of the response; None if it is not complete."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the server has closed a connection")
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or length is None or len(body) < int(length[1]):
            return None
        self.received = b""
        return int(head[9:12])


def send(
    port: int,
    request: bytes,
    due_s: cabc.Sequence[float],
    *,
    connections: int,
    patience_s: float = 60,
) -> list[Sent]:
    """Send a request at each of the given moments, and wait for all responses.

    Args:
        port: the port of the server on this machine.
        request: the bytes of the request.
        due_s: the moments, in seconds, in ascending order.
        connections: how many connections are opened before the first request.
        patience_s: how long to wait for the last responses.
    """
    selector = selectors.DefaultSelector()
    idle: collections.deque[_Client] = collections.deque()
    clients: list[_Client] = []

    def connect() -> _Client:
        client = _Client(port)
        selector.register(client.socket, selectors.EVENT_READ, client)
        clients.append(client)
        return client

    idle.extend(connect() for _ in range(connections))
    sent = [Sent(each) for each in due_s]
    begun_s, next_one, unanswered = time.perf_counter() + 0.05, 0, 0
    until_s = due_s[-1] + patience_s
    try:
        while next_one < len(sent) or unanswered:
            now_s = time.perf_counter() - begun_s
            while next_one < len(sent) and sent[next_one].due_s <= now_s:
                client = idle.popleft() if idle else connect()
                client.request = sent[next_one]
                client.request.sent_s = time.perf_counter() - begun_s
                client.socket.sendall(request)
                next_one, unanswered = next_one + 1, unanswered + 1
                now_s = time.perf_counter() - begun_s
            if now_s > until_s:
                raise TimeoutError(f"{unanswered} requests got no response")
            left_s = (sent[next_one].due_s if next_one < len(sent) else until_s) - now_s
            for key, _ in selector.select(max(0.0, left_s - SPIN_S)):
                client = key.data
                status = client.read()
                if status is not None:
                    client.request.answered_s = time.perf_counter() - begun_s
                    client.request.status = status
                    client.request = None
                    idle.append(client)
                    unanswered -= 1
    finally:
        for client in clients:
            client.socket.close()
        selector.close()
    return sent
