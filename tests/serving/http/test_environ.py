"""The WSGI environ of a request."""

from __future__ import annotations

import subprocess
import sys

import pytest
from stage import Stage, head

from carboy.serving.http.environ import base_environ, environ_of
from carboy.wrappers import Request


def make(raw, body=None):
    """The environ of a request that came as `raw`."""
    seen = []

    def admit(exchange):
        exchange.handler = lambda exchange: seen.append(environ_of(exchange, body))

    with Stage() as stage:
        stage.handler.on_admit = admit
        client = stage.connect()
        client.send(raw)
        stage.settle()
        assert seen, client.collect() and client.received
    return seen[0]


@pytest.mark.parametrize(
    ("raw", "key", "value"),
    [
        pytest.param(head(target="/a%20b"), "PATH_INFO", "/a b", id="path"),
        pytest.param(head(target="/%E6%97%A5"), "PATH_INFO", "/\xe6\x97\xa5", id="path not ASCII"),
        pytest.param(head(target="/a%2Fb"), "PATH_INFO", "/a/b", id="slash in a path"),
        pytest.param(head(target="/%zz%"), "PATH_INFO", "/%zz%", id="no code"),
        pytest.param(head(target="/a+b"), "PATH_INFO", "/a+b", id="plus"),
        pytest.param(head(target="//a//b"), "PATH_INFO", "//a//b", id="slashes"),
        pytest.param(head(target="/?a=%20"), "QUERY_STRING", "a=%20", id="query"),
        pytest.param(head(target="/?a?b"), "QUERY_STRING", "a?b", id="query with a mark"),
        pytest.param(head(), "QUERY_STRING", "", id="no query"),
        pytest.param(head("OPTIONS", "*"), "PATH_INFO", "*", id="the server itself"),
        pytest.param(head(version="1.0"), "SERVER_PROTOCOL", "HTTP/1.0", id="HTTP/1.0"),
        pytest.param(head(version="1.1"), "SERVER_PROTOCOL", "HTTP/1.1", id="HTTP/1.1"),
        pytest.param(head("PURGE"), "REQUEST_METHOD", "PURGE", id="method"),
        pytest.param(head(), "wsgi.url_scheme", "http", id="scheme"),
        pytest.param(head(), "REMOTE_ADDR", "127.0.0.1", id="client"),
        pytest.param(head(), "REMOTE_PORT", "50000", id="its port"),
        pytest.param(head(), "SERVER_PORT", "80", id="port"),
        pytest.param(head(), "SCRIPT_NAME", "", id="script"),
    ],
)
def test_environ_has_the_request_line_and_the_addresses(raw, key, value):
    assert make(raw)[key] == value


@pytest.mark.parametrize(
    ("target", "host", "path", "query"),
    [
        ("http://shop.example:81/a%20b?q=1", "shop.example:81", "/a b", "q=1"),
        ("HTTP://shop.example", "shop.example", "/", ""),
        ("https://shop.example?q=1/2", "shop.example", "/", "q=1/2"),
    ],
)
def test_url_as_target_sets_the_host(target, host, path, query):
    """Whatever the header says. Source: RFC 9112, 3.2.2"""
    environ = make(head(target=target))
    assert environ["HTTP_HOST"] == host
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == (path, query)


@pytest.mark.parametrize(
    ("headers", "key", "value"),
    [
        ([("x-a", "1"), ("x-a", "2")], "HTTP_X_A", "1,2"),
        ([("X-A", "1"), ("x-a", "2"), ("x-A", "3")], "HTTP_X_A", "1,2,3"),
        ([("cookie", "a=1"), ("cookie", "b=2")], "HTTP_COOKIE", "a=1; b=2"),
        ([("content-type", "a/b"), ("content-type", "c/d")], "CONTENT_TYPE", "a/b"),
        ([("content-length", "0")], "CONTENT_LENGTH", "0"),
        ([("x-a", "  1 \t")], "HTTP_X_A", "1"),
        ([("x-a", "")], "HTTP_X_A", ""),
        ([("x-a", "caf\xe9")], "HTTP_X_A", "caf\xe9"),
        ([("transfer-encoding", "chunked")], "HTTP_TRANSFER_ENCODING", "chunked"),
    ],
    ids=[
        "twice",
        "in any case",
        "cookies",
        "two types",
        "length",
        "spaces",
        "empty",
        "not ASCII",
        "chunked",
    ],
)
def test_headers_become_environ_keys(headers, key, value):
    raw = head("POST", "/", headers)
    assert make(raw + b"0\r\n\r\n" if key == "HTTP_TRANSFER_ENCODING" else raw)[key] == value


@pytest.mark.parametrize("name", ["x_a", "X_A", "content_length", "content_type", "host_", "_"])
def test_header_with_an_underscore_is_dropped(name):
    """Nobody behind could tell it from the one with a hyphen, which a proxy may vouch for."""
    same = [("x-b", "3"), ("x-request-id", "a-1")]
    environ = make(head(headers=[(name, "1"), (name, "2"), *same]))
    plain = make(head(headers=same))
    assert environ == plain


def test_body_is_wsgi_input():
    body = object()
    assert make(head(), body)["wsgi.input"] is body


def test_requests_share_no_environ():
    seen = []

    def admit(exchange):
        exchange.handler = lambda exchange: seen.append(environ_of(exchange, None))

    with Stage() as stage:
        stage.handler.on_admit = admit
        for _ in range(2):
            stage.connect().send(head())
        stage.settle()
    first, second = seen
    first["wsgi.url_scheme"] = first["x"] = "changed"
    assert second["wsgi.url_scheme"] == "http"
    assert "x" not in second


def test_multiprocess_is_as_given():
    assert [base_environ(multiprocess=each)["wsgi.multiprocess"] for each in (True, False)] == [
        True,
        False,
    ]


def test_environ_makes_a_request():
    request = Request(make(head(target="/%E6%97%A5?q=%E6%9C%AC", headers=[("x-a", "1")])))
    assert (request.path, request.args["q"], request.headers["X-A"]) == ("/日", "本", "1")


def test_environ_of_a_request_without_host_has_no_host():
    assert "HTTP_HOST" not in make(b"GET / HTTP/1.0\r\n\r\n")


def test_header_name_that_is_too_long_for_the_cache_is_converted():
    assert make(head(headers=[("x-" + "y" * 100, "1")]))["HTTP_X_" + "Y" * 100] == "1"


def test_worker_module_loads_no_model_code():
    heavy = ("msgspec", "carboy.contract.bodies", "carboy.models.queue", "numpy")
    program = "import sys, carboy.serving.process.worker;"
    program += f"print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == "[]\n"
