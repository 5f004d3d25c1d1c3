"""The messages between a process that has a batch to compute and the process of a replica.

They go over a Unix stream socket that the client opens to the replica. Nothing in them is pickled.

    head     22 bytes: see `_HEAD`
    meta     MessagePack: values, and the lengths of the buffers in the region
    region   the buffers (arrays, pixels, files) one after the other: behind `meta` on the socket,
             or in shared memory (`arena`) if they are long. Never there for an ITEM: the replica
             sends some before the client has read the first

One connection carries one batch at a time, and the answer has the serial number of the batch:

    client                                   replica
    BATCH      a batch, with the serial  --> RESULTS   one result or failure for each prediction
               number of its token           FAILED    the exception that the batch raised
                                             STALE     not computed: take another token
                                             WAITS     another model computes on the device ...
                                             BEGINS    ... and from now on, this batch does
    UNUSED     the token was not needed      (nothing)
    ARENA      the shared memory into which the sender writes regions; both sides

If `predict` yields:

    BATCH                                --> ITEM, ITEM, ..., END   with the failure, or null
    MORE       `READ_ITEMS` items were read
    STOP       nothing reads the items   --> END

A closed connection means that the other process has ended. Bytes that are no message of this form
are treated in the same way, because nothing that follows them can be trusted.
"""

from __future__ import annotations

import array
import contextlib
import os
import select
import socket
import struct
import typing as t

from .arena import Arena, create_shared

if t.TYPE_CHECKING:
    from collections import abc as cabc

    Buffer: t.TypeAlias = bytes | bytearray | memoryview

# Length of `meta`; bytes of the region on the socket; bytes of the region in shared memory; serial
# number; kind; flags.
_HEAD = struct.Struct("<IIQIBB")
# The kinds of messages. PERF: numbers, because looking up a member of an `Enum` takes as long as
# packing the head.
BATCH, UNUSED, MORE, STOP, ARENA = 1, 2, 3, 4, 5
RESULTS, FAILED, STALE, WAITS, BEGINS, ITEM, END = 16, 17, 18, 19, 20, 21, 22
_KINDS = frozenset({*range(BATCH, ARENA + 1), *range(RESULTS, END + 1)})
# A flag: the reader of the last region in shared memory still refers to it, so that its writer must
# not write there again.
KEPT = 1
# How many items of a stream a replica sends before its client must have read the first of them.
ITEMS_AHEAD = 16
# After how many items the client sends `MORE`.
READ_ITEMS = ITEMS_AHEAD // 2
# Longer regions go through shared memory.
INLINE_BYTES = 32 * 1024
# Buffers begin at multiples of this, as in memory that NumPy allocates; a cache line of a CPU.
_ALIGNMENT = 64
_PADDING = bytes(_ALIGNMENT)
_READ_BYTES = 64 * 1024
# No message that carboy sends has a longer `meta`; garbage may claim any length.
_MAX_META_BYTES = 2**30
# Longer messages are written and read by threads. An event loop, for which all clients wait, must
# not wait for a replica, so that what it writes must fit into the buffer of a socket (Linux: 208
# kB). Values of this length, or shared memory of that length, take 0.1 to 1 ms to read.
_LIGHT_SOCKET_BYTES, _LIGHT_SHARED_BYTES = 64 * 1024, 2**20
# Shared memory that is longer is given back after a batch.
_KEEP_BYTES = 64 * 2**20
_FD_SPACE = socket.CMSG_SPACE(4)


class ConnectionLost(Exception):  # noqa: N818 - caught inside this package only
    """The other process has ended, or has sent something that is no message.

    Attributes:
        is_garbage: whether it has sent something that is no message.
    """

    def __init__(self, reason: str, *, is_garbage: bool = False) -> None:
        super().__init__(reason)
        self.is_garbage = is_garbage


class Frame(t.NamedTuple):
    """A message.

    Attributes:
        region: the buffers. If they are in shared memory, they are only valid until the next
            message is sent.
        is_shared: whether `region` is in shared memory.
    """

    kind: int
    serial: int
    meta: bytes
    region: memoryview
    is_shared: bool


class Copied(t.NamedTuple):
    """A message whose buffers are copied.

    Attributes:
        inline: the region, if it is sent on the socket.
        shared: the length of the region, if it is in shared memory.
    """

    meta: bytes
    inline: bytes
    shared: int


def is_light(socket_bytes: int, shared_bytes: int) -> bool:
    """Return whether an event loop may write or read a message without a thread.

    Args:
        socket_bytes: how much of it goes through the socket.
        shared_bytes: how much of it goes through shared memory.
    """
    return socket_bytes <= _LIGHT_SOCKET_BYTES and shared_bytes <= _LIGHT_SHARED_BYTES


def is_light_batch(meta: bytes, buffers: cabc.Iterable[cabc.Iterable[Buffer]]) -> bool:
    """Return whether an event loop may send these parts of a message; see `FrameSocket.copy`."""
    size = sum(_padded(sum(map(len, buffer))) for buffer in buffers)
    if size > INLINE_BYTES:
        return is_light(len(meta), size)
    return is_light(len(meta) + size, 0)


def join_region(buffers: cabc.Sequence[cabc.Sequence[Buffer]]) -> tuple[list[Buffer], int]:
    """Return the parts of a region with these buffers, and its length."""
    parts: list[Buffer] = []
    size = 0
    for buffer in buffers:
        parts += buffer
        size += sum(map(len, buffer))
        if odd := size % _ALIGNMENT:
            parts.append(_PADDING[odd:])
            size += _ALIGNMENT - odd
    return parts, size


def split(region: memoryview, lengths: cabc.Iterable[int]) -> list[memoryview]:
    """Return the buffers of a region.

    Raises:
        ConnectionLost: the lengths do not fit the region.
    """
    buffers, start = [], 0
    for length in lengths:
        if length < 0 or start + length > len(region):
            raise ConnectionLost("a buffer is outside its region", is_garbage=True)
        buffers.append(region[start : start + length])
        start += _padded(length)
    return buffers


def _padded(length: int) -> int:
    return -(-length // _ALIGNMENT) * _ALIGNMENT


class FrameSocket:
    """One end of a connection. Used by one thread at a time.

    Args:
        sock: a connected Unix stream socket. If it does not block, a message that does not fit into
            its buffer is not sent: ConnectionLost is raised, and the connection must be closed.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        # What was received and belongs to the next message.
        self._unread = bytearray()
        self._fds: list[int] = []
        #: Whether the last message that this process has sent was light.
        self.has_sent_light = True
        #: Whether it went through shared memory.
        self.has_sent_shared = False
        self._arena: Arena | None = None  # into which this process writes
        self._arena_of_other: Arena | None = None

    def fileno(self) -> int:
        return self.socket.fileno()

    def close(self) -> None:
        self.socket.close()
        self._arena = self._arena_of_other = None
        while self._fds:
            os.close(self._fds.pop())

    def interrupt(self) -> None:
        """Let the thread that uses the connection fail with ConnectionLost. Any thread may call
        this.
        """
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def is_open(self) -> bool:
        """Return whether the other process has not closed the connection, and has sent nothing."""
        try:
            self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def await_room(self) -> bool:
        """Wait until a short message can be sent at once, and return True; return False if there is
        something to receive first. (Linux reports room if three quarters of the buffer are free.)
        """
        poll = select.poll()
        poll.register(self.socket, select.POLLIN | select.POLLOUT)
        ((_, events),) = poll.poll()
        return bool(events & select.POLLOUT)

    # --- sending -------------------------------------------------------------------------------

    def send(
        self,
        kind: int,
        serial: int,
        meta: bytes = b"",
        buffers: cabc.Sequence[cabc.Sequence[Buffer]] = (),
        *,
        flags: int = 0,
    ) -> None:
        """Send a message.

        Raises:
            ConnectionLost: the other process has ended.
        """
        self.send_copied(kind, serial, self.copy(meta, buffers), flags=flags)

    def copy(
        self,
        meta: bytes,
        buffers: cabc.Sequence[cabc.Sequence[Buffer]],
        *,
        may_share: bool = True,
    ) -> Copied:
        """Copy the buffers of a message, so that they may be changed before it is sent.

        Args:
            meta: the MessagePack of the message.
            buffers: the parts of each buffer.
            may_share: whether they may go through the shared memory. The other process must have
                read what was written there before.

        Raises:
            ConnectionLost: the other process has ended.
        """
        if not buffers:
            return Copied(meta, b"", 0)
        parts, size = join_region(buffers)
        if may_share and size > INLINE_BYTES and self._write_shared(parts, size):
            return Copied(meta, b"", size)
        return Copied(meta, b"".join(parts), 0)

    def send_copied(self, kind: int, serial: int, copied: Copied, *, flags: int = 0) -> None:
        """Send a message that `copy` has returned, before the next one is copied.

        Raises:
            ConnectionLost: the other process has ended.
        """
        meta, inline, shared = copied
        self.has_sent_light = is_light(len(meta) + len(inline), shared)
        self.has_sent_shared = shared > 0
        head = _HEAD.pack(len(meta), len(inline), shared, serial, kind, flags)
        self._send([head, meta, inline])

    def _send(self, parts: list[bytes], fd: int | None = None) -> None:
        attached = [] if fd is None else [_attached(fd)]
        try:
            sent = self.socket.sendmsg(parts, attached)
            if sent < sum(map(len, parts)):
                self.socket.sendall(memoryview(b"".join(parts))[sent:])
        except OSError as exc:
            raise ConnectionLost(str(exc)) from exc

    def _write_shared(self, parts: cabc.Sequence[Buffer], size: int) -> bool:
        """Copy a region into the shared memory. Returns False if there is not enough memory."""
        if self._arena is None or len(self._arena) < size:
            self._arena = None  # give the old one back first
            try:
                self._arena = self._share(size)
            except OSError:
                return False
        view, start = self._arena.view(size), 0
        for each in parts:
            view[start : start + len(each)] = each
            start += len(each)
        return True

    def _share(self, size: int) -> Arena:
        fd = create_shared(size)
        try:
            arena = Arena(fd)
            self._send([_HEAD.pack(0, 0, 0, 0, ARENA, 0)], fd)
        finally:
            os.close(fd)
        return arena

    def release_shared(self, *, kept: bool) -> None:
        """Give back the shared memory into which this process has written, if it is very long or
        the reader still refers to it. Call this when the reader has read it.
        """
        if kept or (self._arena is not None and len(self._arena) > _KEEP_BYTES):
            self._arena = None

    def give_back_shared(self, views: cabc.Iterable[memoryview]) -> bool:
        """Release views of the shared memory of the other process. Returns False if an object still
        refers to that memory, which then lives until no object does: the other process must not
        write there again.
        """
        arena = self._arena_of_other
        if arena is None or arena.release(views):
            return True
        self._arena_of_other = None
        return False

    # --- receiving -----------------------------------------------------------------------------

    def receive(self) -> Frame:
        """Wait for a message.

        Raises:
            ConnectionLost: the other process has ended, or has sent something else.
        """
        while True:
            frame = self._receive()
            if frame is not None:
                return frame

    def try_receive(self) -> Frame | None:
        """Return a message if the whole of it has arrived; None if it has not, or if it `is_long`.
        Reads the socket at most once, so this must be called again as long as the socket is
        readable.

        Raises:
            ConnectionLost: the other process has ended, or has sent something else.
        """
        if not self._has_light():
            with contextlib.suppress(BlockingIOError):
                self._read(_READ_BYTES, socket.MSG_DONTWAIT)
        while self._has_light():
            if (frame := self._receive()) is not None:
                return frame
        return None

    @property
    def is_long(self) -> bool:
        """Whether the next message, of which the beginning has arrived, takes so long to read that
        a thread should do it.
        """
        if not self.has_unread():
            return False
        meta_size, inline, shared, _, kind, _ = _HEAD.unpack_from(self._unread)
        return kind in _KINDS and not is_light(meta_size + inline, shared)

    def _has_light(self) -> bool:
        """Whether the whole of the next message has arrived, and it is not long."""
        if not self.has_unread() or self.is_long:
            return False
        meta_size, inline, _, _, kind, _ = _HEAD.unpack_from(self._unread)
        # `_receive` refuses garbage, which may claim any length.
        return kind not in _KINDS or len(self._unread) >= _HEAD.size + meta_size + inline

    def has_unread(self) -> bool:
        """Return whether `receive` has something to return without reading the socket."""
        return len(self._unread) >= _HEAD.size

    def _receive(self) -> Frame | None:
        """Return a message; None after one that this class handles itself."""
        self._fill(_HEAD.size)
        head = _HEAD.unpack_from(self._unread)
        meta_size, inline, shared, serial, kind, flags = head
        if kind not in _KINDS or meta_size > _MAX_META_BYTES or (inline and shared):
            raise ConnectionLost("it has sent something that is no message", is_garbage=True)
        self._fill(_HEAD.size + meta_size)
        unread = self._unread
        start = _HEAD.size + meta_size
        meta = bytes(unread[_HEAD.size : start])
        if flags & KEPT:
            self.release_shared(kept=True)
        if kind == ARENA:
            del unread[:start]
            self._map()
            return None
        # The values that are made of a region on the socket may keep it, so it gets memory of its
        # own.
        region = bytearray(inline)
        there = min(inline, len(unread) - start)
        region[:there] = unread[start : start + there]
        del unread[: start + there]
        if there < inline:
            self._read_into(memoryview(region)[there:])
        if shared:
            return Frame(kind, serial, meta, self._shared_region(shared), is_shared=True)
        return Frame(kind, serial, meta, memoryview(region), is_shared=False)

    def _fill(self, size: int) -> None:
        """Receive until there are at least `size` bytes."""
        while len(self._unread) < size:
            self._read(max(_READ_BYTES, size - len(self._unread)))

    def _read(self, size: int, flags: int = 0) -> None:
        """Receive what there is, at most `size` bytes. Raises BlockingIOError if there is nothing,
        and the flags say not to wait.
        """
        try:
            data, attached, _, _ = self.socket.recvmsg(size, _FD_SPACE, flags)
        except BlockingIOError:
            raise
        except OSError as exc:
            raise ConnectionLost(str(exc)) from exc
        for level, kind, fds in attached:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self._fds += array.array("i", fds)
        if not data:
            raise ConnectionLost("it has closed the connection")
        self._unread += data

    def _read_into(self, view: memoryview) -> None:
        while view:
            try:
                count = self.socket.recv_into(view)
            except OSError as exc:
                raise ConnectionLost(str(exc)) from exc
            if not count:
                raise ConnectionLost("it has closed the connection")
            view = view[count:]

    def _map(self) -> None:
        if not self._fds:
            # Or this process has no descriptor left to receive it.
            raise ConnectionLost("its shared memory has not arrived")
        fd = self._fds.pop()
        try:
            self._arena_of_other = Arena(fd)
        except (OSError, ValueError) as exc:
            raise ConnectionLost(f"its shared memory cannot be mapped: {exc}") from exc
        finally:
            os.close(fd)

    def _shared_region(self, size: int) -> memoryview:
        if self._arena_of_other is None or len(self._arena_of_other) < size:
            raise ConnectionLost("it has sent a region outside its memory", is_garbage=True)
        return self._arena_of_other.view(size)


def _attached(fd: int) -> tuple[int, int, array.array[int]]:
    return socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd])
