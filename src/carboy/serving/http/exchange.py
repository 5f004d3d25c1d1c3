"""The class `Exchange`: one HTTP request, the data of its body, and the response to it.

The server itself writes the headers that say where a response ends and whether the connection stays
open. From the application's headers it takes the value of `Content-Length` and whether `Connection`
asks to close; it drops the other headers that are about the connection and not about the response
(hop-by-hop, PEP 3333). The module `connection` handles sockets and timeouts. Source: RFC 9112, RFC
9110
"""

from __future__ import annotations

import re
import typing as t
from email.utils import formatdate
from http import HTTPStatus
from time import time
from urllib.parse import unquote_to_bytes

from werkzeug.exceptions import ClientDisconnected

from carboy.observability.requestid import is_valid, next_id, taken_or_new

from .limits import INTERNAL_ERROR

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from _typeshed.wsgi import WSGIApplication

    from .interfaces import Transport
    from .parser import RequestHead
    from .sendfile import FileSection

#: How a request body is read. "buffered": the server collects it, and calls the handler when it is
#: complete; "streamed": the application reads it while it arrives; "discarded": the server drops
#: it.
BodyMode = t.Literal["buffered", "streamed", "discarded"]
#: Why a buffered body is incomplete. "truncated": the client has ended its input in the body;
#: "timeout": the body arrives too slowly; "too_large": it exceeds its limit; "overloaded": the
#: memory for buffered bodies is used up; "refused": the handler refuses the request without it.
Fault = t.Literal["truncated", "timeout", "too_large", "overloaded", "refused"]

Headers = list[tuple[str, str]]
CLOSE = ("Connection", "close")
TEXT = ("Content-Type", "text/plain; charset=utf-8")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

# While the last piece of a buffered body is smaller than this, the next one is appended to it: if a
# client sends chunks of one byte, a bytes object for each would take 40 times the memory.
SMALL_PIECE_BYTES = 1024
# A response up to this size does not count towards the limit on the memory for responses that
# clients have not read: even on 4,096 connections such responses take at most 256 MiB.
UNCOUNTED_BYTES = 64 * 1024


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
        request_id: the id of the request, for the response's header X-Request-ID: that of the
            client, or a new one. If the application sets the header, it is the application's.
        body_mode: how the body is read; see `BodyMode`.
        reserve: reserves memory for a large buffered body: called with the exchange and the number
            of bytes received so far; returns False to refuse the body. None for a small body, which
            needs no reservation.
        limit: the largest number of bytes of a buffered body; checked only if there is `reserve`.
        stream_above: when more bytes than this of a buffered body have arrived, the handler is
            called, and the application reads the rest; None: the handler is called with the whole
            body.
        waited_s: how many seconds the application has waited for a streamed body so far.
        reserved_bytes: the memory that `reserve` has reserved for this request.
        release: gives back the reserved memory; called with the exchange if the connection closes
            before the handler is called.
        body_timeout_s: how many seconds a buffered body may take to arrive.
        handler: answers the request: called with the exchange, on a thread of the server, when the
            body has arrived or the application must read the rest.
        fault: why the body is incomplete; None if nothing went wrong.
        complete: whether the whole body has arrived.
        pieces: the parts of the body that were received and not yet read.
        size: how many bytes of the body have been received.
        disconnected: whether the server has noticed that the client disconnected.
        begun: whether part of the response may have been sent.
        held: whether memory for the response has been reserved.
        status: the status of the response, such as "200"; empty while there is none.
        body_bytes: the size of the response's body; if it is streamed, what was sent of it so far.
        upgraded: whether the application has taken the socket, for a WebSocket. What it responds
            then is dropped.
        route: the rule of the application that the path matches, such as "/items/<int:id>"; empty
            if there is none. None until the application has found it.
        logged: whether the access log has the line of this request already.
        unsent_bytes: how much of the response was not sent, because the connection was closed.
        began_s: when the request arrived; only with an access log or metrics. All times are on the
            clock of `time.monotonic`.
        view_s: how long the application took to respond; 0.0 if it was not called.
        fields: further fields of the request's line in the access log, such as the model.
        origin: the WSGI environ entries that trusted proxies have changed, such as the address of
            the client; None if no proxies are trusted.
        extra: WSGI environ entries for this request only.
        decoding_s: when decoding the body began and ended; None if it was not decoded. Only with
            tracing.
        app: a WSGI application that answers this request instead of the server's application; None
            for the server's.
    """

    # PERF: the default values are attributes of the class, so that `__init__` need not set them,
    # which saves 0.5 us per instance.
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
    status = ""
    body_bytes = 0
    unsent_bytes = 0
    upgraded = False
    logged = False
    route: str | None = ""
    began_s = view_s = 0.0
    fields: cabc.Mapping[str, t.Any] | None = None
    origin: cabc.Mapping[str, str] | None = None
    extra: cabc.Mapping[str, t.Any] | None = None
    app: WSGIApplication | None = None
    decoding_s: tuple[float, float] | None = None
    _ended = False
    _on_disconnect: cabc.Callable[[], object] | None = None
    _leave_queue: cabc.Callable[[Exchange], bool] | None = None

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
        if "HTTP_X_REQUEST_ID" in headers:
            self.request_id = taken_or_new(headers["HTTP_X_REQUEST_ID"])
        else:
            self.request_id = next_id()
        self.pieces: list[bytes] = []

    @property
    def client(self) -> str:
        """The IP address of the client. If the request came through trusted proxies, this is the
        address that they report, not the address of the last proxy.
        """
        origin = self.origin
        if origin is None or "REMOTE_ADDR" not in origin:
            return str(self.transport.environ["REMOTE_ADDR"])
        return origin["REMOTE_ADDR"]

    @property
    def host(self) -> str | None:
        """The host that the client asked for: what trusted proxies report, else the Host header;
        None if the request has neither.
        """
        sent = self.headers.get("HTTP_HOST")
        return sent if self.origin is None else self.origin.get("HTTP_HOST", sent)

    # --- the body ------------------------------------------------------------------------------

    def add(self, piece: bytes) -> None:
        """Add a piece of the request's body that has arrived.

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
        """Record in `fault` why the body is incomplete, drop what has arrived of it, and ignore the
        rest.
        """
        self.fault = fault
        self.discard()

    def discard(self) -> None:
        """Drop the part of the request's body that has arrived, and ignore the rest."""
        self.body_mode = "discarded"
        self.pieces.clear()

    def body(self) -> bytes:
        """Return the request's body, which the server has buffered."""
        pieces = self.pieces
        if len(pieces) > 1:
            pieces[:] = [b"".join(pieces)]
        return pieces[0] if pieces else b""

    def read(self, size: int) -> bytes:
        """Read `size` bytes of a streamed body; returns fewer only at the end of the body.

        Blocks the calling thread until the bytes have arrived.

        Raises:
            ClientDisconnected: before the end of the body, the client disconnected or sent nothing
                for too long.
        """
        if self.expects_continue and not self.complete:
            self.expects_continue = False
            if not self.begun:  # else it would become part of the response's body
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
        """Call `on_disconnect` if the client disconnects before the response is sent.
        `on_disconnect` may be called twice.

        It is called on a thread of the server, or on the calling thread if the client has
        disconnected already. It must return quickly.
        """
        self._on_disconnect = on_disconnect
        if self._ended:  # another thread has completed the response in the meantime
            self._end_watch()
        elif self.disconnected:
            on_disconnect()

    def wait_in_queue(self, leave: cabc.Callable[[Exchange], bool]) -> None:
        """Close the connection if the client disconnects while the request waits for a thread.

        Args:
            leave: is then called with this exchange; removes the request from the queue. Returns
                False if it waits no longer, because a thread has begun to answer it. Must not refer
                to the exchange, which would be a reference cycle.
        """
        self._leave_queue = leave
        if self.disconnected:
            self._leave()

    def _leave(self) -> None:
        if self._leave_queue is not None and self._leave_queue(self):
            self.drop()

    def note_disconnect(self) -> None:
        """Record that the client has disconnected, and call the function that was passed to
        `watch`. If the request waits for a thread, close the connection.
        """
        self.disconnected = True
        if self._on_disconnect is not None:
            self._on_disconnect()
        self._leave()

    def _end_watch(self) -> None:
        """Drop the function that was passed to `watch`, because it may refer to this exchange,
        which would be a reference cycle.
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
        """Send a response. `head` is not modified, so that responses may share it. Thread-safe."""
        length, announced, closes = len(body), head.length, head.closes
        if announced is not None and announced != length:
            if self.method != "HEAD" and not head.bodiless:
                # Cut the body to its Content-Length, because the client would read further bytes as
                # the next response.
                body = body[:announced]
                closes = closes or announced > length
            length = announced
        keep_alive = self.keep_alive and not closes and self.transport.may_keep_alive(self)
        self.status = head.status
        if head.bodiless:
            data = head.data + self._end(head, keep_alive=keep_alive)
        else:
            if keep_alive and self.version == "HTTP/1.1" and head.request_id is None:
                # PERF: the usual case, without a call of `_end`, which would take 0.2 us longer.
                request_id = self.request_id.encode()
                data = b"%bContent-Length: %d\r\nX-Request-ID: %b\r\n\r\n" % (
                    head.data,
                    length,
                    request_id,
                )
            else:
                end = self._end(head, keep_alive=keep_alive)
                data = b"%bContent-Length: %d\r\n%b" % (head.data, length, end)
            if self.method != "HEAD":
                data += body
                self.body_bytes = len(body)
        self._ended = True  # PERF: does the same as `_end_watch`, without the cost of a call
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
        """Reserve memory for a response of more than `UNCOUNTED_BYTES`. Returns False if the memory
        for responses that clients have not read is used up.
        """
        self.held = self.transport.hold(size)
        return self.held

    def send_file(self, status: str | int, headers: Headers, file: FileSection) -> None:
        """Send a response whose body is a section of a file, and return before it is sent. If the
        method or the status allows no body, the file is not sent. Thread-safe.

        The server closes the file when the response is sent.
        """
        head = Head(status, headers)
        keep_alive = self.keep_alive and not head.closes and self.transport.may_keep_alive(self)
        self.status = head.status
        framing = b"" if head.bodiless else b"Content-Length: %d\r\n" % file.left
        data = head.data + framing + self._end(head, keep_alive=keep_alive)
        self._end_watch()
        if head.bodiless or self.method == "HEAD":
            self.transport.finish(self, data, keep_alive=keep_alive)
            file.close()
            return
        self.body_bytes = file.left
        self.transport.finish(self, data, keep_alive=keep_alive, file=file)

    def fail(self) -> None:
        """Send the server's own response 500, and close the connection.

        Does nothing if a response has been sent, or the connection is closed.
        """
        self._end_watch()
        if not self.transport.awaits(self):
            return  # the access log and the metrics have, or will have, the status that was sent
        self.status = "500"
        data = completed(INTERNAL_ERROR, self.request_id)
        self.transport.finish(self, data, keep_alive=False)

    def drop(self) -> None:
        """Close the connection without a response, because the client has disconnected, or because
        the application has failed.
        """
        self._end_watch()
        if not self.disconnected and self.transport.awaits(self):
            self.status = "500"
        self.transport.abort(self)

    def stream(self, status: str | int, headers: Headers, chunks: cabc.Iterable[bytes]) -> None:
        """Send a response whose body consists of `chunks`, at the speed at which the client reads.

        Blocks the calling thread until the end, or until the client disconnects. If `chunks` raises
        an exception, the connection is closed, so that the client sees an incomplete response, and
        the exception is passed on. Before the first chunk, the server's own response for an error
        is sent instead. The caller closes `chunks`.
        """
        head = Head(status, headers)
        has_body = not head.bodiless and self.method != "HEAD"
        framing, chunked, closes = b"", False, head.closes
        if head.bodiless:
            pass  # a 204 must have no Content-Length (RFC 9110, 8.6)
        elif head.length is not None:
            framing = b"Content-Length: %d\r\n" % head.length
        elif self.version == "HTTP/1.1":
            framing, chunked = b"Transfer-Encoding: chunked\r\n", True
        elif has_body:
            closes = True  # HTTP/1.0 without a length: closing the connection ends the body
        keep_alive = self.keep_alive and not closes and self.transport.may_keep_alive(self)
        self.status = head.status
        start = head.data + framing + self._end(head, keep_alive=keep_alive)
        whole = False
        try:
            if has_body:
                whole = self._write(start, chunks, head.length, chunked=chunked)
            else:
                self.begun = True
                whole = self.transport.write_through(start)
        except BaseException:
            if not self.begun:
                self.fail()
            raise
        finally:
            self._ended = True  # PERF: does the same as `_end_watch`, without the cost of a call
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
        """Send the head together with the first chunk, then the other chunks. Returns False if the
        client disconnects, or the chunks are shorter than the `announced` Content-Length.

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
                chunk = piece  # noqa: PLW2901
            self.body_bytes += len(chunk)
            if start:
                piece, start = start + piece, b""
                self.begun = True
            if not write(piece):
                return False
        self.begun = True
        return not announced and (not start or write(start))

    def _end(self, head: Head, *, keep_alive: bool) -> bytes:
        """Return the end of a response head: the header `X-Request-ID`, unless the application has
        set it, the header `Connection`, if it is needed, and the empty line.
        """
        end = b"\r\n"
        if not keep_alive:
            end = b"Connection: close\r\n\r\n"
        elif self.version != "HTTP/1.1":
            end = b"Connection: keep-alive\r\n\r\n"
        if head.request_id is None:
            return b"X-Request-ID: %b\r\n%b" % (self.request_id.encode(), end)
        if is_valid(head.request_id):
            self.request_id = head.request_id
        return end


def _share_attribute_names() -> None:
    """Make the names of all attributes known to the class `Exchange`, before requests arrive.

    PERF: CPython stores the attributes of an object in an array, as long as its class knows their
    names. A class learns the names from its first few dozen objects, and at most 30 names. An
    object with an attribute that its class does not know gets a dict, which takes 1 us more. So
    without this function a POST would be slower in a process whose first requests were GETs.
    """
    exchange = object.__new__(Exchange)
    names = (
        *("transport", "method", "path", "query", "version", "length", "headers", "keep_alive"),
        *("request_id", "pieces", "handler", "body_timeout_s", "origin", "size", "complete"),
        *("extra", "app", "began_s", "view_s", "fields", "status", "body_bytes", "_ended"),
        *("_on_disconnect", "logged", "limit", "route", "begun", "body_mode", "chunked"),
    )
    for name in names:
        setattr(exchange, name, None)


_share_attribute_names()


# --- the head of a response --------------------------------------------------------------------

# What the server does with a header that the application has set. _PLAIN: the header is sent as it
# is. _LENGTH and _CONNECTION: the server notes the value, and writes the header itself. _DROPPED:
# the header is left out. _DATE and _REQUEST_ID: the header is sent, and the server does not add a
# header of the same name.
_PLAIN, _LENGTH, _CONNECTION, _DROPPED, _DATE, _REQUEST_ID = 1, 2, 3, 4, 5, 6
_SPECIAL_ROLES = {
    "content-length": _LENGTH,
    "connection": _CONNECTION,
    "keep-alive": _DROPPED,
    "te": _DROPPED,
    "trailer": _DROPPED,
    "transfer-encoding": _DROPPED,
    "upgrade": _DROPPED,
    "date": _DATE,
    "x-request-id": _REQUEST_ID,
}
# The statuses of responses that never have a body.
BODILESS = frozenset({"204", "304"})


class Head:
    """The encoded head of a response. It may be sent with several responses, because it leaves out
    the headers that depend on the body's length.

    Attributes:
        data: the encoded status line and headers, without the headers that delimit the body and
            without the final empty line.
        length: the application's Content-Length; None if it gave none.
        closes: whether the application asked to close the connection.
        bodiless: whether the status allows no body.
        status: the status code, such as "200".
        request_id: the application's own X-Request-ID; None if it gave none.

    Raises:
        ValueError: the status is not that of a final response (RFC 9110, 15), a name is not a token
            (5.6.2), or a value contains a line break, NUL, or characters outside Latin-1 (5.5).
    """

    __slots__ = ("bodiless", "closes", "data", "length", "request_id", "status")

    def __init__(self, status: str | int, headers: cabc.Iterable[tuple[str, str]]) -> None:
        if isinstance(status, int):
            status = status_line(status)
        self.length: int | None = None
        self.request_id: str | None = None
        self.closes = False
        dated = False
        lines = [f"HTTP/1.1 {status}"]
        # PERF: a status line that was found valid before is not checked again: to look it up takes
        # 0.02 us, to check it 0.3 us.
        code = _valid_statuses.get(status)
        if code is None:
            _check(status, _STATUS, "status")
            code = status[:3]
            _add_bounded(_valid_statuses, status, code)
        self.status = code
        self.bodiless = code in BODILESS
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
            elif role == _REQUEST_ID:
                self.request_id = value
                lines.append(f"{name}: {value}")
        if not dated:
            second = int(time())
            lines.append(_date_lines.get(second) or _new_date_line(second))
        # Reject CR, LF and NUL in status and headers (response splitting, CWE-113). PERF: to search
        # the joined text takes 0.1 us; to count the line breaks of each line took 0.2 us.
        text = "".join(lines)
        if "\n" in text or "\r" in text or "\0" in text:
            raise _broken_line(lines)
        lines.append("")
        self.data = "\r\n".join(lines).encode("latin-1")


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_STATUS = re.compile(r"[2-9]\d\d(?: [\t -~\x80-\xff]*)?")
_EXPECTED = {
    "status": "a code from 200 to 999 and perhaps a reason, such as '404 NOT FOUND'",
    "header name": "letters, digits and hyphens, such as 'X-Total'",
}
# PERF: caches of the header names and statuses that were found valid. A lookup takes 0.02 us, a
# check 0.3 us.
_roles: dict[str, int] = {}
_valid_statuses: dict[str, str] = {}  # the status code by the status line
# The most entries of each cache: an application may make up any number of header names and
# statuses.
_MAX_VALID = 1000
_T = t.TypeVar("_T")


def _find_role(name: str) -> int:
    """Return what the server does with a header that the application has set, such as `_PLAIN`
    (send it) or `_DROPPED` (leave it out). Raises ValueError if the name is not valid in HTTP.
    """
    role = _SPECIAL_ROLES.get(name.lower(), _PLAIN)
    if role == _PLAIN:
        _check(name, _TOKEN, "header name")
    _add_bounded(_roles, name, role)
    return role


def _check(text: str, pattern: re.Pattern[str], what: str) -> None:
    if pattern.fullmatch(text) is None:
        raise ValueError(
            f"The {what} {text!r} of the response is not valid in HTTP: expected {_EXPECTED[what]}."
        )


def _broken_line(lines: list[str]) -> ValueError:
    """Return the error for the header with a character that would end its line."""
    name = next(line for line in lines if not {"\n", "\r", "\0"}.isdisjoint(line)).partition(":")[0]
    return ValueError(
        f"The header {name!r} of the response contains a line break or NUL. Remove it from the"
        " value, or encode it, as urllib.parse.quote does."
    )


def _add_bounded(cache: dict[str, _T], key: str, value: _T) -> None:
    if len(cache) >= _MAX_VALID:
        cache.clear()
    cache[key] = value


def _content_length(value: str) -> int:
    if not (value.isdecimal() and value.isascii()):
        raise ValueError(
            f"The Content-Length {value!r} of the response is not a number of bytes. Leave the"
            " header out: the server writes it."
        )
    return int(value)


# A cache of the `Date` header line. It has one entry, for the current second.
_date_lines: dict[int, str] = {}


def completed(refusal: bytes, request_id: str) -> bytes:
    """Return an error response of the server itself with the headers that differ from response to
    response: `Date` (RFC 9110, 6.6.1) and `X-Request-ID`.
    """
    second = int(time())
    line = _date_lines.get(second) or _new_date_line(second)
    return refusal.replace(b"\r\n", f"\r\n{line}\r\nX-Request-ID: {request_id}\r\n".encode(), 1)


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
