"""Response splitting: no text of a client becomes a header or a body of its own.

ASVS 5.0: 1.2.1, 4.2.4
Also tested in: tests/serving/http/test_response_head.py, tests/serving/http/test_connection.py,
    tests/contract/test_framing.py, tests/uploads/test_sending.py
"""

from __future__ import annotations

import socket
import textwrap
from urllib.parse import quote

import pytest
import spawning
from polling import PATIENCE_S

APP = """

from carboy import Carboy, Response, jsonify, make_response, redirect, request, send_file

app = Carboy(__name__)
app.secret_key = "a key of this test only"

@app.get("/redirect")
def to():
    return redirect(request.args["v"])

@app.get("/header")
def header():
    response = Response("body")
    response.headers["X-Value"] = request.args["v"]
    return response

@app.get("/name")
def name():
    return "body", 200, {request.args["v"]: "value"}

@app.get("/pairs")
def pairs():
    return "body", [("X-Value", request.args["v"])]

@app.get("/cookie")
def cookie():
    response = make_response("body")
    response.set_cookie("name", request.args["v"])
    return response

@app.get("/cookie-name")
def cookie_name():
    response = make_response("body")
    response.set_cookie(request.args["v"], "value")
    return response

@app.get("/file")
def file():
    return send_file(io.BytesIO(b"body"), as_attachment=True, download_name=request.args["v"])

@app.get("/type")
def type_():
    return Response("body", content_type=request.args["v"])

@app.get("/status")
def status():
    return "body", request.args["v"]

@app.get("/raw")
def raw():
    def app(environ, start_response):
        start_response("200 OK", [("X-Value", request.args["v"])])
        return [b"body"]
    return app

@app.get("/ok")
def ok():
    return "second"
"""
SEPARATORS = {
    "CRLF": "\r\n",
    "LF": "\n",
    "CR": "\r",
    "CRLF encoded twice": "%0d%0a",
    "NUL": "\0",
    "line separator": "\u2028",
    "next line": "\x85",
    "vertical tab": "\x0b",
    "characters whose last bytes are CR and LF": "\u010d\u010a",
}
WHERE = [
    *("redirect", "header", "name", "pairs", "cookie", "cookie-name", "file", "type", "status"),
    "raw",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("splitting")
    program = spawning.serve(folder, "splitting", textwrap.dedent(APP))
    yield program
    program.stop()


def answer_to(server: spawning.Program, request: str) -> bytes:
    """Return all that the server sends to two requests on a connection; the second closes it."""
    last = "GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as client:
        client.sendall((request + last).encode("latin-1"))
        received = b""
        while data := client.recv(65536):
            received += data
    return received


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("name", SEPARATORS)
def test_text_of_a_client_stays_in_its_header(server, where, name):
    end = SEPARATORS[name]
    evil = f"a{end}Evil: yes{end}{end}HTTP/1.1 200 OK{end}Content-Length: 0{end}{end}"
    found = answer_to(server, f"GET /{where}?v={quote(evil)} HTTP/1.1\r\nHost: x\r\n\r\n")
    heads = [each.partition(b"\r\n\r\n")[0] for each in found.split(b"HTTP/1.1 ")[1:]]
    for head in heads:
        for line in head.replace(b"\r", b"\n").split(b"\n"):
            assert not line.lower().startswith(b"evil:"), found
    # The second request is answered by its view, unless the first response has closed.
    assert found.endswith(b"second") or b"Connection: close" in found


@pytest.mark.parametrize(
    "target", ["/ok%0d%0aEvil:%20yes", "/%0d%0aEvil:%20yes", "//x%0d%0aEvil: yes"]
)
def test_path_of_a_client_stays_in_its_header(server, target):
    found = answer_to(server, f"GET {target.replace(' ', '%20')} HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"\nEvil" not in found
    assert found.endswith(b"second") or b"Connection: close" in found
