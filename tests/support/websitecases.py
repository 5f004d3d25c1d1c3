"""What holds of a website behind each web server: tests that the test module of a web server takes
over by `from websitecases import *`.

That module defines the fixtures `site`, `secure_site` and `hasty_site` (each a `website.Website`:
by HTTP, by HTTPS, and with `--timeout 1`), and `differences`: which requests of
`deployedapp.REQUESTS` have another response than that of `carboy serve`, with the reason.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import itertools
import json
import os
import re
import signal
import socket
import statistics
import time
import typing as t
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import deployedapp
import pytest
from polling import PATIENCE_S, wait_until
from website import HOST, OTHER_HOST, Website

if t.TYPE_CHECKING:
    import collections.abc as cabc

MIB = 1024 * 1024

# Requests of `deployedapp.REQUESTS` whose responses may differ from those of the app, and why.
OF_STATIC_FILES = dict.fromkeys(
    (
        *("static file", "HEAD of a static file", "part of a static file"),
        *("part outside of a static file", "static file that was not modified"),
    ),
    "the web server sends static files itself: other details of the headers, its own page for 416",
)
OF_LONG_TEXTS = dict.fromkeys(
    ("document", "large response", "stream", "HEAD of a stream", "stream that fails"),
    "Vary: Accept-Encoding, because they are compressed for clients that accept it",
)
OF_THE_CLIENT = {"header with a list": "the app sees the address of the client"}
OF_BUFFERED_BODIES = {"chunked body": "the web server has read the body, and knows its length"}


class Response(t.NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> t.Any:
        return json.loads(self.body)


def connect(site: Website, *, secure: bool = False) -> http.client.HTTPConnection:
    if secure:
        return http.client.HTTPSConnection(
            "127.0.0.1", site.ports.https, timeout=PATIENCE_S, context=site.trust()
        )
    return http.client.HTTPConnection("127.0.0.1", site.ports.http, timeout=PATIENCE_S)


def ask(
    site: Website,
    path: str = "/",
    *,
    method: str = "GET",
    body: t.Any = None,
    secure: bool = False,
    connection: http.client.HTTPConnection | None = None,
    **headers: str,
) -> Response:
    """Send a request, by default on a connection of its own."""
    used = connection or connect(site, secure=secure)
    sent = {"Host": HOST} | {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        used.request(method, path, body, sent)
        response = used.getresponse()
        return Response(response.status, response.headers, response.read())
    finally:
        if connection is None:
            used.close()


# ----------------------------------------------------------------- the same responses as without it


def test_responses_are_those_of_the_app_but_for_the_documented_differences(site, differences):
    own = deployedapp.ask_all(site.upstream)
    found = deployedapp.differences(own, deployedapp.ask_all(site.url))
    assert found.keys() == differences.keys(), "\n".join(map(str, found.items()))


def test_no_header_that_has_one_value_is_sent_twice(site):
    several = {"set-cookie", "vary", "link", "server-timing"}
    for asked in deployedapp.REQUESTS:
        answer = deployedapp.ask(site.url, asked)
        twice = {name for name, values in answer.headers.items() if len(values) > 1}
        assert twice <= several, asked.name


@pytest.mark.parametrize(
    "path",
    ["/path/a%2Fb", "/path/%C3%A4%20b", "/path/a//b", "/path/a+b;c=1", "/path/%25%32%46"],
)
def test_path_reaches_the_app_as_the_client_wrote_it(site, path):
    direct = deployedapp.ask(site.upstream, deployedapp.Asked("", "GET", path))
    assert (200, direct.body) == (ask(site, path).status, ask(site, path).text)


def test_head_has_the_headers_of_get_and_no_body(site):
    for path in ("/", "/static/style.css"):
        head, get = ask(site, path, method="HEAD"), ask(site, path)
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Length"] == get.headers["Content-Length"]


def test_connections_of_clients_are_kept(site):
    with contextlib.closing(connect(site)) as connection:
        ports = set()
        for path in ("/pid", "/static/style.css", "/none", "/hello/you", "/stream"):
            ask(site, path, connection=connection)
            assert connection.sock is not None, path
            ports.add(connection.sock.getsockname())
    assert len(ports) == 1


def test_client_of_http_1_0_without_a_host_is_answered(site):
    answered = raw(site, b"GET /hello/old HTTP/1.0\r\n\r\n")
    assert b" 200 OK\r\n" in answered
    assert b'"name":"old"' in answered


# --------------------------------------------------------------------- what the app sees of clients

MADE_UP = {
    "X_Forwarded_For": "198.51.100.1",
    "X_Forwarded_Proto": "https",
    "X_Forwarded_Host": OTHER_HOST,
    "X_Forwarded_Port": "1",
    "X_Forwarded_Prefix": "/evil",
    "Forwarded": f"for=198.51.100.1;proto=https;host={OTHER_HOST}",
}


@pytest.mark.parametrize("sent", [{}, MADE_UP], ids=["honest", "made up"])
def test_app_sees_the_client_and_not_what_the_client_made_up(site, sent):
    seen = ask(site, "/seen", **sent).json
    assert seen["client"] == "127.0.0.1"
    assert seen["url"] == f"http://{HOST}/seen"
    assert seen["base"] == ""
    told = ask(site, "/headers", **sent).json["headers"]
    text = str({name: value for name, value in told.items() if name != "Host"})
    assert "198.51.100.1" not in text.rpartition(",")[2]
    assert OTHER_HOST not in text
    assert "/evil" not in text


def test_host_and_port_of_links_are_those_of_the_client(site, secure_site):
    name = f"{HOST}:{site.ports.http}"
    assert ask(site, "/seen", Host=name).json["url"] == f"http://{name}/seen"
    name = f"{HOST}:{secure_site.ports.https}"
    seen = ask(secure_site, "/seen", secure=True, Host=name).json
    assert seen["url"] == f"https://{name}/seen"


def test_host_in_the_request_line_counts_and_not_the_header(site):
    line = f"GET http://{HOST}/seen HTTP/1.1\r\nHost: {OTHER_HOST}\r\n"
    answered = raw(site, f"{line}Connection: close\r\n\r\n".encode())
    assert OTHER_HOST.encode() not in answered


# ------------------------------------------------------------------------------------- static files


def test_static_files_are_sent_by_the_web_server(site):
    """They are sent while the app is stopped, which answers nothing then."""
    os.killpg(site.app.process.pid, signal.SIGSTOP)
    try:
        for path in ("/static/style.css", "/static/sub/page.html", "/admin/pictures/dot.svg"):
            assert ask(site, path).status == 200, path
        assert ask(site, "/static/with%20space.txt").body == b"spaced"
    finally:
        os.killpg(site.app.process.pid, signal.SIGCONT)


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("style.css", "text/css; charset=utf-8"),
        ("script.js", "text/javascript; charset=utf-8"),
        ("sub/page.html", "text/html; charset=utf-8"),
    ],
)
def test_static_files_have_their_media_types(site, name, media_type):
    found = ask(site, f"/static/{name}").headers["Content-Type"].lower()
    assert found.replace("application/javascript", "text/javascript") == media_type


def test_static_file_is_revalidated_by_browsers_as_the_app_says(site):
    first = ask(site, "/static/style.css")
    assert first.headers["Cache-Control"] == "no-cache"
    assert first.headers["X-Content-Type-Options"] == "nosniff"
    for name, value in (("If-None-Match", "ETag"), ("If-Modified-Since", "Last-Modified")):
        again = ask(site, "/static/style.css", **{name: first.headers[value]})
        assert (again.status, again.body) == (304, b"")


def test_missing_static_file_has_the_page_of_the_app(site):
    own = deployedapp.ask(site.upstream, deployedapp.Asked("", "GET", "/static/none.css"))
    answer = ask(site, "/static/none.css")
    assert (answer.status, answer.text) == (404, own.body)


@pytest.mark.parametrize(
    "path",
    [
        "/static/.env",
        "/static/%2eenv",
        "/static/%2Eenv",
        "/static//.env",
        "/static/sub/../.env",
        "/static/sub/%2e%2e/.env",
        "/static/.git/config",
        "/static/%2egit/config",
        "/static/./.env",
    ],
)
def test_hidden_static_files_are_denied(site, path):
    answer = ask(site, path)
    assert answer.status in {403, 404}
    assert b"SECRET" not in answer.body
    assert b"secret" not in answer.body


@pytest.mark.parametrize(
    "path",
    [
        "/static/../shop.py",
        "/static/..%2fshop.py",
        "/static/%2e%2e/shop.py",
        "/static/..%5cshop.py",
        "/static../shop.py",
        "/static-secret/key.txt",
        "/static/-secret/key.txt",
        "/static",
        "/static/",
        "/static/sub",
        "/static/sub/",
        "/admin/pictures/../../shop.py",
    ],
)
def test_nothing_but_the_files_of_static_folders_is_sent(site, path):
    answer = ask(site, path)
    assert answer.status in {400, 403, 404}
    for word in (b"import", b"secret", b"page.html"):
        assert word not in answer.body


def test_other_methods_than_get_change_no_static_file(site):
    for method in ("POST", "PUT", "DELETE"):
        assert ask(site, "/static/style.css", method=method, body=b"x").status == 405
    assert (site.folder / "static" / "style.css").read_text() == ask(site, "/static/style.css").text


# -------------------------------------------------------------------- compression, security headers


@pytest.mark.parametrize("path", ["/long", "/static/long.css", "/openapi.json"])
def test_text_is_compressed_for_clients_that_accept_it(site, path):
    plain, packed = ask(site, path), ask(site, path, Accept_Encoding="gzip")
    assert plain.headers["Content-Encoding"] is None
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in ", ".join(packed.headers.get_all("Vary"))
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 2


def test_security_headers_of_the_app_are_not_doubled(site, secure_site):
    for each, secure in ((site, False), (secure_site, True)):
        headers = ask(each, "/secure", secure=secure).headers
        assert headers.get_all("Strict-Transport-Security") == ["max-age=60"]
        assert headers.get_all("X-Content-Type-Options") == ["nosniff"]
        assert headers.get_all("X-Frame-Options") == ["DENY"]
        assert headers.get_all("Content-Security-Policy") == ["default-src 'self'"]
        assert headers.get_all("Referrer-Policy") == ["same-origin"]


def test_static_files_and_https_get_security_headers(site, secure_site):
    answer = ask(site, "/static/style.css")
    assert answer.headers.get_all("X-Content-Type-Options") == ["nosniff"]
    for path in ("/", "/none", "/static/style.css"):
        assert ask(site, path).headers["Strict-Transport-Security"] is None
        headers = ask(secure_site, path, secure=True).headers
        assert headers.get_all("Strict-Transport-Security") == ["max-age=31536000"]


# ------------------------------------------------------------------------------------------- bodies


def test_upload_of_60_mb_arrives(site):
    content = bytes(range(256)) * (60 * MIB // 256)
    sent = deployedapp.multipart("large.bin", content, "application/octet-stream", title="60 MB")
    answer = ask(site, "/upload", method="POST", body=sent["body"], **sent["headers"])
    assert answer.status == 200
    assert answer.json["sha256"] == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
def test_client_that_sends_too_large_a_body_can_read_the_413(site, chunked):
    """The client sends all of the body before it reads, as most do."""
    block = b"x" * MIB
    length = 70 * MIB
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {length}"
    with socket.create_connection(("127.0.0.1", site.ports.http), PATIENCE_S) as sock:
        sock.sendall(f"POST /echo HTTP/1.1\r\nHost: {HOST}\r\n{framing}\r\n\r\n".encode())
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(length // MIB):
                sock.sendall(b"100000\r\n%b\r\n" % block if chunked else block)
            sock.sendall(b"0\r\n\r\n" if chunked else b"")
        assert sock.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_client_can_read_the_413_of_the_app(site):
    answer = ask(site, "/small", method="POST", body=b"x" * 5 * MIB)
    assert answer.status == 413


def test_client_that_expects_100_continue_is_asked_for_the_body(site):
    with socket.create_connection(("127.0.0.1", site.ports.http), PATIENCE_S) as sock:
        sock.sendall(
            f"POST /echo HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\n"
            "Expect: 100-continue\r\nConnection: close\r\n\r\n".encode()
        )
        assert sock.recv(1000).startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"hello")
        assert b'"length":5' in read_all(sock)


# ----------------------------------------------------------------------------- streams, time limits


def test_first_item_of_a_stream_arrives_before_the_second_is_made(site):
    assert deployedapp.first_item_is_sent_alone(site.url, site.folder / "until")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/times", None),
        ("/plain-times", None),
        ("/words", b'{"count": 10}'),
    ],
    ids=["typed view", "plain view", "model"],
)
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_items_of_a_stream_arrive_within_100_ms(site, path, body, encoding):
    # A busy machine may delay all items of one stream, a web server that holds them those of each.
    medians = (statistics.median(delays_of(site, path, body, encoding)) for _ in range(5))
    assert any(median < 0.1 for median in medians)


def delays_of(site: Website, path: str, body: bytes | None, encoding: str) -> list[float]:
    """Return how many seconds after it was made each item of a stream has arrived."""
    headers = {"Host": HOST, "Content-Type": "application/json", "Accept-Encoding": encoding}
    delays = []
    with contextlib.closing(connect(site)) as connection:
        connection.request("GET" if body is None else "POST", path, body, headers)
        response = connection.getresponse()
        assert response.status == 200
        is_packed = response.headers["Content-Encoding"] == "gzip"
        unpack = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress if is_packed else bytes
        rest = b""
        while part := response.read1():
            *lines, rest = (rest + unpack(part)).split(b"\n")
            delays += [time.time() - float(line) for line in lines if line.strip()]
    assert len(delays) == 10
    return delays


def test_stream_ends_in_the_app_when_the_client_leaves(site):
    connection = connect(site)
    connection.request("GET", "/endless/left", headers={"Host": HOST})
    assert connection.getresponse().readline() == b"line\n"
    connection.close()
    wait_until((site.folder / "left").exists)


def test_time_limit_is_that_of_the_route(hasty_site):
    """Views of this website may take one second, its predictions 20."""
    with ThreadPoolExecutor(2) as threads:
        view = threads.submit(ask, hasty_site, "/nap/3.0")
        model = threads.submit(
            partial(ask, method="POST", body=b"3", Content_Type="application/json"),
            hasty_site,
            "/ponder",
        )
        assert view.result().status in {502, 504}
        assert (model.result().status, model.result().json) == (200, "thought")


# --------------------------------------------------------------------------------------- WebSockets


@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
def test_websocket_passes(site, secure_site, secure):
    from simple_websocket import Client, ConnectionClosed

    used = secure_site if secure else site
    port = used.ports.https if secure else used.ports.http
    scheme, context = ("wss", used.trust()) if secure else ("ws", None)
    ws = Client.connect(f"{scheme}://127.0.0.1:{port}/chat", ssl_context=context)
    for message in ("hello", "x" * 100_000):
        ws.send(message)
        assert ws.receive(PATIENCE_S) == message.upper()
    ws.send("bye")
    with pytest.raises(ConnectionClosed) as info:
        ws.receive(PATIENCE_S)
    assert (info.value.reason, info.value.message) == (4000, "bye")


def test_websocket_route_refuses_ordinary_requests(site):
    assert ask(site, "/chat").status == 400


def test_no_other_protocol_than_websocket_is_switched_to(site):
    asked = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMA"}
    assert ask(site, "/hello/x", **asked).status == 200
    told = ask(site, "/headers", **asked).json["headers"]
    assert "Upgrade" not in told


# ---------------------------------------------------------------------------------------------- TLS


def test_http_is_redirected_to_https(secure_site):
    answer = ask(secure_site, "/hello/you?a=1")
    assert answer.status in {301, 308}
    port = secure_site.ports.https
    assert answer.headers["Location"] == f"https://{HOST}:{port}/hello/you?a=1"


def test_app_knows_of_https(secure_site):
    seen = ask(secure_site, "/seen", secure=True, **MADE_UP | {"X_Forwarded_Proto": "http"}).json
    assert seen["url"] == f"https://{HOST}/seen"
    assert seen["client"] == "127.0.0.1"


# ----------------------------------------------------------------------- restarts, death of the app


def test_reload_of_the_app_under_load_loses_nothing(site):
    """Clients that keep their connections, and clients that connect anew, read and write."""
    before = ask(site, "/pid").text
    stopped = []

    def load(number: int) -> list[int]:
        statuses = []
        keeps = number % 2 == 0
        with contextlib.closing(connect(site)) as connection:
            for count in itertools.count():
                if stopped:
                    break
                if not keeps:
                    connection.close()
                posts = (count + number // 2) % 2
                answer = ask(
                    site,
                    "/echo" if posts else "/pid",
                    method="POST" if posts else "GET",
                    body=b"x" * 1000 if posts else None,
                    connection=connection,
                )
                statuses.append(answer.status)
        return statuses

    with ThreadPoolExecutor(8) as threads:
        loads = [threads.submit(load, number) for number in range(8)]
        try:
            site.app.process.send_signal(signal.SIGHUP)
            wait_until(lambda: ask(site, "/pid").text != before)
            site.app.wait_until_it_prints("reloaded")
        finally:
            stopped.append(True)
        statuses = [status for each in loads for status in each.result(PATIENCE_S)]
    assert set(statuses) == {200}
    assert len(statuses) > 20


def test_app_that_is_down_is_answered_for_and_found_again(hasty_site):
    """The app is killed, then started again, without a change of the web server."""
    assert ask(hasty_site, "/static/style.css").status == 200
    hasty_site.app.stop(signal.SIGKILL)
    assert ask(hasty_site, "/pid").status in {502, 503}
    assert ask(hasty_site, "/static/style.css").status == 200
    hasty_site.start_app()
    wait_until(lambda: ask(hasty_site, "/pid").status == 200)


# ------------------------------------------------------------------------------------------- desync

# One request to /case/NAME, which two servers may take for two: the second is then /hidden/NAME.
# The third line is what may follow the first one: a request on the same connection.
HIDDEN = b"GET /hidden/%b HTTP/1.1\r\nHost: " + HOST.encode() + b"\r\n\r\n"


def _chunked(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


class Ambiguous(t.NamedTuple):
    """A request that servers may understand in different ways."""

    headers: bytes
    body: cabc.Callable[[bytes], bytes]  # gets the hidden request


def _same(hidden: bytes) -> bytes:
    return hidden


def _after_last_chunk(hidden: bytes) -> bytes:
    return b"0\r\n\r\n" + hidden


def _in_chunk(hidden: bytes) -> bytes:
    return _chunked(hidden)


def _framed(*lines: bytes, body: cabc.Callable[[bytes], bytes] = _after_last_chunk) -> Ambiguous:
    return Ambiguous(b"".join(b"%b\r\n" % line for line in lines), body)


_CHUNKED = b"Transfer-Encoding: chunked"
_SHORT, _LONG = b"Content-Length: 4", b"Content-Length: 120"

AMBIGUOUS: dict[str, Ambiguous] = {
    "length-and-chunked": _framed(_SHORT, _CHUNKED),
    "chunked-and-length": _framed(_CHUNKED, _LONG),
    "two-lengths": _framed(b"Content-Length: 0", _LONG, body=_same),
    "list-of-lengths": _framed(b"Content-Length: 0, 120", body=_same),
    "signed-length": _framed(b"Content-Length: +120", body=_same),
    "hexadecimal-length": _framed(b"Content-Length: 0x78", body=_same),
    "length-with-underscore": _framed(b"Content_Length: 120", body=_same),
    "huge-length": _framed(b"Content-Length: 18446744073709551616", body=_same),
    "empty-length": _framed(b"Content-Length:", body=_same),
    "space-before-colon": _framed(_LONG, b"Transfer-Encoding : chunked"),
    "tab-before-chunked": _framed(_LONG, b"Transfer-Encoding:\tchunked"),
    "vertical-tab": _framed(_LONG, b"Transfer-Encoding:\x0bchunked"),
    "unknown-coding": _framed(_LONG, b"Transfer-Encoding: xchunked"),
    "chunked-not-last": _framed(_LONG, b"Transfer-Encoding: chunked, identity"),
    "chunked-twice": _framed(_LONG, _CHUNKED, _CHUNKED),
    "chunked-and-unknown": _framed(_LONG, _CHUNKED, b"Transfer-Encoding: cow"),
    "quoted-chunked": _framed(_LONG, b'Transfer-Encoding: "chunked"'),
    "folded": _framed(_LONG, b"Transfer-Encoding:\r\n chunked"),
    "bare-line-feed": _framed(b"X: y\nTransfer-Encoding: chunked", _LONG),
    "bare-carriage-return": _framed(b"X: y\rTransfer-Encoding: chunked", _LONG),
    "null": _framed(_LONG, b"Transfer-Encoding: chunked\x00"),
    "header-without-name": _framed(_LONG, b": x", body=_same),
    "first-header-folded": _framed(b" Transfer-Encoding: chunked", _LONG),
    "chunk-extension": _framed(
        _CHUNKED, body=lambda hidden: b"5;a\nb\r\nhello\r\n0\r\n\r\n" + hidden[:0]
    ),
    "chunk-size-signed": _framed(_CHUNKED, body=lambda hidden: b"-1\r\n" + _chunked(hidden)),
    "chunk-size-0x": _framed(_CHUNKED, body=lambda hidden: b"0x5\r\nhello\r\n0\r\n\r\n" + hidden),
    "chunk-size-overflows": _framed(
        _CHUNKED, body=lambda hidden: b"fffffffffffffffff5\r\nhello\r\n0\r\n\r\n" + hidden
    ),
    "chunk-with-bare-line-feed": _framed(
        _CHUNKED, body=lambda hidden: b"5\nhello\n0\n\n" + hidden[:0]
    ),
    "chunk-longer-than-its-size": _framed(
        _CHUNKED, body=lambda hidden: b"2\r\nhello\r\n" + _chunked(hidden)
    ),
    "trailer-with-length": _framed(
        _CHUNKED, body=lambda hidden: b"5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n"
    ),
    "hidden-in-chunk": _framed(_CHUNKED, body=_in_chunk),
    "hidden-in-body": _framed(b"Content-Length: 56", body=lambda hidden: hidden[:56].ljust(56)),
    "connection-names-length": _framed(_LONG, b"Connection: Content-Length", body=_same),
    "connection-names-coding": _framed(b"Connection: Transfer-Encoding, keep-alive", _CHUNKED),
    "upgrade-with-body": _framed(
        b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 0", body=_same
    ),
}


def send_ambiguous(site: Website, name: str) -> list[int]:
    """Send an ambiguous request, and another one after it on the same connection. Return the
    statuses of all responses.
    """
    case = AMBIGUOUS[name]
    hidden = HIDDEN % name.encode()
    head = f"POST /case/{name} HTTP/1.1\r\nHost: {HOST}\r\n".encode() + case.headers + b"\r\n"
    after = f"GET /next/{name} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
    answered = raw(site, head + case.body(hidden) + after, within_s=3)
    return statuses_in(answered)


def statuses_in(answered: bytes) -> list[int]:
    """Return the statuses of responses that follow each other, whose bodies have no status line."""
    return [int(found) for found in re.findall(rb"HTTP/1\.[01] (\d{3})\b", answered)]


def test_ambiguous_requests_are_one_request_for_both_servers_or_none(site):
    record = site.folder / "record.txt"
    record.write_text("")
    with ThreadPoolExecutor(len(AMBIGUOUS)) as threads:
        statuses = dict(
            zip(AMBIGUOUS, threads.map(partial(send_ambiguous, site), AMBIGUOUS), strict=True)
        )
    # What the two servers understood differently would answer one of these.
    for number in range(40):
        assert ask(site, f"/hello/{number}").json["name"] == str(number)
    lines = record.read_text().splitlines()
    wrong = {}
    for name, answers in statuses.items():
        seen = [line for line in lines if line.endswith(f"/{name}")]
        # Each request that the app has seen was answered to the client that sent it, in order; and
        # what was hidden in a body was no request, unless the client's own server took it for one.
        good = [status for status in answers if status < 400]
        if len(seen) != len(good) or seen != sorted(set(seen), key=seen.index):
            wrong[name] = (seen, answers)
    assert not wrong


def test_refused_websocket_opens_no_tunnel(site):
    """A web server that takes a refused WebSocket for an open one passes on what follows."""
    record = site.folder / "record.txt"
    record.write_text("")
    wish = f"GET /chat HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    wrong = f"{wish}Sec-WebSocket-Version: 7\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    after = f"GET /next/tunnel HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
    refused, *others = statuses_in(raw(site, f"{wrong}{after}".encode()))
    assert refused in {400, 426}
    assert len(record.read_text().splitlines()) == len(others)


def test_pipelined_requests_are_answered_in_order(site):
    one = b"GET /hello/%d HTTP/1.1\r\nHost: " + HOST.encode() + b"\r\n%b\r\n"
    requests = [one % (number, b"") for number in range(9)] + [one % (9, b"Connection: close\r\n")]
    answered = raw(site, b"".join(requests))
    positions = [answered.index(b'"name":"%d"' % number) for number in range(10)]
    assert positions == sorted(positions)


# --------------------------------------------------------------------------------------------------


def raw(site: Website, data: bytes, *, within_s: float = PATIENCE_S) -> bytes:
    """Send bytes on a connection, and return what is answered until the end of the connection, or
    until nothing has come for some seconds.
    """
    with socket.create_connection(("127.0.0.1", site.ports.http), within_s) as sock:
        sock.sendall(data)
        return read_all(sock)


def read_all(sock: socket.socket) -> bytes:
    received = bytearray()
    with contextlib.suppress(TimeoutError, ConnectionResetError):
        while part := sock.recv(65536):
            received += part
    return bytes(received)
