"""The limits and timeouts of the HTTP server, and its responses to clients that exceed them.

Each worker creates one `Limits` from its settings and passes it to the server and the gateways,
which read no limit from anywhere else.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

KIB, MIB = 1024, 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """How much clients may send, how long they may take, and how many there may be."""

    # --- sizes ---

    # Request line and headers together; also what may stand between the chunks of a body. nginx
    # allows 4 buffers of 8 KiB for a head, Apache 100 lines of 8 KiB, Node.js 16 KiB.
    head_bytes: int = 64 * KIB
    # Header lines of one request. Apache, gunicorn and hyper allow 100; browsers behind two proxies
    # send 30. Each line costs time on the thread that reads all clients' requests: 4,096 of them
    # took 5 ms, a usual head takes 0.01 ms.
    header_count: int = 100
    # Requests in one read from the socket (pipelining). Browsers send 1, load generators up to 64.
    pipelined_requests: int = 64
    # Request body; None is no limit. Large enough for a photograph or a batch of tensors, too small
    # for a disk image. nginx's default is 1 MiB, Apache's 1 GiB.
    body_bytes: int | None = 64 * MIB
    # A body up to this size is buffered before the application is called, so that a slow client
    # occupies no thread. With 4,096 connections this is at most 256 MiB.
    buffered_body_bytes: int = 64 * KIB
    # All larger buffered bodies of predictions together, until they are decoded: ten bodies of the
    # maximum size, or a hundred photographs.
    held_bodies_bytes: int = 320 * MIB
    # All larger responses that clients have not read yet, together. Beyond that a thread waits for
    # each client. The same value as the limit for request bodies.
    held_responses_bytes: int = 320 * MIB
    # An unread rest of a body up to this size is discarded, so that the connection can be reused:
    # it has probably arrived with the head. For a longer rest a new connection is cheaper.
    discarded_body_bytes: int = 64 * KIB
    # A response with a Content-Length up to this size is sent in one piece, even from a generator.
    joined_response_bytes: int = 256 * KIB

    # --- times ---

    # From the first byte of a head to its end; also for the first request of a new connection.
    # Protects against slow clients (slowloris). nginx's default is 60 s.
    head_s: float = 30.0
    # Time that the server waits for a request body: at least this long ...
    body_s: float = 60.0
    # ... plus this long for each megabyte: 100 kB/s is a slow phone.
    body_s_per_mb: float = 10.0
    # Time for a buffered body of unknown length (chunked).
    chunked_body_s: float = 120.0
    # Between two reads of a streamed request body, or two writes of a response. nginx's
    # client_body_timeout and send_timeout are 60 s.
    stall_s: float = 60.0
    # Between two requests on a connection. Load balancers (AWS, nginx's upstream keepalive) use 60
    # s: with a longer time here, they are the ones that close, and never while they send a request.
    keep_alive_s: float = 75.0
    # Time to discard input after the last response on a connection (RFC 9112, 9.6). nginx's
    # lingering_time is 30 s; the client normally has the response after milliseconds.
    linger_s: float = 10.0

    # --- connections ---

    # Open connections per worker, including idle ones. Further clients wait in the backlog.
    connections: int = 4096
    # Connections that the kernel accepts before the worker does.
    backlog: int = 2048

    def body_time_s(self, length_bytes: int | None) -> float:
        """Return the time in which so much of a body must arrive; None is an unknown length."""
        if length_bytes is None:
            return self.chunked_body_s
        return self.body_s + self.body_s_per_mb * length_bytes / 1e6


BODY_CUT_SHORT = "The body is incomplete: the client disconnected, or sent less than it announced."
BODY_TOO_SLOW = "The body did not arrive in time."


def body_too_large(length_bytes: int | None, limit_bytes: int | None, receiver: str) -> str:
    """Return the message of a 413 response.

    Args:
        length_bytes: the announced length of the body; None if it was not announced.
        receiver: who has the limit, such as "this server".
    """
    has = f"more than {limit_bytes} bytes" if length_bytes is None else f"{length_bytes} bytes"
    return f"The body has {has}, which exceeds the {limit_bytes} that {receiver} takes."


def plain_text(status: str, detail: str) -> bytes:
    """Return the body of an error response that the server sends itself."""
    return f"{status}: {detail}\n".encode()


def refusal(status: str, detail: str = "") -> bytes:
    """Return a complete error response that closes the connection."""
    text = plain_text(status.title(), detail) if detail else b""
    typed = "Content-Type: text/plain; charset=utf-8\r\n" if text else ""
    head = f"HTTP/1.1 {status}\r\n{typed}Content-Length: {len(text)}\r\nConnection: close\r\n\r\n"
    return head.encode("latin-1") + text


HEAD_TOO_LARGE: t.Final = refusal("431 REQUEST HEADER FIELDS TOO LARGE")
HEAD_TOO_SLOW: t.Final = refusal("408 REQUEST TIMEOUT")
INTERNAL_ERROR: t.Final = refusal("500 INTERNAL SERVER ERROR")
