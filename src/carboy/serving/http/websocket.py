"""The socket of a WebSocket, as the application sees it, and where frames begin and end on it.

The server does not speak the WebSocket protocol. The application does, by a library such as
simple-websocket, which finds the socket in the WSGI environ: `environ["werkzeug.socket"]`, as under
Werkzeug. When the library uses the socket for the first time, the server hands it over; until then
the application may refuse the WebSocket by an ordinary response.

The server still ends a WebSocket: if nothing is transferred for too long, and when the server
stops. A client learns the reason only from a Close frame, such as the one with code 1001 ("going
away"), and a frame may begin only where another one has ended. So the server follows the frames
that the application sends. Source: RFC 6455, 5.2, 5.5.1, 7.4.1
"""

from __future__ import annotations

import errno
import socket
import threading
import typing as t
from time import monotonic

from .poller import READ, WRITE, wait_for

if t.TYPE_CHECKING:
    from types import TracebackType

    from _typeshed import ReadableBuffer, WriteableBuffer

# Codes of Close frames (RFC 6455, 7.4.1).
NORMAL = 1000
GOING_AWAY = 1001
FAILED = 1011
# How many seconds a client has to answer the Close frame by which the server ends a silent
# WebSocket.
CLOSE_S = 1.0
_CLOSE_OPCODE = 8
# The most bytes that one record of TLS carries (RFC 8446, 5.1).
_RECORD_BYTES = 16 * 1024
# How many bytes are read at once when they are dropped.
_DRAINED_BYTES = 64 * 1024
# The largest size of a frame's head.
_MAX_HEAD_BYTES = 14
# Where the status of a response ends, and the end of its head.
_STATUS_BYTES, _END = 12, b"\r\n\r\n"


class Frames:
    """Follows the frames that one side of a WebSocket sends. It does no I/O.

    Attributes:
        closing: whether a Close frame was sent, after which no other may follow.
    """

    def __init__(self) -> None:
        self.closing = False
        # The beginning of a frame's head whose end was not sent yet.
        self._begun = b""
        # How many bytes of the current frame's payload were not sent yet.
        self._left = 0

    @property
    def complete(self) -> bool:
        """Whether all frames that were begun have ended."""
        return not (self._begun or self._left)

    def add(self, data: memoryview) -> None:
        """Record that `data` was sent, after everything before it."""
        at = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
            else:
                at += self._add_head(bytes(data[at : at + _MAX_HEAD_BYTES]))

    def _add_head(self, data: bytes) -> int:
        """Read the head of a frame, or the rest of one; returns how many bytes of `data` it has."""
        head = self._begun + data
        size = _head_bytes(head)
        if len(head) < size:
            self._begun = head
            return len(data)
        used = size - len(self._begun)
        self._begun = b""
        self._left = _payload_bytes(head)
        self.closing = self.closing or head[0] & 0x0F == _CLOSE_OPCODE
        return used


class SentFrames(Frames):
    """Follows what an application sends on the socket of a WebSocket: the response to the
    handshake, then frames.

    Attributes:
        status: the status of the response, "101" if the WebSocket is open; empty before its end.
        sent_bytes: how many bytes were sent after the response.
    """

    def __init__(self) -> None:
        super().__init__()
        self.status = ""
        self.sent_bytes = 0
        self._response = b""

    @property
    def may_close(self) -> bool:
        """Whether a Close frame may be sent now."""
        return self.status == "101" and self.complete and not self.closing

    def add(self, data: memoryview) -> None:
        if not self.status:
            data = self._add_response(data)
        self.sent_bytes += len(data)
        if self.status == "101":  # otherwise it has refused the WebSocket, and there are no frames
            super().add(data)

    def _add_response(self, data: memoryview) -> memoryview:
        """Read the response to the handshake; returns the part of `data` behind it."""
        response = self._response + data
        end = response.find(_END) + len(_END)
        if end < len(_END):
            # Of an incomplete response, keep only the status, and what may be the beginning of
            # the empty line at its end.
            status, rest = response[:_STATUS_BYTES], response[_STATUS_BYTES:]
            self._response = status + rest[1 - len(_END) :]
            return data[len(data) :]
        self.status, self._response = response[9:_STATUS_BYTES].decode("latin-1"), b""
        return data[len(data) - (len(response) - end) :]


def _head_bytes(head: bytes) -> int:
    """Return the size of a frame's head, of which the beginning is known; 2 if too little is."""
    if len(head) < 2:
        return 2
    mask_bytes = 4 if head[1] & 0x80 else 0
    return 2 + {126: 2, 127: 8}.get(head[1] & 0x7F, 0) + mask_bytes


def _payload_bytes(head: bytes) -> int:
    length = head[1] & 0x7F
    if length == 126:
        return int.from_bytes(head[2:4], "big")
    return int.from_bytes(head[2:10], "big") if length == 127 else length


class WebSocketOwner(t.Protocol):
    """What the socket of a WebSocket needs of the connection that it belongs to. Thread-safe."""

    @property
    def half_closes(self) -> bool:
        """Whether the socket can still receive when its sending side is closed."""

    def hand_over(self, sock: WebSocketSocket) -> bool:
        """Let the application have the socket from now on. Returns False if it is too late: the
        client has disconnected, or a response was sent.
        """

    def close(self) -> None:
        """Close the connection, and with it the socket."""


class WebSocketSocket:
    """The socket of a WebSocket, which the application uses like a blocking `socket.socket`, by
    several threads if it wants: libraries read on one thread and write on others.

    The real socket stays non-blocking: a thread that must wait does so outside of all calls to the
    socket. So calls do not overlap, which TLS does not allow, and the socket is closed when no
    thread uses it, so that none reads from another socket that got the same number.

    Args:
        sock: the client's socket, non-blocking.
        early: what has arrived behind the request.
        owner: the connection.
        stall_s: how long a client may read nothing while data is sent to it.

    Attributes:
        taken: whether the application has used the socket, so that it belongs to it.
        sent: the frames that were sent.
        received: the frames that the client has sent, as far as they were read.
        active_s: when something was transferred the last time, on the clock of `time.monotonic`.
    """

    def __init__(
        self, sock: socket.socket, early: bytes, owner: WebSocketOwner, *, stall_s: float
    ) -> None:
        self.taken = False
        self.sent = SentFrames()
        self.received = Frames()
        self.active_s = monotonic()
        self._socket = sock
        self._early = early
        self._owner: WebSocketOwner | None = owner
        self._stall_s = stall_s
        self._timeout_s: float | None = None
        self._taking = threading.Lock()
        # Held during a whole message, so that messages of several threads do not mix.
        self._sending = threading.Lock()
        # Held during each call to the real socket; guards `_users` and `_is_open` as well.
        self._calling = threading.Lock()
        # How many threads wait for the socket. A selector of the application's, which knows the
        # number of the socket, counts as another one until the application closes the socket.
        self._users = 0
        self._has_selector = False
        self._is_open = True
        self._closes = False

    # --- for the application ---------------------------------------------------------------

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """Return what the client has sent, waiting for it; b"" when no more will come.

        If the application waits by a selector, this may be more than `bufsize`, so that nothing is
        left which TLS has decrypted: a selector does not see that.
        """
        if flags:
            raise ValueError("The socket of a WebSocket supports no flags of recv().")
        self._take()
        if self._has_selector:
            bufsize = max(bufsize, _RECORD_BYTES)
        return self._read(bufsize, self._timeout_s)

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        view = memoryview(buffer).cast("B")
        if flags:
            raise ValueError("The socket of a WebSocket supports no flags of recv_into().")
        self._take()
        data = self._read(nbytes or len(view), self._timeout_s)
        view[: len(data)] = data
        return len(data)

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        """Send all of `data`, waiting for the client to read. (Other sockets may send less.)

        Raises:
            OSError: the client has disconnected, or reads nothing for too long.
        """
        if flags:
            raise ValueError("The socket of a WebSocket supports no flags of send().")
        self._take()
        view = memoryview(data).cast("B")
        with self._sending:
            # After a Close frame of the server's nothing may follow. What the application sends is
            # dropped, usually its answer to the client's Close frame.
            if not self._closes:
                self._send_all(view)
                self.sent.add(view)
        return len(view)

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        self.send(data, flags)

    def close(self) -> None:
        self._take()
        if self._owner is not None:
            self._owner.close()
        self._end_selector()

    def shutdown(self, how: int) -> None:
        self._take()
        with self._calling:
            if self._is_open:
                self._socket.shutdown(how)

    def fileno(self) -> int:
        """Return the number by which a selector waits for the socket; -1 if it is closed."""
        self._take()
        with self._calling:
            if not self._is_open:
                return -1
            self._users += not self._has_selector
            self._has_selector = True
            return self._socket.fileno()

    def settimeout(self, value: float | None) -> None:
        self._timeout_s = value

    def gettimeout(self) -> float | None:
        return self._timeout_s

    def setblocking(self, flag: bool) -> None:
        self._timeout_s = None if flag else 0.0

    def getpeername(self) -> t.Any:
        return self._socket.getpeername()

    def getsockname(self) -> t.Any:
        return self._socket.getsockname()

    def getsockopt(self, *args: t.Any) -> t.Any:
        return self._socket.getsockopt(*args)

    def setsockopt(self, *args: t.Any) -> None:
        self._socket.setsockopt(*args)

    def __enter__(self) -> t.Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _take(self) -> None:
        if self.taken:
            return
        with self._taking:
            if not self.taken:
                self._is_open = self._owner is not None and self._owner.hand_over(self)
                self.taken = True

    def _read(self, size: int, timeout_s: float | None) -> bytes:
        while True:
            with self._calling:
                if not self._is_open:
                    return b""
                if (data := self._receive(size)) is not None:
                    return data
                self._users += 1
            self._wait(READ, timeout_s)

    def _receive(self, size: int) -> bytes | None:
        """Read without waiting; returns None if there is nothing. Called with `_calling` held."""
        if self._early:
            data, self._early = self._early[:size], self._early[size:]
        else:
            try:
                data = self._socket.recv(size)
            except BlockingIOError:
                return None
        self.received.add(memoryview(data))
        self.active_s = monotonic()
        return data

    def _send_all(self, view: memoryview) -> None:
        while view:
            with self._calling:
                if not self._is_open:
                    raise BrokenPipeError(errno.EPIPE, "The WebSocket is closed")
                sent = self._send_some(view)
                if sent == len(view):
                    return
                self._users += 1
            view = view[sent:]
            try:
                self._wait(WRITE, self._stall_s)
            except TimeoutError:
                # A part of a frame was sent, after which nothing else may follow.
                self.close()
                raise

    def _send_some(self, view: memoryview) -> int:
        """Send without waiting; returns how much was sent. Called with `_calling` held."""
        try:
            sent = self._socket.send(view)
        except BlockingIOError:
            return 0
        self.active_s = monotonic()
        return sent

    def _wait(self, mask: int, timeout_s: float | None) -> None:
        """Wait until the socket is ready or closed. The caller has counted this thread in `_users`.

        Raises:
            TimeoutError: it takes longer than `timeout_s`.
            BlockingIOError: the application wants calls that do not block.
        """
        try:
            if timeout_s == 0:
                raise BlockingIOError(errno.EAGAIN, "The WebSocket has nothing to read")
            if not wait_for(self._socket, mask, timeout_s):
                raise TimeoutError("timed out")
        finally:
            with self._calling:
                self._leave()

    def _leave(self) -> None:
        """Record that a thread waits no longer. Called with `_calling` held."""
        self._users -= 1
        if not (self._users or self._is_open):
            self._socket.close()

    def _end_selector(self) -> None:
        with self._calling:
            if self._has_selector:
                self._has_selector = False
                self._leave()

    # --- for the server --------------------------------------------------------------------

    @property
    def closes(self) -> bool:
        """Whether the server has begun to end the WebSocket."""
        return self._closes

    def send_close(self, code: int) -> None:
        """Begin to end the WebSocket: send a Close frame if the protocol allows one at this moment.
        Does not block. What the application sends afterwards is dropped.
        """
        self._closes = True
        if not self._sending.acquire(blocking=False):
            return  # another thread waits in the middle of a frame
        try:
            if self.sent.may_close:
                frame = bytes((0x80 | _CLOSE_OPCODE, 2)) + code.to_bytes(2, "big")
                if self._send_frame(frame):
                    self.sent.add(memoryview(frame))
        finally:
            self._sending.release()

    def _send_frame(self, frame: bytes) -> bool:
        with self._calling:
            try:
                return self._is_open and self._socket.send(frame) == len(frame)
            except OSError:  # the client has disconnected, or reads nothing: it will get no Close
                return False

    def drain(self) -> None:
        """Drop what the client sends, until it has answered the Close frame, or has left, or the
        socket is closed. Nothing more is sent, and if possible the client is told so.

        If a socket is closed while it has unread input, the kernel drops what the client has not
        received yet.
        """
        try:
            with self._calling:
                if self._is_open and self._owner is not None and self._owner.half_closes:
                    self._socket.shutdown(socket.SHUT_WR)
            while not (self.sent.closing and self.received.closing):
                if not self._read(_DRAINED_BYTES, None):
                    return
        except OSError:
            pass  # the client has disconnected

    def shut(self) -> None:
        """Close the real socket, as soon as no thread uses it, and wake the threads that wait for
        it.
        """
        with self._calling:
            if not self._is_open:
                return
            self._is_open = False
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the client has disconnected
            if not self._users:
                self._socket.close()

    def detach(self) -> None:
        """Forget the connection, because the view has ended. It refers to this object, and the two
        would be a reference cycle.
        """
        self._owner = None
        self._end_selector()
