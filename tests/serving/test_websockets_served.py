"""WebSockets on a real `carboy serve`, from a stock client and from a browser."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import guides
import pytest
import spawning
import websocket
from authority import Authority
from polling import PATIENCE_S, wait_until
from tlsrelay import plain_socket

pytestmark = pytest.mark.integration

APP = """
import os, pathlib, re, simple_websocket, threading
from carboy import Carboy, request

app = Carboy(__name__)
here = pathlib.Path(__file__).parent

@app.get("/")
def index():
    return "<!doctype html><title>WebSockets</title>"

@app.get("/threads")
def threads():
    # The pool of threads for views grows when the machine is busy, and keeps its threads.
    pool = re.compile("carboy-[0-9]+").fullmatch
    names = [each.name for each in threading.enumerate() if not pool(each.name)]
    return {"threads": len(names), "files": len(os.listdir("/proc/self/fd"))}

@app.route("/echo", websocket=True)
def echo():
    ws = simple_websocket.Server.accept(request.environ, subprotocols=["chat"])
    try:
        while True:
            data = ws.receive()
            if data == "close":
                ws.close(4001, "as you wish")
                break
            if data == "fail":
                raise ValueError("asked to fail")
            ws.send(data)
    except simple_websocket.ConnectionClosed as closed:
        with (here / "ended").open("a") as file:
            file.write(f"{int(closed.reason)}\\n")
    return ""

@app.route("/pinged", websocket=True)
def pinged():
    ws = simple_websocket.Server.accept(request.environ, ping_interval=0.2)
    try:
        while True:
            ws.send(ws.receive())
    except simple_websocket.ConnectionClosed:
        pass
    return ""

@app.route("/private", websocket=True)
def private():
    if request.headers.get("Authorization") != "Bearer key":
        return "Not for you", 401
    ws = simple_websocket.Server.accept(request.environ)
    ws.send("welcome")
    ws.close()
    return ""
"""


@pytest.fixture
def serve(tmp_path):
    running = []

    def start(*options, text=APP):
        running.append(spawning.serve(tmp_path, "shop", text, *options))
        return running[-1]

    yield start
    for program in running:
        program.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server for all tests that do not stop it, with as many WebSockets as the tests open."""
    folder = tmp_path_factory.mktemp("websockets")
    options = ("--threads", "1", "--max-websockets", "100", "--access-log", "text", "--linger", "2")
    program = spawning.serve(folder, "shop", APP, *options)
    yield program
    program.stop()


class Client(websocket.WebSocket):
    def close(self, *args, **options):
        """Close also the socket of a WebSocket that the server has closed."""
        super().close(*args, **options)
        self.shutdown()


def connect(server, path="/echo", **options):
    url = f"ws://127.0.0.1:{server.port}{path}"
    return websocket.create_connection(url, timeout=PATIENCE_S, class_=Client, **options)


def get(server, path="/"):
    """Return status and body of an ordinary request."""
    with contextlib.closing(
        http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    ) as client:
        client.request("GET", path)
        answer = client.getresponse()
        return answer.status, answer.read()


def state(server):
    return json.loads(get(server, "/threads")[1])


def code_of(ws):
    """The code of the Close frame that comes next."""
    while True:
        opcode, data = ws.recv_data(control_frame=True)
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            return int.from_bytes(data[:2], "big")


def lines(server):
    return re.findall(r'"GET /(\S+) HTTP/1.1" (\d+) (\d+).*', server.output)


# ----------------------------------------------------------------------------------- one client


def test_messages_of_all_kinds_are_echoed(server):
    with contextlib.closing(connect(server, subprotocols=["other", "chat"])) as ws:
        assert ws.getsubprotocol() == "chat"
        for text in ("", "hello", "ü" * 70_000):
            ws.send(text)
            assert ws.recv() == text
        large = bytes(range(256)) * 8_000
        ws.send_binary(large)
        assert ws.recv() == large
        ws.send_frame(websocket.ABNF.create_frame("in ", websocket.ABNF.OPCODE_TEXT, fin=0))
        ws.send_frame(websocket.ABNF.create_frame("parts", websocket.ABNF.OPCODE_CONT, fin=1))
        assert ws.recv() == "in parts"
        ws.ping("are you there?")
        assert ws.recv_data(control_frame=True) == (websocket.ABNF.OPCODE_PONG, b"are you there?")


def test_close_of_client_and_of_view_are_answered(server):
    ws = connect(server)
    ws.send("close")
    opcode, data = ws.recv_data(control_frame=True)
    assert (opcode, data) == (websocket.ABNF.OPCODE_CLOSE, b"\x0f\xa1as you wish")
    ws.close()
    ws = connect(server)
    ws.send_close(1000)
    assert code_of(ws) == 1000
    assert ws.sock.recv(1) == b""
    ws.close()


def test_view_that_fails_is_logged_and_closes_with_1011(server):
    ws = connect(server)
    ws.send("fail")
    assert code_of(ws) == 1011
    ws.close()
    server.wait_until_it_prints("ValueError: asked to fail")


def test_view_may_refuse_before_it_accepts(server):
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        connect(server, "/private")
    assert caught.value.status_code == 401
    assert caught.value.resp_body == b"Not for you"
    with contextlib.closing(
        connect(server, "/private", header=["Authorization: Bearer key"])
    ) as ws:
        assert ws.recv() == "welcome"
        assert code_of(ws) == 1000


def test_unknown_path_is_404_and_path_of_an_ordinary_view_400(server):
    for path, status in (("/nowhere", 404), ("/", 400)):
        with pytest.raises(websocket.WebSocketBadStatusException) as caught:
            connect(server, path)
        assert caught.value.status_code == status


def test_ordinary_request_to_a_websocket_is_400(server):
    assert get(server, "/echo")[0] == 400


def test_pings_of_the_library_keep_and_end_a_websocket(server):
    with contextlib.closing(connect(server, "/pinged")) as ws:
        ws.send("hello")
        assert ws.recv() == "hello"
        opcode, _ = ws.recv_data(control_frame=True)  # answers the ping
        assert opcode == websocket.ABNF.OPCODE_PING
        assert code_of_silent(ws) == 1008


def code_of_silent(ws):
    """The code of the Close frame that a client gets which answers no pings."""
    sock, data = ws.sock, b""
    while b"\x88" not in data:
        piece = sock.recv(1000)
        assert piece, "the server has closed without a Close frame"
        data += piece
    return int.from_bytes(data[data.index(b"\x88") + 2 :][:2], "big")


def test_access_log_has_a_line_for_each_websocket_that_has_ended(server):
    ws = connect(server, "/echo?query=1")
    ws.send("x" * 100)
    ws.recv()
    before = len(lines(server))
    ws.close()
    wait_until(lambda: ("echo", "101", "106") in lines(server)[before:])


# --------------------------------------------------------------------------------- many clients


def test_ordinary_requests_go_on_while_100_websockets_are_open(server):
    """Also with a single thread for views."""
    before = state(server)
    with ThreadPoolExecutor(20) as clients:
        sockets = list(clients.map(lambda _: connect(server), range(100)))
        for i, ws in enumerate(sockets):
            ws.send(f"number {i}")
        assert [ws.recv() for ws in sockets] == [f"number {i}" for i in range(100)]
        assert state(server)["threads"] >= 200
        assert [get(server)[0] for _ in range(50)] == [200] * 50
        with pytest.raises(websocket.WebSocketBadStatusException) as caught:
            connect(server)
        assert caught.value.status_code == 503
        assert "too many websockets" in caught.value.resp_body.decode().lower()
        assert "refused a WebSocket of 127.0.0.1: all 100 of this worker" in server.output
        assert get(server)[0] == 200
        list(clients.map(lambda ws: ws.close(), sockets))
    wait_until(lambda: state(server)["threads"] <= before["threads"] + 1)
    assert state(server)["files"] <= before["files"] + 1
    connect(server).close()


def test_websocket_of_a_client_that_was_killed_ends(server, tmp_path):
    text = f"""
import sys, websocket
sockets = [websocket.create_connection("ws://127.0.0.1:{server.port}/echo") for _ in range(5)]
for ws in sockets:
    ws.send("here")
    assert ws.recv() == "here"
print("connected", flush=True)
sys.stdin.read()
"""
    before = state(server)["threads"]
    client = subprocess.Popen(
        [sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert client.stdout.readline() == b"connected\n"
    assert state(server)["threads"] >= before + 5
    client.kill()
    client.communicate()
    wait_until(lambda: state(server)["threads"] <= before)


def test_connections_of_websockets_have_tcp_keepalive(tmp_path, serve):
    """By it the system notices clients whose machine or network is down."""
    server = serve(
        text=APP
        + """
@app.route("/keepalive", websocket=True)
def keepalive():
    from socket import IPPROTO_TCP, SO_KEEPALIVE, SOL_SOCKET, TCP_KEEPIDLE
    ws = simple_websocket.Server.accept(request.environ)
    ask = ws.sock.getsockopt
    ws.send(str([ask(SOL_SOCKET, SO_KEEPALIVE), ask(IPPROTO_TCP, TCP_KEEPIDLE)]))
    ws.close()
    return ""
"""
    )
    with contextlib.closing(connect(server, "/keepalive")) as ws:
        assert ws.recv() == "[1, 60]"


# ------------------------------------------------------------------------------------- the end


def test_silent_websocket_is_closed(serve):
    server = serve("--websocket-idle", "0.2")
    with contextlib.closing(connect(server)) as ws:
        assert code_of(ws) == 1001


def test_sigterm_closes_websockets_at_the_end_of_the_grace_period(serve, tmp_path):
    server = serve("--grace", "6", "--drain", "0.1")
    open_ones = [connect(server) for _ in range(5)]
    silent = connect(server)
    began_s = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    ws = open_ones[0]
    wait_until(lambda: "stopping on SIGTERM" in server.output)
    ws.send("still there")
    assert ws.recv() == "still there"
    assert [code_of(ws) for ws in open_ones] == [1001] * 5
    assert time.monotonic() - began_s >= 1.0
    for ws in open_ones:
        assert ws.sock.recv(1) == b""
        ws.close()
    assert server.process.wait(PATIENCE_S) == 0
    assert "killed" not in server.output
    # The client that answers nothing is disconnected, so that its view ends too. The others have
    # answered by code 1000, as this client does to all codes.
    assert sorted((tmp_path / "ended").read_text().split()) == ["1000"] * 5 + ["1005"]
    silent.close()


def test_sigterm_without_websockets_ends_at_once(serve):
    server = serve("--drain", "0")
    connect(server).close()
    assert server.stop() == 0


# ------------------------------------------------------------------------------------ a browser


TALK = """async port => {
  const ws = new WebSocket(`ws://127.0.0.1:${port}/echo`, ["chat"])
  ws.binaryType = "arraybuffer"
  const next = () => new Promise(resolve => { ws.onmessage = event => resolve(event.data) })
  await new Promise((resolve, reject) => { ws.onopen = resolve; ws.onerror = reject })
  const seen = [ws.protocol, ws.extensions]
  for (const text of ["hello", "x".repeat(100000)]) {
    const answer = next()
    ws.send(text)
    seen.push((await answer).length)
  }
  const answer = next()
  ws.send(new Uint8Array([1, 2, 255]))
  seen.push([...new Uint8Array(await answer)])
  ws.send("close")
  const event = await new Promise(resolve => { ws.onclose = resolve })
  return [...seen, event.code, event.reason, event.wasClean]
}"""
OPEN = """port => new Promise((resolve, reject) => {
  window.ended = new Promise(ended => {
    const ws = new WebSocket(`ws://127.0.0.1:${port}/echo`)
    ws.onopen = resolve
    ws.onerror = reject
    ws.onclose = event => ended([event.code, event.wasClean])
  })
}).then(() => true)"""


@pytest.mark.browser
def test_browser_talks_by_a_websocket(server, page):
    page.goto(server.url)
    seen = page.evaluate(TALK, server.port)
    extensions = "permessage-deflate"
    assert seen[1].startswith(extensions)
    assert [seen[0], *seen[2:]] == ["chat", 5, 100_000, [1, 2, 255], 4001, "as you wish", True]


@pytest.mark.browser
def test_browser_is_told_that_the_server_goes_away(serve, page):
    server = serve("--grace", "6", "--drain", "0")
    page.goto(server.url)
    assert page.evaluate(OPEN, server.port)
    server.process.send_signal(signal.SIGTERM)
    assert page.evaluate("window.ended") == [1001, True]
    assert server.process.wait(PATIENCE_S) == 0
    assert "killed" not in server.output


# -------------------------------------------------------------------------------- not only Flask


WSGI = """
import simple_websocket
from carboy import Carboy
from werkzeug.middleware.dispatcher import DispatcherMiddleware

def plain(environ, start_response):
    if "werkzeug.socket" not in environ:
        start_response("200 OK", [])
        return [b"ordinary"]
    ws = simple_websocket.Server.accept(environ)
    ws.send(ws.receive())
    ws.close()
    return []

app = Carboy(__name__)
app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/plain": plain})
"""


def test_mounted_wsgi_application_has_websockets(serve):
    server = serve(text=WSGI)
    assert get(server, "/plain") == (200, b"ordinary")
    with contextlib.closing(connect(server, "/plain")) as ws:
        ws.send("plain WSGI")
        assert ws.recv() == "plain WSGI"
        assert code_of(ws) == 1000


def test_vanished_and_slow_handshakes_occupy_no_thread(server):
    """A request for a WebSocket that does not arrive whole needs no thread, as any other."""
    before = state(server)["threads"]
    clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    for client in clients:
        client.sendall(b"GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n")
    assert state(server)["threads"] <= before + 1
    for client in clients:
        client.close()


# ---------------------------------------------------------------------------- TLS and proxies


def test_websockets_work_over_tls(serve, tmp_path):
    authority = Authority(tmp_path)
    server = serve(*authority.issue("server").options, "--grace", "4", "--drain", "0")

    @contextlib.contextmanager
    def connect_securely(path):
        tls = authority.client_context().wrap_socket(
            socket.create_connection(("127.0.0.1", server.port), PATIENCE_S),
            server_hostname="localhost",
        )
        with plain_socket(tls) as sock, contextlib.closing(Client()) as ws:
            sock.settimeout(PATIENCE_S)
            ws.connect(f"wss://localhost:{server.port}{path}", socket=sock)
            yield ws

    with connect_securely("/echo") as ws, ThreadPoolExecutor(1) as sender:
        # Both sides send at the same time: more than the buffers of TCP take.
        texts = ["hello", *(str(i) * 300_000 for i in range(10))]
        sending = sender.submit(lambda: [ws.send(text) for text in texts])
        assert [ws.recv() for _ in texts] == texts
        sending.result(PATIENCE_S)
        ws.send("close")
        assert code_of(ws) == 4001
    with connect_securely("/pinged") as ws:
        # The library waits by a selector, and reads less than a record of TLS at once.
        for _ in range(5):
            ws.send("x" * 10_000)
            assert len(ws.recv()) == 10_000
    with connect_securely("/echo") as ws:
        server.process.send_signal(signal.SIGTERM)
        assert code_of(ws) == 1001


def test_nginx_of_the_guide_passes_websockets_on(server, spawn, tmp_path):
    if shutil.which("nginx") is None:
        pytest.skip("no nginx: `make test` as root installs it by apt")
    page = guides.DOCS / "howto" / "websockets.md"
    text = next(each.text for each in guides.blocks(page) if each.language == "nginx")
    port = spawning.free_port()
    text = text.replace("listen 80;", f"listen 127.0.0.1:{port};")
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
    paths = "".join(
        f"{kind}_temp_path {kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        "daemon off; pid nginx.pid; error_log stderr; events {}"
        f"http {{ access_log off; {paths} {text} }}"
    )
    nginx = spawn("nginx", "-p", str(tmp_path), "-c", "nginx.conf", port=port)
    with contextlib.closing(connect(nginx)) as ws:
        ws.send("through nginx")
        assert ws.recv() == "through nginx"
        ws.send("close")
        assert code_of(ws) == 4001
    assert get(nginx)[0] == 200
    assert get(nginx, "/echo")[0] == 400
