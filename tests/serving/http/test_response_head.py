"""The head of an answer: what an application may say, and what is the server's to say."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime

import pytest

from carboy.serving.http import exchange as module
from carboy.serving.http.exchange import Head, status_line


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (200, "200 OK"),
        (404, "404 NOT FOUND"),
        (418, "418 I'M A TEAPOT"),
        (299, "299 UNKNOWN"),
        (999, "999 UNKNOWN"),
    ],
)
def test_status_line_is_werkzeugs(code, line):
    from werkzeug.http import HTTP_STATUS_CODES

    assert status_line(code) == line
    assert status_line(code) == f"{code} {HTTP_STATUS_CODES.get(code, 'unknown').upper()}"


def test_lines_keep_their_order_and_case():
    head = Head("200 OK", [("X-B", "1"), ("x-a", ""), ("X-B", "caf\xe9"), ("Date", "d")])
    assert head.data == b"HTTP/1.1 200 OK\r\nX-B: 1\r\nx-a: \r\nX-B: caf\xe9\r\nDate: d\r\n"


def test_date_is_added_to_a_head_without_one():
    head = Head("200 OK", [("X-A", "1")])
    found = re.fullmatch(rb"HTTP/1.1 200 OK\r\nX-A: 1\r\nDate: (.+)\r\n", head.data)
    assert found
    assert found[1].endswith(b" GMT")
    assert parsedate_to_datetime(found[1].decode()).year > 2000


def test_date_is_formatted_once_a_second(monkeypatch):
    now_s = iter((1e9, 1e9 + 0.9, 1e9 + 1.1))
    monkeypatch.setattr(module, "time", lambda: next(now_s))
    assert [Head("200 OK", []).data[17:-2] for _ in range(3)] == [
        b"Date: Sun, 09 Sep 2001 01:46:40 GMT",
        b"Date: Sun, 09 Sep 2001 01:46:40 GMT",
        b"Date: Sun, 09 Sep 2001 01:46:41 GMT",
    ]


@pytest.mark.parametrize(
    "cased", [str.lower, str.upper, str.title], ids=["lower", "upper", "title"]
)
@pytest.mark.parametrize(
    ("name", "value", "length", "closes"),
    [
        ("content-length", "12", 12, False),
        ("connection", "close", None, True),
        ("connection", "Close", None, True),
        ("connection", "keep-alive, close", None, True),
        ("connection", "keep-alive", None, False),
        ("keep-alive", "timeout=5", None, False),
        ("transfer-encoding", "chunked", None, False),
        ("te", "trailers", None, False),
        ("trailer", "x-sum", None, False),
        ("upgrade", "h2c", None, False),
    ],
)
def test_framing_headers_are_read_and_dropped(cased, name, value, length, closes):
    head = Head("200 OK", [(cased(name), value), ("Date", "d")])
    assert head.data == b"HTTP/1.1 200 OK\r\nDate: d\r\n"
    assert (head.length, head.closes) == (length, closes)


@pytest.mark.parametrize("name", ["X-Framing-Name", "Etag", "Keep-Aliva", "Content-Lengtt", "Dat"])
def test_header_of_the_same_length_as_a_framing_header_is_passed_on(name):
    assert f"\r\n{name}: 1\r\n".encode() in Head("200 OK", [(name, "1")]).data


@pytest.mark.parametrize(
    ("status", "bodiless"),
    [
        ("200 OK", False),
        ("204 NO CONTENT", True),
        ("304 NOT MODIFIED", True),
        ("404 NOT FOUND", False),
    ],
)
def test_responses_without_a_body_are_recognised(status, bodiless):
    assert Head(status, []).bodiless is bodiless


@pytest.mark.parametrize(
    "value",
    ["1\r\nX-B: 2", "1\n", "\r1", "1\0", "日本"],
    ids=["lines", "LF", "CR", "NUL", "not Latin-1"],
)
def test_header_value_that_http_does_not_allow_raises(value):
    with pytest.raises(ValueError, match=r"header 'X-A' .* line break or NUL|latin-1"):
        Head("200 OK", [("X-A", value)])


@pytest.mark.parametrize(
    "name", ["", "X-A ", " X-A", "X-A:", "X-A: 1\nX-B", "X A", "X-\xe9", "X\0", "a/b"]
)
def test_header_name_that_is_no_token_raises(name):
    for _ in range(2):
        with pytest.raises(ValueError, match="header name"):
            Head("200 OK", [(name, "1")])


@pytest.mark.parametrize("value", ["", "1e3", "-5", "+5", "1_0", " 5", "0x5", "5, 5", "\u0665"])
def test_content_length_that_is_no_number_raises(value):
    with pytest.raises(ValueError, match="Content-Length"):
        Head("200 OK", [("Content-Length", value)])


@pytest.mark.parametrize(
    "status",
    [
        "",
        "abc",
        "20",
        "2000 OK",
        "100 CONTINUE",
        "101 SWITCHING",
        "103 EARLY HINTS",
        "200 OK\r\nX-A: 1",
        "200\0",
    ],
)
def test_status_that_is_not_of_a_final_response_raises(status):
    for _ in range(2):
        with pytest.raises(ValueError, match="status"):
            Head(status, [])


def test_names_and_statuses_that_an_application_makes_up_are_bounded():
    for i in range(3000):
        Head(f"200 {i}", [(f"X-{i}", "1")])
    assert max(len(module._roles), len(module._valid_statuses)) <= module._MAX_VALID
