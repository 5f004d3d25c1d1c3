"""The sockets by which the supervisor's loop exchanges messages with other processes."""

from __future__ import annotations

import os
import selectors
import socket
import threading
import typing as t

import pytest
from polling import wait_until

from carboy.serving.process.messagesocket import MessageSocket

if t.TYPE_CHECKING:
    import collections.abc as cabc


@pytest.fixture
def pair() -> cabc.Iterator[tuple[MessageSocket, MessageSocket]]:
    here, there = (MessageSocket(each) for each in socket.socketpair())
    yield here, there
    here.close()
    there.close()


def test_message_that_is_longer_than_the_buffer_of_the_socket_arrives_whole():
    ours, theirs = socket.socketpair()
    read_fd, write_fd = os.pipe()
    got = bytearray()
    fds: list[int] = []

    def read() -> None:
        while got.count(b"\n") < 2:
            data, more, _, _ = socket.recv_fds(theirs, 65536, 4)
            got.extend(data)
            fds.extend(more)

    reading = threading.Thread(target=read)
    with selectors.DefaultSelector() as selector, theirs:
        channel = MessageSocket(ours)
        channel.watch(selector, lambda: None)
        channel.send("long", "x" * 3_000_000)
        channel.send("granted", {}, [read_fd])
        os.close(read_fd)  # the message that still waits has a copy
        reading.start()
        while reading.is_alive():
            for key, _ in selector.select(0.1):
                key.data()
        assert got == b'["long", "' + b"x" * 3_000_000 + b'"]\n["granted", {}]\n'
        assert not selector.select(0), "the loop sleeps when everything is sent"
        channel.close()
    os.write(write_fd, b"token")
    assert [os.read(fd, 10) for fd in fds] == [b"token"]
    for fd in (*fds, write_fd):
        os.close(fd)


def test_process_that_does_not_read_is_disconnected(pair):
    here, there = pair
    for _ in range(70):
        here.send("much", "x" * 1_000_000)
    wait_until(lambda: there.receive() is not None and there.has_ended)


def test_messages_are_received_until_the_other_end_closes(pair):
    here, there = pair
    assert there.receive() == []
    assert not there.has_unread()
    here.send("first", 1)
    here.send("second")
    assert there.has_unread()
    assert there.receive() == [("first", 1), ("second", None)]
    here.close()
    assert not there.has_unread()
    assert there.receive() == []
    assert there.has_ended


@pytest.mark.parametrize("sent", [b"hello\n", b"[]\n", b"7\n", b"[[], 1]\n", b"\xff\n", b"{}\n"])
def test_what_is_no_message_is_refused(sent):
    ours, theirs = socket.socketpair()
    there = MessageSocket(theirs)
    with ours:
        ours.send(sent)
        with pytest.raises(ValueError, match=r"."):
            there.receive()
    there.close()
