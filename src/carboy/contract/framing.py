"""The framing of a stream's items in a response: JSON lines, or server-sent events.

                   JSON lines                         server-sent events
    an item        its JSON, a line break             `data: ` and its JSON, an empty line
    a failure      `{"error": {problem}}`, the last   `event: error`, `data: {problem}`, the last
    silence        a space                            a comment

A failure is a problem (RFC 9457), so that a client sees that its response is incomplete. After a
failure and after the last item the response ends properly; a response that was cut off does not.

A heartbeat keeps proxies from closing a silent connection, and detects clients that have
disconnected. Many clients would pass an empty line to `json.loads`; a space begins the next line,
which stays JSON.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

from __future__ import annotations

import typing as t
from json import dumps, loads

from .media import EVENTS, JSON_LINES

if t.TYPE_CHECKING:
    import collections.abc as cabc

    from .answers import Encode

# Proxies close a silent connection after 60 s (nginx's proxy_read_timeout, AWS's balancers) and
# more. The specification of server-sent events recommends "every 15 seconds or so".
HEARTBEAT_S = 15.0

Explain: t.TypeAlias = "cabc.Callable[[BaseException], cabc.Mapping[str, t.Any]]"


class ItemSource(t.Protocol):
    """Items that come from another thread."""

    def take(self, timeout_s: float | None = 0) -> list[t.Any] | None:
        """Wait for items, and return those that are ready; [] if none is in time, None at the end.

        Raises what ended the stream early.
        """

    def close(self) -> None:
        """Stop the source: its reader has gone."""


class Framing(t.NamedTuple):
    """One of the two forms."""

    media_type: str
    headers: dict[str, str]
    item: cabc.Callable[[bytes], bytes]
    failure: cabc.Callable[[bytes], bytes]
    heartbeat: bytes


# A proxy that collects an answer before it passes it on would make a stream pointless.
_LINES_HEADERS = {"X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}
_EVENTS_HEADERS = {"Cache-Control": "no-cache", **_LINES_HEADERS}
# With a blank, which an item never has in this place: no encoder of ours writes one.
_ERROR: t.Final = b'{"error": '
# JSON has no line breaks of its own, so one line, or one `data` field, is enough.
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
    """Return the problem that ended a stream of JSON lines; None of a complete stream."""
    last = lines[lines.rfind(b"\n", 0, -1) + 1 :].lstrip()
    return t.cast("dict[str, t.Any]", loads(last)["error"]) if last.startswith(_ERROR) else None


def failure_frame(framing: Framing, problem: cabc.Mapping[str, t.Any]) -> bytes:
    return framing.failure(dumps(problem, ensure_ascii=False).encode())


class Chunks:
    """The bytes of a stream, as an iterator with `close` (PEP 3333). For one thread at a time.

    The items that are there are written when it is made: an item that cannot be written is an
    ordinary failure as long as nothing was sent.

    Args:
        stream: the items.
        encode: writes an item as JSON.
        explain: makes the problem that the client gets of a failure, and writes the log.
    """

    def __init__(
        self,
        stream: ItemSource,
        framing: Framing,
        encode: Encode,
        explain: Explain,
    ) -> None:
        self._stream = stream
        self._framing = framing
        self._encode = encode
        self._explain = explain
        self._over = False
        self._first = b""
        try:
            items = stream.take()
            if items is None:
                self._over = True
            elif items:
                self._first = self._write(items, first=True)
        except BaseException:
            stream.close()
            raise

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
        except BaseException as exc:  # noqa: BLE001 - whatever it is, the reader must hear of it
            return self._fail(exc)
        if items is None:
            self._over = True
            raise StopIteration
        return self._write(items) if items else self._framing.heartbeat

    def _write(self, items: list[t.Any], *, first: bool = False) -> bytes:
        written = []
        for item in items:
            try:
                written.append(self._framing.item(self._encode(item)))
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
        """End the stream before its end. From any thread."""
        self._first = b""
        if not self._over:
            self._over = True
            self._stream.close()
