"""Frame the items of a streamed response as JSON lines or as server-sent events.

                   JSON lines                           server-sent events
    item           the item's JSON and a line break     `data: `, the JSON, and an empty line
    failure        `{"error": {problem}}`, last line    `event: error`, `data: {problem}`, last
    heartbeat      a space                              a comment

A failure is a problem (RFC 9457), from which a client learns that the stream is incomplete. After a
failure or the last item the HTTP response ends normally, unlike a response that was cut off.

Heartbeats keep proxies from closing a silent connection, and detect disconnected clients. In JSON
lines a heartbeat is a space, which is whitespace before the next item; an empty line would be
passed to `json.loads` by many clients. This module does not produce the items.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

import re
import typing as t
from json import dumps, loads

from ..core.nosniff import NOSNIFF
from .media import EVENTS, JSON_LINES

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .answers import Encode

# A heartbeat is sent after this many seconds without an item. Proxies close a silent connection
# after 60 s or later: nginx's proxy_read_timeout, AWS's load balancers. The specification of
# server-sent events recommends "every 15 seconds or so".
HEARTBEAT_S = 15.0

Explain: t.TypeAlias = "cabc.Callable[[BaseException], cabc.Mapping[str, t.Any]]"


class ItemSource(t.Protocol):
    """A source of the items of a stream. Another thread usually produces the items."""

    def take(self, timeout_s: float | None = 0) -> list[t.Any] | None:
        """Wait for items and return all that are ready: [] after the timeout, None at the end.

        Raises the exception that ended the stream early.
        """

    def close(self) -> None:
        """Stop producing items, because the client has disconnected."""


class Framing(t.NamedTuple):
    """A streaming format: its media type, headers, and functions that frame JSON bytes."""

    media_type: str
    headers: dict[str, str]
    item: cabc.Callable[[bytes], bytes]
    failure: cabc.Callable[[bytes], bytes]
    heartbeat: bytes


# Headers of a JSON lines response. `X-Accel-Buffering` asks proxies not to buffer the response,
# which would defeat streaming.
_LINES_HEADERS = dict((("X-Accel-Buffering", "no"), NOSNIFF))
_EVENTS_HEADERS = {"Cache-Control": "no-cache", **_LINES_HEADERS}
# The beginning of the last line of a failed stream. No item begins like this, because carboy's
# encoders write no space after a colon.
_ERROR: t.Final = b'{"error": '


# Matches the Unicode line breaks U+0085, U+2028 and U+2029. Many clients split a response by
# `str.splitlines`, which also splits lines at these characters. In JSON their bytes occur only
# inside strings, where encoders do not escape them.
_breaks_lines: t.Final = re.compile(rb"\xc2\x85|\xe2\x80[\xa8\xa9]").search


def one_line(data: bytes) -> bytes:
    """Escape the Unicode line breaks in JSON, so that every client reads it as one line."""
    if _breaks_lines(data):
        for character in ("\x85", "\u2028", "\u2029"):
            data = data.replace(character.encode(), b"\\u%04x" % ord(character))
    return data


LINES: t.Final = Framing(
    JSON_LINES,
    _LINES_HEADERS,
    lambda data: data + b"\n",
    lambda data: _ERROR + data + b"}\n",
    b" ",
)
SERVER_SENT: t.Final = Framing(
    EVENTS,
    _EVENTS_HEADERS,
    lambda data: b"data: " + data + b"\n\n",
    lambda data: b"event: error\ndata: " + data + b"\n\n",
    b":\n\n",
)


def framing_of(media_type: str) -> Framing:
    return SERVER_SENT if media_type == EVENTS else LINES


def last_problem(lines: bytes) -> dict[str, t.Any] | None:
    """Return the problem details at the end of a stream of JSON lines, or None if the stream is
    complete.
    """
    last = lines[lines.rfind(b"\n", 0, -1) + 1 :].lstrip()
    return t.cast("dict[str, t.Any]", loads(last)["error"]) if last.startswith(_ERROR) else None


def failure_frame(framing: Framing, problem: cabc.Mapping[str, t.Any]) -> bytes:
    return framing.failure(one_line(dumps(problem, ensure_ascii=False).encode()))


class Chunks:
    """The bytes of a streamed response: a WSGI iterable with `close` (PEP 3333).

    Used by one thread at a time. The constructor encodes the items that are ready, so that a
    failure of the first item is raised before the response has begun.

    Args:
        stream: the source of the items.
        encode: checks an item, and encodes it as JSON.
        write: encodes the items that pass the test `is_exact`, without a check.
        explain: logs a failure, and returns the problem details (RFC 9457) for the client.

    Attributes:
        item_bytes: the average length of the items that were ready; 0 if there was none.
    """

    def __init__(
        self,
        stream: ItemSource,
        framing: Framing,
        encode: Encode,
        explain: Explain,
        *,
        write: Encode | None = None,
        is_exact: cabc.Callable[[t.Any], bool] | None = None,
    ) -> None:
        self._write_exact = write or encode
        self._is_exact = is_exact or (lambda item: False)
        self._stream = stream
        self._framing = framing
        self._encode = encode
        self._explain = explain
        self._over = False
        self._first = b""
        self.item_bytes = 0
        try:
            items = stream.take()
            if items is None:
                self._over = True
            elif items:
                self._first = self._write(items, first=True)
                self.item_bytes = len(self._first) // len(items)
        except BaseException:
            stream.close()
            raise

    @property
    def is_unread(self) -> bool:
        """Whether items were encoded by the constructor and have not yet been passed to the
        server.
        """
        return bool(self._first)

    def __iter__(self) -> t.Self:
        return self

    def __next__(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        if self._over:
            raise StopIteration
        try:
            items = self._stream.take(HEARTBEAT_S)
        except BaseException as exc:  # noqa: BLE001  # the client must learn of any failure
            return self._fail(exc)
        if items is None:
            self._over = True
            raise StopIteration
        return self._write(items) if items else self._framing.heartbeat

    def _write(self, items: list[t.Any], *, first: bool = False) -> bytes:
        written = []
        for item in items:
            try:
                encode = self._write_exact if self._is_exact(item) else self._encode
                data = encode(item)
                # PERF: this test takes 0.1 us, less than a call of `one_line`, which would make the
                # same test.
                if _breaks_lines(data):
                    data = one_line(data)
                written.append(self._framing.item(data))
            except Exception as exc:
                if first and not written:
                    raise
                written.append(self._fail(exc))
                break
        return b"".join(written)

    def _fail(self, exc: BaseException) -> bytes:
        self._over = True
        self._stream.close()
        return failure_frame(self._framing, self._explain(exc))

    def close(self) -> None:
        """Stop producing items before the end of the stream. Thread-safe."""
        self._first = b""
        if not self._over:
            self._over = True
            self._stream.close()
