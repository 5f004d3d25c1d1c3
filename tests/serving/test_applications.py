"""What applications and clients see of the server. The test plays both of them."""

from __future__ import annotations

import pytest
from stage import Stage, chunked, head

from carboy import Carboy, request
from carboy.serving.http.exchange import CLOSE
from carboy.serving.http.limits import Limits

LIMIT = 200_000
LIMITS = Limits(body_bytes=LIMIT)
AT_ONCE_BYTES = LIMITS.buffered_body_bytes


def ask(
    app,
    *,
    method="GET",
    target="/",
    body=None,
    length=None,
    chunks=False,
    draining=False,
    **headers,
):
    """Send one request to an application on a server, and return what the client sees."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    pairs = list(headers.items())
    if chunks:
        pairs.append(("transfer-encoding", "chunked"))
    elif body is not None:
        pairs.append(("content-length", str(len(body) if length is None else length)))
    with Stage() as stage:
        gateway = stage.serve(app, max_body_bytes=LIMIT)
        stage.server.draining = draining
        client = stage.connect()
        client.read_along()
        client.unread = chunked(body) if chunks else body or b""
        top = head(method, target, pairs)
        if "Expect" in headers:
            client.send(top)
            stage.until(client.has_answer)
            if client.received.startswith(b"HTTP/1.1 100"):
                client.answer()
                client.send(client.unread)
                client.unread = b""
        else:
            client.send(top + client.unread)
            client.unread = b""
        if length is not None:
            client.send_no_more()
        return fill(client, client.answer(method), gateway)


def fill(client, answer, gateway):
    """Add the parts of the answer to the client, and check that nothing is left behind."""
    stage = client._stage
    client.status, client.body, client.streamed = answer.status, answer.body, answer.streamed
    servers = {"date", "content-length", "transfer-encoding", "x-request-id"}
    client.headers = [each for each in answer.headers if each[0].lower() not in servers]
    stage.until(lambda: client.sent)
    client.leave()
    assert not client.was_reset
    assert not client.received
    stage.until(lambda: not stage.connections)
    stage.until(lambda: not gateway.slots.busy)
    return client


def answer(chunks, status="200 OK", headers=(("X-A", "1"),)):
    def app(environ, start_response):
        start_response(status, list(headers))
        return chunks

    return app


# ------------------------------------------------------------------------------------ the answer


@pytest.mark.parametrize(
    ("make", "body", "streamed"),
    [
        pytest.param(lambda: [b"ab"], b"ab", False, id="list of one"),
        pytest.param(lambda: [b"a", b"b"], b"ab", False, id="list"),
        pytest.param(list, b"", False, id="empty list"),
        pytest.param(lambda: (b"a", b"b"), b"ab", True, id="tuple"),
        pytest.param(lambda: (chunk for chunk in (b"a", b"b")), b"ab", True, id="generator"),
        pytest.param(
            lambda: (bytes([i]) * 100_000 for i in range(8)),
            b"".join(bytes([i]) * 100_000 for i in range(8)),
            True,
            id="longer than a pipe",
        ),
    ],
)
def test_status_headers_and_body_of_the_app_are_sent(make, body, streamed):
    client = ask(answer(make(), "404 NOT FOUND"))
    assert (client.status, client.headers) == (404, [("X-A", "1")])
    assert (client.body, client.streamed) == (body, streamed)


def test_generator_may_call_start_response_late():
    def app(environ, start_response):
        start_response("201 CREATED", [("X-B", "2")])
        yield b"a"
        yield b"b"

    client = ask(app)
    assert (client.status, client.headers, client.body) == (201, [("X-B", "2")], b"ab")


def test_data_of_write_is_sent_before_the_list():
    def app(environ, start_response):
        start_response("200 OK", [])(b"written ")
        return [b"returned"]

    assert ask(app).body == b"written returned"


def test_data_of_write_is_sent_before_the_iterable():
    def app(environ, start_response):
        start_response("200 OK", [])(b"written ")
        return iter([b"returned"])

    assert ask(app).body == b"written returned"


@pytest.mark.parametrize(
    "app",
    [
        pytest.param(lambda environ, start_response: [b""], id="list"),
        pytest.param(lambda environ, start_response: iter([b""]), id="iterator"),
        pytest.param(lambda environ, start_response: 1 / 0, id="raises"),
    ],
)
def test_application_without_start_response_is_500(app):
    assert ask(app).status == 500


class Chunks:
    """An iterable that knows whether it was closed."""

    def __init__(self, chunks, *, fails=False):
        self.chunks = chunks
        self.fails = fails
        self.closed = 0

    def __iter__(self):
        yield from self.chunks
        if self.fails:
            raise ZeroDivisionError

    def close(self):
        self.closed += 1


@pytest.mark.parametrize("length", [None, "1"], ids=["unknown length", "short"])
@pytest.mark.parametrize("fails", [False, True], ids=["whole", "fails"])
def test_iterable_is_closed_once(length, fails):
    chunks = Chunks([b"a"], fails=fails)
    ask(answer(chunks, headers=[("Content-Length", length)] if length else []))
    assert chunks.closed == 1


def test_application_that_fails_before_its_first_chunk_is_500_and_closed():
    chunks = Chunks([], fails=True)
    ask(lambda environ, start_response: chunks)
    assert chunks.closed <= 1


def test_draining_server_sends_connection_close():
    headers = [("X-A", "1")]
    for chunks in ([b"a"], [b"a", b"b"], iter([b"a"])):
        client = ask(answer(chunks, headers=headers), draining=True)
        assert CLOSE in client.headers
    assert CLOSE not in headers


# ----------------------------------------------------------------------------------- the request


def see(**given):
    seen = {}

    def app(environ, start_response):
        seen.update(environ)
        return answer([b""])(environ, start_response)

    ask(app, **given)
    return seen


def test_environ_holds_the_request_and_nothing_of_the_process(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "topsecret")
    monkeypatch.setenv("HTTP_PROXY", "http://evil")
    seen = see(X_Token="of the request")
    assert not {"SECRET_KEY", "HTTP_PROXY", "PATH", "HOME"} & set(seen)
    assert seen["HTTP_X_TOKEN"] == "of the request"
    assert seen["wsgi.version"] == (1, 0)
    assert seen["wsgi.input_terminated"] is True
    assert seen["SERVER_PORT"] == "80"


def test_environ_has_the_header_and_not_the_environment_variable_of_its_name(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://of.the.process")
    assert see(Proxy="of the request")["HTTP_PROXY"] == "of the request"


@pytest.mark.parametrize("body", [None, b"x", b"x" * 90_000], ids=["none", "small", "long"])
def test_request_with_two_hosts_is_refused(body, caplog):
    """Two servers might not agree on one of them."""
    client = ask(lambda *_: pytest.fail("called"), method="POST", body=body, host="evil")
    assert (client.status, client.unread) == (400, b"")
    assert CLOSE in client.headers
    assert not caplog.records


# -------------------------------------------------------------------------------------- the body


@pytest.fixture
def echo():
    app = Carboy("echo")
    app.add_url_rule("/", view_func=lambda: request.get_data(), methods=["GET", "POST"])
    return app


@pytest.mark.parametrize("chunks", [False, True], ids=["sized", "chunked"])
@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("size", [1, 768, AT_ONCE_BYTES + 1], ids=["byte", "small", "long"])
def test_body_is_read_whole(echo, method, chunks, size):
    body = bytes(i % 256 for i in range(size))
    client = ask(echo, method=method, body=body, chunks=chunks)
    assert (client.status, client.body, client.unread) == (200, body, b"")
    assert CLOSE not in client.headers


@pytest.mark.parametrize("given", [{}, {"body": b""}], ids=["no length", "length 0"])
def test_request_without_a_body_reads_as_empty(given):
    def app(environ, start_response):
        read = environ["wsgi.input"].read
        return answer([read() + read(-1) + read(3)])(environ, start_response)

    assert ask(app, method="POST", **given).body == b""


def test_body_whose_length_is_beyond_the_limit_is_refused_before_it_is_sent():
    client = ask(lambda *_: pytest.fail("called"), method="POST", body=b"x" * (LIMIT + 1))
    assert client.status == 413
    assert b"200001 bytes" in client.body
    assert b"200000" in client.body
    assert CLOSE in client.headers
    assert client.unread == b""


def test_refused_client_that_expects_100_continue_sends_no_body():
    client = ask(
        lambda *_: pytest.fail("called"),
        method="POST",
        body=b"x" * (LIMIT + 1),
        Expect="100-continue",
    )
    assert client.status == 413
    assert len(client.unread) == LIMIT + 1


def test_chunked_body_beyond_the_limit_is_413_in_the_apps_own_form(echo):
    @echo.errorhandler(413)
    def too_large(error):
        return "mine", 413

    client = ask(echo, method="POST", body=b"x" * 600_000, chunks=True)
    assert (client.status, client.body) == (413, b"mine")
    assert CLOSE in client.headers
    assert client.unread == b""


def test_chunked_body_beyond_the_limit_is_413_without_werkzeug_too():
    def app(environ, start_response):
        environ["wsgi.input"].read()
        pytest.fail("read it")

    assert ask(app, method="POST", body=b"x" * (LIMIT + 1), chunks=True).status == 413


@pytest.mark.parametrize("length", [100, AT_ONCE_BYTES + 1], ids=["small", "long"])
def test_body_that_is_cut_short_is_400(echo, length):
    assert ask(echo, method="POST", body=b"abc", length=length).status == 400


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"body": b"x" * 900}, id="small rest"),
        pytest.param({"body": b"x" * 190_000}, id="long rest"),
        pytest.param({"body": b"x" * 90_000, "chunks": True}, id="unknown rest"),
        pytest.param({"body": b"abc", "Expect": "100-continue"}, id="not sent yet"),
    ],
)
def test_response_before_the_body_was_read_reaches_the_client(given):
    client = ask(answer([b"no"], "401 UNAUTHORIZED"), method="POST", **given)
    assert (client.status, client.body) == (401, b"no")
    assert client.unread == b""  # the server receives up to all of the body before it calls the app
