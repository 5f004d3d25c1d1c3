"""From the bytes of a connection to requests.

HTTP is read by llhttp, the parser of Node.js, in strict mode: what two readers could understand
differently is refused, since one of them may be a proxy that has let it through. Source: RFC 9112
"""

from __future__ import annotations

import typing as t

import httptools

from ..log import logger
from .exchange import Exchange

if t.TYPE_CHECKING:
    from collections import deque

    from .connection import Connection
    from .exchange import Fault
    from .server import Front

# nginx has 4 buffers of 8 kB for a head, Apache 100 lines of 8 kB, Node.js 16 kB.
HEAD_BYTES = 64 * 1024
# Pieces of a collected body are put together until they are so long.
SHORT_BYTES = 1024
# Of pipelined requests that were in one piece: beyond, somebody wants to fill the memory.
LINE = 64

OUR_FAULT = b"HTTP/1.1 500 INTERNAL SERVER ERROR\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_HEAD_TOO_LONG = (
    b"HTTP/1.1 431 REQUEST HEADER FIELDS TOO LARGE\r\nContent-Length: 0\r\n"
    b"Connection: close\r\n\r\n"
)
_BAD_REQUEST = (
    b"HTTP/1.1 400 BAD REQUEST\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%b"
)


class Reader:
    """Makes exchanges of what comes. Not thread-safe: its connection's lock is held.

    Args:
        connection: of the exchanges.
        front: is asked what becomes of each of them when its head is there.
        line: gets those that are due.

    Attributes:
        incoming: whose body comes.
        headers: of a head that comes; None: none does.
        begins: its first byte was in the last piece.
    """

    __slots__ = (
        "_connection",
        "_front",
        "_head_bytes",
        "_line",
        "_parser",
        "_resumed",
        "_url",
        "begins",
        "headers",
        "incoming",
    )

    def __init__(
        self,
        connection: Connection,
        front: Front,
        line: deque[Exchange],
    ) -> None:
        self._connection = connection
        self._front = front
        self._line = line
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._head_bytes = 0
        self._resumed: Exchange | None = None  # whose head the parser is told again
        self.headers: dict[str, str] | None = None
        self.begins = False
        self.incoming: Exchange | None = None

    @property
    def amid(self) -> bool:
        """Whether a request has begun that is not all there."""
        return self.incoming is not None or self.headers is not None

    def feed(self, data: bytes) -> bytes | None:
        """Take what has come. Returns the answer to what cannot be understood; it is the last."""
        before, in_head = self.incoming, self.headers is not None
        had = 0 if before is None else before.size
        refusal = self._parse(data)
        if refusal is not None:
            return refusal
        if self.headers is not None:
            self.begins = not in_head
            # A piece that holds the end of another request is no measure of this one.
            if before is None and not self._line:
                self._head_bytes += len(data)
        elif before is not None and self.incoming is before:
            # If it did not grow, these are extensions of chunks, or trailers, which are not kept.
            self._head_bytes = 0 if before.size > had else self._head_bytes + len(data)
        if self._head_bytes >= HEAD_BYTES:
            return _HEAD_TOO_LONG
        return _bad_request("too many requests at once") if len(self._line) > LINE else None

    def cut_off(self, fault: Fault) -> None:
        """No more will come: whose body was coming hears of it."""
        incoming, self.incoming = self.incoming, None
        if incoming is not None:
            incoming.keeps = False
            if incoming.intake == "whole":
                self._lose(incoming, fault)

    def close(self) -> None:
        """Let go of what holds this: it would wait for the garbage collector."""
        del self._parser, self._connection

    def _parse(self, data: bytes) -> bytes | None:
        while data:
            try:
                self._parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as exc:
                data = data[exc.args[0] :]
                self._ignore_upgrade()
            except httptools.HttpParserError as exc:
                cause = exc.__context__  # what one of our callbacks raised
                if cause is None or isinstance(cause, BadRequestError):
                    return _bad_request(cause or exc)
                logger.error("error while reading a request", exc_info=cause)
                return OUR_FAULT
        return None

    def _ignore_upgrade(self) -> None:
        """Nobody here speaks another protocol: answer as if it was not asked for (RFC 9110, 7.8).

        llhttp takes all that follows the head for the other protocol, the body too; so a parser
        is told of a head that has one. Java's client asks for HTTP/2 like this in each request.
        """
        exchange = self._line[-1]
        if not (exchange.length or exchange.chunked):
            return
        if exchange.intake == "whole":
            self._line.pop()
        exchange.complete = False
        self._resumed = exchange
        self._parser = httptools.HttpRequestParser(self)
        told = b"Transfer-Encoding: chunked"
        if exchange.length is not None:
            told = b"Content-Length: %d" % exchange.length
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % told)

    # --- what the parser tells -----------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._url = b""
        self.headers = {}

    def on_url(self, piece: bytes) -> None:
        self._url += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        headers = self.headers
        if headers is None:
            return  # after a chunked body: nobody asks for them
        key = _KEYS.get(name)
        if key is None:
            key = _key(name)
        text = value.decode("latin-1").rstrip(" \t")
        if key in headers:
            _add(headers, key, text)
        elif key:
            headers[key] = text

    def on_headers_complete(self) -> None:
        parser, headers = self._parser, self.headers
        assert headers is not None
        self.headers = None
        self._head_bytes = 0
        version = _VERSIONS.get(parser.get_http_version())
        target = self._url
        method = parser.get_method().decode("ascii")
        if target[:1] != b"/" or version is None or "HTTP_HOST" not in headers:
            if self._resumed is not None:
                self.incoming, self._resumed = self._resumed, None
                return
            target = _checked(method, target, version, headers)
        assert version is not None
        keeps = parser.should_keep_alive()
        exchange = Exchange(self._connection, method, target, version, headers, keeps=keeps)
        if exchange.chunked:
            _check_coding(exchange)
        self._front.admit(exchange)
        self.incoming = exchange
        if exchange.intake != "whole":
            self._line.append(exchange)

    def on_body(self, piece: bytes) -> None:
        exchange = self.incoming
        assert exchange is not None
        exchange.size += len(piece)
        if exchange.intake == "nothing":
            return
        pieces = exchange.pieces
        if exchange.claim is None or exchange.intake != "whole":
            pieces.append(piece)
        else:
            if pieces and len(pieces[-1]) < SHORT_BYTES:
                pieces[-1] += piece  # chunks of a byte would take forty times their size
            else:
                pieces.append(piece)
            if exchange.limit is not None and exchange.size > exchange.limit:
                self._lose(exchange, "long")
            elif not exchange.claim(exchange.size):
                self._lose(exchange, "full")

    def on_message_complete(self) -> None:
        exchange, self.incoming = self.incoming, None
        assert exchange is not None
        exchange.complete = True
        if exchange.intake == "whole":
            self._line.append(exchange)

    def _lose(self, exchange: Exchange, fault: Fault) -> None:
        """Its body will not be there; whoever was to have it hears of it."""
        exchange.fault = fault
        exchange.intake = "nothing"
        exchange.pieces.clear()
        self._line.append(exchange)


class BadRequestError(ValueError):
    """What is wrong with a request that the parser took."""


def _bad_request(reason: object) -> bytes:
    text = f"400 Bad Request: {reason}\n".encode()
    return _BAD_REQUEST % (len(text), text)


def _checked(method: str, target: bytes, version: str | None, headers: dict[str, str]) -> bytes:
    """The path and the query of an unusual target.

    Raises:
        BadRequestError: no server could answer it (RFC 9112, 2.3 and 3.2).
    """
    if version is None:
        raise BadRequestError("this server speaks HTTP/1.1 and HTTP/1.0")
    if "HTTP_HOST" not in headers and version == "HTTP/1.1":
        raise BadRequestError("the request has no Host header")
    if target[:1] == b"/" or (target == b"*" and method == "OPTIONS"):
        return target
    scheme, found, rest = target.partition(b"://")
    if not found or scheme.lower() not in (b"http", b"https"):
        raise BadRequestError("the target is neither a path nor a URL")
    end = min(i for i in (rest.find(b"/"), rest.find(b"?"), len(rest)) if i >= 0)
    if not end:
        raise BadRequestError("the URL names no host")
    headers["HTTP_HOST"] = rest[:end].decode("latin-1")
    return rest[end:] if rest[end : end + 1] == b"/" else b"/" + rest[end:]


def _check_coding(exchange: Exchange) -> None:
    """Let no other reader see another end of the body.

    Raises:
        BadRequestError: one might (RFC 9112, 6.1 and 6.3).
    """
    if exchange.headers["HTTP_TRANSFER_ENCODING"].lower() != "chunked":
        raise BadRequestError("this server knows no other transfer coding than chunked")
    if exchange.version != "HTTP/1.1":
        raise BadRequestError("HTTP/1.0 has no chunks")


def _add(headers: dict[str, str], key: str, value: str) -> None:
    """A header that came before.

    Raises:
        BadRequestError: two readers would not agree on one of them (RFC 9112, 3.2).
    """
    if key == "HTTP_HOST":
        raise BadRequestError("the request has two Host headers")
    if key == "HTTP_COOKIE":
        headers[key] += "; " + value
    elif key and key != "CONTENT_TYPE":  # the first counts
        headers[key] += "," + value


_VERSIONS = {"1.1": "HTTP/1.1", "1.0": "HTTP/1.0"}
# PERF: clients send the same dozen names; making one costs 0.5 us, finding it 0.04 us.
_KEYS: dict[bytes, str] = {}
_MOST_KEYS = 1000
_LONGEST_KEPT = 64


def _key(name: bytes) -> str:
    """As WSGI spells it. Empty for one with an underscore: nobody could tell it from a hyphen's."""
    lower = name.lower()
    if b"_" in name:
        key = ""
    elif lower in (b"content-type", b"content-length"):
        key = lower.decode().upper().replace("-", "_")
    else:
        key = "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
    # The names are the clients' to choose, and to fill the memory with.
    if len(_KEYS) < _MOST_KEYS and len(name) <= _LONGEST_KEPT:
        _KEYS[name] = key
    return key
