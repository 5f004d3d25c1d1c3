"""A small HTTP client over a blocking socket. The soak test needs one that can be slow, pipeline
requests, leave in the middle, and say in which moment a connection has ended.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import time
import typing as t

# How long a client waits for the next byte of an answer. It is long, because the machine may be
# busy; a request that is not answered in that time is lost.
PATIENCE_S = 60.0


class Answer(t.NamedTuple):
    status: int
    headers: dict[str, str]  # the names are in lower case
    body: bytes

    @property
    def is_last(self) -> bool:
        """Whether the server closes the connection after this answer."""
        return self.headers.get("connection") == "close"


class NoAnswerError(Exception):
    """The connection ended before the whole answer had arrived."""

    def __init__(self, reason: str, *, begun: bool) -> None:
        super().__init__(reason)
        self.begun = begun  # whether a part of the answer had arrived


class Connection:
    """A connection to the server.

    Args:
        port: the port of 127.0.0.1.
        tls: how to encrypt the connection; None for a plain one.
        small_buffer: whether the system receives little that the client has not read, so that the
            server notices after a few kilobytes that nobody reads.

    Attributes:
        began_s: when the client began to connect.
        worker: the process that serves the connection, if the client has asked for it.
        answers: how many answers were received.
    """

    def __init__(
        self, port: int, tls: ssl.SSLContext | None = None, *, small_buffer: bool = False
    ) -> None:
        self.began_s = time.monotonic()
        self.worker: int | None = None
        self.answers = 0
        self._begun = False
        self._socket = socket.socket()
        if small_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        self._socket.settimeout(PATIENCE_S)
        try:
            self._socket.connect(("127.0.0.1", port))
            if tls is not None:
                self._socket = tls.wrap_socket(self._socket)
        except OSError as exc:
            self._socket.close()
            raise NoAnswerError(f"cannot connect: {_name(exc)}", begun=False) from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._input = self._socket.makefile("rb", buffering=65536)

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def is_closed(self) -> bool:
        """Whether the server has closed this connection, on which no answer is awaited."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def ask_for_worker(self) -> bool:
        """Ask which process serves this connection. Returns False if the process closes the
        connection after the answer, because it will stop.
        """
        self.send(b"GET /worker HTTP/1.1\r\nHost: soak\r\n\r\n")
        answer = self.receive()
        self.worker = int(answer.body)
        return not answer.is_last

    def send(self, data: bytes) -> None:
        self._begun = False
        try:
            self._socket.sendall(data)
        except OSError as exc:
            raise NoAnswerError(f"cannot send: {_name(exc)}", begun=False) from None

    def receive(self, *, pause_s: float = 0.0) -> Answer:
        """Return the next answer.

        Args:
            pause_s: how long to wait before each part of the body is read.
        """
        self._begun = False
        try:
            status, headers = self._head()
            while status == 100:
                status, headers = self._head()
            body = b"".join(self._body(headers, pause_s))
        except TimeoutError:
            raise NoAnswerError(f"nothing for {PATIENCE_S:g} s", begun=self._begun) from None
        except OSError as exc:
            raise NoAnswerError(_name(exc), begun=self._begun) from None
        self.answers += 1
        return Answer(status, headers, body)

    def _head(self) -> tuple[int, dict[str, str]]:
        words = self._line().split(b" ", 2)
        if words[0] != b"HTTP/1.1":
            raise NoAnswerError(f"no status line: {words!r}", begun=True)
        headers = {}
        while line := self._line():
            name, _, value = line.partition(b":")
            headers[name.decode("latin-1").lower()] = value.strip().decode("latin-1")
        return int(words[1]), headers

    def _body(self, headers: dict[str, str], pause_s: float) -> t.Iterator[bytes]:
        if headers.get("transfer-encoding") == "chunked":
            while size := int(self._line(), 16):
                yield from self._bytes(size, pause_s)
                self._line()
            self._line()
        else:
            yield from self._bytes(int(headers["content-length"]), pause_s)

    def _line(self) -> bytes:
        line = self._input.readline()
        self._begun |= bool(line)
        if not line.endswith(b"\n"):
            raise NoAnswerError("closed by the server", begun=self._begun)
        return line.rstrip(b"\r\n")

    def _bytes(self, size: int, pause_s: float) -> t.Iterator[bytes]:
        while size:
            if pause_s:
                time.sleep(pause_s)
            data = self._input.read(min(size, 16384))
            if not data:
                raise NoAnswerError("closed by the server", begun=True)
            size -= len(data)
            yield data

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._input.close()
            self._socket.close()

    def reset(self) -> None:
        """Close the connection by a TCP reset, as the system of a program that crashes does."""
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


def _name(exc: OSError) -> str:
    return exc.strerror or type(exc).__name__
