"""The limits and timeouts of the HTTP server, and its responses to clients that exceed them.

Each worker creates one `Limits` from its settings. Server and gateways get all limits from it.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

KIB, MIB = 1024, 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on what clients may send, how long they may take, and how many may connect."""

    # --- sizes ---

    # Size of request line and headers together; also of what may stand between two chunks of a
    # body. nginx allows 4 buffers of 8 KiB for a head, Apache 100 lines of 8 KiB, Node.js 16 KiB.
    head_bytes: int = 64 * KIB
    # Number of header lines of one request. Apache, gunicorn and hyper allow 100; browsers behind
    # two proxies send 30. Each line takes time on the thread that reads all clients' requests:
    # 4,096 of them took 5 ms, a usual head takes 0.01 ms.
    header_count: int = 100
    # Number of requests in one read from the socket (pipelining). Browsers send 1, load generators
    # up to 64.
    pipelined_requests: int = 64
    # Size of a request body; None is no limit. The default is large enough for a photograph or a
    # batch of tensors, and too small for a disk image. nginx's default is 1 MiB, Apache's 1 GiB.
    body_bytes: int | None = 64 * MIB
    # A body up to this size is buffered before the application is called, so that a slow client
    # occupies no thread. With 4,096 connections this is at most 256 MiB.
    buffered_body_bytes: int = 64 * KIB
    # Size of all larger request bodies for predictions together, which are buffered until they are
    # decoded: ten bodies of the maximum size, or a hundred photographs.
    held_bodies_bytes: int = 320 * MIB
    # Size of all larger responses together that clients have not read yet. Beyond this limit, a
    # thread waits for each client. The same value as the limit for request bodies.
    held_responses_bytes: int = 320 * MIB
    # If the application does not read a body, up to so much of it is read and discarded, so that
    # the connection can be reused: it has probably arrived with the head. For a longer rest a new
    # connection is cheaper.
    discarded_body_bytes: int = 64 * KIB
    # A response with a Content-Length up to this size is sent in one piece, even from a generator.
    joined_response_bytes: int = 256 * KIB

    # --- times ---

    # Time from the first byte of a head to its end; also for the first request of a new connection.
    # Protects against slow clients (slowloris). nginx's default is 60 s.
    head_s: float = 30.0
    # A request body must arrive within this time ...
    body_s: float = 60.0
    # ... plus this time for each megabyte: a slow phone sends 100 kB/s.
    body_s_per_mb: float = 10.0
    # Time in which a buffered body of unknown length (chunked) must arrive.
    chunked_body_s: float = 120.0
    # Time between two reads of a streamed request body, or two writes of a response. nginx's
    # client_body_timeout and send_timeout are 60 s.
    stall_s: float = 60.0
    # Time between two requests on a connection. Load balancers (AWS, nginx's upstream keepalive)
    # use 60 s. With a longer time here they close idle connections first, so that the server never
    # closes one on which a request is being sent.
    keep_alive_s: float = 75.0
    # Time for which input is discarded after the last response on a connection (RFC 9112, 9.6).
    # nginx's lingering_time is 30 s; the client normally has the response after milliseconds.
    linger_s: float = 10.0

    # --- connections ---

    # Number of open connections per worker, including idle ones. Further clients wait in the
    # backlog.
    connections: int = 4096
    # Number of connections that the kernel accepts before the worker does.
    backlog: int = 2048

    def body_time_s(self, length_bytes: int | None) -> float:
        """Return how long a body may take to arrive; `length_bytes` is None if the length is
        unknown.
        """
        if length_bytes is None:
            return self.chunked_body_s
        return self.body_s + self.body_s_per_mb * length_bytes / 1e6


BODY_CUT_SHORT = "The body is incomplete: the client disconnected, or sent less than it announced."
BODY_TOO_SLOW = "The body did not arrive in time."


def body_too_large(length_bytes: int | None, limit_bytes: int | None, receiver: str) -> str:
    """Return the message of a 413 response.

    Args:
        length_bytes: the announced length of the body; None if it was not announced.
        receiver: what has the limit, such as "this server".
    """
    has = f"more than {limit_bytes} bytes" if length_bytes is None else f"{length_bytes} bytes"
    return f"The body has {has}, which exceeds the {limit_bytes} that {receiver} takes."


def plain_text(status: str, detail: str) -> bytes:
    """Return the body of an error response that the server itself sends, not the application."""
    return f"{status}: {detail}\n".encode()


def refusal(status: str, detail: str = "") -> bytes:
    """Return a complete error response, after which the server closes the connection."""
    text = plain_text(status.title(), detail) if detail else b""
    typed = "Content-Type: text/plain; charset=utf-8\r\n" if text else ""
    head = f"HTTP/1.1 {status}\r\n{typed}Content-Length: {len(text)}\r\nConnection: close\r\n\r\n"
    return head.encode("latin-1") + text


HEAD_TOO_LARGE: t.Final = refusal("431 REQUEST HEADER FIELDS TOO LARGE")
HEAD_TOO_SLOW: t.Final = refusal("408 REQUEST TIMEOUT")
INTERNAL_ERROR: t.Final = refusal("500 INTERNAL SERVER ERROR")
