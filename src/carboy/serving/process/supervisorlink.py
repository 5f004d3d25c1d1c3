"""The connection of a child process with its supervisor: receives the supervisor's messages and
sends reports. The messages are lines of JSON, `[word, payload]`, in both directions.
"""

from __future__ import annotations

import os
import signal
import threading
import typing as t

from ...core.forks import change_in_child
from ...core.messagelines import LineReader, encode_line
from .. import log

if t.TYPE_CHECKING:
    import collections.abc as cabc
    import socket

_CHUNK_BYTES = 65536


def unblock_interrupts() -> None:
    """Receive SIGINT, which the supervisor has blocked in the process until now. Call this when a
    handler is set.
    """
    if hasattr(signal, "pthread_sigmask"):  # Windows does not have this function
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


class SupervisorLink:
    """The child's end of the socket that connects it with its supervisor.

    Args:
        channel: the socket.

    Attributes:
        on_orphaned: functions that are called, in this order, when the supervisor has died.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._sending = threading.Lock()
        self._handlers: dict[str, cabc.Callable[[t.Any], object]] = {}
        self.on_orphaned: list[cabc.Callable[[], object]] = []
        change_in_child(self, SupervisorLink.forget_parent)

    def forget_parent(self) -> None:
        """Close the connection of the parent process, in a forked child process. Otherwise the
        supervisor would not see that the parent has died.
        """
        self._sending = threading.Lock()  # another thread of the parent may have held it
        if (fd := self._channel.detach()) >= 0:
            os.close(fd)

    def on(self, word: str, function: cabc.Callable[[t.Any], object]) -> None:
        """Let a function be called with the payload of each message of the supervisor that has this
        word. The function must return soon, because it delays further messages.
        """
        self._handlers[word] = function

    def listen(self) -> None:
        """Receive messages from now on, on a thread of its own."""
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for word, payload in self._messages():
            try:
                self._handlers[word](payload)
            except Exception:  # noqa: BLE001  # the process must receive further messages
                log.logger.exception("error while handling the supervisor's message %r", word)
        for function in self.on_orphaned:
            function()

    def _messages(self) -> cabc.Iterator[tuple[str, t.Any]]:
        """Yield the messages from the supervisor, until the socket to it is closed."""
        lines = LineReader()
        try:
            while data := self._channel.recv(_CHUNK_BYTES):
                yield from lines.feed(data)
        except OSError:
            pass  # the supervisor has died: end as if it had closed the socket

    def report(self, word: str, payload: object = None) -> None:
        """Send the supervisor a message. Thread-safe."""
        message = encode_line(word, payload)
        try:
            with self._sending:
                self._channel.sendall(message)
        except OSError:
            pass  # the supervisor has died; `_listen` notices that too
