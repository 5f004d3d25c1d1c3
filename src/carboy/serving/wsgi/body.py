"""`wsgi.input`: the body of a request as a stream, which enforces the limit on its size.

A body that was cut short raises an error. The stream gets its bytes from a function `read(size) ->
bytes` of the server, which returns fewer bytes than requested only at the end of the body.
"""

from __future__ import annotations

import typing as t

from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

Read = t.Callable[[int], bytes]
# How many bytes of a body are read at once if the application gives no size. PERF: larger pieces
# are no faster.
PIECE_BYTES = 256 * 1024
LINE_PIECE_BYTES = 8 * 1024


class InputStream:
    """A stream with the methods that PEP 3333 asks of `wsgi.input`.

    Attributes:
        done: whether the application has read all that the client has sent of this body.
    """

    __slots__ = ("_buffer", "_read", "done")

    def __init__(self, read: Read) -> None:
        self._read = read
        self._buffer = b""
        self.done = False

    def _take(self, size: int) -> bytes:
        """Read up to `size` bytes of the body from the server and return them; all the rest if
        `size` is negative.
        """
        raise NotImplementedError

    def read(self, size: int | None = -1) -> bytes:
        """Return up to `size` bytes of the body; without a size, all that is left."""
        if size is None:
            size = -1
        buffer = self._buffer
        if not buffer:
            return self._take(size)
        if 0 <= size <= len(buffer):
            self._buffer = buffer[size:]
            return buffer[:size]
        self._buffer = b""
        return buffer + self._take(size - len(buffer) if size >= 0 else -1)

    def readline(self, size: int | None = -1) -> bytes:
        """Return the next line with its line break, or at most `size` bytes of it; b"" at the end
        of the body.
        """
        most = -1 if size is None else size
        parts: list[bytes] = []
        have = 0
        while True:
            piece = self._buffer or self._take(LINE_PIECE_BYTES)
            end = piece.find(b"\n") + 1 or len(piece)
            if 0 <= most < have + end:
                end = most - have
            parts.append(piece[:end])
            self._buffer = piece[end:]
            have += end
            if not piece or have == most or piece[:end].endswith(b"\n"):
                return b"".join(parts)

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        """Return the remaining lines; with `hint`, stop after this many bytes."""
        lines: list[bytes] = []
        have = 0
        for line in self:
            lines.append(line)
            have += len(line)
            if hint is not None and 0 < hint <= have:
                break
        return lines

    def __iter__(self) -> InputStream:
        return self

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line


class SizedBody(InputStream):
    """The stream of a body whose length a Content-Length announces.

    Raises:
        ClientDisconnected: the client disconnected before it had sent the whole body.
    """

    __slots__ = ("left",)

    def __init__(self, read: Read, length: int) -> None:
        super().__init__(read)
        self.left = length
        self.done = not length

    def _take(self, size: int) -> bytes:
        left = self.left
        if size < 0 or size > left:
            size = left
        if not size:
            return b""
        data = self._read(size)
        if len(data) < size:
            self.done = True
            raise ClientDisconnected
        self.left = left - size
        self.done = left == size
        return data


class ChunkedBody(InputStream):
    """The stream of a body of unknown length.

    If the body was cut short, the server's function `read` must raise an error: if it reported the
    end of the body instead, the application would take what it has got for the whole body.

    Raises:
        RequestEntityTooLarge: the body exceeds the limit. The bytes up to the limit were returned
            before.
    """

    __slots__ = ("_had", "_limit")

    def __init__(self, read: Read, limit: int | None) -> None:
        super().__init__(read)
        self._limit = limit
        self._had = 0

    def _take(self, size: int) -> bytes:
        if size < 0:
            pieces = []
            while piece := self._take(PIECE_BYTES):
                pieces.append(piece)
            return b"".join(pieces)
        if self.done or not size:
            return b""
        data = self._read(size)
        if len(data) < size:
            self.done = True
        self._had += len(data)
        if self._limit is not None and self._had > self._limit:
            raise RequestEntityTooLarge
        return data


def _nothing(size: int) -> bytes:
    return b""


# One stream for all requests without a body. They can share it because it has no state.
EMPTY = SizedBody(_nothing, 0)
