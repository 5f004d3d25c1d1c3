"""What web pages may do with an app behind `carboy serve`: predictions, errors, WebSockets."""

from __future__ import annotations

import http.client
import json
import socket

import pytest
import spawning

pytestmark = pytest.mark.integration

SHOP, THIEF = "https://shop.example", "https://thief.example"
APP = """
import threading
from carboy import Carboy
from carboy.signals import request_started

app = Carboy(__name__)
app.config["STRICT_HEADERS"] = {"X-Own": "yes"}
app.config["MODEL_PROTOCOLS"] = ["v2"]

@app.model("/double", batch=4, cors="https://shop.example", max_body_bytes=1000)
def double(x: list[float]) -> list[float]:
    return [thread() and 2 * each for each in x]

@app.model("/private")
def private(x: float) -> float:
    return 2 * x

@app.model("/count", cors="*")
def count(x: int):
    for number in range(x):
        yield number

def thread() -> str:
    return threading.current_thread().name

@app.post("/upload", cors="https://shop.example")
def upload():
    return "done"

@app.post("/form")
def form():
    return "done"

@app.route("/socket", websocket=True, cors="https://shop.example")
def socket():
    return "opened"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browsers")
    (folder / "app.py").write_text(APP)
    port = spawning.free_port()
    command = [spawning.script("carboy"), "serve", "app:app", "--port", str(port), "--workers", "1"]
    command += ["--max-body", "4K"]
    program = spawning.start(command, log=folder / "log", port=port, cwd=folder, env=None)
    program.wait_until_it_listens()
    yield program
    program.stop()


def ask(server, path: str, body: object = None, *, method: str = "POST", **headers: str):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        text = None if body is None else json.dumps(body)
        # Browsers ask to keep a connection; a request that does not has come through a proxy.
        sent = {"Content-Type": "application/json", "Connection": "keep-alive", **headers}
        connection.request(method, path, text, {n.replace("_", "-"): v for n, v in sent.items()})
        answer = connection.getresponse()
        answer.text = answer.read().decode()
        return answer
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/double", 2, 200),
        ("/double", "a", 422),
        ("/double", "a" * 2000, 413),
        ("/v2/models/double/infer", {"inputs": []}, 400),
        ("/upload", "a" * 5000, 413),
    ],
    ids=["result", "refused input", "long body", "other protocol", "long body of a view"],
)
def test_page_of_a_declared_site_reads_predictions_and_errors(server, path, body, status):
    answer = ask(server, path, body, Origin=SHOP)
    assert answer.status == status
    assert answer.getheader("Access-Control-Allow-Origin") == SHOP
    assert answer.getheader("Vary") == "Origin"
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert answer.getheader("X-Own") == "yes"


def test_page_of_a_declared_site_reads_what_the_server_says_of_a_body_that_is_cut_short(server):
    with socket.create_connection(("127.0.0.1", server.port), 30) as client:
        client.sendall(
            "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n"
            f"Origin: {SHOP}\r\n\r\n1234".encode()
        )
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(4096), b"")).decode()
    assert answer.startswith("HTTP/1.1 400")
    assert f"Access-Control-Allow-Origin: {SHOP}\r\n" in answer
    assert "X-Own: yes\r\n" in answer


def test_page_of_another_site_is_refused_before_the_model_computes(server):
    answer = ask(server, "/double", 2, Origin=THIEF)
    assert answer.status == 403
    assert json.loads(answer.text)["code"] == "cross-site-request"
    assert answer.getheader("Access-Control-Allow-Origin") is None
    assert ask(server, "/private", 2, Origin=SHOP).status == 403


def test_response_without_a_page_says_that_it_depends_on_the_site(server):
    answer = ask(server, "/double", 2)
    assert (answer.status, answer.text) == (200, "4.0")
    assert answer.getheader("Vary") == "Origin"
    assert ask(server, "/private", 2).getheader("Vary") is None


def test_stream_has_the_headers_as_well(server):
    answer = ask(server, "/count", 2, Origin=THIEF)
    assert answer.status == 200
    assert answer.getheader("Access-Control-Allow-Origin") == "*"
    assert answer.getheader("X-Frame-Options") == "DENY"


def test_predictions_for_pages_do_not_leave_their_quick_way(server):
    assert "wait on a thread each" not in server.output


def test_preflight_request_for_a_prediction_is_answered(server):
    headers = {"Access_Control_Request_Method": "POST"}
    answer = ask(server, "/double", method="OPTIONS", Origin=SHOP, **headers)
    assert (answer.status, answer.text) == (204, "")
    assert answer.getheader("Access-Control-Allow-Methods") == "POST"


@pytest.mark.parametrize("path", ["/double", "/form", "/docs"])
def test_foreign_name_is_refused_for_models_views_and_own_pages(server, path):
    body, method = (None, "GET") if path == "/docs" else (2, "POST")
    headers = {
        "Host": f"thief.example:{server.port}",
        "Origin": f"http://thief.example:{server.port}",
    }
    answer = ask(server, path, body, method=method, **headers)
    assert answer.status == 403
    assert json.loads(answer.text)["code"] == "rebound-host"


@pytest.mark.parametrize(
    ("origin", "status"), [(THIEF, 403), (SHOP, 200), (None, 200)], ids=["foreign", "own", "none"]
)
def test_websocket_of_a_foreign_page_is_refused(server, origin, status):
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    sent = upgrade if origin is None else {**upgrade, "Origin": origin}
    assert ask(server, "/socket", method="GET", **sent).status == status


@pytest.fixture(scope="module")
def server_behind_proxy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("proxied")
    (folder / "app.py").write_text(APP)
    port = spawning.free_port()
    command = [spawning.script("carboy"), "serve", "app:app", "--port", str(port), "--workers", "1"]
    command += ["--proxy", "1", "--proxy-headers", "for,proto,host,port"]
    program = spawning.start(command, log=folder / "log", port=port, cwd=folder, env=None)
    program.wait_until_it_listens()
    yield program
    program.stop()


@pytest.mark.parametrize("client", [None, "127.0.0.1", "unknown", "203.0.113.9"])
@pytest.mark.parametrize(("path", "body"), [("/form", "a"), ("/double", 2)])
def test_what_a_trusted_proxy_passes_on_is_not_refused(server_behind_proxy, path, body, client):
    sent = {"X_Forwarded_Host": "shop.example", "X_Forwarded_Port": "8443"}
    if client is not None:
        sent["X_Forwarded_For"] = client
    sent |= {"Origin": "https://shop.example:8443", "X_Forwarded_Proto": "https"}
    assert ask(server_behind_proxy, path, body, **sent).status == 200


def test_foreign_name_is_refused_whatever_headers_of_proxies_its_page_sends(server_behind_proxy):
    name = f"thief.example:{server_behind_proxy.port}"
    sent = {"X_Forwarded_Host": "localhost", "X_Forwarded_Port": "80", "X_Forwarded_For": "::1"}
    answer = ask(server_behind_proxy, "/form", "a", Host=name, Origin=f"http://{name}", **sent)
    assert answer.status == 403
    said = json.loads(answer.text)
    assert said["code"] == "rebound-host"
    assert "'thief.example'" in said["detail"]


def test_wrong_configuration_ends_the_start_with_exit_code_2(tmp_path, spawn, carboy_command):
    (tmp_path / "app.py").write_text(
        "from carboy import Carboy\napp = Carboy(__name__)\napp.config['CORS_POLICY'] = 'shop'\n"
    )
    program = spawn(carboy_command, "serve", "app:app", "--port", "{port}", listens=False)
    assert program.process.wait(60) == 2
    assert "CORS_POLICY from the configuration of the app: 'shop' is no origin" in program.output
    assert "Traceback" not in program.output
