"""Messages between processes of one server: lines of JSON, each `[word, payload]`."""

from __future__ import annotations

import json
import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc


def encode_line(word: str, payload: object = None) -> bytes:
    """Return a message as a line of JSON."""
    return json.dumps([word, payload]).encode() + b"\n"


class LineReader:
    """Splits what arrives on a socket into messages.

    `feed` raises ValueError for something that is no message.
    """

    def __init__(self) -> None:
        self._unread = b""

    def feed(self, data: bytes) -> cabc.Iterator[tuple[str, t.Any]]:
        """Yield the messages that are complete with `data`."""
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            match json.loads(line):
                case [str(word), payload]:
                    yield word, payload
                case other:
                    raise ValueError(f"not [word, payload]: {other!r:.100}")
