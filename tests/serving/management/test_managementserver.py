"""The HTTP server of the management: what it answers, and clients that misbehave."""

from __future__ import annotations

import http.client
import json
import socket
import threading

import pytest
from polling import PATIENCE_S, wait_until

from carboy.serving.management import managementserver
from carboy.serving.management.managementserver import (
    ControlRequestError,
    ManagementServer,
    Page,
)


def double(arguments):
    if "x" not in arguments:
        raise ControlRequestError("x is missing")
    return {"result": 2 * arguments["x"]}


@pytest.fixture
def serve():
    """Return a function that starts a server on a free port and returns its address."""
    running = []

    def serve(pages=None, commands=None):
        listener = socket.create_server(("127.0.0.1", 0))
        server = ManagementServer(listener, pages or {}, commands)
        server.start()
        running.append((server, listener))
        return listener.getsockname()

    yield serve
    for server, listener in running:
        server.stop()
        listener.close()


def ask(address, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection(*address, timeout=PATIENCE_S)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def test_page_that_fails_is_answered_without_the_reason(serve, caplog):
    address = serve({"/metrics": lambda: int("a secret")})
    status, _, body = ask(address, "GET", "/metrics")
    assert (status, list(json.loads(body))) == (500, ["error"])
    assert b"secret" not in body
    assert "a secret" in caplog.text


def test_page_is_answered(serve):
    address = serve({"/readyz": lambda: Page(503, b"no", "text/plain")})
    status, headers, body = ask(address, "GET", "/readyz?verbose=1")
    assert (status, headers["Content-Type"], body) == (503, "text/plain", b"no")
    assert headers["Cache-Control"] == "no-store"


def test_head_has_no_body(serve):
    status, headers, body = ask(serve({"/livez": lambda: Page(200, b"ok")}), "HEAD", "/livez")
    assert (status, headers["Content-Length"], body) == (200, "2", b"")


def test_version_of_python_is_not_told(serve):
    _, headers, _ = ask(serve(), "GET", "/")
    assert headers["Server"] == "carboy"


def test_page_whose_name_was_rebound_to_this_machine_is_refused(serve):
    address = serve({"/metrics": lambda: Page(200, b"secret")})
    for method in ("GET", "HEAD"):
        foreign = {"Host": f"thief.example:{address[1]}"}
        assert ask(address, method, "/metrics", headers=foreign)[0] == 403
    for name in ("localhost", "127.0.0.1", "box"):
        own = {"Host": f"{name}:{address[1]}"}
        assert ask(address, "GET", "/metrics", headers=own)[0] == 200


def test_unknown_path_lists_the_known_ones(serve):
    address = serve({"/livez": lambda: Page(200, b"")})
    status, _, body = ask(address, "GET", "/live")
    assert status == 404
    assert json.loads(body) == {"error": "there is no GET /live", "paths": ["/livez"]}


def test_command_gets_its_arguments(serve):
    status, _, body = ask(serve(commands={"/double": double}), "POST", "/double", '{"x": 21}')
    assert (status, json.loads(body)) == (200, {"result": 42})


def test_server_without_commands_does_none(serve):
    assert ask(serve(), "POST", "/double", '{"x": 21}')[0] == 404


@pytest.mark.parametrize(
    ("body", "headers", "error"),
    [
        ("{}", {}, "x is missing"),
        ("[1]", {}, "must be a JSON object"),
        ("{", {}, "must be JSON"),
        (None, {"Content-Length": "99999999"}, "at most 65536 bytes"),
        (None, {"Content-Length": "-1"}, "at most 65536 bytes"),
        (None, {"Content-Length": "9" * 5000}, "at most 65536 bytes"),
    ],
)
def test_wrong_request_is_refused_with_the_reason(serve, body, headers, error):
    address = serve(commands={"/double": double})
    status, _, answer = ask(address, "POST", "/double", body, headers)
    assert status == 409
    assert error in json.loads(answer)["error"]


def test_error_in_a_command_is_answered_and_logged(serve, caplog):
    def fail(_):
        raise ZeroDivisionError("no")

    status, _, body = ask(serve(commands={"/fail": fail}), "POST", "/fail", "{}")
    assert (status, json.loads(body)) == (500, {"error": "ZeroDivisionError: no"})


def test_client_that_sends_nothing_keeps_no_other_away(serve):
    address = serve({"/livez": lambda: Page(200, b"ok")})
    with socket.create_connection(address):
        assert ask(address, "GET", "/livez")[0] == 200


def test_oldest_client_is_disconnected_when_there_are_too_many(serve, monkeypatch):
    monkeypatch.setattr(managementserver, "MAX_CLIENTS", 4)
    address = serve({"/livez": lambda: Page(200, b"ok")})
    silent = [socket.create_connection(address, PATIENCE_S) for _ in range(8)]
    assert ask(address, "GET", "/livez")[0] == 200
    assert silent[0].recv(1) == b""
    for client in silent:
        client.close()


def test_probe_is_answered_while_another_request_waits(serve):
    entered, release = threading.Event(), threading.Event()

    def wait(_):
        entered.set()
        release.wait(PATIENCE_S)
        return {}

    address = serve({"/livez": lambda: Page(200, b"ok")}, {"/wait": wait})
    waiting = threading.Thread(target=ask, args=(address, "POST", "/wait", "{}"))
    waiting.start()
    assert entered.wait(PATIENCE_S)
    assert ask(address, "GET", "/livez")[0] == 200
    release.set()
    waiting.join()


def test_threads_of_clients_end_after_the_response(serve):
    address = serve({"/livez": lambda: Page(200, b"ok")})
    for _ in range(20):
        ask(address, "GET", "/livez")
    wait_until(
        lambda: not any(each.name == "carboy-management-client" for each in threading.enumerate())
    )


def test_client_that_leaves_before_the_response_is_no_error(serve, caplog):
    entered, release = threading.Event(), threading.Event()

    def wait(_):
        entered.set()
        release.wait(PATIENCE_S)
        return {"text": "x" * 10_000_000}  # more than the system takes

    address = serve(commands={"/wait": wait})
    with socket.create_connection(address) as client:
        client.sendall(b"POST /wait HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}")
        assert entered.wait(PATIENCE_S)
    release.set()
    wait_until(
        lambda: not any(each.name == "carboy-management-client" for each in threading.enumerate())
    )
    assert caplog.records == []
