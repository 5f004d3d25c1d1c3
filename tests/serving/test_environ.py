"""The head of a request as PEP 3333 wants it, from RSGI."""

from __future__ import annotations

import subprocess
import sys

import pytest
import rsgiend

from carboy.serving import environ as module
from carboy.serving.environ import Environs, TwoHostsError
from carboy.serving.exchange import Exchange
from carboy.wrappers import Request


def make(headers=(), **given):
    scope = rsgiend.Scope(headers, **given)
    return Environs(multiprocess=False).make(Exchange(scope, rsgiend.Protocol()), None)


@pytest.mark.parametrize(
    ("given", "key", "value"),
    [
        pytest.param({"path": "/a b"}, "PATH_INFO", "/a b", id="path"),
        pytest.param(
            {"path": "/日"}, "PATH_INFO", "/日".encode().decode("latin-1"), id="path not ASCII"
        ),
        pytest.param({"query_string": "a=%20"}, "QUERY_STRING", "a=%20", id="query"),
        pytest.param(
            {"query_string": "日"}, "QUERY_STRING", "日".encode().decode("latin-1"), id="query raw"
        ),
        pytest.param({"http_version": "1"}, "SERVER_PROTOCOL", "HTTP/1.0", id="HTTP/1.0"),
        pytest.param({"http_version": "1.1"}, "SERVER_PROTOCOL", "HTTP/1.1", id="HTTP/1.1"),
        pytest.param({"client": "10.0.0.1:5"}, "REMOTE_ADDR", "10.0.0.1", id="client"),
        pytest.param({"client": "[::1]:5"}, "REMOTE_ADDR", "::1", id="client of IPv6"),
        pytest.param({"client": "[::1]:5"}, "REMOTE_PORT", "5", id="its port"),
        pytest.param({"server": "[::1]:80"}, "SERVER_NAME", "::1", id="server of IPv6"),
        pytest.param({"method": "PURGE"}, "REQUEST_METHOD", "PURGE", id="method"),
        pytest.param({"scheme": "https"}, "wsgi.url_scheme", "https", id="scheme"),
    ],
)
def test_what_the_scope_says(given, key, value):
    assert make(**given)[key] == value


@pytest.mark.parametrize(
    ("headers", "key", "value"),
    [
        ([("x-a", "1"), ("x-a", "2")], "HTTP_X_A", "1,2"),
        ([("cookie", "a=1"), ("cookie", "b=2")], "HTTP_COOKIE", "a=1; b=2"),
        ([("content-type", "a/b"), ("content-type", "c/d")], "CONTENT_TYPE", "a/b"),
        ([("content-length", "3")], "CONTENT_LENGTH", "3"),
        ([("content_length", "3")], "HTTP_CONTENT_LENGTH", "3"),
        ([("wsgi.input", "x")], "HTTP_WSGI.INPUT", "x"),
    ],
    ids=["twice", "cookies", "two types", "length", "no length", "no input"],
)
def test_headers(headers, key, value):
    assert make(headers)[key] == value


def test_two_hosts_are_none():
    with pytest.raises(TwoHostsError):
        make([("host", "other")])


def test_a_target_in_absolute_form_names_the_host_where_no_header_does():
    scope = rsgiend.Scope(authority="shop.example:81")
    scope.headers = rsgiend.Headers([])
    exchange = Exchange(scope, rsgiend.Protocol())
    environ = Environs(multiprocess=False).make(exchange, None)
    assert environ["HTTP_HOST"] == "shop.example:81"


def test_each_request_has_an_environ_of_its_own():
    environs, exchange = Environs(multiprocess=True), Exchange(rsgiend.Scope(), rsgiend.Protocol())
    first = environs.make(exchange, None)
    first["wsgi.url_scheme"] = first["x"] = "changed"
    second = environs.make(exchange, None)
    assert second["wsgi.url_scheme"] == "http"
    assert "x" not in second
    assert second["wsgi.multiprocess"] is True


def test_a_request_can_be_made_of_it():
    request = Request(make([("x-a", "1")], path="/日", query_string="q=本"))
    assert (request.path, request.args["q"], request.headers["X-A"]) == ("/日", "本", "1")


def test_names_that_clients_choose_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(module, "_KEYS", {})
    monkeypatch.setattr(module, "_MOST_KEYS", 10)
    environ = make([("x-" + "y" * 100, "1"), *((f"x-{i}", "1") for i in range(50))])
    assert environ["HTTP_X_" + "Y" * 100] == environ["HTTP_X_49"] == "1"
    assert len(module._KEYS) == 10
    assert max(map(len, module._KEYS)) < 100


def test_a_worker_of_an_app_without_models_loads_nothing_of_them():
    heavy = "[m for m in ('msgspec', 'carboy.models.codec', 'numpy') if m in sys.modules]"
    program = f"import sys, carboy.serving.worker; print({heavy})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == "[]\n"
