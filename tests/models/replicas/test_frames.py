"""Messages between a client and a replica: on the socket, through shared memory, and garbage."""

from __future__ import annotations

import os
import resource
import socket
import threading
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.models.replicas.frames import (
    BATCH,
    INLINE_BYTES,
    RESULTS,
    ConnectionLost,
    FrameSocket,
    split,
)

if t.TYPE_CHECKING:
    from collections import abc as cabc


@pytest.fixture
def ends() -> cabc.Iterator[tuple[FrameSocket, FrameSocket]]:
    here, there = map(FrameSocket, socket.socketpair())
    yield here, there
    here.close()
    there.close()


LENGTHS = [[], [0], [1], [64], [3, 0, 65], [INLINE_BYTES], [INLINE_BYTES + 1], [5, 3 * 2**20]]


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_buffers_arrive_as_they_were_sent(ends, lengths):
    here, there = ends
    buffers = [os.urandom(length) for length in lengths]
    for serial in (1, 2):
        here.send(BATCH, serial, b"meta", [(each[:1], each[1:]) for each in buffers])
        frame = there.receive()
        assert (frame.kind, frame.serial, frame.meta) == (BATCH, serial, b"meta")
        assert [bytes(each) for each in split(frame.region, lengths)] == buffers
        assert frame.is_shared == (sum(lengths) > INLINE_BYTES)


def test_a_message_that_does_not_fit_into_the_buffer_is_not_waited_for(ends):
    here, _there = ends
    here.socket.setblocking(False)
    with pytest.raises(ConnectionLost):
        for i in range(100):
            here.send(BATCH, i, b"x" * 60_000)


@pytest.mark.parametrize(
    ("meta", "length"), [(70_000, 0), (0, 2**20 + 64)], ids=["on the socket", "shared"]
)
def test_a_long_message_is_left_to_a_thread(ends, meta, length):
    here, there = ends
    sender = threading.Thread(target=here.send, args=(BATCH, 1, b"x" * meta, [[bytes(length)]]))
    sender.start()
    while not there.is_long:
        assert there.try_receive() is None
    assert not here.has_sent_light
    frame = there.receive()
    assert (len(frame.meta), len(frame.region)) == (meta, length)
    assert not there.is_long
    sender.join()


def test_several_messages_may_arrive_at_once(ends):
    here, there = ends
    for i in range(5):
        here.send(RESULTS, i, b"x" * i, [(b"y" * i,)])
    for i in range(5):
        frame = there.receive()
        assert (frame.serial, frame.meta, bytes(frame.region[:i])) == (i, b"x" * i, b"y" * i)
        assert there.has_unread() is (i < 4)


def test_a_region_goes_over_the_socket_if_there_is_no_memory_to_share(ends):
    here, there = ends
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The limit also holds for memory that is a file.
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        here.send(BATCH, 1, b"", [(b"z" * 100_000,)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    frame = there.receive()
    assert not frame.is_shared
    assert bytes(frame.region[:100_000]) == b"z" * 100_000


def test_memory_for_a_very_long_region_is_given_back(ends):
    here, there = ends
    here.send(BATCH, 1, b"", [(bytes(65 * 2**20),)])
    assert there.receive().is_shared
    here.release_shared(kept=False)
    assert here._arena is None


def test_an_end_of_the_connection_is_noticed(ends):
    here, there = ends
    assert there.is_open()
    here.close()
    assert not there.is_open()
    with pytest.raises(ConnectionLost, match="has closed the connection"):
        there.receive()
    with pytest.raises(ConnectionLost):
        for _ in range(2):
            there.send(RESULTS, 1, b"")


@given(garbage=st.binary(min_size=22, max_size=200))
def test_garbage_is_no_message(garbage):
    here, there = socket.socketpair()
    frames = FrameSocket(there)
    with here:
        here.sendall(garbage)
        here.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionLost):
            while True:
                frames.receive()
    frames.close()


@pytest.mark.parametrize("lengths", [[-1], [65], [64, 1]], ids=str)
def test_a_buffer_outside_its_region_is_refused(lengths):
    with pytest.raises(ConnectionLost, match="outside its region") as caught:
        split(memoryview(bytes(64)), lengths)
    assert caught.value.is_garbage
