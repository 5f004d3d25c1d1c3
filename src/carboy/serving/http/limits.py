"""The limits and times of HTTP, and the responses to clients that exceed them.

The worker makes one `Limits` from its settings and hands it to the server and the gateways, which
read no limit from anywhere else.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

KIB, MIB = 1024, 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what one client may send, hold and delay."""

    # --- sizes ---

    # Request line and headers together, and what stands between the chunks of a body. nginx has 4
    # buffers of 8 KiB for a head, Apache 100 lines of 8 KiB, Node.js 16 KiB.
    head_bytes: int = 64 * KIB
    # Header lines of one request, which head_bytes bounds too. Node.js has 2,000, Apache 100.
    header_count: int = 4096
    # Requests in one piece of input (pipelining). Browsers send 1, load generators up to 64.
    pipelined_requests: int = 64
    # Body of a request; None: no limit. A photograph or a batch of tensors fits, a disk image does
    # not. nginx's default is 1 MiB, Apache's 1 GiB.
    body_bytes: int | None = 64 * MIB
    # A body up to this size is buffered before the application is called, so that a slow client
    # holds no thread. 4,096 connections hold 256 MiB then.
    buffered_body_bytes: int = 64 * KIB
    # All larger bodies of predictions that are buffered at the same time, until they are decoded:
    # ten of the largest, or a hundred photographs.
    held_bodies_bytes: int = 320 * MIB
    # The unread rest of a body up to this size is discarded so that the connection can be used
    # again; it has probably arrived with the head. A longer rest costs less as a new connection.
    discarded_body_bytes: int = 64 * KIB
    # A response whose Content-Length is not larger is sent in one piece, whatever iterable it is.
    joined_response_bytes: int = 256 * KIB

    # --- times ---

    # From the first byte of a head to its end; also for the first request of a new connection.
    # nginx has 60 s. Against slow clients (slowloris).
    head_s: float = 30.0
    # A body that is buffered before the application is called: at least this long ...
    body_s: float = 60.0
    # ... and this much longer for each megabyte: 100 kB/s is a slow phone.
    body_s_per_mb: float = 10.0
    # A buffered body of unknown length (chunked).
    chunked_body_s: float = 120.0
    # Between two pieces of a body that the application reads while it comes, or of a response that
    # the client takes. nginx's client_body_timeout and send_timeout are 60 s.
    stall_s: float = 60.0
    # Between two requests of a connection. Longer than the 60 s for which load balancers (AWS,
    # nginx's upstream keepalive) keep theirs, so that they close it, and never while they send.
    keep_alive_s: float = 75.0
    # How long a connection is kept for a client that still sends after its last response (RFC 9112,
    # 9.6). nginx's lingering_time is 30 s; the client has the response after milliseconds.
    linger_s: float = 10.0

    # --- connections ---

    # Open connections of one worker, idle ones included. Further clients wait in the backlog.
    connections: int = 4096
    # Connections that the system accepts before the worker does.
    backlog: int = 2048

    def buffered_body_s(self, length_bytes: int | None) -> float:
        """How long a body may take that is buffered; None: of unknown length."""
        if length_bytes is None:
            return self.chunked_body_s
        return self.body_s + self.body_s_per_mb * length_bytes / 1e6


BODY_CUT_SHORT = "The body was cut short: its sender left, or sent less than announced."
BODY_TOO_SLOW = "The body did not come in time."


def body_too_large(length_bytes: int | None, limit_bytes: int | None, taker: str) -> str:
    """The text of a 413; `length_bytes` is None if the length was not announced.

    Args:
        taker: whose limit it is, as in "this server".
    """
    has = f"more than {limit_bytes} bytes" if length_bytes is None else f"{length_bytes} bytes"
    return f"The body has {has}, which exceeds the {limit_bytes} that {taker} takes."


def plain_text(status: str, detail: str) -> bytes:
    """The body of an error response for clients that no application answers."""
    return f"{status}: {detail}\n".encode()


def refusal(status: str, detail: str = "") -> bytes:
    """A whole response for a request that is not handed to anybody; it ends the connection."""
    text = plain_text(status.title(), detail) if detail else b""
    typed = "Content-Type: text/plain; charset=utf-8\r\n" if text else ""
    head = f"HTTP/1.1 {status}\r\n{typed}Content-Length: {len(text)}\r\nConnection: close\r\n\r\n"
    return head.encode("latin-1") + text


HEAD_TOO_LARGE: t.Final = refusal("431 REQUEST HEADER FIELDS TOO LARGE")
HEAD_TOO_SLOW: t.Final = refusal("408 REQUEST TIMEOUT")
INTERNAL_ERROR: t.Final = refusal("500 INTERNAL SERVER ERROR")
