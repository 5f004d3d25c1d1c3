"""Bytes become events, without a connection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stage import chunked, head, post

from carboy.serving.http import parser as module
from carboy.serving.http.limits import Limits
from carboy.serving.http.parser import BEGIN, END, Refused, RequestHead, RequestParser

UNSIZED = ("Transfer-Encoding", "chunked")
UPGRADE = [("Connection", "Upgrade"), ("Upgrade", "h2c")]
WEBSOCKET = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "A" * 22 + "=="),
]
# More digits than Python converts to a number.
LONG_LENGTH = ("Content-Length", "0" * 5000 + "1")


def fed(*pieces, limits=None):
    """The events of pieces of input."""
    parser = RequestParser(limits or Limits())
    events = [event for piece in pieces for event in parser.feed(piece)]
    parser.close()
    return events


def plain(events):
    """Events as values that can be compared, with the pieces of each body joined."""
    found = []
    for event in events:
        if isinstance(event, RequestHead):
            found.append((event.method, event.target))
        elif isinstance(event, bytes) and found and isinstance(found[-1], bytes):
            found[-1] += event
        elif event is not BEGIN:
            found.append(event)
    return found


def test_request_without_a_body_is_a_head_and_an_end():
    first, last = fed(head("GET", "/a?b", [("X-A", "1")]))
    assert (first.method, first.target, first.version) == ("GET", b"/a?b", "HTTP/1.1")
    assert first.headers == {"HTTP_HOST": "localhost", "HTTP_X_A": "1"}
    assert first.keep_alive
    assert last is END


def test_head_that_goes_on_in_the_next_piece_is_announced_once():
    parser = RequestParser(Limits())
    raw = head()
    assert [parser.feed(raw[i : i + 1]) for i in range(3)] == [[BEGIN], [], []]
    assert len(parser.feed(raw[3:] + b"G")) == 3
    assert parser.feed(b"ET") == []


def test_empty_lines_between_requests_are_no_event():
    assert fed(b"\r\n\r\n") == []
    assert plain(fed(b"\r\n" + head())) == [("GET", b"/"), END]


REQUESTS = [
    head(target="/a"),
    post(b"hello", "/b"),
    head("POST", "/c", [UNSIZED]) + chunked(b"hello world", 4),
    head("POST", "/d", [UNSIZED]) + b"3;x=y\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n",
    head("GET", "/e", UPGRADE),
    post(b"upgraded", "/f", UPGRADE),
    head("POST", "/g", [*UPGRADE, UNSIZED]) + chunked(b"upgraded"),
    post(b"", "/h"),
]


@given(st.lists(st.sampled_from(REQUESTS), max_size=6), st.data())
def test_events_do_not_depend_on_how_the_input_is_cut(requests, data):
    raw = b"".join(requests)
    cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=8).map(sorted))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    found = plain(fed(*pieces))
    assert found == plain(fed(raw))
    assert [each[1] for each in found if isinstance(each, tuple)] == [
        raw_.split(b" ")[1] for raw_ in requests
    ]
    assert found.count(END) == len(requests)


@pytest.mark.parametrize("size", [1, 2, 16, 1000])
def test_small_chunks_of_a_body_become_few_events(size):
    body = bytes(range(256)) * 100
    data = head("POST", "/", [UNSIZED]) + chunked(body, size) + head(target="/next")
    events = fed(data)
    pieces = [each for each in events if isinstance(each, bytes)]
    assert b"".join(pieces) == body
    assert len(pieces) <= len(body) / 1000
    assert plain(events) == [("POST", b"/"), body, END, ("GET", b"/next"), END]


def test_large_chunks_of_a_body_are_not_copied():
    _, *pieces, _ = fed(head("POST", "/", [UNSIZED]) + chunked(b"x" * 30_000, 10_000))
    assert [len(each) for each in pieces] == [10_000] * 3


@given(st.lists(st.binary(max_size=30) | st.sampled_from(REQUESTS), max_size=8))
def test_refusal_is_the_last_event(pieces):
    parser = RequestParser(Limits())
    for piece in pieces:
        events = parser.feed(piece)
        assert not any(isinstance(event, Refused) for event in events[:-1])
        if events and isinstance(events[-1], Refused):
            assert events[-1].response.startswith(b"HTTP/1.1 4")
            break


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        pytest.param(b"hello world\r\n\r\n", b"", id="no HTTP"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", b"no Host", id="no host"),
        pytest.param(head(headers=[("host", "evil")]), b"two Host", id="two hosts"),
        pytest.param(head("POST", "/", [("Content-Length", "+1")]), b"", id="signed length"),
        pytest.param(head("POST", "/", [("Content-Length", "")]), b"", id="empty length"),
        pytest.param(head("POST", "/", [LONG_LENGTH]), b"digits", id="length of 5001 digits"),
        pytest.param(
            head("POST", "/", [("Content-Length", "0" * 21)]), b"digits", id="length of 21 digits"
        ),
        pytest.param(
            head("POST", "/", [*UPGRADE, LONG_LENGTH]), b"digits", id="long length and upgrade"
        ),
        pytest.param(
            head("GET", "/", [*WEBSOCKET, LONG_LENGTH]), b"digits", id="long length and WebSocket"
        ),
        pytest.param(
            head("GET", "/", [*WEBSOCKET, ("Content-Length", "0" * 5000)]),
            b"digits",
            id="long zero and WebSocket",
        ),
        pytest.param(head("POST", "/", [("Content-Length", "1"), UNSIZED]), b"", id="both"),
        pytest.param(
            head("POST", "/", [("Transfer-Encoding", "gzip, chunked")]), b"coding", id="gzip"
        ),
        pytest.param(head("POST", "/", [UNSIZED], "1.0"), b"chunks", id="chunks of HTTP/1.0"),
        pytest.param(
            head("POST", "/", [("Transfer-Encoding", "chunked\t")]),
            b"coding",
            id="tab behind coding",
        ),
        pytest.param(head("POST", "/", [UNSIZED, UNSIZED]), b"coding", id="coding twice"),
        pytest.param(head(target="/a#b?c"), b"fragment", id="fragment"),
        pytest.param(head(target="http://user:key@host/"), b"host", id="user in the target"),
    ],
)
def test_request_that_a_proxy_may_frame_differently_is_400(raw, says):
    (refused,) = fed(raw)
    assert refused.response.startswith(b"HTTP/1.1 400 BAD REQUEST\r\n")
    assert says in refused.response


@pytest.mark.parametrize("first", [head(headers=UPGRADE), post(b"body", headers=UPGRADE)])
@pytest.mark.parametrize("second", [b"GET / HTTP/1.1\r\n\r\n", b"garbage\r\n\r\n"])
def test_refused_request_after_an_upgrade_is_400(caplog, first, second):
    *_, refused = fed(first + second)
    assert refused.response.startswith(b"HTTP/1.1 400 ")
    assert not caplog.records  # clients do not fill the log


@pytest.mark.parametrize("digits", ["0", "5", "00005", "5".zfill(20)])
def test_length_is_read_with_zeros_before_it(digits):
    for headers in ([], UPGRADE):
        body = b"x" * int(digits)
        request, *rest = fed(head("POST", "/", [*headers, ("Content-Length", digits)]) + body)
        assert request.headers["CONTENT_LENGTH"] == digits
        assert b"".join(each for each in rest if isinstance(each, bytes)) == body


def test_requests_before_a_refused_one_are_kept():
    assert plain(fed(head(target="/a") + b"garbage\r\n\r\n"))[:2] == [("GET", b"/a"), END]


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        pytest.param(head(headers=[(f"x-{i}", "1") for i in range(9)]), None, id="as many"),
        pytest.param(head(headers=[(f"x-{i}", "1") for i in range(10)]), b"431", id="one more"),
        pytest.param(head(headers=[("x-a", "1")] * 9), None, id="as many of one name"),
        pytest.param(head(headers=[("x-a", "1")] * 10), b"431", id="one more of one name"),
        pytest.param(head(headers=[("x-a", "1")] * 500), b"431", id="many of one name"),
    ],
)
def test_headers_are_counted(raw, status):
    event = fed(raw, limits=Limits(header_count=10))[0]
    if status is None:
        assert isinstance(event, RequestHead)
    else:
        assert event.response.startswith(b"HTTP/1.1 " + status)


NO_HOST = b"GET / HTTP/1.0\r\n"


@pytest.mark.parametrize(
    "host",
    ["localhost", "a.b-c_d:80", "a:", "192.0.2.1:8000", "[::1]", "[::1]:80", "a%20b", "x" * 99],
)
def test_host_is_a_name_or_address_and_a_port(host):
    for _ in range(2):
        request, _ = fed(NO_HOST + f"Host: {host}\r\n\r\n".encode())
        assert request.headers == {"HTTP_HOST": host}


@pytest.mark.parametrize(
    "host",
    [
        "a b",
        "user@a",
        "a, b",
        "a:x",
        "a:123456",
        "a/b",
        "x/../y",
        "[::1",
        "::1",
        "[a]:x",
        "a\\b",
        "a?",
    ],
)
def test_host_that_is_none_is_400(host):
    for _ in range(2):
        (refused,) = fed(NO_HOST + f"Host: {host}\r\n\r\n".encode())
        assert refused.response.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("raw", [NO_HOST, NO_HOST + b"Host:\r\n", b"GET / HTTP/1.1\r\nHost:\r\n"])
def test_empty_host_is_as_none(raw):
    assert fed(raw + b"\r\n")[0].headers == {}


def test_names_that_strangers_send_do_not_keep_the_usual_ones_out_of_the_cache():
    for i in range(0, 4000, 50):
        fed(head(headers=[(f"x-{j}", "1") for j in range(i, i + 50)]))
    assert len(module._WSGI_NAMES) <= module._MAX_KEYS
    assert module._USUAL_NAMES.items() <= module._WSGI_NAMES.items()


def test_hosts_that_strangers_send_are_bounded():
    for i in range(3000):
        fed(f"GET / HTTP/1.0\r\nHost: h{i}\r\n\r\n".encode())
    assert len(module._VALID_HOSTS) <= module._MAX_HOSTS


MANY = [("X-" + "a" * i, "b" * i) for i in range(20)]
DROPPED = [("X_A", "1" * 50), ("X-A", "1" * 50), ("X-A", "2" * 50), *[("Content-Type", "a/b")] * 2]


@pytest.mark.parametrize("headers", [MANY, DROPPED], ids=["many", "dropped and repeated"])
@pytest.mark.parametrize("before", [b"", head(), post(b"x" * 3000)], ids=["first", "next", "body"])
@pytest.mark.parametrize("size", [1, 7, 10**6], ids=["bytewise", "pieces", "whole"])
def test_size_of_a_head_is_measured_however_it_arrives(headers, before, size):
    raw = head("GET", "/path?query", headers)
    for limit, is_read in ((len(raw), True), (len(raw) - 1, False)):
        parser = RequestParser(Limits(head_bytes=limit))
        events, data = [], before + raw
        for i in range(0, len(data), size):
            events += parser.feed(data[i : i + size])
            if isinstance(events[-1], Refused) or len(events) > 5000:
                break
        assert (events[-1] is END) is is_read
        if not is_read:
            assert events[-1].response.startswith(b"HTTP/1.1 431 ")


def test_pieces_of_a_head_are_counted_and_those_of_a_body_are_not():
    limits = Limits(head_bytes=100)
    raw = head("POST", "/", [("X-A", "a" * 90), ("Content-Length", "1000")])
    *_, refused = fed(raw[:60], raw[60:110], limits=limits)
    assert refused.response.startswith(b"HTTP/1.1 431 ")
    events = fed(head("POST", "/", [("Content-Length", "1000")]), *[b"x" * 100] * 10, limits=limits)
    assert plain(events) == [("POST", b"/"), b"x" * 1000, END]


def test_fault_of_the_parser_itself_is_500_and_logged(monkeypatch, caplog):
    monkeypatch.setattr(module, "_VALID_HOSTS", None)
    (refused,) = fed(head())
    assert refused.response.startswith(b"HTTP/1.1 500 ")
    assert "TypeError" in caplog.text
