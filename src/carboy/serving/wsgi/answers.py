"""What a WSGI application answers, before it is handed to the server. Source: PEP 3333"""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc

Headers = list[tuple[str, str]]
CLOSE = ("Connection", "close")
# A body up to this size is read before the application is called; 4,096 connections hold 256 MiB
# then.
# A longer one would cost memory before anybody wants it.
AT_ONCE_BYTES = 64 * 1024
# An unread rest of a body up to this size is read away so that the connection can be used again; it
# is likely to have arrived with the headers.
KEEP_ALIVE_REST_BYTES = 64 * 1024
# How long an answer waits for a client that sends on: nginx's lingering_time is 30 s. The client
# has got its answer after milliseconds; this is for slow lines.
LINGER_S = 10.0


class StartResponse:
    """Takes the status line and the headers. The list is the server's from then on."""

    __slots__ = ("headers", "status", "written")

    def __init__(self) -> None:
        self.status = ""
        self.headers: Headers = []
        self.written: list[bytes] | None = None

    def __call__(
        self, status: str, headers: Headers, exc_info: t.Any = None
    ) -> cabc.Callable[[bytes], object]:
        self.status = status
        self.headers = headers
        return self.write

    def write(self, data: bytes) -> None:
        """The old way to answer, kept by PEP 3333 for applications from before WSGI."""
        if self.written is None:
            self.written = []
        self.written.append(data)

    @property
    def code(self) -> int:
        """The number in the status line."""
        # PERF: looking up a line that is always the same takes half the time of int(line[:3]).
        code = _CODES.get(self.status)
        if code is None:
            if not self.status:
                raise RuntimeError("The application answered without calling start_response.")
            code = int(self.status[:3])
        return code

    def fields(self, *, close: bool) -> Headers:
        """The headers, and that the connection ends if it does."""
        return [*self.headers, CLOSE] if close else self.headers


def too_long(length: str, limit: int | None) -> bytes:
    """The text of a 413."""
    return (
        f"413 Content Too Large: the body has {length} bytes, and this server takes {limit}.\n"
    ).encode()


# Source: RFC 9112, 3.2
TWO_HOSTS = b"400 Bad Request: The request has two Host headers.\n"
TEXT = ("Content-Type", "text/plain; charset=utf-8")
_CODES = {
    "200 OK": 200,
    "201 CREATED": 201,
    "204 NO CONTENT": 204,
    "302 FOUND": 302,
    "304 NOT MODIFIED": 304,
    "404 NOT FOUND": 404,
}
