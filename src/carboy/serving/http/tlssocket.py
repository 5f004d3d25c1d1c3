"""A client's socket behind TLS, and the connection that reads and writes through it.

OpenSSL reads from the socket record by record, and each record is read whole. So no data is left in
OpenSSL for which the poller, which only sees the socket, would not report an event.
"""

from __future__ import annotations

import socket
import ssl
import typing as t

from .connection import HANDED_OVER, Connection
from .transitions import CLOSED, UPGRADED

if t.TYPE_CHECKING:
    from .sendfile import FileSection

# The most bytes of data that one record of TLS carries (RFC 8446, 5.1).
RECORD_BYTES = 16 * 1024
# The most bytes that one call of `send` encrypts. PERF: other clients must wait during the call.
SEND_BYTES = 1024 * 1024

# The states in which closing the connection sends no close_notify: the response is incomplete, or
# the socket belongs to the application and `WebSocketSocket` closes it.
_NO_NOTICE = HANDED_OVER | {UPGRADED, CLOSED}
_WOULD_BLOCK = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


class TLSSocket(ssl.SSLSocket):
    """A socket whose non-blocking `recv` and `send` behave as those of a plain socket: they raise
    BlockingIOError if nothing can be read or written at the moment, and one call transfers as much
    as is possible. An SSLSocket transfers one record, and does not say how much it has sent.
    """

    def recv(self, buflen: int = RECORD_BYTES, flags: int = 0) -> bytes:
        try:
            data = super().recv(buflen, flags)
        except _WOULD_BLOCK:
            raise BlockingIOError from None
        if len(data) < RECORD_BYTES or self.gettimeout() != 0:
            return data
        pieces, left = [data], buflen - len(data)
        # Ask only for whole records: a part of a record that stays in OpenSSL is not reported by
        # the poller.
        while len(pieces[-1]) == RECORD_BYTES <= left:
            try:
                pieces.append(super().recv(left))
            except OSError:  # if it is not `_WOULD_BLOCK`, the next call raises it again
                break
            left -= len(pieces[-1])
        return b"".join(pieces)

    def send(self, data: t.Any, flags: int = 0) -> int:
        view = memoryview(data)[:SEND_BYTES]
        sent = 0
        while sent < len(view):
            try:
                # OpenSSL keeps a record that it could not send, and must be given the same data
                # again. A record per call makes its beginning and length certain.
                sent += super().send(view[sent : sent + RECORD_BYTES], flags)
            except ssl.SSLWantWriteError:
                if not sent:
                    raise BlockingIOError from None
                break
        return sent

    def shutdown(self, how: int) -> None:
        """Tell the client that the data is complete (close_notify), then close the sending side.
        From then on, `recv` returns what the client sends without decrypting it.
        """
        self.settimeout(0)  # `unwrap` would wait for the answer of the client
        try:
            self.unwrap()
        except (OSError, ValueError):
            pass  # the client does not answer at once, or the connection is broken
        super().shutdown(how)


class TLSConnection(Connection):
    """A client's HTTP connection over TLS; its handshake is complete."""

    __slots__ = ()

    # A `TLSSocket` can decrypt nothing any more when its sending side is closed.
    half_closes = False

    _socket: TLSSocket

    def _send_file(self, section: FileSection) -> int:
        return section.copy_to(self._socket.send)

    def _has_input(self) -> bool:
        try:
            # SSLSocket cannot peek, so peek at the encrypted input.
            return bool(socket.socket.recv(self._socket, 1, socket.MSG_PEEK))
        except OSError:
            return False

    def _close(self) -> None:
        # A client may take a response without Content-Length for complete if close_notify follows
        # (RFC 9112, 9.8), so send none in the middle of a response.
        if self.state not in _NO_NOTICE and not self._out:
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the client has disconnected
        super()._close()
