"""From the bytes of a connection to events: heads, pieces of bodies, their ends, and refusals.

The parser knows no connection: it takes bytes and returns events. HTTP is parsed by llhttp, the
parser of Node.js, in strict mode. Whatever a proxy could frame differently is refused (request
smuggling). Source: RFC 9112
"""

from __future__ import annotations

import dataclasses
import typing as t
from enum import Enum

import httptools

from ..log import logger
from .limits import HEAD_TOO_LARGE, INTERNAL_ERROR, refusal

if t.TYPE_CHECKING:
    from .limits import Limits


@dataclasses.dataclass(slots=True, eq=False)
class RequestHead:
    """An event: the head of a request.

    Attributes:
        target: path and query as the client wrote them.
        version: `HTTP/1.1` or `HTTP/1.0`.
        headers: by their names in WSGI: `HTTP_ACCEPT`, `CONTENT_TYPE`.
        keep_alive: the client asked to send another request on the connection.
    """

    method: str
    target: bytes
    version: str
    headers: dict[str, str]
    keep_alive: bool


class Refused(t.NamedTuple):
    """An event, the last one: what comes from here on cannot be understood."""

    response: bytes


class Mark(Enum):
    """Events without a value."""

    #: A head has begun in this piece and goes on in the next.
    BEGIN = "begin"
    #: A request has come to its end.
    END = "end"
    #: Nothing more will come. The connection adds it, not the parser.
    EOF = "end of input"


# PERF: as in `transitions`.
BEGIN: t.Final = Mark.BEGIN
END: t.Final = Mark.END
EOF: t.Final = Mark.EOF

#: Bytes are a piece of the body of the last head.
InputEvent = RequestHead | bytes | Mark | Refused


class RefusedError(ValueError):
    """What llhttp accepts in a request, and this server does not."""

    def __init__(self, response: bytes) -> None:
        super().__init__(response)
        self.response = response


_STOPPED = (httptools.HttpParserUpgrade, httptools.HttpParserError)


class RequestParser:
    """Makes events of the bytes of one connection. Not thread-safe."""

    __slots__ = (
        "_events",
        "_head_bytes",
        "_headers",
        "_in_head",
        "_limits",
        "_parser",
        "_repeated",
        "_resumes",
        "_url",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._parser = httptools.HttpRequestParser(self)
        self._events: list[InputEvent] = []
        self._url = b""
        self._headers: dict[str, str] | None = None  # of the head that is arriving
        self._in_head = False  # HEAD_BEGUN was returned for it
        self._repeated = 0  # its headers that had come before
        self._head_bytes = 0  # pieces of a head, or of chunk framing, without any event
        self._resumes = False  # the next head is one that was returned already

    def feed(self, data: bytes) -> list[InputEvent]:
        """Return the events in the next piece of input; after a `Refused` feed no more."""
        events = self._events = []
        error: Exception | None = None
        try:  # PERF: `_try` takes 0.06 us longer
            self._parser.feed_data(data)
        except _STOPPED as exc:
            error = exc
        refused = None if error is None else self._recover(error, data)
        if refused is None and not 2 <= len(events) <= 3:  # PERF: most requests have so many
            refused = self._check_bounds(len(data))
        if refused is not None:
            events.append(Refused(refused))
        elif self._headers is not None and not self._in_head:
            self._in_head = True
            events.append(BEGIN)
        return events

    def close(self) -> None:
        """Let go of llhttp, which holds this object: a cycle for the garbage collector."""
        del self._parser

    def _check_bounds(self, size: int) -> bytes | None:
        """The response if a piece brought no event and they add up, or too many requests."""
        limits, events = self._limits, self._events
        if not events:  # part of a head, of trailers, or of chunk extensions
            self._head_bytes += size
            return HEAD_TOO_LARGE if self._head_bytes >= limits.head_bytes else None
        if len(events) <= limits.pipelined_requests:
            return None
        requests = sum(type(event) is RequestHead for event in events)
        if requests <= limits.pipelined_requests:
            return None
        return _bad_request("too many requests at once")

    def _recover(self, error: Exception, data: bytes) -> bytes | None:
        """Go on after llhttp has stopped; the response if it refuses the input.

        NOTE: not called while an exception is handled, which would replace the context of another.
        """
        while isinstance(error, httptools.HttpParserUpgrade):
            data = data[error.args[0] :]
            self._ignore_upgrade()
            another = self._try(data)
            if another is None:
                return None
            error = another
        cause = error.__context__  # what one of the callbacks below has raised
        if cause is None:
            return _bad_request(error)
        if isinstance(cause, RefusedError):
            return cause.response
        logger.error("error while parsing a request", exc_info=cause)
        return INTERNAL_ERROR

    def _try(self, data: bytes) -> Exception | None:
        try:
            self._parser.feed_data(data)
        except _STOPPED as exc:
            return exc
        return None

    def _ignore_upgrade(self) -> None:
        """Go on in HTTP/1.1: the server speaks no other protocol (RFC 9110, 7.8).

        llhttp takes all that follows the head for the other protocol, the body too, and reports the
        end of the request. So a new parser is fed a head with the same framing. Java's client asks
        for HTTP/2 like this in each request.
        """
        head = self._events[-2]
        assert isinstance(head, RequestHead)
        length = int(head.headers.get("CONTENT_LENGTH", 0))
        if length:
            framing = b"Content-Length: %d" % length
        elif "HTTP_TRANSFER_ENCODING" in head.headers:
            framing = b"Transfer-Encoding: chunked"
        else:
            return
        del self._events[-1]  # END
        self._resumes = True
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)

    # --- llhttp's callbacks --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = {}
        self._repeated = self._head_bytes = 0

    def on_url(self, piece: bytes) -> None:
        self._url += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        headers = self._headers
        if headers is None:
            return  # a trailer, which is dropped
        key = _KEYS.get(name)
        if key is None:
            key = _key(name)
        text = value.decode("latin-1").rstrip(" \t")
        if key in headers:
            self._repeat(headers, key, text)
        elif key:
            headers[key] = text

    def on_headers_complete(self) -> None:
        parser, headers = self._parser, self._headers
        assert headers is not None
        self._headers = None
        self._in_head = False
        self._head_bytes = 0
        if self._resumes:
            self._resumes = False
            return
        if len(headers) + self._repeated > self._limits.header_count:
            raise RefusedError(HEAD_TOO_LARGE)
        version = _VERSIONS.get(parser.get_http_version())
        target = self._url
        method = parser.get_method().decode("ascii")
        if target[:1] != b"/" or version is None or "HTTP_HOST" not in headers:
            version, target = _checked(method, target, version, headers)
        if "HTTP_TRANSFER_ENCODING" in headers:
            _check_coding(version, headers)
        keep_alive = parser.should_keep_alive()
        self._events.append(RequestHead(method, target, version, headers, keep_alive))

    def on_body(self, piece: bytes) -> None:
        self._head_bytes = 0
        self._events.append(piece)

    def on_message_complete(self) -> None:
        self._events.append(END)

    def _repeat(self, headers: dict[str, str], key: str, value: str) -> None:
        """Add a header that came before.

        Raises:
            RefusedError: two servers would not agree on one of the two (RFC 9112, 3.2), or there
                are too many.
        """
        self._repeated += 1
        if self._repeated > self._limits.header_count:
            raise RefusedError(HEAD_TOO_LARGE)
        if key == "HTTP_HOST":
            raise RefusedError(_bad_request("the request has two Host headers"))
        if key == "HTTP_COOKIE":
            headers[key] += "; " + value
        elif key != "CONTENT_TYPE":  # the first counts
            headers[key] += "," + value


def _bad_request(reason: object) -> bytes:
    return refusal("400 BAD REQUEST", str(reason))


def _checked(
    method: str, target: bytes, version: str | None, headers: dict[str, str]
) -> tuple[str, bytes]:
    """Return version and target of an unusual request; a URL as target becomes path and query.

    Raises:
        RefusedError: no server could answer it (RFC 9112, 2.3 and 3.2).
    """
    if version is None:
        raise RefusedError(_bad_request("this server speaks HTTP/1.1 and HTTP/1.0"))
    if "HTTP_HOST" not in headers and version == "HTTP/1.1":
        raise RefusedError(_bad_request("the request has no Host header"))
    if target[:1] == b"/" or (target == b"*" and method == "OPTIONS"):
        return version, target
    scheme, found, rest = target.partition(b"://")
    if not found or scheme.lower() not in (b"http", b"https"):
        raise RefusedError(_bad_request("the target is neither a path nor a URL"))
    end = min(i for i in (rest.find(b"/"), rest.find(b"?"), len(rest)) if i >= 0)
    if not end:
        raise RefusedError(_bad_request("the URL names no host"))
    headers["HTTP_HOST"] = rest[:end].decode("latin-1")
    return version, rest[end:] if rest[end : end + 1] == b"/" else b"/" + rest[end:]


def _check_coding(version: str, headers: dict[str, str]) -> None:
    """Refuse framing that another server may read differently (request smuggling).

    Raises:
        RefusedError: RFC 9112, 6.1 and 6.3.
    """
    if headers["HTTP_TRANSFER_ENCODING"].lower() != "chunked":
        text = "this server knows no other transfer coding than chunked"
        raise RefusedError(_bad_request(text))
    if version != "HTTP/1.1":
        raise RefusedError(_bad_request("HTTP/1.0 has no chunks"))


_VERSIONS = {"1.1": "HTTP/1.1", "1.0": "HTTP/1.0"}
# PERF: clients send the same dozen names; to make one takes 0.5 us, to find it 0.04 us.
_KEYS: dict[bytes, str] = {}
_MOST_KEYS = 1000
_LONGEST_KEPT = 64


def _key(name: bytes) -> str:
    """Return the WSGI name of a header; "" for one with an underscore, which is dropped.

    `X_A` and `X-A` would have the same name, and a proxy may have removed one of them only.
    """
    lower = name.lower()
    if b"_" in name:
        key = ""
    elif lower in (b"content-type", b"content-length"):
        key = lower.decode().upper().replace("-", "_")
    else:
        key = "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
    # The names are the clients' to choose: without a bound they would fill the memory.
    if len(_KEYS) < _MOST_KEYS and len(name) <= _LONGEST_KEPT:
        _KEYS[name] = key
    return key
