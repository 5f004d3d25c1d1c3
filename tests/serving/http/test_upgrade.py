"""Which requests open a WebSocket, which are refused, and which are ordinary ones."""

from __future__ import annotations

import pytest
from stage import Stage, head, post
from wsframes import ASK, KEY, ask

from carboy.serving.http.forwarded import TrustedProxies

SMUGGLED = head(target="/smuggled")


def served(**options):
    """A server that records the requests, and refuses all WebSockets."""
    stage = Stage(**options)
    stage.asked, stage.seen = [], []

    def admit(exchange):
        stage.seen.append((exchange.method, exchange.path, exchange.headers.get("HTTP_UPGRADE")))
        exchange.handler = lambda exchange: exchange.respond(404, [], b"none")

    stage.handler.on_admit = admit
    stage.handler.on_upgrade = stage.asked.append
    return stage


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(ask(), id="as browsers ask"),
        pytest.param(ask(Upgrade="WebSocket"), id="in capitals"),
        pytest.param(ask(Connection="keep-alive, Upgrade"), id="as Firefox asks"),
        pytest.param(ask(Content_Length="0"), id="with an empty body"),
    ],
)
def test_request_for_a_websocket_is_recognized(request_):
    with served() as stage:
        client = stage.connect()
        client.send(request_)
        stage.until(lambda: stage.asked)
        assert client.answer().status == 404


@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [
        (ask(Sec_WebSocket_Key=None), 400, "Sec-WebSocket-Key"),
        (ask(Sec_WebSocket_Key=""), 400, "Sec-WebSocket-Key"),
        (ask(Sec_WebSocket_Key="c2hvcnQ="), 400, "Sec-WebSocket-Key"),
        (head(headers=[*ASK, ("Sec-WebSocket-Key", KEY)]), 400, "Sec-WebSocket-Key"),
        (ask(Sec_WebSocket_Version=None), 426, "Sec-WebSocket-Version"),
        (ask(Sec_WebSocket_Version="8"), 426, "Sec-WebSocket-Version"),
        (ask(Content_Length="5") + b"hello", 400, "body"),
        (ask(Transfer_Encoding="chunked") + b"0\r\n\r\n", 400, "body"),
        (ask(Host="").replace(b"Host: localhost\r\n", b""), 400, "Host"),
    ],
)
def test_wrong_request_for_a_websocket_is_refused_and_nothing_behind_it_is_read(
    request_, status, reason
):
    with served() as stage:
        client = stage.connect()
        answer = client.ask(request_ + SMUGGLED)
        assert answer.status == status
        assert reason in answer.body.decode()
        assert client.see_end() == b""
        assert stage.seen == stage.asked == []


def test_refusal_of_a_version_names_the_supported_one():
    with served() as stage:
        answer = stage.connect().ask(ask(Sec_WebSocket_Version="14"))
        assert answer.header("sec-websocket-version") == "13"
        assert answer.header("upgrade") == "websocket"


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(post(b"body", headers=ASK), id="POST"),
        pytest.param(head("HEAD", headers=ASK), id="HEAD"),
        pytest.param(head("OPTIONS", headers=ASK), id="OPTIONS"),
        pytest.param(
            head(headers=[*ASK, ("Connection", "keep-alive")], version="1.0"), id="HTTP/1.0"
        ),
        pytest.param(ask(Connection="keep-alive"), id="without Connection"),
    ],
)
def test_upgrade_that_cannot_be_is_ignored_and_the_connection_goes_on(request_):
    """RFC 9110, 7.8: the request is answered as if it did not ask. The application does not see the
    Upgrade header; otherwise Werkzeug would look for a view of WebSockets.
    """
    with served() as stage:
        client = stage.connect()
        method = request_[: request_.index(b" ")].decode()
        client.send(request_ + head(target="/next"))
        assert client.answer(method).status == 404
        assert client.answer().status == 404
        assert stage.asked == []
        assert [path for _, path, _ in stage.seen] == ["/", "/next"]


@pytest.mark.parametrize("protocol", ["h2c", "websocket, h2c", "websocket/13"])
def test_upgrade_to_another_protocol_is_ignored_and_the_application_sees_it(protocol):
    with served() as stage:
        client = stage.connect()
        client.send(ask(Upgrade=protocol) + head(target="/next"))
        assert [client.answer().status for _ in range(2)] == [404, 404]
        assert stage.asked == []
        assert stage.seen[0] == ("GET", "/", protocol)


def test_after_a_refused_websocket_nothing_is_read_and_the_connection_closes():
    """A proxy may take the connection for a WebSocket without looking at the response. Then its
    client may send anything, also requests that the proxy would not let pass.
    """
    with served() as stage:
        client = stage.connect()
        client.send(ask("/socket") + SMUGGLED)
        answer = client.answer()
        assert (answer.status, answer.closes) == (404, True)
        client.send(SMUGGLED)
        client.send_no_more()
        assert client.see_end() == b""
        assert [path for _, path, _ in stage.seen] == ["/socket"]


def test_requests_before_a_request_for_a_websocket_are_answered_first():
    with served() as stage:
        client = stage.connect()
        client.send(head(target="/a") + post(b"body", "/b") + ask("/socket") + SMUGGLED)
        answers = [client.answer() for _ in range(3)]
        assert [each.closes for each in answers] == [False, False, True]
        assert [path for _, path, _ in stage.seen] == ["/a", "/b", "/socket"]
        assert client.see_end() == b""


def test_request_for_a_websocket_may_arrive_byte_by_byte():
    with served() as stage:
        client = stage.connect()
        for byte in ask():
            client.send(bytes([byte]))
            stage.settle()
        assert client.answer().status == 404
        assert len(stage.asked) == 1


def test_too_large_request_for_a_websocket_is_431():
    with served() as stage:
        assert stage.connect().ask(ask(X="y" * 70_000)).status == 431
        assert stage.asked == []


def test_request_with_a_false_forwarded_header_opens_no_websocket():
    with served(proxies=TrustedProxies("1", "for,proto")) as stage:
        client = stage.connect()
        assert client.ask(ask(X_Forwarded_Proto="ftp") + SMUGGLED).status == 400
        assert client.see_end() == b""
        assert stage.asked == stage.seen == []
