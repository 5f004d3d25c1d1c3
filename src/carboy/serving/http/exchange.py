"""One request, its response as bytes, and whether its client still waits.

The server decides how a response is framed: of the application's framing headers it takes the value
of `Content-Length` and the wish to close from `Connection`, and drops `Transfer-Encoding` and
`Keep-Alive`. Source: RFC 9112, RFC 9110
"""

from __future__ import annotations

import typing as t
from email.utils import formatdate
from http import HTTPStatus
from time import time
from urllib.parse import unquote_to_bytes

from werkzeug.exceptions import ClientDisconnected

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from _typeshed.wsgi import WSGIApplication

    from .parser import RequestHead

#: How a body is taken: buffered before the request is handed over, read by whoever answers, or
#: thrown away.
Intake = t.Literal["whole", "pieces", "nothing"]
#: Why a body that was to be buffered is not there: cut short, too slow, too long, or no room.
Fault = t.Literal["cut", "late", "long", "full"]

Headers = list[tuple[str, str]]
CLOSE = ("Connection", "close")
TEXT = ("Content-Type", "text/plain; charset=utf-8")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

# Small pieces of a buffered body are joined: chunks of one byte would take forty times their size.
SMALL_PIECE_BYTES = 1024


class Transport(t.Protocol):
    """The part of a connection that an exchange uses. Thread-safe."""

    @property
    def environ(self) -> cabc.Mapping[str, t.Any]:
        """The part of the WSGI environ that is the same for each request."""

    def receive(self) -> bool:
        """Wait for more of the body; False if no more will come."""

    def write_through(self, data: bytes | memoryview) -> bool:
        """Wait until the client has taken all; False if it has disconnected."""

    def may_stay(self, exchange: Exchange) -> bool:
        """Whether another request may follow the response to this one."""

    def finish(self, exchange: Exchange, data: bytes, *, keeps: bool) -> None:
        """Send the end of the response; `keeps` as promised in its head."""

    def abort(self, exchange: Exchange) -> None:
        """Close the connection in the middle of the response."""


class Exchange:
    """A request and its response. One thread at a time has it.

    Attributes:
        transport: where it came from, and its response goes.
        method: as the client wrote it.
        path: percent-decoded, each byte a character, as in WSGI.
        query: as the client wrote it.
        version: `HTTP/1.1` or `HTTP/1.0`.
        headers: by their names in WSGI: `HTTP_ACCEPT`, `CONTENT_TYPE`.
        length: the body's Content-Length, if there is one.
        chunked: the body's length is not known before its end.
        expects: the client waits for "100 Continue" before it sends the body.
        keeps: the client asked to send another request on the connection.
        intake: how the body is taken.
        claim: called with the size of what is buffered so far; False refuses more. None: the body
            is small enough not to be counted.
        limit: largest body that is buffered, where `claim` is set.
        held_bytes: what `claim` has counted for this request.
        release: called with the exchange if its body was claimed and it will not be handed over.
        patience_s: how long a buffered body may take to arrive.
        taker: called with the exchange when it is handed over, on a thread of the server.
        fault: why the body is not there.
        complete: the body has come to its end.
        pieces: of the body, not yet read.
        size: of the body, as far as it has come.
        gone: the client has disconnected, as far as was noticed.
        extra: entries of its WSGI environ beside the request's and the connection's.
        app: answers instead of the server's application.
    """

    # PERF: what most requests do not need has its value here, and not in each instance: 0.5 us.
    length: int | None = None
    chunked = False
    expects = False
    intake: Intake = "whole"
    limit: int | None = None
    claim: cabc.Callable[[int], bool] | None = None
    held_bytes = 0
    release: cabc.Callable[[Exchange], object] | None = None
    patience_s = 0.0
    taker: cabc.Callable[[Exchange], object]
    fault: Fault | None = None
    complete = False
    size = 0
    gone = False
    extra: cabc.Mapping[str, t.Any] | None = None
    app: WSGIApplication | None = None
    _on_leave: cabc.Callable[[], object] | None = None

    def __init__(self, transport: Transport, head: RequestHead) -> None:
        self.transport = transport
        self.method = head.method
        path, _, query = head.target.partition(b"?")
        if b"%" in path:
            path = unquote_to_bytes(path)
        self.path = path.decode("latin-1")
        self.query = query.decode("latin-1")
        self.version = head.version
        headers = self.headers = head.headers
        if "CONTENT_LENGTH" in headers:
            self.length = int(headers["CONTENT_LENGTH"])
        if "HTTP_TRANSFER_ENCODING" in headers:
            self.chunked = True
        if "HTTP_EXPECT" in headers and head.version != "HTTP/1.0":
            self.expects = headers["HTTP_EXPECT"].lower() == "100-continue"
        self.keeps = head.keep_alive
        self.pieces: list[bytes] = []

    # --- the body ------------------------------------------------------------------------------

    def add(self, piece: bytes) -> None:
        """Take a piece of the body from the connection; sets `fault` if it cannot be kept."""
        self.size += len(piece)
        if self.intake == "nothing":
            return
        pieces = self.pieces
        if self.claim is None or self.intake != "whole":
            pieces.append(piece)
            return
        if pieces and len(pieces[-1]) < SMALL_PIECE_BYTES:
            pieces[-1] += piece
        else:
            pieces.append(piece)
        if self.limit is not None and self.size > self.limit:
            self.lose("long")
        elif not self.claim(self.size):
            self.lose("full")

    def lose(self, fault: Fault) -> None:
        """Give the body up; the handler sees `fault`."""
        self.fault = fault
        self.discard()

    def discard(self) -> None:
        """Throw away the body, and what comes of it from now on."""
        self.intake = "nothing"
        self.pieces.clear()

    def body(self) -> bytes:
        """Return the buffered body."""
        pieces = self.pieces
        if len(pieces) > 1:
            pieces[:] = [b"".join(pieces)]
        return pieces[0] if pieces else b""

    def read(self, size: int) -> bytes:
        """Return `size` bytes of a body that comes in pieces; fewer only at its end.

        Waits on the calling thread, the one that answers, for what has not come yet.

        Raises:
            ClientDisconnected: the client left before its end, or sent nothing for too long.
        """
        if self.expects and not self.complete:
            self.expects = False
            self.transport.write_through(CONTINUE)
        pieces, have = self.pieces, 0
        for piece in pieces:
            have += len(piece)
        while have < size and not self.complete:
            before = len(pieces)
            if not self.transport.receive():
                self.gone = True
                raise ClientDisconnected
            for piece in pieces[before:]:
                have += len(piece)
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        rest = data[size:]
        self.pieces[:] = [rest] if rest else []
        return data[:size] if rest else data

    # --- the client ----------------------------------------------------------------------------

    def watch(self, on_leave: cabc.Callable[[], object]) -> None:
        """Call `on_leave` if the client disconnects before its response, perhaps twice.

        It is called on a thread of the server, or on this one if the client has left already; it
        must be quick.
        """
        self._on_leave = on_leave
        if self.gone:
            on_leave()

    def left(self) -> None:
        """Note that the client has disconnected; the connection calls this."""
        self.gone = True
        if self._on_leave is not None:
            self._on_leave()

    # --- the response --------------------------------------------------------------------------

    def respond(self, status: str | int, headers: Headers, body: bytes) -> None:
        """Answer, without waiting for the client to take it. From any thread.

        Raises:
            ValueError: a header cannot be sent.
        """
        self.answer(Head(status, headers), body)

    def answer(self, head: Head, body: bytes) -> None:
        """Answer with a head that several responses may share."""
        length, announced, closes = len(body), head.length, head.closes
        if announced is not None and announced != length:
            if self.method != "HEAD" and not head.bodiless:
                # Bytes beyond the announced length would be read as part of the next response.
                body = body[:announced]
                closes = closes or announced > length
            length = announced
        keeps = self.keeps and not closes and self.transport.may_stay(self)
        usual = keeps and self.version == "HTTP/1.1"
        end = b"\r\n" if usual else self._end(keeps=keeps)
        if head.bodiless:
            data = head.data + end
        else:
            data = b"%bContent-Length: %d\r\n%b" % (head.data, length, end)
            if self.method != "HEAD":
                data += body
        self._on_leave = None
        self.transport.finish(self, data, keeps=keeps)

    def drop(self) -> None:
        """Close the connection instead of answering."""
        self.transport.abort(self)

    def stream(self, status: str | int, headers: Headers, chunks: cabc.Iterable[bytes]) -> None:
        """Answer with pieces as they come, at the pace at which the client takes them.

        Runs on the calling thread and ends when the client disconnects. Raises what `chunks`
        raises, after which the client sees that the response is not whole; closing `chunks` is the
        caller's.
        """
        head = Head(status, headers)
        has_body = not head.bodiless and self.method != "HEAD"
        framing, chunked, closes = b"", False, head.closes
        if head.length is not None:
            framing = b"Content-Length: %d\r\n" % head.length
        elif not head.bodiless and self.version == "HTTP/1.1":
            framing, chunked = b"Transfer-Encoding: chunked\r\n", True
        elif has_body:
            closes = True  # its end is the end of the connection
        keeps = self.keeps and not closes and self.transport.may_stay(self)
        end = b"\r\n" if keeps and self.version == "HTTP/1.1" else self._end(keeps=keeps)
        start = head.data + framing + end
        whole = False
        try:
            if has_body:
                whole = self._write(start, chunks, head.length, chunked=chunked)
            else:
                whole = self.transport.write_through(start)
        finally:
            self._on_leave = None
            if whole:
                end = LAST_CHUNK if chunked and has_body else b""
                self.transport.finish(self, end, keeps=keeps)
            else:
                self.transport.abort(self)

    def _write(
        self,
        start: bytes,
        chunks: cabc.Iterable[bytes],
        announced: int | None,
        *,
        chunked: bool,
    ) -> bool:
        """Write a head, with the first piece of the body, and the others; whether all was written.

        An application that wants its head to be sent at once gives a piece at once (PEP 3333).
        """
        write = self.transport.write_through
        for chunk in chunks:
            if self.gone:
                return False
            if not chunk:
                continue
            piece = chunk
            if chunked:
                piece = b"%x\r\n%b\r\n" % (len(chunk), chunk)
            elif announced is not None:
                piece = chunk[:announced]
                announced -= len(piece)
            if start:
                piece, start = start + piece, b""
            if not write(piece):
                return False
        return not announced and (not start or write(start))

    def _end(self, *, keeps: bool) -> bytes:
        """The end of a head, which says whether the connection will take another request."""
        if not keeps:
            return b"Connection: close\r\n\r\n"
        return b"\r\n" if self.version == "HTTP/1.1" else b"Connection: keep-alive\r\n\r\n"


# --- the head of a response --------------------------------------------------------------------

_LENGTH, _CONNECTION, _ENCODING, _DATE = 1, 2, 3, 4
_FRAMING = {
    "content-length": _LENGTH,
    "connection": _CONNECTION,
    "keep-alive": _ENCODING,
    "transfer-encoding": _ENCODING,
    "date": _DATE,
}
# PERF: most names differ from these in their length, 0.02 us instead of 0.1.
_FRAMING_LENGTHS = frozenset(map(len, _FRAMING))
# Responses without a body, whatever the method was.
_BODILESS = frozenset({"204", "304"})


class Head:
    """The head of responses, before their bodies are framed.

    Attributes:
        data: its lines, without the framing headers and the empty line at its end.
        length: the application's Content-Length, if it gave one.
        closes: the application asked to end the connection.
        bodiless: the status allows no body.

    Raises:
        ValueError: a header has a line break, or characters beyond Latin-1 (RFC 9110, 5.5).
    """

    __slots__ = ("bodiless", "closes", "data", "length")

    def __init__(self, status: str | int, headers: cabc.Iterable[tuple[str, str]]) -> None:
        if isinstance(status, int):
            status = status_line(status)
        self.length: int | None = None
        self.closes = False
        self.bodiless = status[:3] in _BODILESS or status[:1] == "1"
        dated = False
        lines = [f"HTTP/1.1 {status}"]
        for name, value in headers:
            if len(name) in _FRAMING_LENGTHS and (kind := _FRAMING.get(name.lower())):
                if kind == _LENGTH:
                    self.length = int(value)
                    continue
                if kind == _CONNECTION:
                    self.closes = self.closes or "close" in value.lower()
                    continue
                if kind == _ENCODING:
                    continue
                dated = True
            lines.append(f"{name}: {value}")
        if not dated:
            second = int(time())
            lines.append(_date_lines.get(second) or _date_line(second))
        # Reject CR and LF in status and headers (response splitting, CWE-113).
        # PERF: to search all of them at once takes 0.1 us, to count the line breaks 0.2.
        text = "".join(lines)
        if "\n" in text or "\r" in text:
            raise ValueError("A header of the answer holds a line break.")
        lines.append("")
        self.data = "\r\n".join(lines).encode("latin-1")


# The `Date` header of this second: it is formatted once.
_date_lines: dict[int, str] = {}


def _date_line(second: int) -> str:
    _date_lines.clear()
    line = _date_lines[second] = f"Date: {formatdate(second, usegmt=True)}"
    return line


def status_line(code: int) -> str:
    """Return `404 NOT FOUND` for 404, in Werkzeug's capitals."""
    return _STATUSES.get(code) or f"{code} UNKNOWN"


_STATUSES = {each.value: f"{each.value} {each.phrase.upper()}" for each in HTTPStatus}
