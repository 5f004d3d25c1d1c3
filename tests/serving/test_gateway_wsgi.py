"""What applications and clients see of the server, with both ends played by the test."""

from __future__ import annotations

import io

import pytest

from carboy import Carboy, request
from carboy.serving import gateway_wsgi
from carboy.serving.answers import CLOSE
from carboy.serving.gateway_wsgi import WsgiGateway


class Client:
    """granian's end: takes the answer."""

    def response_bytes(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        self.streamed = False

    def response_iter(self, status, headers, body):
        self.status, self.headers = status, headers
        self.streamed = True
        self.body = b""
        while True:
            try:
                self.body += body.__next__()
            except StopIteration:
                break
        body.close()


def ask(app, *, method="GET", body=None, length=None, chunks=False, draining=False, **headers):
    """One request; `limit` of the body is 1000 bytes, and the server has 4 threads."""
    served = WsgiGateway(app, max_body_bytes=1000, threads=4, multiprocess=False)
    served.draining = draining
    stream = io.BytesIO(body or b"")
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "wsgi.url_scheme": "http",
        "wsgi.input": stream,
        **headers,
    }
    if chunks:
        environ["HTTP_TRANSFER_ENCODING"] = "chunked"
    elif body is not None:
        environ["CONTENT_LENGTH"] = str(len(body) if length is None else length)
    client = Client()
    served(client, environ)
    client.unread = stream.read()
    return client


def answer(chunks, status="200 OK", headers=(("X-A", "1"),)):
    def app(environ, start_response):
        start_response(status, list(headers))
        return chunks

    return app


@pytest.mark.parametrize(
    ("chunks", "body", "streamed"),
    [
        pytest.param([b"ab"], b"ab", False, id="list of one"),
        pytest.param([b"a", b"b"], b"ab", False, id="list"),
        pytest.param([], b"", False, id="empty list"),
        pytest.param((b"a", b"b"), b"ab", True, id="tuple"),
        pytest.param((chunk for chunk in (b"a", b"b")), b"ab", True, id="generator"),
    ],
)
def test_answer_arrives(chunks, body, streamed):
    client = ask(answer(chunks, "404 NOT FOUND"))
    assert (client.status, client.headers) == (404, [("X-A", "1")])
    assert (client.body, client.streamed) == (body, streamed)


def test_generator_may_start_its_response_late():
    def app(environ, start_response):
        start_response("201 CREATED", [("X-B", "2")])
        yield b"a"
        yield b"b"

    client = ask(app)
    assert (client.status, client.headers, client.body) == (201, [("X-B", "2")], b"ab")


def test_write_of_old_applications_comes_first():
    def app(environ, start_response):
        start_response("200 OK", [])(b"written ")
        return [b"returned"]

    assert ask(app).body == b"written returned"


def test_application_without_start_response_is_told():
    with pytest.raises(RuntimeError, match="start_response"):
        ask(lambda environ, start_response: [b""])


def test_iterable_is_closed():
    class Chunks:
        closed = False

        def __iter__(self):
            return iter([b"a"])

        def close(self):
            self.closed = True

    chunks = Chunks()
    ask(answer(chunks))
    assert chunks.closed


def test_environ_holds_the_request_and_nothing_of_the_process(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "topsecret")
    monkeypatch.setenv("HTTP_PROXY", "http://evil")
    seen = {}

    def app(environ, start_response):
        seen.update(environ)
        return answer([b""])(environ, start_response)

    ask(app, HTTP_X_TOKEN="of the request")
    assert not {"SECRET_KEY", "HTTP_PROXY", "PATH", "HOME"} & set(seen)
    assert seen["HTTP_X_TOKEN"] == "of the request"
    assert seen["wsgi.version"] == (1, 0)
    assert seen["wsgi.input_terminated"] is True


def test_header_that_is_named_like_a_variable_is_the_requests(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://of.the.process")
    seen = {}

    def app(environ, start_response):
        seen.update(environ)
        return answer([b""])(environ, start_response)

    ask(app, HTTP_PROXY="of the request")
    assert seen["HTTP_PROXY"] == "of the request"


@pytest.fixture
def echo():
    app = Carboy("echo")
    app.add_url_rule("/", view_func=lambda: request.get_data(), methods=["GET", "POST"])
    return app


@pytest.mark.parametrize("chunks", [False, True], ids=["sized", "chunked"])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_body_arrives_whole(echo, method, chunks):
    body = bytes(range(256)) * 3
    client = ask(echo, method=method, body=body, chunks=chunks)
    assert (client.status, client.body, client.unread) == (200, body, b"")
    assert CLOSE not in client.headers


def test_request_without_a_body_reads_as_empty():
    def app(environ, start_response):
        read = environ["wsgi.input"].read
        return answer([read() + read(-1) + read(3)])(environ, start_response)

    assert ask(app).body == b""


def test_announced_body_beyond_the_limit_is_refused_unseen():
    client = ask(lambda *_: pytest.fail("called"), method="POST", body=b"x" * 1001)
    assert client.status == 413
    assert b"1001 bytes" in client.body
    assert b"1000" in client.body
    assert CLOSE in client.headers
    assert client.unread == b""


def test_chunked_body_beyond_the_limit_is_413_in_the_apps_own_form(echo):
    @echo.errorhandler(413)
    def too_large(error):
        return "mine", 413

    client = ask(echo, method="POST", body=b"x" * 300_000, chunks=True)
    assert (client.status, client.body) == (413, b"mine")
    assert CLOSE in client.headers
    assert client.unread == b""


def test_chunked_body_beyond_the_limit_is_413_without_werkzeug_too():
    def app(environ, start_response):
        environ["wsgi.input"].read()
        pytest.fail("read it")

    assert ask(app, method="POST", body=b"x" * 1001, chunks=True).status == 413


def test_body_that_is_cut_short_is_400(echo):
    assert ask(echo, method="POST", body=b"abc", length=100).status == 400


@pytest.mark.parametrize(
    ("given", "closes", "unread"),
    [
        pytest.param({"body": b"x" * 900}, False, b"", id="small rest is read away"),
        pytest.param({"body": b"x" * 900, "chunks": True}, True, b"", id="unknown rest"),
        pytest.param(
            {"body": b"abc", "HTTP_EXPECT": "100-continue"}, True, b"abc", id="not sent yet"
        ),
    ],
)
def test_answer_before_the_body_was_read_reaches_the_client(given, closes, unread):
    client = ask(answer([b"no"], "401 UNAUTHORIZED"), method="POST", **given)
    assert client.status == 401
    assert (CLOSE in client.headers) is closes
    assert client.unread == unread


def test_draining_server_asks_clients_to_connect_anew():
    headers = [("X-A", "1")]
    client = ask(answer([b"a"], headers=headers), draining=True)
    assert CLOSE in client.headers
    assert CLOSE not in headers


def test_slow_client_is_not_waited_for_without_end(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(gateway_wsgi.time, "monotonic", lambda: next(clock))
    client = ask(lambda *_: 1 / 0, method="POST", body=b"x" * (gateway_wsgi.LINGER_PART * 10**7))
    assert client.status == 413
    assert client.unread
