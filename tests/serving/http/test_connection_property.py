"""A connection on a socket in memory: whatever happens in any order, its state stays possible."""

from __future__ import annotations

import re
import threading
from collections import deque
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st
from stage import chunked, head, post

from carboy.serving.http import connection as module
from carboy.serving.http.connection import Connection
from carboy.serving.http.limits import Limits
from carboy.serving.http.poller import READ, WRITE
from carboy.serving.http.transitions import State
from carboy.serving.log import Notices

UNSIZED = ("Transfer-Encoding", "chunked")
REQUESTS = [
    head(target="/buffered"),
    post(b"hello", "/buffered"),
    post(b"x" * 300, "/streamed"),
    post(b"hello", "/discarded"),
    post(b"x" * 300, "/claimed"),
    head("POST", "/buffered", [UNSIZED]) + chunked(b"hello world", 4),
    head("POST", "/streamed", [UNSIZED]) + chunked(b"hello world", 4),
    head("POST", "/claimed", [UNSIZED]) + chunked(b"x" * 300, 50),
    head(target="/buffered", headers=[("Connection", "close")]),
    post(b"late", "/buffered", [("Expect", "100-continue")]),
    head(target="/fails"),
    head("POST", "/buffered", [("Content-Length", "9".zfill(5000))]),
    b"garbage\r\n\r\n",
]


class MemorySocket:
    """One end of a connection; the test is the other."""

    def __init__(self):
        self.incoming, self.outgoing = b"", b""
        self.room = 1 << 30
        self.eof = self.shut = self.closed = self.broken = False

    def fileno(self):
        return 7

    def recv(self, size, flags=0):
        assert not self.closed
        if self.broken:
            raise ConnectionResetError
        if not self.incoming:
            if self.eof:
                return b""
            raise BlockingIOError
        data = self.incoming[:size]
        if not flags:
            self.incoming = self.incoming[size:]
        return data

    def send(self, data):
        assert not self.closed
        assert not self.shut
        if self.broken:
            raise BrokenPipeError
        if not self.room:
            raise BlockingIOError
        sent = bytes(data[: self.room])
        self.room -= len(sent)
        self.outgoing += sent
        return len(sent)

    def shutdown(self, how):
        if self.broken:
            raise OSError
        self.shut = True

    def close(self):
        self.closed = True


class Bench:
    """The server of one connection, and its handler."""

    def __init__(self, leads):
        self.draining = self.stopping = False
        self.pool = SimpleNamespace(leader=threading.get_ident() if leads else 0)
        self.mask = READ
        self.unsent, self.calls, self.held = deque(), deque(), []
        self.due = self.taken = deque()  # each request is answered when the test wants it
        self.forgotten = False
        self.socket = MemorySocket()
        self.notices = Notices()
        self.access_log, self.round_s = self, 0.0
        self.pending = []
        self.ended, self.counted = [], []
        environ = {"REMOTE_ADDR": "127.0.0.1"}
        self.connection = Connection(self, self.socket, environ, Limits(discarded_body_bytes=100))

    # --- for the connection

    def line(self, exchange, ended_s):
        assert exchange.status.isdecimal()
        assert exchange not in self.pending, "each request has one line"
        return exchange

    def count(self, ended, now_s):
        while ended:
            exchange = ended.pop(0)
            assert exchange.status.isdecimal()
            assert exchange not in self.counted, "each request is counted once"
            self.counted.append(exchange)

    def admit(self, exchange):
        exchange.body_timeout_s = 60.0
        if exchange.path == "/fails":
            raise RuntimeError("on purpose")
        if exchange.path == "/claimed":
            exchange.limit = 200
            exchange.reserve = lambda exchange, size: self.held.append(exchange) or True
            exchange.release = self.release
        elif exchange.path != "/buffered":
            exchange.body_mode = exchange.path[1:]

    def release(self, exchange):
        self.held = [each for each in self.held if each is not exchange]

    def call(self, work):
        self.calls.append(work)

    def watch(self, fd, mask):
        self.mask = mask

    def ignore(self, fd):
        self.mask = -1

    def forget(self, fd):
        assert not self.forgotten
        self.forgotten = True
        self.mask = -1

    # --- for the test

    def turn(self):
        """As the leading thread does it."""
        while self.calls:
            self.calls.popleft()()
        while self.unsent:
            self.unsent.popleft().flush()
        sock, connection = self.socket, self.connection
        if self.mask == READ and (sock.incoming or sock.eof or sock.broken):
            connection.readable()
        elif self.mask == WRITE and (sock.room or sock.broken):
            connection.flush()
        elif self.mask == 0 and sock.broken:
            connection.reset()

    def answer(self, **headers):
        if self.taken:
            exchange = self.taken.popleft()
            self.release(exchange)
            given = [("Connection", "close")] if "close" in headers else []
            exchange.respond(200, given, b"response to %b;" % exchange.path.encode())

    def drop(self):
        if self.taken:
            exchange = self.taken.popleft()
            self.release(exchange)
            exchange.drop()

    def check(self):
        connection, state = self.connection, self.connection.state
        assert (state is State.CLOSED) == self.forgotten == self.socket.closed
        assert len(self.taken) <= 1
        if self.taken and state is not State.CLOSED:
            assert state in {State.READING, State.ANSWERING}
        if state is State.LINGERING:
            assert self.socket.shut
        if state in {State.IDLE, State.HEAD, State.DISCARDING, State.LINGERING}:
            assert self.mask == READ
            assert connection.deadline_s < float("inf")
        if state is State.CLOSED and not self.taken:
            assert not self.held


OPERATIONS = st.one_of(
    st.tuples(st.just("send"), st.sampled_from(REQUESTS)),
    st.tuples(st.just("send part"), st.sampled_from(REQUESTS), st.integers(1, 60)),
    st.tuples(st.just("turn")),
    st.tuples(st.just("turn")),
    st.tuples(st.just("answer")),
    st.tuples(st.just("answer")),
    st.tuples(st.just("answer and close")),
    st.tuples(st.just("drop")),
    st.tuples(st.just("room"), st.sampled_from([0, 10, 1 << 30])),
    st.tuples(st.just("pass"), st.sampled_from([1.0, 31.0, 100.0])),
    st.tuples(st.sampled_from(["eof", "break", "drain", "stop", "close"])),
)


def send(bench, data):
    if not bench.socket.eof:
        bench.socket.incoming += data


def set_socket(name, value=True):
    return lambda bench, *args: setattr(bench.socket, name, *(args or (value,)))


def drain(bench):
    bench.draining = True


def stop(bench):
    bench.stopping = bench.draining = True
    bench.connection.stop()


DO = {
    "send": send,
    "send part": lambda bench, data, size: send(bench, data[:size]),
    "turn": Bench.turn,
    "answer": Bench.answer,
    "answer and close": lambda bench: bench.answer(close=True),
    "drop": Bench.drop,
    "room": set_socket("room"),
    "eof": set_socket("eof"),
    "break": set_socket("broken"),
    "drain": drain,
    "stop": stop,
    "close": lambda bench: bench.connection.close(),
}


def do(bench, clock, operation, *args):
    if operation == "pass":
        clock[0] += args[0]
        if bench.connection.deadline_s < clock[0]:
            bench.connection.expire()
    else:
        DO[operation](bench, *args)


@settings(max_examples=300)
@given(st.booleans(), st.lists(OPERATIONS, max_size=40))
def test_any_order_of_events_leaves_a_possible_state(leads, operations):
    clock = [1000.0]
    module.monotonic, real = (lambda: clock[0]), module.monotonic
    try:
        bench = Bench(leads)
        for operation in operations:
            do(bench, clock, *operation)
            bench.check()
        finish(bench, clock)
    finally:
        module.monotonic = real


def finish(bench, clock):
    """Let everything end: each request that was handed over is answered, and the socket closed."""
    bench.socket.room, bench.socket.eof = 1 << 30, True
    for _ in range(200):
        bench.turn()
        bench.answer()
        bench.check()
    clock[0] += 1000
    bench.connection.expire()
    assert bench.connection.state is State.CLOSED
    bench.check()
    assert not bench.held


@given(st.lists(st.sampled_from(REQUESTS[:8]), max_size=5), st.data())
def test_pipelined_requests_are_answered_in_order(requests, data):
    bench = Bench(data.draw(st.booleans()))
    raw = b"".join(requests)
    cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=5).map(sorted))
    for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        bench.socket.incoming += raw[start:end]
        if data.draw(st.booleans()):
            bench.turn()
            bench.answer()
    wanted = [each.split(b" ")[1] for each in requests]
    for _ in range(40):
        bench.turn()
        bench.answer()
    found = re.findall(rb"response to (/\w+);", bench.socket.outgoing)
    assert found == wanted[: len(found)]
    # A response before a body of unknown length has come is the last.
    if b"/streamed" not in found and b"/discarded" not in found and b"/claimed" not in found:
        assert found == wanted
