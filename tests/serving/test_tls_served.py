"""TLS of a real `carboy serve`, with real clients and with clients that do everything wrong."""

from __future__ import annotations

import contextlib
import http.client
import json
import pathlib
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

import pytest
import spawning
import websocket
from authority import DAY, Authority, Issued
from polling import PATIENCE_S, wait_until

pytestmark = pytest.mark.integration

APP = """
import os
from carboy import Carboy, Response, request, send_file

app = Carboy(__name__)
size = 3_000_000
with open("file.bin", "wb") as file:
    file.write(bytes(range(256)) * (size // 256))

@app.get("/")
def index():
    return "hello"

@app.get("/environ")
def environ():
    names = ["wsgi.url_scheme", "SERVER_PORT", "REMOTE_ADDR", "SSL_CLIENT_CERT"]
    return {name: request.environ.get(name) for name in names}

@app.post("/length")
def length():
    return str(len(request.get_data()))

@app.get("/file")
def file():
    return send_file(os.path.abspath("file.bin"))

@app.get("/stream")
def stream():
    return Response(bytes([n]) * 50_000 for n in range(60))

@app.get("/broken")
def broken():
    def parts():
        yield b"x" * 100_000
        raise RuntimeError("broken")
    return Response(parts())

@app.model("/sum", batch=8)
def sum_(xs: list[list[float]]) -> list[float]:
    return [sum(x) for x in xs]

@app.route("/echo", websocket=True)
def echo():
    import simple_websocket
    options = {"ping_interval": 25} if "ping" in request.args else {}
    ws = simple_websocket.Server.accept(request.environ, **options)
    try:
        while True:
            ws.send(ws.receive())
    except simple_websocket.ConnectionClosed:
        return ""

@app.get("/pid")
def pid():
    return str(os.getpid())
"""
FILE = bytes(range(256)) * (3_000_000 // 256)
# How long the server waits for a handshake.
HANDSHAKE_S = 3.0
JSON = {"Content-Type": "application/json"}


class Server(t.NamedTuple):
    program: spawning.Program
    authority: Authority

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.program.port

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, PATIENCE_S)

    def handshake(self, context: ssl.SSLContext | None = None) -> ssl.SSLSocket:
        context = context or self.authority.client_context()
        return context.wrap_socket(self.connect(), server_hostname="localhost")

    def connection(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            *self.address, timeout=PATIENCE_S, context=self.authority.client_context()
        )

    def get(self, path: str = "/") -> bytes:
        return self.ask("GET", path)

    def ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        with contextlib.closing(self.connection()) as connection:
            connection.request(method, path, body)
            return connection.getresponse().read()


def start(folder: pathlib.Path, issued: Issued, *options: str) -> spawning.Program:
    return spawning.serve(folder, "shop", APP, *issued.options, *options)


def serving(folder: pathlib.Path) -> t.Iterator[Server]:
    authority = Authority(folder)
    program = start(folder, authority.issue("server"), "--head-timeout", f"{HANDSHAKE_S:g}")
    yield Server(program, authority)
    program.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    yield from serving(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def fresh_server(tmp_path):
    """A server that has logged nothing of a client yet: such lines are written at most once in ten
    seconds.
    """
    yield from serving(tmp_path)


# ------------------------------------------------------------------------------------ requests


def test_server_says_where_it_listens_and_with_which_certificate(server):
    output = server.program.output
    assert f"serving shop:app on https://127.0.0.1:{server.program.port}: 1 worker" in output
    assert f"models: https://127.0.0.1:{server.program.port}/sum" in output
    assert "TLS: certificate of localhost, 127.0.0.1, valid until " in output


def test_application_learns_that_the_connection_is_encrypted(server):
    assert json.loads(server.get("/environ")) == {
        "wsgi.url_scheme": "https",
        "SERVER_PORT": str(server.program.port),
        "REMOTE_ADDR": "127.0.0.1",
        "SSL_CLIENT_CERT": None,
    }


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_each_modern_version_is_spoken_with_http_1_1(server, version):
    context = server.authority.client_context()
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    with server.handshake(context) as client:
        assert client.version() == version.name.replace("_", ".")
        assert client.selected_alpn_protocol() == "http/1.1"
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert read_all(client).endswith(b"hello")


def test_session_of_tls_1_2_is_resumed(server):
    context = server.authority.client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with server.handshake(context) as first:
        session = first.session
    again = context.wrap_socket(server.connect(), server_hostname="localhost", session=session)
    with again:
        assert again.session_reused


def test_connection_is_kept_for_further_requests(server):
    with contextlib.closing(server.connection()) as connection:
        for n in range(20):
            connection.request("POST", "/sum", json.dumps([n, 1]), JSON)
            assert connection.getresponse().read() == str(n + 1.0).encode()
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"hello"
            assert connection.sock is not None


def test_pipelined_requests_are_answered_in_their_order(server):
    with server.handshake() as client:
        requests = [b"GET /file HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"]
        # Some requests share a record, some are cut into several.
        data = b"".join(requests) * 3 + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        for begin in range(0, len(data), 50):
            client.sendall(data[begin : begin + 50])
        received = read_all(client)
    assert received.count(b"HTTP/1.1 200 OK\r\n") == 7
    assert received.count(FILE) == 3
    assert received.endswith(b"hello")


@pytest.mark.parametrize("size", [1, 16_383, 16_384, 16_385, 65_536, 65_537, 5_000_000])
def test_body_of_any_size_arrives(server, size):
    assert server.ask("POST", "/length", b"x" * size) == str(size).encode()


@pytest.mark.parametrize("path", ["/file", "/stream"])
def test_slow_reader_gets_a_long_response(server, path):
    """The socket's buffers are full again and again, and the server must continue within a
    record.
    """
    expected = FILE if path == "/file" else b"".join(bytes([n]) * 50_000 for n in range(60))
    with contextlib.closing(server.connection()) as connection:
        connection.connect()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
        connection.request("GET", path)
        answer = connection.getresponse()
        pieces = [answer.read(10_007)]
        while pieces[-1]:
            pieces.append(answer.read(10_007))
            if len(pieces) % 20 == 0:
                # Let other requests be answered in between.
                assert server.get() == b"hello"
    assert b"".join(pieces) == expected


def test_range_of_a_file_is_sent(server):
    with contextlib.closing(server.connection()) as connection:
        connection.request("GET", "/file", headers={"Range": "bytes=1000000-1999999"})
        answer = connection.getresponse()
        assert answer.status == 206
        assert answer.read() == FILE[1_000_000:2_000_000]


def test_many_clients_at_once_get_their_own_responses(server):
    def use(n: int) -> None:
        with contextlib.closing(server.connection()) as connection:
            for m in range(5):
                connection.request("POST", "/sum", json.dumps([n, m]), JSON)
                assert connection.getresponse().read() == str(float(n + m)).encode()

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(use, range(48)))


def test_response_is_followed_by_close_notify(server):
    with server.handshake() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        client.suppress_ragged_eofs = False  # a missing close_notify is an error
        assert read_all(client).endswith(b"hello")


def test_response_that_is_cut_short_is_not_followed_by_close_notify(server):
    """A client of HTTP/1.0 knows the end of this response only by the end of the connection."""
    with server.handshake() as client:
        client.sendall(b"GET /broken HTTP/1.0\r\n\r\n")
        client.suppress_ragged_eofs = False
        with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
            read_all(client)


def test_refused_body_gets_a_response_that_the_client_can_read(server):
    with server.handshake() as client:
        client.sendall(b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        client.sendall(b"x" * 100_000)
        assert b" 413 " in read_all(client).partition(b"\r\n")[0]


def test_curl_takes_the_certificate_and_uses_the_connection_again(server):
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("no curl")
    url = f"https://localhost:{server.program.port}"
    command = [curl, "--silent", "--show-error", "--cacert", server.authority.cert]
    done = subprocess.run(
        [*command, "--write-out", "%{num_connects}", f"{url}/", f"{url}/"],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    assert done.stdout == "hello1hello0"


@pytest.mark.parametrize("query", ["", "?ping"])
def test_websocket_works_over_tls(server, query):
    """Also if the application waits for the socket by a selector, as it does in order to ping: TLS
    has then decrypted more than the application has read, which no selector sees.
    """
    client = websocket.create_connection(
        f"wss://localhost:{server.program.port}/echo{query}",
        timeout=PATIENCE_S,
        sslopt={"ca_certs": str(server.authority.cert)},
    )
    with contextlib.closing(client):
        began_s = time.monotonic()
        for size in (1, 4095, 4096, 4097, 16_384, 100_000, 1_000_000):
            client.send_binary(b"x" * size)
            assert client.recv() == b"x" * size
        assert time.monotonic() - began_s < 20  # less than the interval of pings


# ------------------------------------------------------------------- clients that do it wrong


def read_all(client: socket.socket) -> bytes:
    pieces = []
    while data := client.recv(100_000):
        pieces.append(data)
    return b"".join(pieces)


def read_until_closed(client: socket.socket) -> bytes:
    """What the server sends until it closes, also if it resets the connection."""
    pieces = []
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(100_000):
            pieces.append(data)
    return b"".join(pieces)


def send_no_more(client: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the server may have closed the connection already
        client.shutdown(socket.SHUT_WR)


def client_hello() -> bytes:
    context, out = ssl.create_default_context(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost").do_handshake()
    return out.read()


def ask_without_tls(server: Server) -> None:
    for method in ("GET", "DELETE"):
        with server.connect() as client:
            client.sendall(f"{method} / HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            answer = read_all(client)
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert b"this port speaks HTTPS. Write https:// instead of http://" in answer


def send_garbage(server: Server) -> None:
    for data in (b"\0" * 100, b"\x16\x03\x01\xff\xff" + b"x" * 100, b"\x16" * 100, b"\x80\x2e\x01"):
        with server.connect() as client:
            client.sendall(data)
            send_no_more(client)
            assert b"HTTP" not in read_until_closed(client)


def leave_in_the_middle_of_the_handshake(server: Server) -> None:
    hello = client_hello()
    for size in (0, 1, 5, 100, len(hello)):
        with server.connect() as client:
            client.sendall(hello[:size])
            send_no_more(client)
            read_until_closed(client)


def reset_in_the_middle_of_the_handshake(server: Server) -> None:
    hello = client_hello()
    for size in (0, 1, 100, len(hello)):
        client = server.connect()
        client.sendall(hello[:size])
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()


def speak_an_old_version(server: Server) -> None:
    context = server.authority.client_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    # Python says that the name of an old version is deprecated; the number is the protocol's.
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.options |= ssl.OP_NO_TLSv1_2 | ssl.OP_NO_TLSv1_3
    with pytest.raises(ssl.SSLError):
        server.handshake(context).close()


def offer_only_old_ciphers(server: Server) -> None:
    context = server.authority.client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA")
    with pytest.raises(ssl.SSLError):
        server.handshake(context).close()


def trust_another_authority(server: Server) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        server.handshake(ssl.create_default_context()).close()


def send_garbage_after_the_handshake(server: Server) -> None:
    with server.handshake() as client, socket.socket(fileno=client.detach()) as plain:
        plain.settimeout(PATIENCE_S)
        plain.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        assert b"HTTP" not in read_until_closed(plain)


def leave_in_the_middle_of_a_body(server: Server) -> None:
    with server.handshake() as client:
        client.sendall(b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\nxxx")
    with server.handshake() as client:
        client.sendall(b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\nxxx")
        with socket.socket(fileno=client.detach()) as plain:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def leave_in_the_middle_of_a_response(server: Server) -> None:
    for path in ("/file", "/stream"):
        with server.handshake() as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            client.recv(1000)


@pytest.mark.parametrize(
    "misbehave",
    [
        ask_without_tls,
        send_garbage,
        leave_in_the_middle_of_the_handshake,
        reset_in_the_middle_of_the_handshake,
        pytest.param(
            speak_an_old_version,
            marks=pytest.mark.filterwarnings("ignore:ssl.*deprecated:DeprecationWarning"),
        ),
        offer_only_old_ciphers,
        trust_another_authority,
        send_garbage_after_the_handshake,
        leave_in_the_middle_of_a_body,
        leave_in_the_middle_of_a_response,
    ],
    ids=lambda misbehave: misbehave.__name__,
)
def test_wrong_client_is_closed_and_disturbs_no_other(server, misbehave):
    tracebacks = server.program.output.count("Traceback")
    with contextlib.closing(server.connection()) as kept:
        kept.request("GET", "/pid")
        pid = kept.getresponse().read()
        misbehave(server)
        kept.request("GET", "/pid")
        assert kept.getresponse().read() == pid
    assert server.get("/pid") == pid
    assert server.program.output.count("Traceback") == tracebacks


def test_stalled_handshakes_delay_nobody_and_are_closed_in_time(fresh_server):
    hello = client_hello()
    stalled = []
    for n in range(100):
        client = fresh_server.connect()
        client.sendall(hello[: (0, 1, 200, len(hello))[n % 4]])
        stalled.append(client)
    began_s, answered = time.monotonic(), 0
    while time.monotonic() - began_s < HANDSHAKE_S / 3:
        assert fresh_server.get() == b"hello"
        answered += 1
    assert answered >= 5  # hundreds on a quiet machine
    for client in stalled:
        assert b"HTTP" not in read_until_closed(client)
        client.close()
    # The line is written after the connection is closed.
    fresh_server.program.wait_until_it_prints("the TLS handshake of 127.0.0.1 took too long")


# ---------------------------------------------------------------------- certificates of clients


def test_client_without_a_certificate_is_refused_where_one_is_required(tmp_path):
    authority = Authority(tmp_path)
    own, stranger = authority.issue("client", host="till-7", for_client=True), tmp_path / "other"
    stranger.mkdir()
    foreign = Authority(stranger).issue("client", for_client=True)
    program = start(tmp_path, authority.issue("server"), "--tls-client-ca", str(authority.cert))
    try:
        context = authority.client_context()
        context.load_cert_chain(own.cert, own.key)
        server = Server(program, authority)
        with server.handshake(context) as client:
            client.sendall(b"GET /environ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            seen = json.loads(read_all(client).partition(b"\r\n\r\n")[2])
        assert seen["SSL_CLIENT_CERT"] == own.cert.read_text()
        for refused in (None, foreign):
            context = authority.client_context()
            if refused is not None:
                context.load_cert_chain(refused.cert, refused.key)
            # With TLS 1.3 the client learns that it is refused when it reads.
            with pytest.raises(OSError), server.handshake(context) as client:
                client.sendall(b"GET /environ HTTP/1.1\r\nHost: x\r\n\r\n")
                assert client.recv(1000) == b""
                raise ConnectionResetError
        program.wait_until_it_prints("the TLS handshake of 127.0.0.1 failed (peer did not return")
    finally:
        program.stop()


# --------------------------------------------------------------------- new certificates, the end


def serial_number(server: Server) -> str:
    with server.handshake() as client:
        return t.cast("str", t.cast("dict[str, t.Any]", client.getpeercert())["serialNumber"])


def test_new_certificate_is_served_after_sighup_without_a_lost_request(tmp_path):
    authority = Authority(tmp_path)
    program = start(tmp_path, authority.issue("server"), "--drain", "0.3")
    server = Server(program, authority)
    try:
        before = serial_number(server)
        with ThreadPoolExecutor(3) as threads:
            asking = True

            def ask() -> int:
                count = 0
                while asking:
                    assert server.get() == b"hello"
                    count += 1
                return count

            counts = [threads.submit(ask) for _ in range(3)]
            try:
                # A certificate that has expired is refused, and the old one stays.
                authority.issue("server", begin=-9 * DAY, end=-DAY)
                program.process.send_signal(signal.SIGHUP)
                program.wait_until_it_prints("the reload has failed")
                assert "has expired on " in program.output
                assert serial_number(server) == before
                authority.issue("server")
                program.process.send_signal(signal.SIGHUP)
                wait_until(lambda: serial_number(server) != before)
                program.wait_until_it_prints("has ended after its last request")
            finally:
                asking = False
            assert min(count.result(PATIENCE_S) for count in counts) > 0
    finally:
        assert program.stop() == 0


def test_clients_that_connect_while_the_server_stops_lose_no_request(tmp_path):
    authority = Authority(tmp_path)
    program = start(tmp_path, authority.issue("server"), "--drain", "1")
    server = Server(program, authority)

    def ask() -> int:
        count = 0
        while True:
            try:
                client = server.connect()
            except OSError:  # the server has stopped
                return count
            with authority.client_context().wrap_socket(client, server_hostname="localhost") as tls:
                tls.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert read_all(tls).endswith(b"hello")
            count += 1

    with ThreadPoolExecutor(3) as threads:
        counts = [threads.submit(ask) for _ in range(3)]
        wait_until(lambda: server.get() == b"hello")
        assert program.stop() == 0
        assert min(count.result(PATIENCE_S) for count in counts) > 0
