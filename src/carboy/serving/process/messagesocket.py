"""A socket of the supervisor's loop, by which it exchanges messages with another process."""

from __future__ import annotations

import collections
import contextlib
import os
import selectors
import socket
import typing as t

from ...core.messagelines import LineReader, encode_line

if t.TYPE_CHECKING:
    import collections.abc as cabc

_CHUNK_BYTES = 65536
# A process for which more than this waits does not read, or not any more.
_MOST_WAITING_BYTES = 64 * 1024 * 1024


class MessageSocket:
    """A socket that carries messages in both directions and never blocks: the loop sends the rest
    of a long message when the other process has read its beginning.

    Attributes:
        has_ended: whether the other end is closed, and everything from there has been read.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.has_ended = False
        self._socket = sock
        self._lines = LineReader()
        self._waiting: collections.deque[tuple[memoryview, list[int]]] = collections.deque()
        self._selector: selectors.BaseSelector | None = None
        self._on_readable: cabc.Callable[[], object] = lambda: None

    def watch(
        self, selector: selectors.BaseSelector, on_readable: cabc.Callable[[], object]
    ) -> None:
        """Let the loop of a selector, whose data are functions to call, call a function when
        messages have arrived.
        """
        self._selector, self._on_readable = selector, on_readable
        selector.register(self._socket, selectors.EVENT_READ, self._on_event)

    def _on_event(self) -> None:
        self._flush()
        self._on_readable()

    # --- sending -------------------------------------------------------------------------------

    def send(self, word: str, payload: object = None, fds: cabc.Sequence[int] = ()) -> None:
        """Send a message, with copies of file descriptors, without waiting. A process that does not
        read is disconnected.
        """
        waiting_bytes = sum(len(data) for data, _ in self._waiting)
        if waiting_bytes > _MOST_WAITING_BYTES:
            self._shut_down()
            return
        try:
            copies = [os.dup(fd) for fd in fds]
        except OSError:  # there is no descriptor left: the process asks again
            self._shut_down()
            return
        self._waiting.append((memoryview(encode_line(word, payload)), copies))
        self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        try:
            while self._waiting:
                self._send_first()
        except BlockingIOError:
            pass
        except OSError:  # the process has died, which `receive` notices
            self._forget_waiting()
        if self._selector is not None:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._waiting else 0)
            self._selector.modify(self._socket, events, self._on_event)

    def _send_first(self) -> None:
        """Send as much of the first message as the socket takes."""
        data, fds = self._waiting[0]
        if fds:
            sent = socket.send_fds(self._socket, [data], fds)
        else:
            sent = self._socket.send(data)
        for fd in fds:
            os.close(fd)
        if sent < len(data):
            self._waiting[0] = data[sent:], []
        else:
            self._waiting.popleft()

    def _forget_waiting(self) -> None:
        for _, fds in self._waiting:
            for fd in fds:
                os.close(fd)
        self._waiting.clear()

    def _shut_down(self) -> None:
        self._forget_waiting()
        with contextlib.suppress(OSError):  # macOS: the other end is closed already
            self._socket.shutdown(socket.SHUT_RDWR)

    # --- receiving -----------------------------------------------------------------------------

    def receive(self) -> list[tuple[str, t.Any]]:
        """Return messages that have arrived.

        Raises:
            ValueError: something has arrived that is no message.
        """
        try:
            data = self._socket.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        self.has_ended = not data
        return list(self._lines.feed(data))

    def has_unread(self) -> bool:
        """Return whether something has arrived that was not received."""
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def close(self) -> None:
        if self._selector is not None:
            self._selector.unregister(self._socket)
            self._selector = None
        self._forget_waiting()
        self._socket.close()
