"""Flask-Sock and Flask-SocketIO on a real server, from stock clients. The programs are those of
docs/howto/websockets.md.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys

import guides
import pytest
import socketio
import websocket
from polling import PATIENCE_S, wait_until

ON_FLASK = os.environ.get("EXTENSIONS_ON") == "flask"
GUIDE = guides.DOCS / "howto" / "websockets.md"
SHOP = """
import pathlib
from flask import Blueprint, Flask, g, session
from flask_sock import Sock

app = Flask(__name__)
app.config["SECRET_KEY"] = "a key that is long enough"
app.config["SOCK_SERVER_OPTIONS"] = {"max_message_size": 1000, "subprotocols": ["chat"]}
sock = Sock(app)
shop = Blueprint("shop", __name__, url_prefix="/shop")
here = pathlib.Path(__file__).parent

@app.get("/login/<name>")
def login(name):
    session["name"] = name
    return ""

@sock.route("/echo/<int:times>", bp=shop)
def echo(ws, times):
    g.times = times
    ws.send(f"hello {session.get('name')}")
    while True:
        # Without a timeout, simple-websocket 1.1.0 lets this thread wait for ever after it has
        # refused a message that is too long.
        text = ws.receive(timeout=0.5)
        if text is not None:
            ws.send(text * g.times)

@app.teardown_request
def end(error):
    if "times" in g:
        (here / "ended").write_text(str(g.times))

app.register_blueprint(shop)
"""


@pytest.fixture
def serve(spawn, tmp_path):
    """Serve a program by `carboy serve`, or by Flask's own server."""

    def start(name, text, *options):
        (tmp_path / f"{name}.py").write_text(text)
        if ON_FLASK:
            command = [sys.executable, "-m", "flask", "--app", name, "run", "--port", "{port}"]
        else:
            command = [sys.executable, "-m", "carboy", "--as-flask", "--app", name, "serve"]
            command += ["--port", "{port}", "--workers", "1", *options]
        return spawn(*command)

    return start


def written(name):
    """The program of the guide that is written into this file."""
    return next(block.text for block in guides.blocks(GUIDE) if block.file == name)


def connect(server, path, **options):
    url = f"ws://127.0.0.1:{server.port}{path}"
    return contextlib.closing(websocket.create_connection(url, timeout=PATIENCE_S, **options))


def test_flask_sock_of_the_guide_runs_unchanged(serve):
    server = serve("chat", written("chat.py"))
    with connect(server, "/shout") as one, connect(server, "/shout") as other:
        for text in ("hello", "again"):
            one.send(text)
            other.send(text * 2)
            assert (one.recv(), other.recv()) == (text.upper(), text.upper() * 2)


def test_view_of_flask_sock_has_session_and_g_and_its_options_hold(serve, tmp_path):
    server = serve("shop", SHOP)
    import requests

    with requests.Session() as browser:
        browser.get(f"{server.url}/login/ada", timeout=PATIENCE_S)
        cookie = "; ".join(f"{each.name}={each.value}" for each in browser.cookies)
    with connect(server, "/shop/echo/3", cookie=cookie, subprotocols=["other", "chat"]) as ws:
        assert ws.getsubprotocol() == "chat"
        assert ws.recv() == "hello ada"
        ws.send("ab")
        assert ws.recv() == "ababab"
        ws.send("x" * 1001)
        opcode, data = ws.recv_data(control_frame=True)
        assert (opcode, data[:2]) == (websocket.ABNF.OPCODE_CLOSE, (1009).to_bytes(2, "big"))
        ws.shutdown()
    wait_until((tmp_path / "ended").exists)


@pytest.mark.parametrize("transports", [["polling", "websocket"], ["websocket"]])
def test_socketio_of_the_guide_runs_unchanged(serve, transports):
    server = serve("live", written("live.py"))
    said = queue.Queue()
    clients = [socketio.Client() for _ in range(2)]
    try:
        for client in clients:
            client.on("said", said.put)
            client.connect(server.url, transports=transports)
            wait_until(lambda client=client: client.transport() == transports[-1])
        clients[0].emit("say", "hello")
        assert [said.get(timeout=PATIENCE_S) for _ in clients] == ["HELLO", "HELLO"]
    finally:
        for client in clients:
            client.disconnect()
            client.wait()
    assert "Traceback" not in server.output


@pytest.mark.skipif(ON_FLASK, reason="about the settings of carboy's server")
@pytest.mark.parametrize("workers", [1, 2])
def test_socketio_on_several_workers_is_warned_of_once(serve, workers):
    server = serve("live", written("live.py"), "--workers", str(workers))
    server.wait_until_it_prints("serving live")
    assert server.output.count("the app uses Socket.IO") == workers - 1
