"""A body that comes piece by piece, for a thread that reads it and for nobody at all."""

from __future__ import annotations

import typing as t
from _thread import allocate_lock
from time import monotonic

from werkzeug.exceptions import ClientDisconnected

from .answers import AT_ONCE_BYTES, LINGER_S

if t.TYPE_CHECKING:
    from .patience import Patience
    from .rsgi import Frames, Future, Protocol

# What a client has for a body of unknown length.
COLLECT_S = 120.0


class FrameReader:
    """Reads a body on the thread that wants it, which waits for what has not come yet."""

    def __init__(self, protocol: Protocol, *, trailers: bool = False) -> None:
        self._frames = protocol.__aiter__()
        self._trailers = trailers
        self._rest = b""
        self._over = False

    def read(self, size: int) -> bytes:
        """`size` bytes; fewer only at the end.

        Raises:
            ClientDisconnected: the client went before its body was over.
        """
        pieces = [self._rest]
        have = len(self._rest)
        while have < size and not self._over:
            frame = self._wait()
            if not frame:
                self._over = True
                if not (self._trailers or _was_last(self._frames)):
                    raise ClientDisconnected
            pieces.append(frame)
            have += len(frame)
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._rest = data[size:]
        return data[:size] if self._rest else data

    def _wait(self) -> bytes:
        arrived = allocate_lock()
        arrived.acquire()
        future = self._frames.__anext__()
        future.add_done_callback(lambda _: arrived.release())
        arrived.acquire()
        return t.cast("bytes", future.result())

    def discard(self, patience: Patience) -> None:
        """Take what the client still sends, for a while and without a thread.

        A client reads its answer when it has sent everything, as a rule; closing a connection on
        which bytes wait makes its system drop the answer (RFC 9112, 9.6).
        """
        if not self._over:
            _Discard(self._frames, patience).go_on()


def _was_last(frames: Frames) -> bool:
    """Whether an empty frame was the end of the body, and not of the connection.

    granian gives the same for both, and for trailers (which are announced). But after the end it
    knows at once that there is no more.
    """
    try:
        frames.__anext__().cancel()
    except StopAsyncIteration:
        return True
    return False


class Receiver(t.Protocol):
    """Who waits for a body of unknown length."""

    def begin(self, data: bytes) -> None: ...

    def hold(self, size_bytes: int) -> bool: ...

    def refuse_length(self, length: str, limit: int, *, unread: bool) -> None: ...

    def refuse_more(self, *, unread: bool) -> None: ...

    def body_is_lost(self, *, in_time: bool) -> None: ...


def collect(
    protocol: Protocol, limit: int, patience: Patience, receiver: Receiver, *, trailers: bool
) -> None:
    """Take a body of unknown length, without a thread, and hand it over when it is there."""
    _Collect(protocol, limit, patience, receiver, trailers=trailers).go_on()


class _Collect:
    def __init__(
        self,
        protocol: Protocol,
        limit: int,
        patience: Patience,
        receiver: Receiver,
        *,
        trailers: bool,
    ) -> None:
        self._trailers = trailers
        self._frames = protocol.__aiter__()
        self._limit = limit
        self._patience = patience
        self._receiver = receiver
        self._pieces: list[bytes] = []
        self._have = 0
        self._future: Future | None = None
        patience.begin(self.give_up, COLLECT_S)

    def go_on(self) -> None:
        self._future = self._frames.__anext__()
        self._future.add_done_callback(self._took)

    def _took(self, future: Future) -> None:
        try:
            frame = future.result()
        except BaseException:  # noqa: BLE001  # CancelledError: time is up
            self._patience.end(self.give_up)
            self._receiver.body_is_lost(in_time=False)
            return
        self._pieces.append(frame)
        self._have += len(frame)
        has_room = self._have <= AT_ONCE_BYTES or self._receiver.hold(self._have)
        if frame and has_room and self._have <= self._limit:
            self.go_on()
        elif not self._patience.end(self.give_up):
            self._receiver.body_is_lost(in_time=False)
        elif frame:
            self._pieces.clear()
            _Discard(self._frames, self._patience).go_on()
            if has_room:
                more = f"more than {self._limit} bytes"
                self._receiver.refuse_length(more, self._limit, unread=False)
            else:
                self._receiver.refuse_more(unread=False)
        elif self._trailers or _was_last(self._frames):
            self._receiver.begin(b"".join(self._pieces))
        else:
            self._receiver.body_is_lost(in_time=True)

    def give_up(self) -> None:
        if self._future is not None:
            self._future.cancel()


class _Discard:
    def __init__(self, frames: t.Any, patience: Patience) -> None:
        self._frames = frames
        self._until_s = monotonic() + LINGER_S
        self._future: Future | None = None
        self._patience = patience
        patience.begin(self.give_up, LINGER_S)

    def go_on(self) -> None:
        future = self._future = self._frames.__anext__()
        future.add_done_callback(self._took)

    def _took(self, future: Future) -> None:
        try:
            more = bool(future.result())
        except BaseException:  # noqa: BLE001  # the client has gone; CancelledError: time is up
            more = False
        if more and monotonic() < self._until_s:
            self.go_on()
        else:
            self._patience.end(self.give_up)
            self._frames = self._future = None

    def give_up(self) -> None:
        future = self._future
        if future is not None:
            future.cancel()
