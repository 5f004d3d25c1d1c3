"""Files are sent by the leading thread, without a thread that waits for the client."""

from __future__ import annotations

import gzip
import io
import os
import random
import socket
import struct

import pytest
from stage import Stage, head

from carboy import Carboy, send_file
from carboy.serving.http.sendfile import FileWrapper, section_of

SIZE = 3_000_000
DATA = random.Random(1).randbytes(1000) * (SIZE // 1000)


@pytest.fixture
def stage():
    with Stage() as stage:
        yield stage


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(DATA)
    return path


class FileApp:
    """Answers with a file, in the server's wrapper."""

    def __init__(self, path, announced=SIZE, opener=open):
        self.path = path
        self.announced = announced
        self.opener = opener

    def __call__(self, environ, start_response):
        self.file = self.opener(self.path, "rb")
        self.file.seek(int(environ["QUERY_STRING"] or 0))
        start_response("200 OK", [("Content-Length", str(self.announced))])
        return environ["wsgi.file_wrapper"](self.file)


def begin(stage, app, target="/"):
    """A client that has received part of the file."""
    gateway = stage.serve(app, threads=1)
    client = stage.connect()
    client.send(head(target=target))
    stage.until(lambda: client.collect() and len(client.received) > 1000)
    return client, gateway


def test_client_that_reads_slowly_holds_no_slot(stage, path):
    app = FileApp(path)
    client, gateway = begin(stage, app)
    assert not gateway.slots.full
    assert not app.file.closed
    answer = client.answer()
    assert (answer.body == DATA, answer.whole, answer.closes) == (True, True, False)
    assert app.file.closed


def test_response_with_more_than_the_file_has_is_cut(stage, path):
    stage.serve(FileApp(path))
    answer = stage.connect().ask(head(target="/?2999000"))
    assert (answer.whole, answer.body) == (False, DATA[-1000:])


def test_request_behind_a_file_is_answered_after_it(stage, path):
    app = FileApp(path)
    client, _ = begin(stage, app)
    client.send(head())
    assert client.answer().body == client.answer().body == DATA


def test_client_that_leaves_closes_the_file(stage, path):
    app = FileApp(path)
    client, _ = begin(stage, app)
    client.leave()
    stage.until(lambda: not stage.connections)
    assert app.file.closed


def test_client_that_resets_before_the_response_begins_closes_the_file(path, free_port):
    class SlowApp(FileApp):
        def __call__(self, environ, start_response):
            (connection,) = stage.connections
            linger = struct.pack("ii", 1, 0)
            client._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            client._socket.close()
            # Meanwhile the server reads the reset, and then the poller reports the hang-up.
            for _ in range(3):
                stage.server.handle(stage.server.poll(), stage.pool.current())
            assert connection.state.name == "ANSWERING"
            return super().__call__(environ, start_response)

    app = SlowApp(path)
    with Stage(port=free_port) as stage:
        stage.listen()
        stage.serve(app)
        client = stage.knock()
        stage.clients.clear()  # the app closes it
        client.send(head())
        stage.until(lambda: hasattr(app, "file"))
        stage.until(lambda: not stage.connections)
        assert app.file.closed


class UncloseableFileApp(FileApp):
    """As Django sets the file's `close`, whose signal receivers may raise."""

    def __init__(self, path, failure):
        super().__init__(path)
        self.failure = failure

    def __call__(self, environ, start_response):
        def close():
            self.file.__class__.close(self.file)
            raise self.failure

        chunks = super().__call__(environ, start_response)
        self.file.close = close
        return chunks


FAILURES = [
    pytest.param(each, id=type(each).__name__) for each in (OSError("inside"), SystemExit())
]


@pytest.mark.parametrize("failure", FAILURES)
def test_file_that_cannot_be_closed_after_its_last_byte_delays_nobody(stage, path, caplog, failure):
    app = UncloseableFileApp(path, failure)
    client, _ = begin(stage, app)
    assert client.answer().body == DATA
    stage.settle()
    (connection,) = stage.connections
    assert connection.state.name == "IDLE"
    assert stage.server.poll() is None  # no event is left that nobody handles
    [record] = [each for each in caplog.records if each.levelname == "ERROR"]
    assert record.getMessage() == "error in close() of the response to GET /"
    assert (record.exc_info[1], bool(record.request_id)) == (failure, True)
    client.send(head())
    assert client.answer().body == DATA


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("ends", ["the client leaves", "the server stops"])
def test_file_that_cannot_be_closed_keeps_no_connection(stage, path, failure, ends):
    app = UncloseableFileApp(path, failure)
    client, _ = begin(stage, app)
    (connection,) = stage.connections
    if ends == "the client leaves":
        client.leave()
    else:
        connection.close()
    stage.until(lambda: not stage.connections)
    assert app.file.closed
    assert connection._socket.fileno() == -1


def test_file_is_closed_if_its_response_is_no_http(stage, path):
    class BrokenHeadApp(FileApp):
        def __call__(self, environ, start_response):
            def start(status, headers):
                return start_response(status, [*headers, ("X-A", "1\n2")])

            return super().__call__(environ, start)

    app = BrokenHeadApp(path)
    stage.serve(app)
    assert stage.connect().ask(head()).status == 500
    assert app.file.closed


def test_file_that_becomes_shorter_cuts_the_response(stage, path):
    app = FileApp(path)
    client, _ = begin(stage, app)
    os.truncate(path, 2_500_000)
    answer = client.answer()
    assert not answer.whole
    assert not stage.connections
    assert app.file.closed


def test_client_that_reads_nothing_is_closed_after_the_limit(path):
    with Stage() as stage:
        app = FileApp(path)
        begin(stage, app)
        stage.settle()
        (connection,) = stage.connections
        connection.deadline_s = 0.0
        stage.until(lambda: not stage.connections)
        assert app.file.closed


@pytest.mark.parametrize(
    ("announced", "method", "body"),
    [
        pytest.param(2_000_000, "GET", DATA[:2_000_000], id="length of a part"),
        pytest.param(10_000, "GET", DATA[:10_000], id="small"),
        pytest.param(SIZE, "HEAD", b"", id="HEAD"),
    ],
)
def test_other_ways_to_answer_with_a_file(stage, path, announced, method, body):
    app = FileApp(path, announced)
    stage.serve(app)
    client = stage.connect()
    client.read_along()
    client.send(head(method))
    answer = client.answer(method)
    assert (answer.status, answer.body == body) == (200, True)
    stage.until(lambda: app.file.closed)


@pytest.mark.parametrize("way", ["application", "exchange"])
@pytest.mark.parametrize("close", [False, True], ids=["kept", "closed"])
@pytest.mark.parametrize(
    ("method", "status"), [("GET", 204), ("GET", 304), ("HEAD", 304), ("HEAD", 200)]
)
def test_file_of_a_response_without_a_body_is_closed_and_not_sent(
    stage, path, method, status, close, way
):
    files = []
    headers = [("Content-Length", str(SIZE)), *([("Connection", "close")] if close else [])]

    def app(environ, start_response):
        files.append(path.open("rb"))
        start_response(f"{status} Some", headers)
        return environ["wsgi.file_wrapper"](files[-1])

    def send(exchange):
        files.append(path.open("rb"))
        section = section_of(FileWrapper(files[-1]), SIZE, files[-1].close)
        exchange.send_file(status, headers, section)

    stage.serve(app)
    if way == "exchange":
        stage.handler.on_admit = lambda exchange: setattr(exchange, "handler", send)
    client = stage.connect()
    client.send(head(method))
    stage.settle()
    while client.collect():
        pass
    start, _, body = client.received.partition(b"\r\n\r\n")
    assert start.startswith(b"HTTP/1.1 %d" % status)
    assert body == b""
    assert (b"Content-Length" in start) is (status == 200)
    assert files[0].closed
    client.received = b""
    if close:
        assert client.see_end() == b""
    else:
        assert client.ask(head(method)).status == status


def test_file_that_decompresses_is_read(stage, tmp_path):
    """Its descriptor has the compressed bytes."""
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(DATA))
    stage.serve(FileApp(path, opener=gzip.open))
    client = stage.connect()
    client.read_along()
    client.send(head())
    assert client.answer().body == DATA


@pytest.mark.parametrize(
    ("range_", "status", "body"),
    [
        (None, 200, DATA),
        ("bytes=0-", 206, DATA),
        ("bytes=1000-2000999", 206, DATA[1000:2_001_000]),
        ("bytes=-400000", 206, DATA[-400_000:]),
        ("bytes=5-9", 206, DATA[5:10]),
    ],
)
def test_send_file_and_ranges_hold_no_slot(stage, path, range_, status, body):
    app = Carboy("files")
    app.add_url_rule("/", view_func=lambda: send_file(path, max_age=0))
    headers = [("Range", range_)] if range_ else []
    gateway = stage.serve(app, threads=1)
    client = stage.connect()
    client.send(head(headers=headers))
    stage.until(lambda: client.collect())
    stage.settle()
    assert not gateway.slots.full
    answer = client.answer()
    assert (answer.status, answer.body == body) == (status, True)


def test_bodies_that_are_no_plain_file_are_iterated_over(path):
    for body in ([b"a"], iter([b"a"]), FileWrapper(io.BytesIO(DATA)), io.BytesIO(DATA)):
        assert section_of(body, 1, bool) is None
    with path.open("rb") as file:
        assert section_of(FileWrapper(file), SIZE, bool).left == SIZE
        assert section_of(FileWrapper(file), SIZE + 1, bool) is None
    assert section_of(FileWrapper(file), SIZE, bool) is None  # it is closed


def test_wrapper_iterates_over_what_has_read():
    wrapper = FileWrapper(io.BytesIO(b"abcde"), 2)
    assert list(wrapper) == [b"ab", b"cd", b"e"]
    assert wrapper.seekable()
    assert (wrapper.seek(1), wrapper.tell()) == (1, 1)
    wrapper.close()
