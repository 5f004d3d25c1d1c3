"""Let several threads of a client use one connection over TLS."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import typing as t

if t.TYPE_CHECKING:
    import ssl

_CHUNK = 64 * 1024


@contextlib.contextmanager
def plain_socket(tls: ssl.SSLSocket) -> t.Iterator[socket.socket]:
    """Yield a plain socket whose data goes through `tls`.

    One thread alone uses `tls`, because OpenSSL allows no two calls for one connection at the same
    time. It ends when one of the sides closes, and closes both.
    """
    plain, inner = socket.socketpair()
    relaying = threading.Thread(target=_relay, args=(tls, inner))
    relaying.start()
    try:
        yield plain
    finally:
        plain.close()
        relaying.join()


def _relay(tls: ssl.SSLSocket, inner: socket.socket) -> None:
    with tls, inner, selectors.DefaultSelector() as selector:
        for sock in (tls, inner):
            sock.setblocking(False)
        to_server, to_client = b"", b""
        while True:
            _watch(selector, tls, reads=not to_client, writes=bool(to_server))
            _watch(selector, inner, reads=not to_server, writes=bool(to_client))
            selector.select()
            try:
                to_client = _transfer(tls, inner, to_client)
                to_server = _transfer(inner, tls, to_server)
            except OSError:
                return


def _watch(
    selector: selectors.BaseSelector, sock: socket.socket, *, reads: bool, writes: bool
) -> None:
    events = reads * selectors.EVENT_READ | writes * selectors.EVENT_WRITE
    if sock in selector.get_map():
        selector.unregister(sock)
    if events:
        selector.register(sock, events)


def _transfer(source: socket.socket, target: socket.socket, unsent: bytes) -> bytes:
    """Read if everything is sent, and send. Return what could not be sent.

    Raises:
        ConnectionError: the source is closed.
    """
    import ssl

    blocked = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
    if not unsent:
        try:
            unsent = source.recv(_CHUNK)
        except blocked:
            return b""
        if not unsent:
            raise ConnectionAbortedError
    try:
        return unsent[target.send(unsent) :]
    except blocked:
        return unsent
