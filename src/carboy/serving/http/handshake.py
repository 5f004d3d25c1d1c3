"""The TLS handshake of a new connection, without blocking the event loop.

The server watches a `Handshake` in place of the connection. When the handshake is complete, a
`TLSConnection` on the same socket takes its place.
"""

from __future__ import annotations

import logging
import socket
import ssl
import typing as t
from _thread import allocate_lock
from time import monotonic

from .connection import Connection
from .limits import refusal
from .poller import READ, WRITE
from .tlssocket import TLSConnection, TLSSocket
from .transitions import IDLE

if t.TYPE_CHECKING:
    from .interfaces import Client
    from .limits import Limits
    from .server import HTTPServer

# The first byte of a TLS connection: the type of a record with a handshake message (RFC 8446, 5.1).
_HANDSHAKE_RECORD = 22
# How many seconds a handshake that has begun, and the request after it, may take once the server is
# stopping. Clients need two round trips for both.
LAST_S = 1.0
PLAIN_HTTP = refusal(
    "400 BAD REQUEST", "this port speaks HTTPS. Write https:// instead of http:// in the URL."
)


class Handshake:
    """A client's connection until its TLS handshake is complete.

    Attributes:
        state: IDLE, so that the server closes handshakes to make room for new clients, as it closes
            idle connections.
        deadline_s: the time by which the handshake must be complete, by `time.monotonic`.
    """

    state = IDLE

    __slots__ = (
        "_context",
        "_environ",
        "_fd",
        "_limits",
        "_lock",
        "_mask",
        "_over",
        "_server",
        "_socket",
        "deadline_s",
    )

    def __init__(
        self,
        context: ssl.SSLContext,
        server: HTTPServer,
        sock: socket.socket,
        environ: dict[str, t.Any],
        limits: Limits,
    ) -> None:
        self._context = context
        self._server = server
        # A plain socket until the client has sent something, then a `TLSSocket`.
        self._socket = sock
        self._fd = sock.fileno()
        self._environ = environ
        self._limits = limits
        # Another thread may take over the event loop during a step of the handshake, and get the
        # next event of this socket.
        self._lock = allocate_lock()
        self._mask = READ
        self._over = False
        self.deadline_s = monotonic() + limits.head_s

    def readable(self) -> None:
        """Continue the handshake, because the socket is ready."""
        with self._lock:
            if self._over:
                return
            try:
                if isinstance(self._socket, TLSSocket) or self._begin():
                    self._proceed(t.cast("TLSSocket", self._socket))
            except BlockingIOError:
                pass  # the event is out of date
            except OSError as exc:
                self._fail(exc)

    flush = readable

    def _begin(self) -> bool:
        """Look at the first byte. Returns False if it begins no TLS handshake, but a request of
        plain HTTP, which gets an error response.
        """
        first = self._socket.recv(1, socket.MSG_PEEK)
        if not first:
            self._close()
            return False
        if first[0] != _HANDSHAKE_RECORD and first.isalpha():
            self._refuse_plain_http()
            return False
        self._context.sslsocket_class = TLSSocket
        self._socket = self._context.wrap_socket(
            self._socket, server_side=True, do_handshake_on_connect=False
        )
        return True

    def _proceed(self, sock: TLSSocket) -> None:
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            self._watch(READ)
        except ssl.SSLWantWriteError:
            self._watch(WRITE)
        else:
            self._complete(sock)

    def _complete(self, sock: TLSSocket) -> None:
        certificate = sock.getpeercert(binary_form=True)
        if certificate:
            # Werkzeug's server puts the certificate of a client into the environ under this name.
            self._environ["SSL_CLIENT_CERT"] = ssl.DER_cert_to_PEM_cert(certificate)
        self._watch(READ)
        connection = TLSConnection(self._server, sock, self._environ, self._limits)
        if self._server.stopping:
            connection.deadline_s = monotonic() + LAST_S
        self._hand_over(connection)

    def _hand_over(self, client: Client) -> None:
        self._over = True
        self._server.replace(self._fd, client)

    def _refuse_plain_http(self) -> None:
        connection = Connection(self._server, self._socket, self._environ, self._limits)
        self._hand_over(connection)
        connection.refuse(PLAIN_HTTP)

    def _watch(self, mask: int) -> None:
        if mask != self._mask:
            self._mask = mask
            self._server.watch(self._fd, mask)

    def _fail(self, exc: OSError) -> None:
        # A client that disconnects is no event for the log: a port scanner, a health check of TCP.
        if isinstance(exc, ssl.SSLError) and not isinstance(exc, ssl.SSLEOFError):
            reason = (exc.reason or exc.strerror or "unknown").lower().replace("_", " ")
            self._note(f"failed ({reason})")
        self._close()

    def _note(self, what: str) -> None:
        self._server.notices.note(
            "handshake",
            logging.INFO,
            "the TLS handshake of %s %s",
            self._environ["REMOTE_ADDR"],
            what,
        )

    def _close(self) -> None:
        if not self._over:
            self._over = True
            self._server.forget(self._fd)
            self._socket.close()

    def reset(self) -> None:
        """Close the socket, because the poller reports an error or a hang-up."""
        self.close()

    def expire(self) -> None:
        """Close the socket if the handshake is not complete by its deadline."""
        with self._lock:
            if self._over or self.deadline_s > monotonic():
                return
            self._note("took too long")
            self._close()

    def stop(self) -> None:
        """Close the socket, unless the handshake has begun: then the client gets `LAST_S` seconds
        to complete it and to send a request.
        """
        with self._lock:
            if isinstance(self._socket, TLSSocket) and self._server.stopping:
                self.deadline_s = min(self.deadline_s, monotonic() + LAST_S)
            else:
                self._close()

    def close(self) -> None:
        with self._lock:
            self._close()
