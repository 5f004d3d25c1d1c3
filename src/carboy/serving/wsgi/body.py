"""The body of a request as a view reads it: whole, bounded, and an error when it was cut short.

granian's own input object is not used directly, because (granian 2.8) its `readline` stops at the
first line, `read(-1)` is an error, and the end of a connection looks like the end of a body.
Nothing here knows the server: a reader is any function `read(size) -> bytes` that returns fewer
bytes than asked for only at the end.
"""

from __future__ import annotations

import typing as t

from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

Read = t.Callable[[int], bytes]
# What is read at once where nobody said how much; 256 KiB is where larger pieces bring no speed.
PIECE_BYTES = 256 * 1024
LINE_PIECE_BYTES = 8 * 1024


class Body:
    """A readable stream, as PEP 3333 asks for `wsgi.input`.

    Attributes:
        done: whether the client's bytes have all been taken.
    """

    __slots__ = ("_buffer", "_read", "done")

    def __init__(self, read: Read) -> None:
        self._read = read
        self._buffer = b""
        self.done = False

    def _take(self, size: int) -> bytes:
        """Up to `size` bytes from the client; all there are if it is negative."""
        raise NotImplementedError

    def read(self, size: int | None = -1) -> bytes:
        """Up to `size` bytes; without a size, all that is left."""
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
        """The next line with its end, or at most `size` bytes of it; b"" after the last one."""
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
        """Lines until the end, or until `hint` bytes are had."""
        lines: list[bytes] = []
        have = 0
        for line in self:
            lines.append(line)
            have += len(line)
            if hint is not None and 0 < hint <= have:
                break
        return lines

    def __iter__(self) -> Body:
        return self

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def begun(self) -> bool:
        """Whether anything was read, after which a client that asked for leave to send has it."""
        raise NotImplementedError

    def skip(self) -> bool:
        """Throw away the next piece; whether there was one. Limits do not matter here."""
        return not self.done and bool(self._read(PIECE_BYTES))


class SizedBody(Body):
    """A body whose length the client has told.

    Raises:
        ClientDisconnected: the client went before it had sent that much.
    """

    __slots__ = ("_length", "left")

    def __init__(self, read: Read, length: int) -> None:
        super().__init__(read)
        self.left = self._length = length
        self.done = not length

    def begun(self) -> bool:
        return self.left < self._length

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


class ChunkedBody(Body):
    """A body that ends when it ends.

    That it was cut short cannot be told where granian reads it, which reports both as the end.

    Raises:
        RequestEntityTooLarge: it is longer than the limit. What came before has been read.
    """

    __slots__ = ("_had", "_limit")

    def __init__(self, read: Read, limit: int | None) -> None:
        super().__init__(read)
        self._limit = limit
        self._had = 0

    def begun(self) -> bool:
        return self._had > 0

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


# For requests without a body; it has no state that could change.
EMPTY = SizedBody(_nothing, 0)
