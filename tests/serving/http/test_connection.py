"""A connection on real sockets: what it refuses, the order of responses, limits of time."""

from __future__ import annotations

import contextlib
import threading

import pytest
from polling import PATIENCE_S
from stage import Stage, chunked, head, post
from werkzeug.exceptions import ClientDisconnected

from carboy.serving.http import connection as module
from carboy.serving.http import server as server_module
from carboy.serving.http.limits import Limits

LIMITS = Limits()
UNSIZED = ("Transfer-Encoding", "chunked")
EXPECTS = ("Expect", "100-continue")
TOP = head("POST", "/", [UNSIZED])


@pytest.fixture
def stage():
    with Stage() as stage:
        yield stage


class RecordingHandler:
    """Admits requests, and lets the test answer them.

    Args:
        given: attributes that `admit` sets on each exchange, such as `body_mode`.
    """

    def __init__(self, stage, **given):
        self.stage = stage
        self.given = given
        self.admitted, self.taken = [], []
        stage.handler.on_admit = self.admit

    def admit(self, exchange):
        self.admitted.append(exchange)
        exchange.handler = self.taken.append
        exchange.body_timeout_s = 60.0
        for name, value in self.given.items():
            setattr(exchange, name, value)

    @property
    def paths(self):
        return [exchange.path for exchange in self.taken]

    def answer(self, status=200, headers=(), body=b"done"):
        """Answer the latest request."""
        self.stage.settle()
        self.taken[-1].respond(status, list(headers), body)
        self.stage.settle()


@pytest.fixture
def handler(stage):
    return RecordingHandler(stage)


def echo(stage, **given):
    """A client whose requests are answered at once, with what it has sent."""

    def take(exchange):
        exchange.respond(200, [], f"{exchange.method} {exchange.path} ".encode() + exchange.body())

    handler = RecordingHandler(stage, handler=take, **given)
    return stage.connect(), handler


# ------------------------------------------------------------------------------------- the order


def test_pipelined_requests_are_handed_over_one_after_the_other(stage, handler):
    client = stage.connect()
    client.send(head(target="/a") + post(b"xyz", "/b") + head(target="/c"))
    for path in ("/a", "/b", "/c"):
        stage.settle()
        assert handler.paths[-1] == path
        handler.answer(body=path.encode())
        assert client.answer().body == path.encode()
    assert handler.paths == ["/a", "/b", "/c"]


def test_request_that_comes_while_another_is_answered_waits(stage, handler):
    client = stage.connect()
    for path in ("/a", "/b", "/c"):
        client.send(head(target=path))
        stage.settle()
    assert handler.paths == ["/a"]
    for path in ("/b", "/c"):
        handler.answer()
        assert handler.paths[-1] == path


def test_server_stops_reading_from_a_client_that_pipelines_without_end(stage, handler):
    client = stage.connect()
    client.send(head() * 100_000)
    stage.until(lambda: handler.admitted)
    stage.settle()
    assert len(handler.admitted) == 1
    assert not client.sent
    client.leave()


@pytest.mark.parametrize("size", [1, 3, 7, 40])
def test_request_in_pieces_is_answered(stage, size):
    client, _ = echo(stage)
    data = post(b"hello", "/a") + head(target="/b")
    for i in range(0, len(data), size):
        client.send(data[i : i + size])
        stage.turn()
    assert client.answer().body == b"POST /a hello"
    assert client.answer().body == b"GET /b "


def test_more_pipelined_requests_than_the_limit_end_the_connection(stage):
    client, _ = echo(stage)
    client.send(head() * (LIMITS.pipelined_requests + 10))
    answers = [client.answer() for _ in range(LIMITS.pipelined_requests + 10)]
    assert {answer.status for answer in answers} == {200}
    assert [answer.closes for answer in answers[-2:]] == [False, True]
    assert client.see_end() == b""


def test_as_many_pipelined_requests_as_the_limit_keep_the_connection(stage):
    client, _ = echo(stage)
    client.send(head() * LIMITS.pipelined_requests)
    assert not any(client.answer().closes for _ in range(LIMITS.pipelined_requests))
    assert client.ask(head()).status == 200


# ------------------------------------------------------------------------------- what it may send


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        pytest.param(b"hello world\r\n\r\n", "", id="no HTTP"),
        pytest.param(b"FROB / HTTP/1.1\r\nHost: a\r\n\r\n", "method", id="unknown method"),
        pytest.param(b"get / HTTP/1.1\r\nHost: a\r\n\r\n", "method", id="method in small letters"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", "no Host", id="no host"),
        pytest.param(head(headers=[("host", "evil")]), "two Host", id="two hosts"),
        pytest.param(head(version="2.0"), "", id="HTTP/2 of no such form"),
        pytest.param(head(version="0.9"), "", id="HTTP/0.9"),
        pytest.param(b"GET /\r\n\r\n", "", id="no version"),
        pytest.param(head(target="a"), "", id="relative target"),
        pytest.param(head(target="ftp://a/"), "neither", id="another scheme"),
        pytest.param(head("CONNECT", "shop.example:80"), "", id="tunnel"),
        pytest.param(head(target="/\xe6\x97\xa5"), "", id="target not ASCII"),
        pytest.param(head(target="/a b"), "", id="space in the target"),
        pytest.param(head(headers=[("x a", "1")]), "", id="space in a name"),
        pytest.param(head(headers=[("x-a ", "1")]), "", id="space before the colon"),
        pytest.param(head(headers=[("caf\xe9", "1")]), "", id="name not ASCII"),
        pytest.param(head(headers=[("x-a", "1\0")]), "", id="null in a header"),
        pytest.param(head(headers=[("x-a", "1\r\n 2")]), "", id="folded header"),
        pytest.param(head(headers=[("x-a", "1\n2: 3")]), "", id="end of line is no CR LF"),
        pytest.param(head("POST", "/", [("Content-Length", "-1")]), "", id="negative length"),
        pytest.param(head("POST", "/", [("Content-Length", "+1")]), "", id="length with a sign"),
        pytest.param(head("POST", "/", [("Content-Length", "1,1")]), "", id="list of lengths"),
        pytest.param(head("POST", "/", [("Content-Length", "9" * 30)]), "", id="absurd length"),
        pytest.param(
            head("POST", "/", [("Content-Length", "9".zfill(5000))]) + head(target="/hidden"),
            "20 digits",
            id="length of 5000 digits",
        ),
        pytest.param(head("POST", "/", [("Content-Length", "1")] * 2) + b"x", "", id="two lengths"),
        pytest.param(
            head("POST", "/", [("Content-Length", "1"), UNSIZED]) + b"0\r\n\r\n",
            "",
            id="length of a chunked body",
        ),
        pytest.param(
            head("POST", "/", [("Transfer-Encoding", "chunked, gzip")]),
            "",
            id="chunked first",
        ),
        pytest.param(
            head("POST", "/", [("Transfer-Encoding", "gzip, chunked")]), "coding", id="gzip"
        ),
        pytest.param(head("POST", "/", [("Transfer-Encoding", "identity")]), "", id="identity"),
        pytest.param(head("POST", "/", [UNSIZED, UNSIZED]), "", id="chunked twice"),
        pytest.param(head("POST", "/", [UNSIZED], "1.0"), "", id="chunks of HTTP/1.0"),
        pytest.param(head(target="http:///a"), "has no host", id="URL without a host"),
    ],
)
def test_request_that_a_proxy_may_read_differently_is_400(stage, handler, caplog, raw, says):
    client = stage.connect()
    answer = client.ask(raw)
    assert (answer.status, answer.closes, answer.whole) == (400, True, True)
    assert says in answer.body.decode()
    assert client.see_end() == b""
    assert not client.was_reset
    assert not handler.taken
    assert not caplog.records  # clients do not fill the log
    client.leave()
    stage.settle()
    assert not stage.connections


@pytest.mark.parametrize(
    "rest", [b"garbage\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"], ids=["no", "half"]
)
def test_requests_before_a_refused_one_are_answered(stage, rest):
    client, _ = echo(stage)
    client.send(head(target="/a") + head(target="/b") + rest)
    assert [client.answer().body for _ in range(2)] == [b"GET /a ", b"GET /b "]
    assert client.see_end()[:12] in {b"", b"HTTP/1.1 400"}


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(head(headers=[("X-A", "a" * (LIMITS.head_bytes + 5000))]), id="header"),
        pytest.param(head(headers=[(f"X-{i}", "a") for i in range(10_000)]), id="headers"),
        pytest.param(head(target="/" + "a" * (LIMITS.head_bytes + 5000)), id="target"),
        pytest.param(head(headers=[("X-A", "a" * 1_000_000)]), id="a million"),
    ],
)
def test_head_beyond_the_limit_is_431(stage, handler, raw):
    client = stage.connect()
    client.send(raw)
    answer = client.answer()
    assert (answer.status, answer.closes) == (431, True)
    stage.until(lambda: client.sent)
    assert not client.was_reset
    assert not handler.admitted


def test_head_up_to_the_limit_is_read(stage):
    client, handler = echo(stage)
    client.send(head(headers=[("X-A", "a" * (LIMITS.head_bytes - 1000))]))
    assert client.answer().status == 200
    assert len(handler.admitted[0].headers["HTTP_X_A"]) == LIMITS.head_bytes - 1000


@pytest.mark.parametrize("end", ["trailer", "extension"])
def test_trailers_and_chunk_extensions_are_dropped_and_bounded(stage, end):
    client, handler = echo(stage)
    if end == "trailer":
        parts = b"2\r\nab\r\n0\r\nX-A: ", b"\r\n\r\n"
    else:
        parts = b"2;x=", b"\r\nab\r\n0\r\n\r\n"
    assert client.ask(TOP + (b"1" * 100).join(parts)).body == b"POST / ab"
    assert "HTTP_X_A" not in handler.admitted[0].headers
    client.send(TOP + (b"1" * 1_000_000).join(parts))
    client.answer()
    assert client.see_end() == b""
    assert handler.admitted[1].fault == "truncated"


def test_upgrade_is_ignored(stage):
    client, _ = echo(stage)
    upgrade = [("Connection", "Upgrade"), ("Upgrade", "h2c")]
    assert client.ask(head(headers=upgrade)).body == b"GET / "
    client, _ = echo(stage)
    answer = client.ask(post(b"body", headers=[("Connection", "Upgrade"), ("Upgrade", "h2c")]))
    assert answer.body == b"POST / body"


def test_requests_after_an_ignored_upgrade_are_answered(stage):
    client, _ = echo(stage)
    upgrade = [("Connection", "Upgrade"), ("Upgrade", "h2c")]
    client.send(head(target="/a", headers=upgrade) + head(target="/b"))
    client.send(post(b"body", "/c", upgrade)[:-2])
    stage.settle()
    client.send(b"dy" + head(target="/d"))
    found = [client.answer().body for _ in range(4)]
    assert found == [b"GET /a ", b"GET /b ", b"POST /c body", b"GET /d "]


def fail(*args):
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("owner", "name"),
    [(module.RequestParser, "feed"), (module.Exchange, "__init__"), (module.Connection, "_begin")],
    ids=["parser", "exchange", "connection"],
)
@pytest.mark.parametrize("first", [b"", head()], ids=["only request", "pipelined"])
def test_nothing_is_parsed_after_an_error_in_the_server(
    stage, handler, monkeypatch, caplog, owner, name, first
):
    clients = [stage.connect(), stage.connect()]
    for client in clients:
        client.send(first)
        stage.settle()
        monkeypatch.setattr(owner, name, fail)
        client.send(head("POST", "/", [("Content-Length", "100")]))
        stage.settle()
        if first and stage.connections:
            handler.taken[-1].respond(200, [], b"")  # the next request is begun on this thread
            stage.settle()
        monkeypatch.undo()
        with contextlib.suppress(BrokenPipeError):
            client.send(head(target="/hidden"))
        client.see_end()
    assert "/hidden" not in [each.path for each in handler.admitted]
    assert not stage.connections
    assert len(caplog.records) == 1  # clients do not fill the log


def test_handler_that_raises_for_a_pipelined_request_is_500(stage, handler, caplog):
    client = stage.connect()
    client.send(head() * 2)
    stage.settle()
    handler.given["handler"] = lambda exchange: 1 / 0
    handler.answer()
    assert [client.answer().status for _ in range(2)] == [200, 500]
    assert client.see_end() == b""
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("where", ["admit", "handler"])
def test_handler_that_raises_is_500_and_logged(stage, caplog, where):
    handler = RecordingHandler(stage, handler=lambda exchange: 1 / 0)
    if where == "admit":
        stage.handler.on_admit = lambda exchange: 1 / 0
    client = stage.connect()
    assert client.ask(head()).status == 500
    assert client.see_end() == b""
    assert "ZeroDivisionError" in caplog.text
    assert len(handler.admitted) == (where == "handler")
    other, _ = echo(stage)
    assert other.ask(head()).status == 200


# ------------------------------------------------------------------------------ whether it goes on


@pytest.mark.parametrize(
    ("version", "asked", "set_by_app", "keep_alive", "says"),
    [
        ("1.1", None, None, True, None),
        ("1.1", "keep-alive", None, True, None),
        ("1.1", "close", None, False, "close"),
        ("1.1", "Close", None, False, "close"),
        ("1.1", None, "close", False, "close"),
        ("1.1", None, "keep-alive", True, None),
        ("1.0", None, None, False, "close"),
        ("1.0", "keep-alive", None, True, "keep-alive"),
        ("1.0", "Keep-Alive", "close", False, "close"),
    ],
)
def test_connection_is_kept_if_both_ends_want_it(
    stage, version, asked, set_by_app, keep_alive, says
):
    given = [("Connection", set_by_app)] if set_by_app else []
    RecordingHandler(stage, handler=lambda exchange: exchange.respond(200, given, b"a"))
    client = stage.connect()
    headers = [("Connection", asked)] if asked else []
    answer = client.ask(head(headers=headers, version=version))
    assert answer.header("connection") == says
    if keep_alive:
        assert client.ask(head(headers=headers, version=version)).status == 200
    else:
        assert client.see_end() == b""
        assert not stage.connections


def test_draining_server_closes_after_the_response(stage):
    client, _ = echo(stage)
    assert not client.ask(head()).closes
    stage.server.draining = True
    assert client.ask(head()).closes
    assert client.see_end() == b""


@pytest.mark.parametrize(
    ("method", "status", "length", "body"),
    [
        ("GET", 200, "4", b"body"),
        ("HEAD", 200, "4", b""),
        ("GET", 204, None, b""),
        ("GET", 304, None, b""),
        ("HEAD", 304, None, b""),
        ("DELETE", 204, None, b""),
        ("GET", 404, "4", b"body"),
    ],
)
@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
def test_response_without_a_body_ends_with_its_head(stage, method, status, length, body, streams):
    def take(exchange):
        if streams:
            exchange.stream(status, [], iter([b"bo", b"dy"]))
        else:
            exchange.respond(status, [], b"body")

    RecordingHandler(stage, handler=take)
    client = stage.connect()
    client.send(head(method) + head("OPTIONS"))
    first = client.answer(method)
    assert (first.status, first.body, first.whole) == (status, body, True)
    assert first.header("content-length") == (None if streams else length)
    assert client.answer("OPTIONS").status == status


def test_response_to_head_has_the_length_that_the_app_set(stage):
    RecordingHandler(
        stage, handler=lambda each: each.respond(200, [("Content-Length", "1000")], b"")
    )
    assert stage.connect().ask(head("HEAD")).header("content-length") == "1000"


# ------------------------------------------------------------------------------------- the answer


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("announced", "body", "keep_alive"),
    [("4", b"abcd", True), ("3", b"abc", True), ("5", b"abcd", False), ("0", b"", True)],
)
def test_response_is_cut_to_its_content_length_and_closes_if_shorter(
    stage, announced, body, keep_alive, streams
):
    def take(exchange):
        headers = [("content-length", announced)]
        if streams:
            exchange.stream(200, headers, iter([b"ab", b"", b"cd"]))
        else:
            exchange.respond(200, headers, b"abcd")

    RecordingHandler(stage, handler=take)
    client = stage.connect()
    answer = client.ask(head())
    assert (answer.body, answer.header("content-length")) == (body, announced)
    assert answer.whole is keep_alive
    assert (client.ask(head()).status == 200) if keep_alive else (client.see_end() == b"")


@pytest.mark.parametrize(
    ("version", "chunks", "streamed", "keep_alive"),
    [
        ("1.1", [b"ab", b"", b"c"], True, True),
        ("1.1", [], True, True),
        ("1.0", [b"ab", b"", b"c"], False, False),
    ],
)
def test_response_of_unknown_length_is_chunked_or_ends_with_the_connection(
    stage, version, chunks, streamed, keep_alive
):
    RecordingHandler(stage, handler=lambda exchange: exchange.stream(200, [], iter(chunks)))
    client = stage.connect()
    client.send(head(version=version, headers=[("Connection", "keep-alive")]))
    answer = client.answer()
    assert (answer.body, answer.whole) == (b"".join(chunks), True)
    assert (answer.streamed, answer.closes) == (streamed, not keep_alive)


def test_framing_headers_of_the_app_are_dropped(stage):
    headers = [
        ("Transfer-Encoding", "gzip"),
        ("Keep-Alive", "timeout=5"),
        ("Date", "today"),
        ("X-A", "1"),
        ("X-A", "caf\xe9"),
    ]
    RecordingHandler(
        stage, handler=lambda exchange: exchange.respond("299 Odd Words", headers, b"a")
    )
    client = stage.connect()
    client.send(head(headers=[("X-Request-ID", "a-1")]))
    stage.settle()
    client.collect()
    assert client.received.startswith(b"HTTP/1.1 299 Odd Words\r\n")
    assert client.answer().headers == [
        ("Date", "today"),
        ("X-A", "1"),
        ("X-A", "caf\xe9"),
        ("Content-Length", "1"),
        ("X-Request-ID", "a-1"),
    ]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("status", "header"),
    [
        ("200 OK", ("X-A", "1\r\nX-B: 2")),
        ("200 OK", ("X-A", "1\n2")),
        ("200 OK", ("X-A\r\nX-B", "2")),
        ("200 OK", ("X-A", "日")),
        ("200 OK\r\nX-A: 1", ("X-B", "2")),
        ("200 OK", ("Content-Length", "many")),
    ],
    ids=["lines", "line", "name", "not Latin-1", "status", "length"],
)
def test_header_that_cannot_be_sent_is_500_and_logged(stage, caplog, status, header, stream):
    def app(environ, start_response):
        start_response(status, [header])
        return iter([b"secret"]) if stream else [b"secret"]

    stage.serve(app)
    client = stage.connect()
    answer = client.ask(head())
    assert (answer.status, b"secret" in answer.body) == (500, False)
    assert answer.header("x-b") is None
    assert "error while answering GET /" in caplog.text
    assert client.see_end() == b""


def test_response_to_a_slow_client_is_flushed_later(stage, handler):
    client = stage.connect()
    client.send(head() + head(target="/next"))
    body = bytes(range(256)) * 20_000
    handler.answer(body=body)
    assert handler.paths == ["/"]  # the next is not begun before the first is out
    assert client.answer().body == body
    stage.settle()
    handler.answer()
    assert client.answer().body == b"done"


def test_second_response_to_a_request_is_ignored(stage, handler):
    client = stage.connect()
    client.send(head() * 2)
    handler.answer(body=b"first")
    first = handler.taken[0]
    for _ in range(2):
        first.respond(200, [], b"second")
        first.drop()
    handler.answer(body=b"next")
    assert [client.answer().body for _ in range(2)] == [b"first", b"next"]


def test_dropped_exchange_closes_the_connection(stage, handler):
    client = stage.connect()
    client.send(head())
    stage.settle()
    handler.taken[0].drop()
    assert client.see_end() == b""
    assert not stage.connections


# --------------------------------------------------------------------- streams to slow readers


def begin_stream(stage, handler, chunks, client=None):
    client = client or stage.connect()
    client.send(head())
    stage.settle()
    exchange = handler.taken[-1]
    thread = threading.Thread(target=exchange.stream, args=(200, [], chunks), daemon=True)
    thread.start()
    return client, thread


def test_chunk_is_sent_before_the_next_is_made(stage, handler):
    more = threading.Semaphore(0)

    def chunks():
        for i in range(3):
            assert more.acquire(timeout=PATIENCE_S)
            yield b"(%d)" % i

    client, thread = begin_stream(stage, handler, chunks())
    for i in range(3):
        more.release()
        stage.until(lambda i=i: client.collect() and b"(%d)" % i in client.received)
    assert client.answer().body == b"(0)(1)(2)"
    thread.join(PATIENCE_S)
    handler.taken.clear()
    client.send(head())
    handler.answer()
    assert client.answer().status == 200


def test_generator_waits_for_a_slow_client(stage, handler):
    made = []

    def chunks():
        for i in range(30):
            made.append(i)
            yield b"x" * 100_000

    client, thread = begin_stream(stage, handler, chunks())
    stage.until(lambda: made)
    for _ in range(20):
        stage.turn(0.002)
    assert len(made) < 15
    assert len(client.answer().body) == 3_000_000
    thread.join(PATIENCE_S)
    assert len(made) == 30


def test_stream_ends_when_its_client_leaves(stage, handler):
    def chunks():
        while True:
            yield b"x" * 1000

    client, thread = begin_stream(stage, handler, chunks())
    stage.until(client.collect)
    client.leave()
    stage.until(lambda: not thread.is_alive())
    assert not stage.connections


def test_stream_ends_after_its_client_was_seen_to_leave(stage, handler):
    made, left = [], threading.Event()

    def chunks():
        yield b"a"
        assert left.wait(PATIENCE_S)
        for _ in range(100):
            made.append(1)
            yield b"b"

    client, thread = begin_stream(stage, handler, chunks())
    stage.until(lambda: not client.collect() and client.received.endswith(b"a\r\n"))
    reports = []
    handler.taken[0].watch(lambda: reports.append(1))
    client.leave()
    stage.until(lambda: reports)
    left.set()
    thread.join(PATIENCE_S)
    assert len(made) <= 1


def test_stream_to_a_client_that_reads_nothing_ends_after_the_limit():
    with Stage(Limits(stall_s=0.01)) as stage:
        client, thread = begin_stream(stage, RecordingHandler(stage), iter([b"x" * 1000] * 10_000))
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        assert not client.answer().whole


def test_stream_that_raises_passes_the_error_on_and_is_not_whole(stage):
    def chunks():
        yield b"a"
        raise BrokenPipeError

    caught = []

    def take(exchange):
        with pytest.raises(BrokenPipeError) as failure:
            exchange.stream(200, [], chunks())
        caught.append(failure)

    RecordingHandler(stage, handler=take)
    answer = stage.connect().ask(head())
    assert (answer.body, answer.whole, len(caught)) == (b"a", False, 1)


@pytest.mark.parametrize("first", [ValueError(), 1, "text"], ids=["raises", "number", "text"])
def test_stream_that_fails_before_its_first_byte_is_500(stage, first):
    def chunks():
        if isinstance(first, ValueError):
            raise first
        yield first

    def take(exchange):
        with pytest.raises((ValueError, TypeError)):
            exchange.stream(200, [], chunks())

    RecordingHandler(stage, handler=take)
    client = stage.connect()
    answer = client.ask(head())
    assert (answer.status, answer.whole, answer.closes) == (500, True, True)
    assert client.see_end() == b""


# ----------------------------------------------------------------------------------- who has left


def test_disconnect_is_reported_and_the_response_dropped(stage, handler):
    client = stage.connect()
    client.send(head())
    stage.settle()
    (exchange,) = handler.taken
    reports = []
    exchange.watch(lambda: reports.append(exchange.disconnected))
    assert not exchange.disconnected
    client.leave()
    stage.settle()
    assert reports
    assert all(reports)
    exchange.respond(200, [], b"late")
    stage.settle()
    assert not stage.connections


def test_watch_after_the_disconnect_reports_at_once(stage, handler):
    client = stage.connect()
    client.send(head())
    stage.settle()
    client.leave()
    stage.settle()
    reports = []
    handler.taken[0].watch(lambda: reports.append(1))
    assert reports == [1]


@pytest.mark.parametrize("streams", [False, True])
def test_client_that_sends_no_more_gets_its_whole_response(stage, handler, streams):
    client = stage.connect()
    client.send(head())
    client.send_no_more()
    stage.settle()
    (exchange,) = handler.taken
    exchange.watch(lambda: 1 / 0)
    if streams:
        exchange.stream(200, [], iter([b"x" * 10] * 100))
    else:
        exchange.respond(200, [], b"x" * 1000)
    answer = client.answer()
    assert (answer.status, answer.body, answer.whole) == (200, b"x" * 1000, True)
    assert client.see_end() == b""
    assert not stage.connections


@pytest.fixture
def probes(monkeypatch):
    monkeypatch.setattr(module, "PROBE_S", 0.0)
    monkeypatch.setattr(server_module, "SWEEP_S", 0.0)


def test_late_response_to_a_client_that_sends_no_more_follows_one_interim_response(
    stage, handler, probes
):
    client = stage.connect()
    client.send(head())
    client.send_no_more()
    assert client.answer().status == 100
    for _ in range(10):
        stage.settle()
    handler.answer()
    assert client.answer().status == 200
    assert client.see_end() == b""


def test_interim_response_is_not_sent_to_http_1_0_nor_within_a_response(stage, handler, probes):
    client = stage.connect()
    client.send(head(version="1.0"))
    client.send_no_more()
    handler.answer()
    assert client.answer().status == 200
    other = stage.connect()
    other.send(head())
    other.send_no_more()
    stage.until(lambda: len(handler.taken) == 2)

    def chunks():
        yield b"a"
        for _ in range(10):
            stage.settle()
            yield b"b"

    handler.taken[1].begun = True
    handler.taken[1].stream(200, [], chunks())
    answer = other.answer()
    assert (answer.status, answer.body) == (200, b"a" + b"b" * 10)


def test_client_that_closed_its_socket_is_noticed_while_its_response_is_late(probes):
    with Stage(port=0) as stage:
        handler = RecordingHandler(stage)
        stage.listen()
        client = stage.knock()
        client.send(head())
        stage.until(lambda: handler.taken)
        reports = []
        handler.taken[0].watch(lambda: reports.append(1))
        client.leave()
        stage.until(lambda: reports)
        handler.taken[0].drop()
        assert not stage.connections


def test_disconnect_after_the_response_is_not_reported(stage, handler):
    client = stage.connect()
    client.send(head())
    stage.settle()
    handler.taken[0].watch(lambda: 1 / 0)
    handler.answer()
    client.send(head())
    stage.settle()
    client.leave()
    stage.settle()
    assert [each.disconnected for each in handler.taken] == [False, True]


def test_pipelined_request_of_a_client_that_left_is_not_handed_over(stage, handler):
    client = stage.connect()
    client.send(head(target="/a") + head(target="/b"))
    stage.settle()
    client.leave()
    stage.settle()
    handler.taken[0].drop()
    stage.settle()
    assert handler.paths == ["/a"]
    assert not stage.connections


def test_response_to_a_client_that_left_unnoticed_is_dropped_silently(stage, handler, caplog):
    client = stage.connect()
    client.send(head())
    stage.settle()
    client.leave()
    handler.taken[0].respond(200, [], b"late")
    stage.settle()
    assert not stage.connections
    assert not caplog.records


def test_client_that_leaves_during_a_long_response_closes_the_connection(stage, handler, caplog):
    client = stage.connect()
    client.send(head() * 2)
    handler.answer(body=b"x" * 3_000_000)
    client.collect()
    client.leave()
    stage.settle()
    assert not stage.connections
    assert len(handler.taken) == 1
    assert not caplog.records


@pytest.mark.parametrize("end", ["client leaves", "time is over", "server closes"])
def test_claim_of_a_body_that_is_never_handed_over_is_released(clock, end):
    released = []
    with Stage() as stage:
        handler = RecordingHandler(
            stage, reserve=lambda exchange, size: True, release=released.append
        )
        client = stage.connect()
        client.send(post(b"abcd")[:-2])
        stage.settle()
        if end == "client leaves":
            client.leave()
            stage.settle()
            assert [each.fault for each in handler.taken] == [
                "truncated"
            ]  # the handler releases it
        elif end == "time is over":
            pass_time(stage, clock, 61)
            assert [each.fault for each in handler.taken] == ["timeout"]
        else:
            stage.server.close()
            assert released == handler.admitted
            assert not handler.taken


@pytest.mark.parametrize("end", ["client leaves", "answer is dropped", "answer closes"])
@pytest.mark.parametrize("missing", [0, 2], ids=["whole", "half"])
def test_pipelined_request_after_the_last_response_is_not_admitted(stage, handler, end, missing):
    client = stage.connect()
    raw = post(b"abcd", "/second")
    client.send(head(target="/first") + raw[: len(raw) - missing])
    stage.settle()
    if end == "client leaves":
        client.leave()
        stage.settle()
        handler.taken[0].drop()
    elif end == "answer is dropped":
        handler.taken[0].drop()
    else:
        handler.answer(headers=[("Connection", "close")])
    stage.settle()
    assert [each.path for each in handler.admitted] == ["/first"]


@pytest.mark.parametrize("together", [True, False], ids=["together", "later"])
def test_half_closed_client_gets_its_responses(stage, handler, together):
    client = stage.connect()
    client.send(head(target="/a") + head(target="/b"))
    if not together:
        stage.settle()
    client.send_no_more()
    stage.settle()
    handler.answer(body=b"a")
    handler.answer(body=b"b")
    answers = [client.answer() for _ in range(2)]
    assert [each.body for each in answers] == [b"a", b"b"]
    assert answers[1].closes
    assert client.see_end() == b""


def test_half_closed_client_in_a_head_is_closed(stage, handler):
    client = stage.connect()
    client.send(head()[:20])
    stage.settle()
    client.send_no_more()
    assert client.see_end() == b""
    assert not handler.admitted


# ------------------------------------------------------------------------------------ their bodies


@pytest.mark.parametrize("size", [1, 768, 60_000, 400_000])
@pytest.mark.parametrize("sized", [True, False], ids=["sized", "unsized"])
def test_buffered_body_is_whole_when_it_is_handed_over(stage, size, sized):
    client, _ = echo(stage)
    body = bytes(i % 251 for i in range(size))
    raw = post(body) if sized else head("POST", "/", [UNSIZED]) + chunked(body)
    for _ in range(2):
        client.send(raw)
        assert client.answer().body == b"POST / " + body


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        pytest.param(post(b"x" * 20)[:-5], "truncated", id="cut short"),
        pytest.param(post(b"x" * 20)[:-20], "truncated", id="nothing came"),
        pytest.param(TOP + chunked(b"x" * 20)[:-5], "truncated", id="no last chunk"),
        pytest.param(TOP + chunked(b"x" * 1001), "too_large", id="longer than allowed"),
        pytest.param(TOP + chunked(b"x" * 2000)[:-900], "too_large", id="too long so far"),
    ],
)
def test_body_that_cannot_be_buffered_has_a_fault(stage, raw, fault):
    handler = RecordingHandler(stage, limit=1000, reserve=lambda exchange, size: True)
    client = stage.connect()
    client.send(raw)
    stage.settle()
    if fault == "truncated":
        assert not handler.taken
        client.send_no_more()
    handler.answer(400)
    assert [each.fault for each in handler.taken] == [fault]
    assert client.answer().status == 400


def test_invalid_chunk_cuts_the_body_short(stage, handler):
    client = stage.connect()
    client.send(head("POST", "/", [UNSIZED]) + b"2\r\nab\r\nzz")
    handler.answer(400)
    assert handler.taken[0].fault == "truncated"
    assert client.answer().closes


def test_body_whose_claim_is_refused_is_handed_over_at_once(stage):
    claimed = []

    def reserve(exchange, size):
        claimed.append(size)
        return size <= 5

    handler = RecordingHandler(stage, reserve=reserve)
    client = stage.connect()
    client.send(head("POST", "/", [UNSIZED]) + b"3\r\nabc\r\n")
    stage.settle()
    client.send(b"3\r\ndef\r\n")
    handler.answer(503)
    assert (handler.taken[0].fault, claimed) == ("overloaded", [3, 6])
    client.send(b"3\r\nghi\r\n0\r\n\r\n")
    assert client.answer().status == 503
    assert not client.was_reset


@pytest.mark.parametrize(
    "sizes", [[100], [1] * 12, [3, 100], [7, 1, 100], [0, 4, 100], [11, 1], [12]], ids=repr
)
@pytest.mark.parametrize("sized", [True, False], ids=["sized", "unsized"])
def test_body_is_read_in_the_sizes_asked_for(stage, sizes, sized):
    got = []

    def take(exchange):
        got.extend(exchange.read(size) for size in sizes)
        exchange.respond(200, [], b"")

    RecordingHandler(stage, body_mode="streamed", handler=take)
    client = stage.connect()
    body = b"abcdefghijk"
    raw = post(body) if sized else head("POST", "/", [UNSIZED]) + chunked(body, 3)
    client.send(raw + raw)
    assert [client.answer().status for _ in range(2)] == [200] * 2
    assert b"".join(got) == body * 2
    assert [len(each) for each in got[: len(sizes) - 1]] == sizes[:-1]


def read_on_a_thread(stage, size=5, **given):
    """A client, a thread that reads its body, and what that thread got."""
    handler, got = RecordingHandler(stage, body_mode="streamed", **given), []

    def read():
        try:
            got.append(handler.taken[0].read(size))
        except ClientDisconnected as exc:
            got.append(exc)

    client = stage.connect()
    client.send(head("POST", "/", [("Content-Length", "6"), *given.pop("headers", [])]) + b"abc")
    stage.settle()
    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return client, thread, got, handler


def test_read_waits_for_the_rest_of_the_body(stage):
    client, thread, got, handler = read_on_a_thread(stage)
    client.send(b"def" + head(target="/next"))
    thread.join(PATIENCE_S)
    assert got == [b"abcde"]
    assert handler.taken[0].read(5) == b"f"
    assert handler.taken[0].read(5) == b""
    handler.answer(body=b"first")
    assert client.answer().body == b"first"
    assert handler.paths == ["/", "/next"]


@pytest.mark.parametrize("way", ["leaves", "sends no more", "pauses too long", "is too slow"])
def test_body_that_is_read_while_it_comes_and_is_cut_short_raises(way):
    stall_s = 0.01 if way == "pauses too long" else PATIENCE_S
    body_s = 0.01 if way == "is too slow" else PATIENCE_S
    with Stage(Limits(stall_s=stall_s, body_s=body_s)) as stage:
        client, thread, got, handler = read_on_a_thread(stage)
        if way == "leaves":
            client.leave()
        elif way == "sends no more":
            client.send_no_more()
        thread.join(PATIENCE_S)
        assert isinstance(got[0], ClientDisconnected)
        with pytest.raises(ClientDisconnected):
            handler.taken[0].read(5)
        if way == "sends no more":
            handler.answer(400)
            assert client.answer().status == 400


# ------------------------------------------------------------------- answers before the body's end


@pytest.mark.parametrize("body_mode", ["buffered", "streamed", "discarded"])
def test_client_that_still_sends_reads_the_response(stage, body_mode):
    handler = RecordingHandler(
        stage, body_mode=body_mode, limit=10, reserve=lambda exchange, size: True
    )
    client = stage.connect()
    raw = TOP + chunked(b"x" * 3_000_000)
    client.send(raw[:1000])
    handler.answer(413)
    client.send(raw[1000:])
    answer = client.answer()
    assert (answer.status, answer.closes) == (413, True)
    stage.until(lambda: client.sent)
    assert client.see_end() == b""
    assert not client.was_reset
    client.leave()
    stage.until(lambda: not stage.connections)


@pytest.mark.parametrize("body_mode", ["streamed", "discarded"])
@pytest.mark.parametrize("came", [0, 10, 900])
def test_short_rest_of_a_body_is_discarded_and_the_connection_kept(stage, body_mode, came):
    handler = RecordingHandler(stage, body_mode=body_mode)
    client = stage.connect()
    body = b"GET /evil HTTP/1.1\r\nHost: localhost\r\n\r\n".ljust(900, b"x")
    raw = post(body)
    client.send(raw[: len(raw) - 900 + came])
    handler.answer(401)
    assert not client.answer().closes
    client.send(raw[len(raw) - 900 + came :] + head(target="/next"))
    handler.answer()
    assert handler.paths == ["/", "/next"]
    assert client.answer().status == 200


# ----------------------------------------------------------------------------- leave to send


def test_continue_is_sent_when_the_body_is_buffered(stage):
    client, _ = echo(stage)
    client.send(head("POST", "/", [EXPECTS, ("Content-Length", "3")]))
    assert client.answer().status == 100
    client.send(b"abc")
    assert client.answer().body == b"POST / abc"


def test_continue_is_sent_when_the_body_is_read(stage):
    client, thread, got, _ = read_on_a_thread(stage, headers=[EXPECTS])
    thread.join(0.0)
    client.collect()
    client.send(b"def")
    thread.join(PATIENCE_S)
    assert got == [b"abcde"]


def test_continue_is_not_sent_while_nobody_reads_the_body(stage):
    handler = RecordingHandler(stage, body_mode="streamed")
    client = stage.connect()
    client.send(head("POST", "/", [EXPECTS, ("Content-Length", "3")]))
    stage.settle()
    assert not client.collect()
    handler.answer(401)
    answer = client.answer()
    assert (answer.status, answer.closes) == (401, True)
    assert client.see_end() == b""


@pytest.mark.parametrize("body_mode", ["buffered", "streamed"])
def test_continue_of_a_pipelined_request_is_sent_in_its_turn(stage, body_mode):
    handler = RecordingHandler(stage, body_mode=body_mode)
    client = stage.connect()
    client.send(head() + head("POST", "/", [EXPECTS, ("Content-Length", "3")]))
    handler.answer()
    assert client.answer().status == 200
    stage.settle()
    if body_mode == "streamed":
        assert not client.collect()
        return
    assert client.answer().status == 100
    client.send(b"abc")
    handler.answer(body=b"second")
    assert client.answer().body == b"second"


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_continue_is_not_sent_within_a_response(stage, version):
    """RFC 9110, 10.1.1"""
    handler = RecordingHandler(stage, body_mode="streamed")
    client = stage.connect()
    client.send(head("POST", "/", [EXPECTS, ("Content-Length", "6")], version=version))
    stage.settle()
    (exchange,) = handler.taken

    def chunks():
        yield b"begun "
        client.send(b"abcdef")
        yield exchange.read(4)
        yield exchange.read(4)

    exchange.stream(200, [], chunks())
    answer = client.answer("POST")
    assert (answer.status, answer.body) == (200, b"begun abcdef")


def test_continue_is_sent_before_a_stream_that_reads_first(stage):
    handler = RecordingHandler(stage, body_mode="streamed")
    client = stage.connect()
    client.send(head("POST", "/", [EXPECTS, ("Content-Length", "3")]))
    stage.settle()
    (exchange,) = handler.taken

    def chunks():
        client.send(b"abc")
        yield exchange.read(3)

    exchange.stream(200, [], chunks())
    assert client.answer().status == 100
    assert client.answer().body == b"abc"


@pytest.mark.parametrize("body_mode", ["buffered", "streamed"])
def test_continue_is_not_sent_to_http_1_0(stage, body_mode):
    """RFC 9110, 10.1.1"""

    def take(exchange):
        exchange.respond(200, [], exchange.read(3) if body_mode == "streamed" else exchange.body())

    RecordingHandler(stage, body_mode=body_mode, handler=take)
    client = stage.connect()
    client.send(head("POST", "/", [EXPECTS, ("Content-Length", "3")], version="1.0"))
    client.send(b"abc")
    answer = client.answer()
    assert (answer.status, answer.body) == (200, b"abc")


# --------------------------------------------------------------------------------- how long it may


class Clock:
    now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    monkeypatch.setattr(server_module, "monotonic", clock)
    return clock


@pytest.fixture
def timed(clock):
    """A stage whose clock the test sets."""
    with Stage() as stage:
        yield stage


def pass_time(stage, clock, seconds):
    stage.settle()
    clock.now_s += seconds
    stage.settle()
    stage.turn()  # nothing comes, so the server checks the deadlines
    stage.settle()


def just_before_and_after(stage, clock, limit_s):
    pass_time(stage, clock, limit_s - 1)
    yield "before"
    pass_time(stage, clock, 2)
    yield "after"


@pytest.mark.parametrize(
    ("sent", "limit_s", "status"),
    [
        pytest.param(b"", LIMITS.head_s, None, id="nothing"),
        pytest.param(b"GET", LIMITS.head_s, 408, id="begin of a head"),
        pytest.param(head()[:-2], LIMITS.head_s, 408, id="most of a head"),
        pytest.param(head() + b"GET", LIMITS.head_s, 408, id="begin of the second head"),
        pytest.param(head(), 75.0, None, id="nothing more"),
        pytest.param(head("POST", "/", [("Content-Length", "3")]) + b"a", 60.0, 408, id="body"),
    ],
)
def test_slow_client_is_closed_or_408(timed, clock, sent, limit_s, status):
    def take(exchange):
        exchange.respond(200 if exchange.fault is None else 408, [], b"")

    RecordingHandler(timed, handler=take)
    client = timed.connect()
    client.send(sent)
    timed.settle()
    if sent.startswith(head()[:-2]) and sent != head()[:-2]:
        assert client.answer().status == 200
    for moment in just_before_and_after(timed, clock, limit_s):
        client.collect()
        assert client.ended is (moment == "after" and status is None)
    assert client.answer().status == status
    client.leave()
    timed.settle()
    assert not timed.connections


def test_head_that_drips_is_408(timed, clock):
    client = timed.connect()
    for i in range(11):
        client.send(head()[i : i + 1])
        pass_time(timed, clock, 3)
    assert client.answer().status == 408


def test_view_has_no_time_limit(timed, clock):
    handler = RecordingHandler(timed)
    client = timed.connect()
    client.send(head())
    pass_time(timed, clock, 100_000)
    handler.answer()
    assert client.answer().status == 200
    client.send(head())
    handler.answer()
    assert client.answer().status == 200


def test_client_that_reads_no_more_of_its_response_is_closed(timed, clock):
    handler = RecordingHandler(timed)
    client = timed.connect()
    client.send(head())
    handler.answer(body=b"x" * 3_000_000)
    for _ in range(3):  # who takes some has its time again
        pass_time(timed, clock, LIMITS.stall_s - 1)
        assert client.collect()
        timed.settle()
    pass_time(timed, clock, LIMITS.stall_s + 1)
    assert not timed.connections
    assert not client.answer().whole


def test_client_that_sends_after_its_last_response_is_closed_in_time(timed, clock):
    handler = RecordingHandler(timed, body_mode="discarded")
    client = timed.connect()
    client.send(head("POST", "/", [("Content-Length", "10000000")]))
    handler.answer(413)
    assert client.answer().status == 413
    for moment in just_before_and_after(timed, clock, LIMITS.linger_s):
        assert bool(timed.connections) is (moment == "before")
        if moment == "before":
            client.send(b"x" * 1000)


def test_short_rest_that_does_not_come_closes_in_time(timed, clock):
    handler = RecordingHandler(timed, body_mode="discarded")
    client = timed.connect()
    client.send(head("POST", "/", [("Content-Length", "100")]))
    handler.answer(401)
    assert not client.answer().closes
    for moment in just_before_and_after(timed, clock, LIMITS.linger_s):
        assert bool(timed.connections) is (moment == "before")


# --------------------------------------------------------------------------------- when it stops


def stop(stage):
    stage.server.stop()
    stage.settle()


@pytest.mark.parametrize(
    ("seen", "unseen", "late", "answers"),
    [
        pytest.param(b"", b"", b"", 0, id="nothing"),
        pytest.param(b"", head(), b"", 1, id="just come"),
        pytest.param(b"", head() * 3, b"", 3, id="several"),
        pytest.param(b"", head()[:10], head()[10:], 1, id="half a head, just come"),
        pytest.param(head()[:10], b"", head()[10:], 1, id="half a head"),
        pytest.param(post(b"abc")[:-1], b"", b"c", 1, id="half a body"),
        pytest.param(head(), head(), b"", 2, id="another one"),
    ],
)
def test_request_that_has_come_when_the_server_stops_is_answered(
    stage, seen, unseen, late, answers
):
    """Also a request that no turn has read yet."""
    client, _ = echo(stage)
    client.send(seen)
    stage.settle()
    client.send(unseen)
    stop(stage)
    if late:
        client.send(late)
    assert [client.answer().status for _ in range(answers)] == [200] * answers
    assert client.see_end() == b""
    assert not client.was_reset
    assert not stage.connections
    stage.settle()
    assert stage.server.drained


def test_idle_connection_is_closed_when_the_server_stops(stage):
    client, _ = echo(stage)
    assert client.ask(head()).status == 200
    stop(stage)
    assert client.see_end() == b""
    assert stage.server.drained


def test_requests_in_flight_when_the_server_stops_are_answered(stage, handler):
    client = stage.connect()
    client.send(head() * 2)
    stage.settle()
    stop(stage)
    assert not stage.server.drained
    handler.answer()
    assert not client.answer().closes
    handler.answer()
    assert client.answer().closes
    stage.settle()
    assert stage.server.drained
