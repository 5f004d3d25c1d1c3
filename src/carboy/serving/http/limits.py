"""The limits and timeouts of the HTTP server, and its responses to clients that exceed them.

Each worker process creates one `Limits` from its settings. Its HTTP server and the gateway, which
calls the application, get all limits from that object.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

KIB, MIB = 1024, 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on what clients may send, how long they may take, and how many may connect."""

    # --- sizes ---

    # Largest size of request line and headers together, and of the extensions and trailers of a
    # chunked body. nginx allows 4 buffers of 8 KiB for a head, Apache 100 lines of 8 KiB, Node.js
    # 16 KiB.
    head_bytes: int = 64 * KIB
    # Largest number of header lines in a request. Apache, gunicorn and hyper allow 100; browsers
    # behind two proxies send 30. Each line takes time on the thread that reads all clients'
    # requests: 4,096 lines took 5 ms, a usual head takes 0.01 ms.
    header_count: int = 100
    # Largest number of requests in one read from a socket (pipelining). Browsers send 1, load
    # generators up to 64.
    pipelined_requests: int = 64
    # Largest size of a request body; None means no limit. The default is large enough for a
    # photograph or a batch of tensors, and too small for a disk image. nginx's default is 1 MiB,
    # Apache's 1 GiB.
    body_bytes: int | None = 64 * MIB
    # A request body up to this size is buffered before the application is called, so that a slow
    # client occupies no thread. On 4,096 connections such bodies take at most 256 MiB.
    buffered_body_bytes: int = 64 * KIB
    # Largest total size of the request bodies of predictions that exceed `buffered_body_bytes`.
    # Such bodies are kept in memory until the prediction is done. The default allows five bodies of
    # the maximum size, or a hundred photographs.
    held_bodies_bytes: int = 320 * MIB
    # Largest total size of the responses above 64 KiB that clients have not read yet. If it is used
    # up, a thread waits while a client reads a further response. The default is the same as for
    # request bodies.
    held_responses_bytes: int = 320 * MIB
    # If the application has not read a whole body, a rest up to this size is read and discarded, so
    # that the connection can be reused: so short a rest has probably arrived with the head. After a
    # longer rest the connection is closed, because a new one costs less.
    discarded_body_bytes: int = 64 * KIB
    # A response with a Content-Length up to this size is sent in one piece, even if the application
    # yields it in several.
    joined_response_bytes: int = 256 * KIB

    # --- times ---

    # How many seconds a request head may take from its first byte to its end, and a new connection
    # until its first byte arrives. Protects against slow clients (slowloris). nginx's default is 60
    # s.
    head_s: float = 30.0
    # How many seconds a request body may take to arrive, in addition to `body_s_per_mb` for each
    # megabyte.
    body_s: float = 60.0
    # How many more seconds a request body may take for each megabyte: a slow phone sends 100 kB/s.
    body_s_per_mb: float = 10.0
    # How many seconds a buffered request body of unknown length (chunked) may take to arrive.
    chunked_body_s: float = 120.0
    # For how many seconds a client may send nothing of a streamed request body, or read nothing of
    # a response. nginx's client_body_timeout and send_timeout are 60 s.
    stall_s: float = 60.0
    # For how many seconds a connection may be idle between two requests. Load balancers (AWS,
    # nginx's upstream keepalive) close idle connections after 60 s. The server's time is longer, so
    # that it never closes a connection on which the load balancer is just sending a request.
    keep_alive_s: float = 75.0
    # For how many seconds the server discards a client's input after the last response on a
    # connection, so that the client can read that response (RFC 9112, 9.6). nginx's lingering_time
    # is 30 s; the client normally has the response after milliseconds.
    linger_s: float = 10.0

    # --- WebSockets ---

    # Largest number of WebSockets of a worker. Each has a thread for its view, and usually one of
    # its library that reads from it: 256 of them take about 50 MB. Long before that many are busy
    # at the same time, the GIL is the limit.
    websockets: int = 256
    # For how many seconds a WebSocket may transfer nothing in either direction. Werkzeug and most
    # servers have no limit, so the default is much longer than the pauses of programs that send a
    # message now and then; it ends the WebSockets that clients have forgotten. Clients that have
    # vanished are found sooner, by TCP keepalive.
    websocket_idle_s: float = 3600.0

    # --- connections ---

    # Largest number of open connections per worker, including idle ones. Further clients wait in
    # the backlog, the kernel's queue of new connections.
    connections: int = 4096
    # Largest number of new connections that the kernel keeps for a worker until the worker accepts
    # them.
    backlog: int = 2048

    def body_time_s(self, length_bytes: int | None) -> float:
        """Return how many seconds a body may take to arrive; `length_bytes` is None if the length
        is unknown.
        """
        if length_bytes is None:
            return self.chunked_body_s
        return self.body_s + self.body_s_per_mb * length_bytes / 1e6


BODY_CUT_SHORT = "The body is incomplete: the client disconnected, or sent less than it announced."
BODY_TOO_SLOW = "The body did not arrive in time."


def plain_text(status: str, detail: str) -> bytes:
    """Return the body of an error response that the server itself sends, not the application."""
    return f"{status}: {detail}\n".encode()


def refusal(status: str, detail: str = "", headers: str = "") -> bytes:
    """Return a complete error response, after which the server closes the connection.

    Args:
        headers: further header lines, each with its line break.
    """
    text = plain_text(status.title(), detail) if detail else b""
    typed = "Content-Type: text/plain; charset=utf-8\r\n" if text else ""
    framing = f"Content-Length: {len(text)}\r\nConnection: close\r\n"
    return f"HTTP/1.1 {status}\r\n{typed}{headers}{framing}\r\n".encode("latin-1") + text


HEAD_TOO_LARGE: t.Final = refusal("431 REQUEST HEADER FIELDS TOO LARGE")
HEAD_TOO_SLOW: t.Final = refusal("408 REQUEST TIMEOUT")
INTERNAL_ERROR: t.Final = refusal("500 INTERNAL SERVER ERROR")
