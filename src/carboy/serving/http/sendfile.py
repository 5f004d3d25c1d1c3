"""Send files by the system call sendfile, so that no thread waits for the client and the file need
not be read.

An application returns its file in `wsgi.file_wrapper`, as Werkzeug's `send_file` does (PEP 3333,
"Optional Platform-Specific File Handling"). The thread that runs the event loop sends as much as
the socket accepts, and continues whenever the client has read some of it.
"""

from __future__ import annotations

import io
import os
import stat
import typing as t

if t.TYPE_CHECKING:
    import collections.abc as cabc

# The most bytes that one call of sendfile sends. PERF: 4 MiB would be no faster, and other clients
# must wait during the call.
SEND_BYTES = 1024 * 1024
# The most bytes of a file that are read at once if they must be encrypted. What the client does not
# accept of them is read again later.
COPY_BYTES = 128 * 1024
# The classes of files that sendfile can send: their descriptor has the same bytes that `read`
# returns, unlike that of a GzipFile, for example.
_PLAIN = (io.BufferedReader, io.BufferedRandom, io.FileIO)


class FileSection:
    """A part of an open file, of which some bytes may have been sent already.

    Attributes:
        left: how many bytes are still to be sent.
    """

    __slots__ = ("_fd", "_offset", "_on_close", "left")

    def __init__(
        self, fd: int, offset: int, length: int, on_close: cabc.Callable[[], object]
    ) -> None:
        self._fd = fd
        self._offset = offset
        self._on_close = on_close
        self.left = length

    def send_to(self, fd: int) -> int:
        """Send as much to a socket as it accepts; return the number of bytes.

        Raises:
            BlockingIOError: the socket accepts nothing at the moment.
            OSError: the client has disconnected, or the file has become shorter.
        """
        return self._advance(os.sendfile(fd, self._fd, self._offset, min(self.left, SEND_BYTES)))

    def copy_to(self, send: cabc.Callable[[bytes], int]) -> int:
        """Read a part of the file and pass it to `send`, which returns how many of its bytes it has
        sent; return this number.

        Raises:
            BlockingIOError: the client accepts nothing at the moment.
            OSError: the client has disconnected, or the file has become shorter.
        """
        return self._advance(send(os.pread(self._fd, min(self.left, COPY_BYTES), self._offset)))

    def _advance(self, sent: int) -> int:
        if not sent:
            raise OSError("the file has become shorter while it was sent")
        self._offset += sent
        self.left -= sent
        return sent

    def close(self) -> None:
        self._on_close()


class FileWrapper:
    """Iterates over a file in blocks; can also return a part of the file that sendfile can send.
    Applications get this class as `wsgi.file_wrapper`.

    It has a method `seek`, because Werkzeug seeks to the beginning of the range that a client
    requests.

    Args:
        file: an object with `read`, and perhaps `close`.
        block_bytes: the size of the blocks.
    """

    def __init__(self, file: t.Any, block_bytes: int = 8192) -> None:
        self._file = file
        self._block_bytes = block_bytes

    def __iter__(self) -> FileWrapper:
        return self

    def __next__(self) -> bytes:
        data: bytes = self._file.read(self._block_bytes)
        if not data:
            raise StopIteration
        return data

    def close(self) -> None:
        close = getattr(self._file, "close", None)
        if close is not None:
            close()

    def seekable(self) -> bool:
        return hasattr(self._file, "seekable") and bool(self._file.seekable())

    def seek(self, *args: int) -> int:
        return int(self._file.seek(*args))

    def tell(self) -> int:
        return int(self._file.tell())

    def section(
        self, start: int | None, length: int, on_close: cabc.Callable[[], object]
    ) -> FileSection | None:
        """Return the part of the file that begins at `start` and has `length` bytes. If `start` is
        None, it begins at the file's current position.

        Returns None if the file has fewer bytes, or is no plain file; its content must then be
        read.
        """
        file = self._file
        if type(file) not in _PLAIN or file.closed:
            return None
        status = os.fstat(file.fileno())
        offset = file.tell() if start is None else start
        if not stat.S_ISREG(status.st_mode) or offset + length > status.st_size:
            return None
        return FileSection(file.fileno(), offset, length, on_close)


def section_of(
    body: object, length: int, on_close: cabc.Callable[[], object]
) -> FileSection | None:
    """Return the part of a file that is the body of a response; None if sendfile cannot send the
    body.
    """
    start = None
    if not isinstance(body, FileWrapper):
        # If the client requests a range, Werkzeug wraps the `FileWrapper` in an object with the
        # attributes `start_byte` and `iterable`. sendfile sends no body of another class.
        start, body = getattr(body, "start_byte", None), getattr(body, "iterable", None)
        if start is None or not isinstance(body, FileWrapper):
            return None
    return body.section(start, length, on_close)
