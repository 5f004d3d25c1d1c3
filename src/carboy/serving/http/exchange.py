"""One HTTP request and its response: it parses the head, holds the body, and writes the response.

The server decides how a response is framed. From the application's headers it takes the value of
`Content-Length` and whether `Connection` asks to close; it drops the other headers that are about
the connection and not about the response (hop-by-hop, PEP 3333). Sockets and timeouts are left to
the connection. Source: RFC 9112, RFC 9110
"""

from __future__ import annotations

import re
import typing as t
from email.utils import formatdate
from http import HTTPStatus
from time import time
from urllib.parse import unquote_to_bytes

from werkzeug.exceptions import ClientDisconnected

from .limits import INTERNAL_ERROR

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from _typeshed.wsgi import WSGIApplication

    from .parser import RequestHead
    from .sendfile import FileSection

#: How a request body is read: "buffered" until it is complete, before the handler is called;
#: "streamed", read by the application while it arrives; or "discarded".
BodyMode = t.Literal["buffered", "streamed", "discarded"]
#: The reason why a buffered body is incomplete: the client has cut it off, it is too slow or over
#: the limit, or the memory for buffered bodies is used up.
Fault = t.Literal["truncated", "timeout", "too_large", "overloaded"]

Headers = list[tuple[str, str]]
CLOSE = ("Connection", "close")
TEXT = ("Content-Type", "text/plain; charset=utf-8")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

# Smaller pieces of a buffered body are joined, because one bytes object for each one-byte chunk
# would take 40 times the memory.
SMALL_PIECE_BYTES = 1024
# A response up to this size does not count towards the memory limit for unread responses: with
# 4,096 connections such responses take at most 256 MiB.
UNCOUNTED_BYTES = 64 * 1024


class Transport(t.Protocol):
    """The methods of a connection that an exchange (a request and its response) uses.
    Thread-safe.
    """

    @property
    def environ(self) -> cabc.Mapping[str, t.Any]:
        """The WSGI environ entries that all requests of the connection share."""

    def receive(self) -> bool:
        """Block until more of the request body arrives; returns False if no more will arrive."""

    def hold(self, size: int) -> bool:
        """Reserve memory for a response that the client may be slow to read.

        Returns False if the memory for such responses is used up. The response must then be sent by
        `write_through`.
        """

    def step_aside(self) -> None:
        """Let another thread read requests (lead), because the calling thread may block from now
        on.
        """

    def write_through(self, data: bytes | memoryview) -> bool:
        """Send all of `data`, blocking the caller; returns False if the client has disconnected."""

    def may_keep_alive(self, exchange: Exchange) -> bool:
        """Whether the connection can serve another request after this one."""

    def finish(
        self, exchange: Exchange, data: bytes, *, keep_alive: bool, file: FileSection | None = None
    ) -> None:
        """Send the last bytes of the response, and then the file if there is one.

        Args:
            keep_alive: whether the response's head has promised to keep the connection open.
        """

    def abort(self, exchange: Exchange) -> None:
        """Close the connection before the response is complete."""


class Exchange:
    """A request and its response. Used by one thread at a time.

    Attributes:
        transport: the connection that the request came from.
        method: the request method, as the client sent it.
        path: the percent-decoded path; each byte is one character (Latin-1), as in WSGI.
        query: the query string, as the client sent it.
        version: `HTTP/1.1` or `HTTP/1.0`.
        headers: request headers by their WSGI names: `HTTP_ACCEPT`, `CONTENT_TYPE`.
        length: the body's Content-Length; None if the header is missing.
        chunked: whether the body has chunked transfer coding, so that its length is unknown.
        expects_continue: whether the client waits for "100 Continue" before it sends the body.
        keep_alive: whether the client asked to keep the connection open.
        body_mode: how the body is read; see `BodyMode`.
        reserve: reserves memory for a large buffered body: called with the exchange and the bytes
            received so far; returns False to reject the body. None for a small body, which needs no
            reservation.
        limit: the largest body in bytes that is buffered, checked where `reserve` is set.
        stream_above: when more bytes than this of a buffered body have arrived, the request is
            handed over and the rest is streamed; None: the body is handed over whole.
        waited_s: how long the application has waited for a streamed body so far.
        reserved_bytes: the memory that `reserve` has reserved for this request.
        release: called with the exchange if memory was reserved and the connection closes before
            the request is handed over.
        body_timeout_s: how long a buffered body may take to arrive.
        handler: called with the exchange, on a thread of the server, when the request is ready.
        fault: why the body is incomplete; None if nothing went wrong.
        complete: whether the whole body has arrived.
        pieces: the parts of the body that were received and not yet read.
        size: how many bytes of the body have been received.
        disconnected: whether the server has noticed that the client disconnected.
        begun: whether part of the response may have been sent.
        held: whether memory for the response has been reserved.
        extra: WSGI environ entries for this request only.
        app: a WSGI application that responds instead of the server's; None for the server's own.
    """

    # PERF: usual values are defaults on the class, which saves 0.5 us per instance.
    length: int | None = None
    chunked = False
    expects_continue = False
    body_mode: BodyMode = "buffered"
    limit: int | None = None
    stream_above: int | None = None
    waited_s = 0.0
    reserve: cabc.Callable[[Exchange, int], bool] | None = None
    reserved_bytes = 0
    release: cabc.Callable[[Exchange], object] | None = None
    body_timeout_s = 0.0
    handler: cabc.Callable[[Exchange], object]
    fault: Fault | None = None
    complete = False
    size = 0
    disconnected = False
    begun = False
    held = False
    extra: cabc.Mapping[str, t.Any] | None = None
    app: WSGIApplication | None = None
    _ended = False
    _on_disconnect: cabc.Callable[[], object] | None = None

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
            self.expects_continue = headers["HTTP_EXPECT"].lower() == "100-continue"
        self.keep_alive = head.keep_alive
        self.pieces: list[bytes] = []

    # --- the body ------------------------------------------------------------------------------

    def add(self, piece: bytes) -> None:
        """Add a piece of the body that has arrived.

        Sets `fault` if the body is longer than its limit, or the memory for bodies is used up.
        """
        self.size += len(piece)
        if self.body_mode == "discarded":
            return
        pieces = self.pieces
        if self.body_mode == "streamed":
            pieces.append(piece)
            return
        if pieces and len(pieces[-1]) < SMALL_PIECE_BYTES:
            pieces[-1] += piece
        else:
            pieces.append(piece)
        if self.reserve is None:
            return
        if self.limit is not None and self.size > self.limit:
            self.fail_body("too_large")
        elif not self.reserve(self, self.size):
            self.fail_body("overloaded")

    def fail_body(self, fault: Fault) -> None:
        """Stop buffering the body; the handler finds the reason in `fault`."""
        self.fault = fault
        self.discard()

    def discard(self) -> None:
        """Drop the received part of the body, and ignore the rest."""
        self.body_mode = "discarded"
        self.pieces.clear()

    def body(self) -> bytes:
        """Return the buffered body."""
        pieces = self.pieces
        if len(pieces) > 1:
            pieces[:] = [b"".join(pieces)]
        return pieces[0] if pieces else b""

    def read(self, size: int) -> bytes:
        """Read `size` bytes of a streamed body; returns fewer only at the end of the body.

        Blocks the calling thread until the bytes have arrived.

        Raises:
            ClientDisconnected: the client disconnected before the end of the body, or stalled.
        """
        if self.expects_continue and not self.complete:
            self.expects_continue = False
            self.transport.write_through(CONTINUE)
        pieces, have = self.pieces, 0
        for piece in pieces:
            have += len(piece)
        while have < size and not self.complete:
            before = len(pieces)
            if not self.transport.receive():
                self.disconnected = True
                raise ClientDisconnected
            for piece in pieces[before:]:
                have += len(piece)
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        rest = data[size:]
        self.pieces[:] = [rest] if rest else []
        return data[:size] if rest else data

    # --- the client ----------------------------------------------------------------------------

    def watch(self, on_disconnect: cabc.Callable[[], object]) -> None:
        """Call `on_disconnect` if the client disconnects before the response is sent. It may be
        called twice.

        The callback runs on a thread of the server, or on the calling thread if the client has
        disconnected already. It must return quickly.
        """
        self._on_disconnect = on_disconnect
        if self._ended:  # another thread has completed the response in the meantime
            self._end_watch()
        elif self.disconnected:
            on_disconnect()

    def note_disconnect(self) -> None:
        """Record that the client has disconnected. The connection calls this."""
        self.disconnected = True
        if self._on_disconnect is not None:
            self._on_disconnect()

    def _end_watch(self) -> None:
        """Drop the callback, because it may refer to this exchange, which would be a reference
        cycle.
        """
        self._ended = True
        self._on_disconnect = None

    # --- the response --------------------------------------------------------------------------

    def respond(self, status: str | int, headers: Headers, body: bytes) -> None:
        """Send a response without waiting for the client to receive it. Thread-safe.

        Raises:
            ValueError: a header contains characters that HTTP does not allow.
        """
        self.send_response(Head(status, headers), body)

    def send_response(self, head: Head, body: bytes) -> None:
        """Send a response whose `head` may be shared with other responses. Thread-safe."""
        length, announced, closes = len(body), head.length, head.closes
        if announced is not None and announced != length:
            if self.method != "HEAD" and not head.bodiless:
                # Cut the body to its Content-Length, because the client would read further bytes as
                # the next response.
                body = body[:announced]
                closes = closes or announced > length
            length = announced
        keep_alive = self.keep_alive and not closes and self.transport.may_keep_alive(self)
        usual = keep_alive and self.version == "HTTP/1.1"
        end = b"\r\n" if usual else self._end(keep_alive=keep_alive)
        if head.bodiless:
            data = head.data + end
        else:
            data = b"%bContent-Length: %d\r\n%b" % (head.data, length, end)
            if self.method != "HEAD":
                data += body
        self._ended = True  # PERF: inlines `_end_watch`
        self._on_disconnect = None
        if len(data) > UNCOUNTED_BYTES and not (self.held or self.hold(len(data))):
            self.begun = True
            self.transport.step_aside()
            if not self.transport.write_through(data):
                self.transport.abort(self)
                return
            data = b""
        self.transport.finish(self, data, keep_alive=keep_alive)

    def hold(self, size: int) -> bool:
        """Reserve memory for a response above `UNCOUNTED_BYTES`. Returns False if the memory is
        used up.
        """
        self.held = self.transport.hold(size)
        return self.held

    def send_file(self, status: str | int, headers: Headers, file: FileSection) -> None:
        """Send a response whose body is a section of a file, and return at once. Thread-safe.

        The server closes the file of the section after the response.
        """
        head = Head(status, headers)
        keep_alive = self.keep_alive and not head.closes and self.transport.may_keep_alive(self)
        framing = b"Content-Length: %d\r\n" % file.left
        data = head.data + framing + self._end(keep_alive=keep_alive)
        self._end_watch()
        self.transport.finish(self, data, keep_alive=keep_alive, file=file)

    def fail(self) -> None:
        """Send the server's own response 500, and close the connection.

        Does nothing if a response has been sent, or the connection is closed.
        """
        self._end_watch()
        self.transport.finish(self, dated(INTERNAL_ERROR), keep_alive=False)

    def drop(self) -> None:
        """Close the connection without a response."""
        self._end_watch()
        self.transport.abort(self)

    def stream(self, status: str | int, headers: Headers, chunks: cabc.Iterable[bytes]) -> None:
        """Send a response whose body consists of `chunks`, at the speed at which the client reads.

        Blocks the calling thread until the end, or until the client disconnects. An exception of
        `chunks` propagates; the connection is then closed, so that the client sees an incomplete
        response. The caller closes `chunks`.
        """
        head = Head(status, headers)
        has_body = not head.bodiless and self.method != "HEAD"
        framing, chunked, closes = b"", False, head.closes
        if head.length is not None:
            framing = b"Content-Length: %d\r\n" % head.length
        elif not head.bodiless and self.version == "HTTP/1.1":
            framing, chunked = b"Transfer-Encoding: chunked\r\n", True
        elif has_body:
            closes = True  # the body has no length, so it ends where the connection is closed
        keep_alive = self.keep_alive and not closes and self.transport.may_keep_alive(self)
        end = (
            b"\r\n"
            if keep_alive and self.version == "HTTP/1.1"
            else self._end(keep_alive=keep_alive)
        )
        start = head.data + framing + end
        whole = False
        self.begun = True
        try:
            if has_body:
                whole = self._write(start, chunks, head.length, chunked=chunked)
            else:
                whole = self.transport.write_through(start)
        finally:
            self._ended = True  # PERF: inlines `_end_watch`
            self._on_disconnect = None
            if whole:
                end = LAST_CHUNK if chunked and has_body else b""
                self.transport.finish(self, end, keep_alive=keep_alive)
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
        """Send the head together with the first chunk, then the other chunks; returns False if the
        client disconnects.

        The head is not sent before the first chunk: PEP 3333 lets an application decide when it is
        sent, by yielding a chunk.
        """
        write = self.transport.write_through
        for chunk in chunks:
            if self.disconnected:
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

    def _end(self, *, keep_alive: bool) -> bytes:
        """Return the last bytes of a response head, including the `Connection` header if one is
        needed.
        """
        if not keep_alive:
            return b"Connection: close\r\n\r\n"
        return b"\r\n" if self.version == "HTTP/1.1" else b"Connection: keep-alive\r\n\r\n"


# --- the head of a response --------------------------------------------------------------------

# How a header of the application is handled: sent as it is, replaced by the server's, or dropped.
_PLAIN, _LENGTH, _CONNECTION, _DROPPED, _DATE = 1, 2, 3, 4, 5
_SPECIAL_ROLES = {
    "content-length": _LENGTH,
    "connection": _CONNECTION,
    "keep-alive": _DROPPED,
    "te": _DROPPED,
    "trailer": _DROPPED,
    "transfer-encoding": _DROPPED,
    "upgrade": _DROPPED,
    "date": _DATE,
}
# Responses with these statuses never have a body.
_BODILESS = frozenset({"204", "304"})


class Head:
    """A response head without the headers that delimit the body; it may be reused for several
    responses.

    Attributes:
        data: the encoded status line and headers, without framing headers and the final empty line.
        length: the application's Content-Length; None if it gave none.
        closes: whether the application asked to close the connection.
        bodiless: whether the status allows no body.

    Raises:
        ValueError: the status is not that of a final response (RFC 9110, 15), a name is not a token
            (5.6.2), or a value contains a line break, NUL, or characters outside Latin-1 (5.5).
    """

    __slots__ = ("bodiless", "closes", "data", "length")

    def __init__(self, status: str | int, headers: cabc.Iterable[tuple[str, str]]) -> None:
        if isinstance(status, int):
            status = status_line(status)
        self.length: int | None = None
        self.closes = False
        self.bodiless = status[:3] in _BODILESS
        dated = False
        lines = [f"HTTP/1.1 {status}"]
        # PERF: status lines that were valid before are cached: a lookup takes 0.02 us, less than a
        # check.
        if status not in _valid_statuses:
            _check(status, _STATUS, "status")
            _add_bounded(_valid_statuses, status, None)
        for name, value in headers:
            role = _roles.get(name) or _find_role(name)
            if role == _PLAIN:
                lines.append(f"{name}: {value}")
            elif role == _LENGTH:
                self.length = _content_length(value)
            elif role == _CONNECTION:
                self.closes = self.closes or "close" in value.lower()
            elif role == _DATE:
                dated = True
                lines.append(f"{name}: {value}")
        if not dated:
            second = int(time())
            lines.append(_date_lines.get(second) or _new_date_line(second))
        # Reject CR, LF and NUL in status and headers (response splitting, CWE-113).
        # PERF: searching the joined text takes 0.1 us; counting line breaks per line took 0.2 us.
        text = "".join(lines)
        if "\n" in text or "\r" in text or "\0" in text:
            raise ValueError("A header of the response contains a line break or NUL.")
        lines.append("")
        self.data = "\r\n".join(lines).encode("latin-1")


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_STATUS = re.compile(r"[2-9]\d\d(?: [\t -~\x80-\xff]*)?")
# PERF: caches of the valid names and statuses. A lookup takes 0.02 us, a check 0.3 us.
_roles: dict[str, int] = {}
_valid_statuses: dict[str, None] = {}
# Bounds the caches, because an application may invent header names and reasons.
_MAX_VALID = 1000
_T = t.TypeVar("_T")


def _find_role(name: str) -> int:
    """Return how the header is handled. Raises ValueError if the name is not valid."""
    role = _SPECIAL_ROLES.get(name.lower(), _PLAIN)
    if role == _PLAIN:
        _check(name, _TOKEN, "header name")
    _add_bounded(_roles, name, role)
    return role


def _check(text: str, pattern: re.Pattern[str], what: str) -> None:
    if pattern.fullmatch(text) is None:
        raise ValueError(f"The {what} {text!r} of the response is not valid in HTTP.")


def _add_bounded(cache: dict[str, _T], key: str, value: _T) -> None:
    if len(cache) >= _MAX_VALID:
        cache.clear()
    cache[key] = value


def _content_length(value: str) -> int:
    if not (value.isdecimal() and value.isascii()):
        raise ValueError(f"The Content-Length {value!r} of the response is not a number of bytes.")
    return int(value)


# A cache of the `Date` header line. It has one entry, for the current second.
_date_lines: dict[int, str] = {}


def dated(refusal: bytes) -> bytes:
    """Add a `Date` header to a response of the server itself (RFC 9110, 6.6.1)."""
    second = int(time())
    line = _date_lines.get(second) or _new_date_line(second)
    return refusal.replace(b"\r\n", f"\r\n{line}\r\n".encode(), 1)


def _new_date_line(second: int) -> str:
    _date_lines.clear()
    line = _date_lines[second] = f"Date: {formatdate(second, usegmt=True)}"
    return line


def status_line(code: int) -> str:
    """Return the status line for a status code, in capitals as Werkzeug writes it: `404 NOT
    FOUND`.
    """
    return _STATUSES.get(code) or f"{code} UNKNOWN"


_STATUSES = {each.value: f"{each.value} {each.phrase.upper()}" for each in HTTPStatus}
