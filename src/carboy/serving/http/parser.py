"""Parse the bytes that a client sends into events, such as a request head or a piece of a body.

The parser does no I/O: it takes bytes and returns events; the connection decides what to do with
them. The parsing itself is done by llhttp, the parser of Node.js, in its strict mode. A request is
refused if a proxy could find its end elsewhere, because a client could hide a second request from
the proxy in this way (request smuggling). Source: RFC 9112

llhttp accepts several spaces in a request line, and so does this server: RFC 9112 (section 3) lets
a recipient separate the parts of a request line at whitespace.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t
from enum import Enum

import httptools

from ..log import logger
from . import upgrade
from .exchange import SMALL_PIECE_BYTES
from .limits import HEAD_TOO_LARGE, INTERNAL_ERROR, refusal

if t.TYPE_CHECKING:
    from .limits import Limits


@dataclasses.dataclass(slots=True, eq=False)
class RequestHead:
    """The event that a complete request head has arrived.

    Attributes:
        target: path and query, as the client sent them.
        version: `HTTP/1.1` or `HTTP/1.0`.
        headers: by their WSGI names: `HTTP_ACCEPT`, `CONTENT_TYPE`. CONTENT_LENGTH is a number of
            at most 20 digits.
        keep_alive: whether the client asked to keep the connection open.
        dropped_bytes: the size of what is left out of `headers`, such as the names of repeated
            headers; it counts towards the size limit.
    """

    method: str
    target: bytes
    version: str
    headers: dict[str, str]
    keep_alive: bool
    dropped_bytes: int = 0

    @property
    def size(self) -> int:
        """The size of request line and headers in bytes, without the optional whitespace around
        values.
        """
        size = len(self.method) + len(self.target) + len(self.version) + _LINE_BYTES + 2
        for key, value in self.headers.items():
            size += len(key.removeprefix("HTTP_")) + len(value) + _LINE_BYTES
        return size + self.dropped_bytes


class Refused(t.NamedTuple):
    """The last event of a connection: its input is invalid, and the client must be sent `response`,
    an error response.

    Attributes:
        head: what has arrived of the request's method, target and headers, for the access log; see
            `RequestParser.begun_head`.
    """

    response: bytes
    head: RequestHead


class Upgrade(t.NamedTuple):
    """The last event of a connection, in place of `END`: the request whose head came before asks
    for a WebSocket, and what the client sends from now on is not HTTP.

    Attributes:
        received: what has arrived behind the head.
    """

    received: bytes


# The WSGI names of the request headers whose values the access log contains.
LOGGED_HEADERS = ("HTTP_X_REQUEST_ID", "HTTP_USER_AGENT", "HTTP_REFERER")


class Mark(Enum):
    """Parser events that carry no data: a request head begins, a request ends, the input ends."""

    #: The beginning of a request head has arrived, but not yet its end.
    BEGIN = "begin"
    #: The current request has ended, with its body if it has one.
    END = "end"
    #: The client sends nothing more. `Connection` adds this event itself; the parser never returns
    #: it.
    EOF = "end of input"


# The members of `Mark` as global variables. PERF: reading a global variable takes less time than
# reading a member of an enum.
BEGIN: t.Final = Mark.BEGIN
END: t.Final = Mark.END
EOF: t.Final = Mark.EOF

#: The types of events. `bytes` is a piece of the current request's body.
InputEvent = RequestHead | bytes | Mark | Refused | Upgrade


class RefusedError(ValueError):
    """Raised if this server refuses a request that llhttp accepts; `response` is the error
    response.
    """

    def __init__(self, response: bytes) -> None:
        super().__init__(response)
        self.response = response


_STOPPED = (httptools.HttpParserUpgrade, httptools.HttpParserError)


class RequestParser:
    """Converts the bytes of one connection to events. Not thread-safe."""

    __slots__ = (
        "_dropped_bytes",
        "_events",
        "_head_bytes",
        "_headers",
        "_in_head",
        "_limits",
        "_most_head_bytes",
        "_parser",
        "_refused",
        "_repeated",
        "_skips_head",
        "_url",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._most_head_bytes = limits.head_bytes
        self._parser = httptools.HttpRequestParser(self)
        self._events: list[InputEvent] = []
        self._url = b""
        # The headers that have arrived of the current request head; None after its end.
        self._headers: dict[str, str] | None = None
        # Whether the event BEGIN was returned for the current request head.
        self._in_head = False
        # How many header lines of the head were dropped, or joined to an earlier one of the same
        # name.
        self._repeated = 0
        # How many bytes of the current head were left out of `_headers`, such as the names of
        # repeated headers.
        self._dropped_bytes = 0
        # How many bytes have arrived since the last parser event, to enforce `limits.head_bytes`.
        self._head_bytes = 0
        # The complete request head that was refused, because it is too large or asks for a
        # WebSocket in a wrong way; None if none was.
        self._refused: RequestHead | None = None
        # Whether the next head is the artificial one of `_ignore_upgrade`, which is not returned as
        # an event.
        self._skips_head = False

    def feed(self, data: bytes) -> list[InputEvent]:
        """Parse input and return its events. Must not be called after an event `Refused` or
        `Upgrade`.
        """
        events = self._events = []
        error: Exception | None = None
        # PERF: the size of a head is computed only if it may exceed the limit. A head that arrives
        # in a single read of fewer bytes than the limit cannot.
        may_exceed = self._in_head or len(data) > self._most_head_bytes
        try:  # PERF: does the same as `_try`, without a call, which takes 0.06 us
            self._parser.feed_data(data)
        except _STOPPED as exc:
            error = exc
        refused = None
        if error is not None:
            refused = self._recover(error, data)
            error = None  # break a reference cycle: the error's traceback refers to this frame
        if may_exceed and refused is None:
            refused = self._check_sizes()
        # PERF: further checks are only needed for more than three events. Usual are two or three:
        # the head, perhaps a body, and END.
        if refused is None and not 2 <= len(events) <= 3:
            refused = self._check_bounds(len(data))
        if refused is not None:
            events.append(Refused(refused, self._refused or self.begun_head()))
        elif self._headers is not None and not self._in_head:
            self._in_head = True
            events.append(BEGIN)
        return events

    def begun_head(self) -> RequestHead:
        """Return what has arrived so far of a request head that is incomplete or was refused: the
        method, the target, and those headers that the access log contains.
        """
        if self._headers is None or not self._url:
            return RequestHead("", b"", "", {}, keep_alive=False)
        method = self._parser.get_method().decode("ascii")
        version = _VERSIONS.get(self._parser.get_http_version(), "")
        headers = {key: self._headers[key] for key in LOGGED_HEADERS if key in self._headers}
        return RequestHead(method, self._url, version, headers, keep_alive=False)

    def close(self) -> None:
        """Break the reference cycle between this object and its llhttp parser, so that the memory
        of both is freed at once.
        """
        del self._parser

    def _check_bounds(self, size: int) -> bytes | None:
        """Return an error response if an incomplete head is too large, or too many requests arrived
        at once; else None.
        """
        limits, events = self._limits, self._events
        if not events:  # the input was a part of a head, of trailers, or of chunk extensions
            self._head_bytes += size
            return HEAD_TOO_LARGE if self._head_bytes >= limits.head_bytes else None
        if len(events) <= limits.pipelined_requests:
            return None
        requests = sum(type(event) is RequestHead for event in events)
        if requests <= limits.pipelined_requests:
            return None
        return _bad_request("too many requests at once")

    def _recover(self, error: Exception, data: bytes) -> bytes | None:
        """Handle the error with which llhttp has stopped; returns an error response if the input is
        refused. After an Upgrade header that does not ask for a WebSocket, the parser continues,
        and None is returned.

        NOTE: do not call this inside `except`, where exceptions of the callbacks would get a wrong
        `__context__`.
        """
        while isinstance(error, httptools.HttpParserUpgrade):
            data = data[error.args[0] :]
            head = self._events[-2]
            assert isinstance(head, RequestHead)
            if upgrade.is_asked_for(head):
                return self._upgrade(head, data)
            self._ignore_upgrade(head)
            another = self._try(data)
            if another is None:
                return None
            error = another
            del another
        # The exception that a callback of this class, such as `on_header`, has raised; None if
        # llhttp itself has found the error.
        cause = error.__context__
        try:
            if cause is None:
                return _bad_request(error)
            if isinstance(cause, RefusedError):
                return cause.response
            logger.error("error while parsing a request", exc_info=cause)
            return INTERNAL_ERROR
        finally:
            # Break a reference cycle: the tracebacks of `error` and `cause` refer to this frame.
            del error, cause

    def _try(self, data: bytes) -> Exception | None:
        try:
            self._parser.feed_data(data)
        except _STOPPED as exc:
            return exc
        return None

    def _upgrade(self, head: RequestHead, received: bytes) -> bytes | None:
        """Report a request that asks for a WebSocket, or return an error response if it does so in
        a wrong way.

        HTTP ends here in both cases, also if the application refuses the WebSocket later: a proxy
        may have begun to pass on everything, without looking whether it is a request that the
        client must not send (request smuggling).
        """
        refused = upgrade.refusal_of(head)
        if refused is None:
            self._events[-1] = Upgrade(received)
        else:
            self._refused = head
            del self._events[-2:]
        return refused

    def _ignore_upgrade(self, head: RequestHead) -> None:
        """Continue in HTTP/1.1 after a head with an Upgrade header that asks for a protocol which
        the server does not speak (RFC 9110, 7.8).

        llhttp takes everything after such a head, including the body, for data of the other
        protocol, and reports the end of the request. So a new parser is created, and is given an
        artificial head with the same body length, after which it can parse the body. Java's HTTP
        client requests an upgrade to HTTP/2 in each request.
        """
        length = int(head.headers.get("CONTENT_LENGTH", 0))
        if length:
            framing = b"Content-Length: %d" % length
        elif "HTTP_TRANSFER_ENCODING" in head.headers:
            framing = b"Transfer-Encoding: chunked"
        else:
            return
        # Remove the END event that llhttp has reported after the head, because the request's body
        # follows.
        del self._events[-1]
        self._skips_head = True
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framing)

    def _check_sizes(self) -> bytes | None:
        """Return an error response if one of the heads in `_events` exceeds the size limit, and
        drop that head with all events after it; else None.
        """
        for index, event in enumerate(self._events):
            if type(event) is RequestHead and event.size > self._most_head_bytes:
                del self._events[index:]
                self._refused = event
                return HEAD_TOO_LARGE
        return None

    # --- llhttp's callbacks --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = {}
        self._repeated = self._dropped_bytes = self._head_bytes = 0

    def on_url(self, piece: bytes) -> None:
        self._url += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        headers = self._headers
        if headers is None:
            return  # this is a trailer (a header after a chunked body): ignore it
        key = _WSGI_NAMES.get(name)
        if key is None:
            if len(headers) > self._limits.header_count:
                raise RefusedError(HEAD_TOO_LARGE)
            key = _wsgi_name(name, value)
        text = value.decode("latin-1").rstrip(" \t")
        if key in headers:
            self._repeat(headers, key, text)
        elif key:
            headers[key] = text
        else:
            self._count_dropped(len(name) + len(value))

    def on_headers_complete(self) -> None:
        parser, headers = self._parser, self._headers
        assert headers is not None
        self._in_head = False
        self._head_bytes = 0
        if self._skips_head:
            self._skips_head = False
            self._headers = None
            return
        if len(headers) + self._repeated > self._limits.header_count:
            raise RefusedError(HEAD_TOO_LARGE)
        version = _VERSIONS.get(parser.get_http_version())
        target = self._url
        method = parser.get_method().decode("ascii")
        host = headers.get("HTTP_HOST")
        if target[:1] != b"/" or version is None or host not in _VALID_HOSTS:
            version, target = _check_unusual(method, target, version, headers)
        if b"#" in target:
            raise RefusedError(_bad_request("the target contains a fragment (#)"))
        if "HTTP_TRANSFER_ENCODING" in headers:
            _check_coding(version, headers)
        if "CONTENT_LENGTH" in headers and len(headers["CONTENT_LENGTH"]) > _MAX_LENGTH_DIGITS:
            raise RefusedError(_bad_request(_LONG_LENGTH))
        keep_alive = parser.should_keep_alive()
        head = RequestHead(method, target, version, headers, keep_alive, self._dropped_bytes)
        self._headers = None
        self._events.append(head)

    def on_body(self, piece: bytes) -> None:
        self._head_bytes = 0
        events = self._events
        # Join small chunks: the events may have to wait until the response to an earlier request is
        # sent, and a bytes object for each chunk would take many times the memory.
        if events and type(last := events[-1]) is bytes and len(last) < SMALL_PIECE_BYTES:
            events[-1] = last + piece
        else:
            events.append(piece)

    def on_message_complete(self) -> None:
        self._events.append(END)

    def _repeat(self, headers: dict[str, str], key: str, value: str) -> None:
        """Handle a header whose name has occurred before: join its value to the earlier one.

        Raises:
            RefusedError: Host is repeated (RFC 9112, 3.2), or there are too many headers.
        """
        self._count_dropped(len(key.removeprefix("HTTP_")))
        if key == "HTTP_HOST":
            raise RefusedError(_bad_request("the request has two Host headers"))
        if key == "HTTP_COOKIE":
            headers[key] += "; " + value
            self._dropped_bytes -= 2
        elif key != "CONTENT_TYPE":
            headers[key] += "," + value
            self._dropped_bytes -= 1
        else:  # the first Content-Type is kept, and this second one is dropped
            self._dropped_bytes += len(value)

    def _count_dropped(self, size: int) -> None:
        """Count towards the limits a header line that was dropped, or joined to an earlier line of
        the same name.

        Raises:
            RefusedError: there are too many headers.
        """
        self._dropped_bytes += size + _LINE_BYTES
        self._repeated += 1
        if self._repeated > self._limits.header_count:
            raise RefusedError(HEAD_TOO_LARGE)


def _bad_request(reason: object) -> bytes:
    return refusal("400 BAD REQUEST", str(reason))


def _check_unusual(
    method: str, target: bytes, version: str | None, headers: dict[str, str]
) -> tuple[str, bytes]:
    """Check the version, Host and target of a request in which one of these is unusual; returns the
    version, and the path with the query.

    If the target is an absolute URL, its path and query are returned, and its host replaces the
    Host header. An empty Host header is removed, so that the server's own name is used.

    Raises:
        RefusedError: the request is invalid (RFC 9112, 2.3 and 3.2).
    """
    if version is None:
        raise RefusedError(_bad_request("this server speaks HTTP/1.1 and HTTP/1.0"))
    host = headers.get("HTTP_HOST")
    if host is None and version == "HTTP/1.1":
        raise RefusedError(_bad_request("the request has no Host header"))
    if host:
        _check_host(host)
    elif host is not None:
        del headers["HTTP_HOST"]
    if target[:1] == b"/" or (target == b"*" and method == "OPTIONS"):
        return version, target
    scheme, found, rest = target.partition(b"://")
    if not found or scheme.lower() not in (b"http", b"https"):
        raise RefusedError(_bad_request("the target is neither a path nor a URL"))
    end = min(i for i in (rest.find(b"/"), rest.find(b"?"), len(rest)) if i >= 0)
    if not end:
        raise RefusedError(_bad_request("the URL has no host"))
    host = headers["HTTP_HOST"] = rest[:end].decode("latin-1")
    _check_host(host)
    return version, rest[end:] if rest[end : end + 1] == b"/" else b"/" + rest[end:]


# Matches the value of a Host header (RFC 3986, 3.2.2): a name or IPv4 address, or an IPv6 address
# in brackets; and perhaps a port. It matches no user name, because RFC 9110 (4.2.4) lets a server
# refuse them.
_HOST = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
# PERF: the values of Host headers that were found valid; a lookup takes 0.05 us, matching `_HOST`
# 0.5 us.
_VALID_HOSTS: set[str | None] = set()
_MAX_HOSTS = 1000


def _check_host(host: str) -> None:
    if not is_host(host):
        raise RefusedError(_bad_request("the host is not valid"))


def is_host(host: str) -> bool:
    """Return whether a text is a valid value of a Host header."""
    if host in _VALID_HOSTS:
        return True
    if _HOST.fullmatch(host) is None:
        return False
    # Limit the size of the cache, because clients may send any number of different hosts.
    if len(_VALID_HOSTS) >= _MAX_HOSTS:
        _VALID_HOSTS.clear()
    if len(host) <= _MAX_KEY_BYTES:
        _VALID_HOSTS.add(host)
    return True


def _check_coding(version: str, headers: dict[str, str]) -> None:
    """Refuse a transfer coding that another server may understand differently (request smuggling).

    Raises:
        RefusedError: the coding is not exactly chunked, or the version is 1.0 (RFC 9112, 6.1, 6.3).
    """
    if headers["HTTP_TRANSFER_ENCODING"].lower() != "chunked":
        raise RefusedError(_bad_request(_ONLY_CHUNKED))
    if version != "HTTP/1.1":
        raise RefusedError(_bad_request("HTTP/1.0 has no chunks"))


# llhttp accepts a Content-Length below 2 ** 64, which has 20 digits, and any number of zeros before
# it. Python converts no number of more than 4300 digits.
_MAX_LENGTH_DIGITS = 20
_LONG_LENGTH = f"the Content-Length has more than {_MAX_LENGTH_DIGITS} digits"
_ONLY_CHUNKED = "this server supports no transfer coding except chunked"
_VERSIONS = {"1.1": "HTTP/1.1", "1.0": "HTTP/1.0"}
# The number of bytes that separate the parts of a line: colon, space and line break of a header
# line; two spaces and line break of a request line.
_LINE_BYTES = 4
_MAX_KEYS = 1000
_MAX_KEY_BYTES = 64


def _wsgi_name(name: bytes, value: bytes) -> str:
    """Return the WSGI name of a header, such as `HTTP_ACCEPT`; "" if the name has an underscore,
    because such a header is dropped.

    `X_A` and `X-A` would have the same WSGI name: if a proxy removes the header `X-A` from
    requests, a client could still pass it to the application as `X_A`.

    Raises:
        RefusedError: the header is Transfer-Encoding, and llhttp would not read its value as
            chunked.
    """
    lower = name.lower()
    # The name Transfer-Encoding is not cached, because the header's value must be checked in each
    # request.
    if lower == b"transfer-encoding":
        # Refuse also `chunked` with a tab behind it: llhttp does not remove the tab, and would read
        # the body as not chunked.
        if value.rstrip(b" ").lower() != b"chunked":
            raise RefusedError(_bad_request(_ONLY_CHUNKED))
        return _convert_name(name)
    key = "" if b"_" in name else _convert_name(name)
    if len(name) <= _MAX_KEY_BYTES:
        # Limit the cache, because clients choose the names, and could exhaust the memory. It is
        # cleared when it is full: otherwise clients could fill it with useless names, for which no
        # others would be cached.
        if len(_WSGI_NAMES) >= _MAX_KEYS:
            _WSGI_NAMES.clear()
            _WSGI_NAMES.update(_USUAL_NAMES)
        _WSGI_NAMES[name] = key
    return key


def _convert_name(name: bytes) -> str:
    key = name.decode("latin-1").upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key


_USUAL = """
    Accept Accept-Encoding Accept-Language Authorization Cache-Control Connection Content-Length
    Content-Type Cookie Expect Forwarded Host If-Match If-Modified-Since If-None-Match Keep-Alive
    Origin Pragma Priority Range Referer Sec-Ch-Ua Sec-Ch-Ua-Mobile Sec-Ch-Ua-Platform
    Sec-Fetch-Dest Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User Traceparent Tracestate
    Upgrade-Insecure-Requests User-Agent Via X-Api-Key X-Forwarded-For X-Forwarded-Host
    X-Forwarded-Port X-Forwarded-Prefix X-Forwarded-Proto X-Real-Ip X-Request-Id X-Requested-With
"""
# The header names that browsers, libraries and proxies send; they are never removed from the cache
# of WSGI names.
_USUAL_NAMES = {
    form.encode(): _convert_name(name.encode())
    for name in _USUAL.split()
    for form in (name, name.lower())
}
# A cache of WSGI names by header name. PERF: clients send the same dozen names; converting one
# takes 0.5 us, a lookup 0.04 us.
_WSGI_NAMES: dict[bytes, str] = dict(_USUAL_NAMES)
