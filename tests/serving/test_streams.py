"""Answers that are sent as they are made."""

from __future__ import annotations

import os
import tempfile
import threading

import pytest
import rsgiend

from carboy.serving import streams
from carboy.serving.exchange import Exchange
from carboy.serving.streams import let_go, send_stream

PATIENCE_S = 20.0


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """Nothing is left in it, and no descriptor open."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = len(os.listdir("/dev/fd"))
    yield tmp_path
    assert not list(tmp_path.iterdir())
    assert not streams._pipes
    assert len(os.listdir("/dev/fd")) == before


class Reader(rsgiend.Protocol):
    """granian, of which the test is the reading end."""

    def response_file(self, status, headers, path):
        self.path = path
        self.answered.set()

    def open(self):
        assert self.answered.wait(PATIENCE_S)
        return open(self.path, "rb", buffering=0)


def begin(protocol, chunks):
    exchange = Exchange(rsgiend.Scope(), protocol)
    thread = threading.Thread(target=send_stream, args=(exchange, 200, [], chunks), daemon=True)
    thread.start()
    return thread


def test_each_piece_is_there_before_the_next_is_made():
    client, more = Reader(), threading.Semaphore(0)

    def chunks():
        for i in range(3):
            assert more.acquire(timeout=PATIENCE_S)
            yield b"%d" % i

    thread = begin(client, chunks())
    with client.open() as pipe:
        for i in range(3):
            more.release()
            assert pipe.read(10) == b"%d" % i
        assert pipe.read(10) == b""
    thread.join(PATIENCE_S)
    assert not client.watched


def test_a_slow_reader_holds_the_generator():
    client, made = Reader(), []

    def chunks():
        for i in range(100):
            made.append(i)
            yield b"x" * 100_000

    thread = begin(client, chunks())
    with client.open() as pipe:
        assert pipe.read(1000)
        assert len(made) < 5  # a pipe has 64 KiB
        while pipe.read(10**6):
            pass
    thread.join(PATIENCE_S)
    assert len(made) == 100


def test_a_reader_that_leaves_ends_it():
    client, closed = Reader(), threading.Event()

    def chunks():
        try:
            while True:
                yield b"x" * 1000
        finally:
            closed.set()

    made = chunks()
    thread = begin(client, made)
    with client.open() as pipe:
        assert pipe.read(10)
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    made.close()
    assert closed.is_set()


def test_a_client_that_left_before_granian_came_to_the_pipe_ends_it():
    client = Reader()
    thread = begin(client, iter([b"x"] * 1000))
    assert client.answered.wait(PATIENCE_S)
    client.leave()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_a_client_that_is_known_to_have_left_is_not_waited_for():
    client = Reader()
    exchange = Exchange(rsgiend.Scope(), client)
    exchange.gone = True
    send_stream(exchange, 200, [], iter([b"x"] * 1000))


def test_a_broken_pipe_of_the_views_own_is_its_failure():
    def chunks():
        yield b"a"
        raise BrokenPipeError

    client = rsgiend.Protocol()
    with pytest.raises(BrokenPipeError):
        send_stream(Exchange(rsgiend.Scope(), client), 200, [], chunks())
    assert client.body == b"a"


def test_what_nobody_reads_is_let_go_at_the_end():
    """granian keeps the pipe of a client that left until something is written into it."""
    client, silent = Reader(), threading.Event()

    def chunks():
        yield b"a"
        assert silent.wait(PATIENCE_S)
        yield b"b"
        pytest.fail("nobody is there")

    thread = begin(client, chunks())
    with client.open() as pipe:
        assert pipe.read(10) == b"a"
        let_go()
        assert pipe.read(10) == b""
        silent.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


class Unbounded(rsgiend.Protocol):
    """granian, where there are no named pipes."""

    def response_stream(self, status, headers):
        self.sent = []
        return self

    def send_bytes(self, chunk):
        self.sent.append(chunk)
        if len(self.sent) == 3:
            return iter(lambda: 1 / 0, None)  # its future, when the client has gone
        return iter(())


def test_without_named_pipes_it_is_sent_all_the_same_until_the_client_leaves(monkeypatch, caplog):
    def refuse(*_):
        raise OSError("read-only")

    monkeypatch.setattr(os, "mkfifo", refuse)
    client = Unbounded()
    send_stream(Exchange(rsgiend.Scope(), client), 200, [], iter([b"x"] * 100))
    assert client.sent == [b"x"] * 3
    assert "streams may fill the memory" in caplog.text
