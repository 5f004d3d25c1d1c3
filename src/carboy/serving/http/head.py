"""The head of a response as bytes. Source: RFC 9112, RFC 9110

The server decides how a response is framed: of the application's framing headers it takes the value
of `Content-Length` and the wish to close from `Connection`, and drops `Transfer-Encoding` and
`Keep-Alive`.
"""

from __future__ import annotations

import typing as t
from email.utils import formatdate
from http import HTTPStatus
from time import time

if t.TYPE_CHECKING:
    import collections.abc as cabc

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

Headers = list[tuple[str, str]]
CLOSE = ("Connection", "close")
TEXT = ("Content-Type", "text/plain; charset=utf-8")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


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
            lines.append(_date.line())
        # Reject CR and LF in status and headers (response splitting, CWE-113).
        # PERF: to search all of them at once takes 0.1 us, to count the line breaks 0.2.
        text = "".join(lines)
        if "\n" in text or "\r" in text:
            raise ValueError("A header of the answer holds a line break.")
        lines.append("")
        self.data = "\r\n".join(lines).encode("latin-1")


class _Date:
    """The `Date` header, formatted once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = ""

    def line(self) -> str:
        now_s = time()
        if not self._second <= now_s < self._second + 1:
            self._second = int(now_s)
            self._line = f"Date: {formatdate(self._second, usegmt=True)}"
        return self._line


_date = _Date()


def status_line(code: int) -> str:
    """Return `404 NOT FOUND` for 404, in Werkzeug's capitals."""
    return _STATUSES.get(code) or f"{code} UNKNOWN"


_STATUSES = {each.value: f"{each.value} {each.phrase.upper()}" for each in HTTPStatus}
