"""The socket of a WebSocket: who has it, what is sent on it at the end, and how long it lives."""

from __future__ import annotations

import logging
import selectors
import socket
import threading
import time

import pytest
from polling import PATIENCE_S, wait_until
from stage import Stage, head
from wsframes import ACCEPT, ask, close, frame

from carboy.observability.access import AccessLog
from carboy.serving.http.limits import Limits
from carboy.serving.http.websocket import SentFrames

GOING_AWAY, NORMAL, FAILED = close(1001), close(1000), close(1011)
# The Close frame with which a client answers.
ANSWER = frame(b"\x03\xe9", 8, mask=b"abcd")


class Program:
    """A WSGI application that takes the socket, and does with it what the test says.

    Attributes:
        sock: the socket, which the application has taken.
        go: the application ends when the test sets it.
        errors: what `use` has raised.
    """

    def __init__(self, use=lambda sock: None, *, sends=ACCEPT):
        self.use, self.sends = use, sends
        self.sock = None
        self.go, self.ended = threading.Event(), threading.Event()
        self.errors = []

    def __call__(self, environ, start_response):
        sock = environ["werkzeug.socket"]
        sock.send(self.sends)
        self.sock = sock
        try:
            self.use(sock)
            self.go.wait(PATIENCE_S)
        except OSError as exc:
            self.errors.append(exc)
        finally:
            self.ended.set()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"this response is dropped"]


def opened(stage, program, request=None):
    stage.serve(program)
    client = stage.connect()
    client.send(request or ask())
    stage.until(lambda: program.sock is not None)
    collect(client)
    return client


def collect(client):
    while client.collect():
        pass
    return client.received


def received(client, count):
    """Whether the client has received so many bytes after the response to the handshake."""
    return len(collect(client)) - len(ACCEPT) >= count


# ------------------------------------------------------------------------------ whose socket it is


def test_socket_is_handed_over_and_the_response_that_follows_is_dropped():
    program = Program(lambda sock: sock.sendall(frame(sock.recv(100).upper())))
    with Stage() as stage:
        client = opened(stage, program)
        client.send(b"hello")
        program.go.set()
        assert client.see_end() == ACCEPT + frame(b"HELLO") + NORMAL
        client.leave()


def test_bytes_behind_the_request_reach_the_application_first():
    read = []

    def use(sock):
        while sum(map(len, read)) < 10:
            read.append(sock.recv(3))

    with Stage() as stage:
        client = opened(stage, program := Program(use), ask() + b"early")
        client.send(b"later")
        program.go.set()
        assert program.ended.wait(PATIENCE_S)
        assert b"".join(read) == b"earlylater"
        client.leave()


@pytest.mark.parametrize("status", ["404 Not Found", "200 OK"])
def test_application_that_does_not_use_the_socket_gives_an_ordinary_response(status):
    def app(environ, start_response):
        assert "werkzeug.socket" in environ
        start_response(status, [])
        return [b"no"]

    with Stage() as stage:
        stage.serve(app)
        client = stage.connect()
        answer = client.ask(ask())
        assert (answer.status, answer.body, answer.closes) == (int(status[:3]), b"no", True)


def test_ordinary_requests_find_no_socket_in_the_environ():
    def app(environ, start_response):
        start_response("200 OK", [])
        return [str("werkzeug.socket" in environ).encode()]

    with Stage() as stage:
        stage.serve(app)
        assert stage.connect().ask(head()).body == b"False"


@pytest.mark.parametrize("kind", ["nothing", "generator", "ConnectionError"])
def test_application_that_took_the_socket_need_not_respond(kind, caplog):
    def nothing(environ, start_response):
        environ["werkzeug.socket"].sendall(ACCEPT)
        return []

    def generator(environ, start_response):
        environ["werkzeug.socket"].sendall(ACCEPT)
        yield b"dropped"

    def raising(environ, start_response):
        environ["werkzeug.socket"].sendall(ACCEPT)
        raise ConnectionError  # so do python-engineio's views

    app = {"nothing": nothing, "generator": generator}.get(kind, raising)
    with Stage() as stage:
        stage.serve(app)
        client = stage.connect()
        client.send(ask())
        stage.until(lambda: received(client, 4))
        client.send_no_more()
        assert client.see_end() == ACCEPT + NORMAL
    assert caplog.records == []


def test_application_that_fails_closes_with_the_code_for_errors(caplog):
    def app(environ, start_response):
        environ["werkzeug.socket"].sendall(ACCEPT)
        raise ValueError("broken")

    with Stage(Limits(linger_s=0.1)) as stage:
        stage.serve(app)
        client = stage.connect()
        client.send(ask())
        assert client.see_end() == ACCEPT + FAILED
    assert "ValueError: broken" in caplog.text


def test_application_that_fails_before_it_took_the_socket_is_500(caplog):
    def app(environ, start_response):
        raise ValueError("broken")

    with Stage() as stage:
        stage.serve(app)
        assert stage.connect().ask(ask()).status == 500
    assert "ValueError: broken" in caplog.text


def test_socket_that_was_taken_too_late_is_closed():
    kept = []

    def app(environ, start_response):
        kept.append(environ["werkzeug.socket"])
        start_response("404 Not Found", [])
        return [b""]

    with Stage() as stage:
        stage.serve(app)
        assert stage.connect().ask(ask()).status == 404
        assert kept[0].recv(10) == b""
        with pytest.raises(BrokenPipeError):
            kept[0].send(b"x")


# ------------------------------------------------------------------------------------- its methods


def test_socket_behaves_like_one_of_the_standard_library():
    with Stage() as stage:
        client = opened(stage, program := Program())
        sock = program.sock
        assert sock.gettimeout() is None
        sock.settimeout(0.01)
        with pytest.raises(TimeoutError):
            sock.recv(10)
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(10)
        sock.setblocking(True)
        client.send(b"abcdef")
        assert sock.recv(2) == b"ab"
        buffer = bytearray(4)
        assert sock.recv_into(buffer) == 4
        assert buffer == b"cdef"
        with selectors.DefaultSelector() as selector:
            selector.register(sock, selectors.EVENT_READ)
            assert selector.select(0) == []
            client.send(b"abcdef")
            assert len(selector.select(PATIENCE_S)) == 1
        # More than asked for, because a selector does not see what TLS has decrypted already.
        assert sock.recv(2) == b"abcdef"
        with pytest.raises(ValueError, match="flags"):
            sock.recv(1, socket.MSG_PEEK)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
        with sock:
            pass
        assert (sock.recv(10), sock.fileno()) == (b"", -1)
        program.go.set()
        assert client.see_end() == ACCEPT


def test_large_message_is_sent_whole_by_one_call_though_another_thread_sends_too():
    large, small = b"x" * 3_000_000, b"y" * 1000
    sent = []

    def use(sock):
        other = threading.Thread(target=lambda: [sent.append(sock.send(small)) for _ in range(50)])
        other.start()
        sent.append(sock.send(large))
        other.join(PATIENCE_S)

    with Stage() as stage:
        stage.serve(program := Program(use))
        client = stage.connect()
        client.read_along()
        client.send(ask())
        wait = len(ACCEPT) + len(large) + 50 * len(small)
        stage.until(lambda: len(client.received) >= wait)
        assert large in client.received
        program.go.set()
        stage.until(program.ended.is_set)
        assert sorted(sent) == [1000] * 50 + [len(large)]
        client.leave()


def test_thread_that_reads_ends_when_another_one_closes_the_socket():
    read = []
    with Stage() as stage:
        client = opened(stage, program := Program())
        thread = threading.Thread(target=lambda: read.append(program.sock.recv(10)))
        thread.start()
        wait_until(lambda: program.sock._users)
        program.sock.close()
        thread.join(PATIENCE_S)
        assert read == [b""]
        assert client.see_end() == ACCEPT
        program.go.set()


# ------------------------------------------------------------------------------------- how it ends


def test_silent_websocket_is_closed_with_the_code_for_going_away():
    program = Program(lambda sock: sock.recv(10))
    with Stage(Limits(websocket_idle_s=0.1)) as stage:
        client = opened(stage, program)
        program.go.set()
        assert client.see_end() == ACCEPT + GOING_AWAY
        assert program.ended.wait(PATIENCE_S)


@pytest.mark.parametrize("direction", ["sent", "received"])
def test_websocket_with_traffic_in_one_direction_is_not_silent(direction):
    idle_s = 1000.0
    with Stage(Limits(websocket_idle_s=idle_s)) as stage:
        client = opened(stage, program := Program())
        (connection,) = stage.connections
        program.sock.active_s -= idle_s
        if direction == "sent":
            program.sock.send(frame(b"tick"))
        else:
            client.send(b"tick")
            assert program.sock.recv(10) == b"tick"
        connection.deadline_s = 0.0  # as if it had passed
        stage.until(lambda: connection.deadline_s > time.monotonic())
        assert GOING_AWAY not in collect(client)
        program.sock.active_s -= idle_s
        connection.deadline_s = 0.0
        stage.until(lambda: GOING_AWAY in collect(client))
        program.go.set()
        client.leave()


@pytest.mark.parametrize("idle_s", [0.0, 3600.0])
def test_server_that_stops_ends_websockets(idle_s):
    program = Program(lambda sock: sock.recv(10))
    with Stage(Limits(websocket_idle_s=idle_s)) as stage:
        client = opened(stage, program)
        stage.server.stop()
        stage.settle()
        assert not stage.server.drained
        stage.server.end_websockets(1.0)
        stage.until(lambda: received(client, 4))
        assert client.received == ACCEPT + GOING_AWAY
        client.send(ANSWER)
        program.go.set()
        assert client.see_end() == ACCEPT + GOING_AWAY
        stage.until(lambda: stage.server.drained)


@pytest.mark.parametrize(
    ("sent", "end"),
    [
        pytest.param(ACCEPT + frame(b"whole"), GOING_AWAY, id="after a frame"),
        pytest.param(ACCEPT + frame(b"half", last=False), GOING_AWAY, id="within a message"),
        pytest.param(ACCEPT + frame(b"half a frame")[:-3], b"", id="within a frame"),
        pytest.param(ACCEPT + frame(b"x" * 200)[:3], b"", id="within the head of a frame"),
        pytest.param(ACCEPT + close(4000), b"", id="after a Close frame"),
        pytest.param(ACCEPT[:-2], b"", id="within the response"),
        pytest.param(b"HTTP/1.1 403 Forbidden\r\n\r\n", b"", id="after a refusal"),
    ],
)
def test_server_sends_a_close_frame_only_where_one_is_allowed(sent, end):
    program = Program(sends=sent)
    with Stage() as stage:
        client = opened(stage, program)
        stage.server.end_websockets(1.0)
        stage.settle()
        program.go.set()
        assert client.see_end() == sent + end


def test_application_sends_nothing_after_a_close_frame_of_the_server():
    with Stage() as stage:
        client = opened(stage, program := Program())
        stage.server.end_websockets(1.0)
        stage.settle()
        assert program.sock.send(frame(b"too late")) == 10
        program.go.set()
        assert client.see_end() == ACCEPT + GOING_AWAY


def test_client_that_reads_nothing_is_disconnected():
    program = Program(lambda sock: sock.send(b"x" * 10_000_000))
    with Stage(Limits(stall_s=0.1)) as stage:
        opened(stage, program)
        stage.until(program.ended.is_set)
        assert isinstance(program.errors[0], TimeoutError)
        stage.until(lambda: not stage.connections)


def test_application_notices_a_client_that_has_left():
    read = []
    with Stage() as stage:
        client = opened(stage, program := Program(lambda sock: read.append(sock.recv(10))))
        program.go.set()
        client.leave()
        stage.until(lambda: not stage.connections or program.ended.is_set())
        assert read == [b""]
        stage.until(lambda: not stage.connections)


@pytest.mark.parametrize("reads", ["the application", "nobody"])
def test_connection_closes_as_soon_as_the_client_has_answered_the_close_frame(reads):
    def use(sock):
        sock.send(close(1000))
        if reads == "the application":
            sock.recv(100)

    program = Program(use)
    program.go.set()
    with Stage() as stage:
        client = opened(stage, program)
        stage.until(lambda: received(client, 4))
        client.send(ANSWER)
        stage.until(lambda: not stage.connections)


def test_client_that_answers_no_close_frame_is_disconnected_after_a_while():
    program = Program()
    program.go.set()
    with Stage(Limits(linger_s=0.1)) as stage:
        opened(stage, program)
        stage.until(lambda: not stage.connections)


# ----------------------------------------------------------------------------------- how many


def test_further_websockets_are_refused_until_one_has_ended(caplog):
    first, second = Program(), Program()
    with Stage(Limits(websockets=1, linger_s=0.05)) as stage:
        opened(stage, first)
        refused = stage.connect()
        answer = refused.ask(ask() + head(target="/smuggled"))
        assert (answer.status, answer.closes) == (503, True)
        assert answer.header("retry-after") == "5"
        assert refused.see_end() == b""
        assert "--max-websockets" in caplog.text
        first.go.set()
        stage.until(lambda: not stage.pool._apart)
        opened(stage, second)
        second.go.set()


def test_pool_that_stops_waits_for_views_of_websockets():
    done = []

    def use(sock):
        while sock.recv(10):
            pass
        done.append(True)

    program = Program(use)
    program.go.set()
    with Stage() as stage:
        client = opened(stage, program)
        client.leave()
        stage.pool.stop()
        assert done == [True]


def test_limit_of_threads_is_not_used_up_by_a_thread_that_the_system_refuses(monkeypatch, caplog):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with Stage(Limits(websockets=1)) as stage:
        stage.serve(Program())
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            assert stage.connect().ask(ask()).status == 503
        program = Program()
        opened(stage, program)
        program.go.set()
    assert "can't start new thread" in caplog.text


# ----------------------------------------------------------------------------------- access log


@pytest.fixture
def lines():
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logger = logging.getLogger("carboy.access")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield records
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.mark.parametrize(
    ("sent", "has"),
    [
        (ACCEPT + frame(b"hello") + close(1000), ' 101 11 "-" "-"'),
        (ACCEPT + frame(b"hello"), " 101 7 "),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", " 403 0 "),
    ],
)
def test_websocket_gets_a_line_in_the_access_log_when_it_ends(lines, sent, has):
    program = Program(lambda sock: sock.recv(10), sends=sent)
    with Stage(access_log=AccessLog("text", with_query=False)) as stage:
        client = opened(stage, program, ask("/socket"))
        stage.server.access_log.flush()
        assert lines == []
        client.leave()
        program.go.set()
        stage.until(lambda: not stage.pool._apart)
        stage.server.access_log.flush()
        (line,) = lines
        assert '"GET /socket HTTP/1.1"' in line
        assert has in line
        assert (" aborted=true" in line) == (close(1000) not in sent)


# ------------------------------------------------------------------------------ where frames end


FRAMES = [
    *(frame(b"x" * size) for size in (0, 1, 125, 126, 65535, 65536)),
    *(frame(b"ping", 9), frame(b"part", last=False), frame(b"rest", 0)),
    frame(b"masked", mask=b"abcd"),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000, 10**6])
def test_ends_of_frames_are_found_however_they_are_sent(size):
    data = ACCEPT + b"".join(FRAMES)
    ends, at = {len(ACCEPT)}, len(ACCEPT)
    for each in FRAMES:
        ends.add(at := at + len(each))
    sent = SentFrames()
    for start in range(0, len(data), size):
        sent.add(memoryview(data)[start : start + size])
        assert sent.may_close == (min(start + size, len(data)) in ends)
    assert (sent.status, sent.closing, sent.sent_bytes) == ("101", False, at - len(ACCEPT))
    sent.add(memoryview(close(1000)))
    assert sent.closing
    assert not sent.may_close


def test_long_response_is_not_kept_while_it_is_sent():
    sent = SentFrames()
    sent.add(memoryview(b"HTTP/1.1 101 Switching Protocols\r\n"))
    for _ in range(1000):
        sent.add(memoryview(b"X-Header: value\r\n"))
        assert len(sent._begun) < 100
    sent.add(memoryview(b"\r\n"))
    assert sent.may_close
